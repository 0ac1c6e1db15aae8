//! Memory of the warpdrive dataplane: pages, DMA addresses, packet buffers. It knows nothing of devices.
//!
//! ```
//! use warpdrive_mempool::{Domain, DmaMode, Mempool, PoolConfig};
//!
//! # fn main() -> Result<(), warpdrive_mempool::MemError> {
//! let domain = Domain::new(DmaMode::Sva);
//! let pool = Mempool::new(&PoolConfig { buffers: 64, ..PoolConfig::default() }, &domain)?;
//! let mut packet = pool.alloc().expect("64 are free");
//! packet.extend_from_slice(b"payload").expect("it fits");
//! packet.prepend(4).expect("there is headroom").copy_from_slice(b"hdr:");
//! assert_eq!(packet.data(), b"hdr:payload");
//! drop(packet);
//! assert_eq!(pool.stats().in_use, 0);
//! # Ok(())
//! # }
//! ```

mod addr;
mod buffers;
mod burst;
mod domain;
mod error;
mod free;
mod lent;
mod packet;
mod page;
mod pool;
mod region;
mod shared;
mod slot;
mod smm;

pub use addr::{DmaMode, Iova, Pa, Va};
pub use buffers::Buffers;
pub use burst::{BURST, Burst, DrainFront};
pub use domain::{Access, DmaSlice, Domain, DomainView, Map};
pub use error::{Fault, MemError};
pub use lent::Lent;
pub use packet::{NoRoom, Packet, prefetch_bytes};
pub use page::{Mapping, PageChoice, PageSize, Sharing};
pub use pool::{MAX_BUFFERS, Mempool, PoolConfig, PoolStats};
pub use region::{Region, Run};
pub use shared::SharedPacket;
pub use slot::{MAX_WORKER_SLOTS, WorkerSlot};
pub use smm::{Ledger, Smm, SmmError};
