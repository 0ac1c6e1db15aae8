//! The devices that compute: one queue for each, with what their requests need.

use warpdrive_mempool::{DmaMode, Domain, MemError, Mempool, PoolConfig};
use warpdrive_pipeline::diag::known_names;
use warpdrive_pmd::device::{Device, DeviceError, Queue, SessionId, SessionSpec};
use warpdrive_pmd::engine::zip::{Checksum, ZipConfig, ZipEngine, ZipError, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;

use super::chain::BUFFER;

/// Opens a device that serves one core.
type Open = fn(&Domain, usize) -> Result<Box<dyn Device>, DeviceError>;

/// All that can be asked for.
const DEVICES: [(&str, Open); 1] = [(DEFAULT, soft)];
/// What is used when nobody asked.
pub(super) const DEFAULT: &str = "soft-zip";

fn soft(domain: &Domain, cpu: usize) -> Result<Box<dyn Device>, DeviceError> {
    let placement = Placement::Core { cpu, idle: IdlePolicy::Sleep };
    Ok(Box::new(SoftDevice::<ZipEngine>::open(&format!("zip{cpu}"), placement, domain)?))
}

/// Where to compute.
pub(super) struct Choice {
    open: Open,
    /// Cpus, one for each queue.
    pub(super) cpus: Vec<usize>,
}

impl Choice {
    /// A device by its name.
    ///
    /// # Errors
    /// What there is instead.
    pub(super) fn new(name: &str, cpus: Vec<usize>) -> Result<Self, String> {
        let found = DEVICES.iter().find(|(known, _)| *known == name);
        let (_, open) = found.ok_or_else(|| {
            let help = known_names(name, "devices", DEVICES.iter().map(|(name, _)| *name));
            format!("there is no device {name:?}: {help}; `warpdrive devices` tells about them")
        })?;
        Ok(Self { open: *open, cpus })
    }
}

/// Why the devices cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("{0}")]
    Device(#[from] DeviceError),
    #[error("{0}")]
    Memory(#[from] MemError),
    #[error("{0}")]
    Session(#[from] ZipError),
}

/// One device with its queue.
pub(super) struct Lane {
    // The queue goes before its device does.
    pub(super) queue: Box<dyn Queue>,
    pub(super) device: Box<dyn Device>,
}

impl Lane {
    /// A session that does raw DEFLATE and tells of a checksum. The wrapping is the caller's.
    pub(super) fn session(&self, op: ZipOp, level: u8, checksum: Checksum) -> Result<SessionId, Refused> {
        let config = ZipConfig { checksum, ..ZipConfig::new(op, ZipFormat::Deflate, level) };
        Ok(self.device.create_session(SessionSpec::Zip(ZipSession::with(config)?))?)
    }
}

/// Opens a device for each of the first `most` cpus, with queues of `depth`, and a pool of `buffers` for all.
pub(super) fn open(
    choice: &Choice,
    most: usize,
    depth: usize,
    buffers: usize,
) -> Result<(Vec<Lane>, Mempool), Refused> {
    let domain = Domain::new(DmaMode::Sva);
    let config =
        PoolConfig { name: "zip".to_owned(), buffers, size: BUFFER, headroom: 0, ..PoolConfig::default() };
    let pool = Mempool::new(&config, &domain)?;
    let lanes = choice.cpus.iter().take(most).map(|cpu| {
        let device = (choice.open)(&domain, *cpu)?;
        Ok(Lane { queue: device.request_queue(depth)?, device })
    });
    Ok((lanes.collect::<Result<_, Refused>>()?, pool))
}

/// The checksum that a format has behind its data.
pub(super) fn checksum(format: ZipFormat) -> Checksum {
    match format {
        ZipFormat::Deflate => Checksum::None,
        ZipFormat::Zlib => Checksum::Adler32,
        ZipFormat::Gzip => Checksum::Crc32,
    }
}
