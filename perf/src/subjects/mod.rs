//! What is put under loads, and the benches that do it.

pub mod device;
pub mod pipeline;
pub mod ring;
pub mod rsa;
pub mod zip;

use std::collections::BTreeMap;

use warpdrive_mempool::{Domain, Mempool, PageChoice, PageSize as Page, PoolConfig};

use crate::BenchError;
use crate::peers::PageSize;

/// Slices of load benches, in seconds.
const SLICE_S: f64 = 0.3;
/// How often each load is repeated.
const ROUNDS: usize = 5;
/// Of a first look.
const QUICK: Option<(f64, usize)> = Some((0.05, 3));

/// A pool for `packets` of the usual size, on the best pages there are.
///
/// # Errors
/// [`BenchError::Memory`].
pub fn pool(packets: usize, size: usize, domain: &Domain) -> Result<Mempool, BenchError> {
    pool_on(PageSize::best(), packets, size, domain)
}

/// A pool for `packets` on these pages.
///
/// # Errors
/// [`BenchError::Memory`].
pub fn pool_on(pages: PageSize, packets: usize, size: usize, domain: &Domain) -> Result<Mempool, BenchError> {
    let page = if pages == PageSize::Huge { Page::Size2M } else { Page::Size4K };
    let config = PoolConfig {
        pages: PageChoice::Exactly(page),
        buffers: packets.next_power_of_two().max(512),
        size,
        ..PoolConfig::default()
    };
    Ok(Mempool::new(&config, domain)?)
}

/// Facts about memory and cpus that all subjects have.
fn facts(domain: &Domain, cpus: (usize, usize)) -> BTreeMap<String, String> {
    let fact = |name: &str, value: String| (name.to_owned(), value);
    BTreeMap::from([
        fact("pages", PageSize::best().name().to_owned()),
        fact("dma", domain.mode().to_string()),
        fact("cpus", format!("sender on cpu {}, engine on cpu {}", cpus.0, cpus.1)),
    ])
}
