//! ZIP through queues, as a program uses it: whole buffers, streams, chained packets, and input that means harm.

mod damage;
mod data;
mod dictionaries;
mod feed;
mod joined;
mod lifetime;
mod limits;
mod peers;
mod rig;
mod streams;
mod whole;
