//! The program as people run it: what comes out, how it ends, and what it leaves behind.

#[path = "run/audit.rs"]
mod audit;
mod common;
#[path = "run/damage.rs"]
mod damage;
#[path = "run/demo.rs"]
mod demo;
#[path = "run/dictionary.rs"]
mod dictionary;
#[path = "run/echo.rs"]
mod echo;
#[path = "run/ends.rs"]
mod ends;
#[path = "run/keys.rs"]
mod keys;
#[path = "run/links.rs"]
mod links;
#[path = "run/loads.rs"]
mod loads;
#[path = "run/resources.rs"]
mod resources;
#[path = "run/rsa_engine.rs"]
mod rsa_engine;
#[path = "run/strict.rs"]
mod strict;
#[path = "run/syscalls.rs"]
mod syscalls;
