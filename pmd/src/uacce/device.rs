//! A uacce device behind the [`Device`] trait.

use std::sync::Arc;

use warpdrive_mempool::{DmaMode, Domain};

use super::channel::Channel;
use super::discover::{Roots, UacceInfo, find};
use super::driver::{Driver, NoSession, Parts};
use super::error::UacceError;
use super::file::{Kernel, Opener};
use super::fork::{Kept, Lineage};
use super::hpre::Hpre;
use super::keeper::Keeper;
use super::scratch::Arena;
use super::zip::Zip;
use crate::device::{Device, DeviceError, DeviceInfo, Queue, SessionId, SessionSpec, Stream};
use crate::engine::MAX_SESSIONS;
use crate::engine::meter::Meters;
use crate::engine::sessions::Sessions;
use crate::stats::DeviceStats;

/// How a device is to be found and used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UacceOptions {
    /// Which device: its name, such as `hisi_hpre-0`, or what it is to compute, such as `rsa`. `None`: the name that the device is
    /// opened by.
    pub device: Option<String>,
}

/// An accelerator of Kunpeng's kind: hardware, or a device of `warpdrive serve`.
///
/// Until a queue is requested it costs some memory for keys and streams, and a thread, which sleeps unless a queue is lost. Each queue
/// opens the queue file, once for each thing the device is to do: ZIP devices compress by one and decompress by another.
pub struct UacceDevice {
    info: Arc<UacceInfo>,
    device: Kept<Box<dyn Device>>,
    lineage: Lineage,
}

impl UacceDevice {
    /// Opens the device for requests whose addresses are of `domain`.
    ///
    /// # Errors
    /// [`DeviceError::Uacce`] when it is not found or not understood, [`DeviceError::Unsupported`] when it is none that is known
    /// here, or when it cannot reach the memory of the domain.
    pub fn open(
        name: &str,
        roots: &Roots,
        domain: &Domain,
        options: UacceOptions,
    ) -> Result<Self, DeviceError> {
        let wanted = options.device.as_deref().unwrap_or(name);
        let error = |cause: UacceError| DeviceError::Uacce { device: name.to_owned(), cause };
        let info = find(roots, wanted).map_err(|cause| error(cause.into()))?;
        Self::open_with(name, info, domain, Arc::new(Kernel))
    }

    /// As [`open`](Self::open), of what was found, by other means.
    pub(super) fn open_with(
        name: &str,
        info: Arc<UacceInfo>,
        domain: &Domain,
        opener: Arc<dyn Opener>,
    ) -> Result<Self, DeviceError> {
        let unsupported = |cause| DeviceError::Unsupported { device: name.to_owned(), cause };
        check_mode(&info, domain.mode()).map_err(unsupported)?;
        let lineage = Lineage::of_this_process().map_err(|e| unsupported(e.to_string()))?;
        let base = Base { name, info: &info, domain, opener, lineage };
        let does = |names: &[&str]| names.iter().any(|name| info.does(name));
        let device: Box<dyn Device> = match () {
            () if does(&["rsa"]) => base.device::<Hpre>()?,
            () if does(&["deflate", "zlib", "gzip"]) => base.device::<Zip>()?,
            () => {
                return Err(unsupported(format!(
                    "{} computes {}, for which there is no driver here. Remedy: a device for rsa, or for deflate, zlib or gzip",
                    info.name,
                    info.algorithms.join(", ")
                )));
            }
        };
        Ok(Self { info, device: Kept::new(device, lineage), lineage })
    }

    /// What was found.
    #[must_use]
    pub fn uacce(&self) -> &Arc<UacceInfo> {
        &self.info
    }

    /// A child has none of the memory that sessions and queues need.
    fn of_this_process(&self) -> Result<&dyn Device, DeviceError> {
        if self.lineage.is_left() {
            return Err(DeviceError::Unsupported {
                device: self.info.name.clone(),
                cause: "it was opened by the parent process. Remedy: open it in this process".to_owned(),
            });
        }
        Ok(&**self.device)
    }
}

impl Device for UacceDevice {
    fn info(&self) -> DeviceInfo {
        self.device.info()
    }

    fn request_queue(&self, depth: usize) -> Result<Box<dyn Queue>, DeviceError> {
        self.of_this_process()?.request_queue(depth)
    }

    fn create_session(&self, spec: SessionSpec) -> Result<SessionId, DeviceError> {
        self.of_this_process()?.create_session(spec)
    }

    fn create_stream(&self, session: SessionId) -> Result<Stream, DeviceError> {
        self.of_this_process()?.create_stream(session)
    }

    fn remove_session(&self, id: SessionId) -> bool {
        self.of_this_process().is_ok_and(|device| device.remove_session(id))
    }

    fn stats(&self) -> DeviceStats {
        self.device.stats()
    }
}

/// Whether the device takes the addresses of the domain, and reaches its memory.
fn check_mode(info: &UacceInfo, mode: DmaMode) -> Result<(), String> {
    if info.mode() != mode {
        return Err(format!(
            "{} takes addresses of mode {}, and its memory has those of {mode}. Remedy: dma = {:?}",
            info.name,
            info.mode(),
            info.mode().name()
        ));
    }
    if mode != DmaMode::Sva && !info.extensions().share {
        return Err(format!(
            "{} reaches nothing but memory that it reserves itself, where no packets are. Remedy: a device for shared virtual \
             addressing (flags 1), or one of `warpdrive serve` that takes memory",
            info.name
        ));
    }
    Ok(())
}

/// What devices of all kinds are made of.
struct Base<'a> {
    name: &'a str,
    info: &'a Arc<UacceInfo>,
    domain: &'a Domain,
    opener: Arc<dyn Opener>,
    lineage: Lineage,
}

impl Base<'_> {
    fn device<D: Driver>(self) -> Result<Box<dyn Device>, DeviceError> {
        let arena = Arena::new(self.domain.mode(), self.info.numa_node, self.lineage);
        let unsupported = |cause| DeviceError::Unsupported { device: self.name.to_owned(), cause };
        arena.prepare().map_err(unsupported)?;
        let no_thread = |cause| {
            unsupported(format!("no thread for its queues: {cause}. Remedy: raise the limit on threads"))
        };
        let keeper = Keeper::start(self.name).map_err(no_thread)?;
        let parts = Parts {
            name: self.name.to_owned(),
            info: Arc::clone(self.info),
            opener: self.opener,
            domain: self.domain.clone(),
            arena,
            sessions: Sessions::new(),
            meters: Meters::default(),
            lineage: self.lineage,
            keeper,
        };
        Ok(Box::new(Of::<D> { parts: Arc::new(parts) }))
    }
}

/// A device with its driver.
struct Of<D: Driver> {
    parts: Arc<Parts<D::Session>>,
}

impl<D: Driver> Of<D> {
    fn name(&self) -> String {
        self.parts.name.clone()
    }
}

impl<D: Driver> Device for Of<D> {
    fn info(&self) -> DeviceInfo {
        let info = &self.parts.info;
        let (algorithms, besides) = D::describe(info);
        let (who, memory) = match info.extensions {
            Some(extensions) if extensions.share => ("of `warpdrive serve`", ", memory shared"),
            Some(_) => ("of `warpdrive serve`", ", memory copied"),
            None => ("hardware", ""),
        };
        DeviceInfo {
            name: self.name(),
            driver: "uacce",
            hardware: info.extensions.is_none(),
            algorithms,
            implementation: format!(
                "{} ({who}, {}), mode {}{memory}; {besides}",
                info.name,
                info.api,
                info.mode()
            ),
            batch: 1,
            placement: info.path.display().to_string(),
            thread: None,
        }
    }

    fn request_queue(&self, depth: usize) -> Result<Box<dyn Queue>, DeviceError> {
        let error = |cause| DeviceError::Uacce { device: self.name(), cause };
        let max = usize::from(u16::MAX);
        if depth == 0 || depth > max {
            return Err(DeviceError::Depth { device: self.name(), depth, max });
        }
        match Channel::<D>::open(&self.parts, depth, self.parts.meters.register()) {
            Ok(channel) => Ok(Box::new(channel)),
            Err(UacceError::Depth { max, .. }) => Err(DeviceError::Depth { device: self.name(), depth, max }),
            Err(cause) => Err(error(cause)),
        }
    }

    fn create_session(&self, spec: SessionSpec) -> Result<SessionId, DeviceError> {
        let session = D::session(&self.parts, spec).map_err(|why| match why {
            NoSession::WrongKind(spec) => {
                DeviceError::WrongKind { device: self.name(), does: D::KIND, wanted: spec.kind() }
            }
            NoSession::Unsupported(cause) => DeviceError::Unsupported { device: self.name(), cause },
        })?;
        let added = self.parts.sessions.add(session);
        added.ok_or_else(|| DeviceError::Sessions { device: self.name(), max: MAX_SESSIONS })
    }

    fn create_stream(&self, session: SessionId) -> Result<Stream, DeviceError> {
        let table = self.parts.sessions.now();
        let found =
            table.get(session).ok_or_else(|| DeviceError::NoSession { device: self.name(), session })?;
        let state = D::stream(&self.parts, found)
            .map_err(|cause| DeviceError::NoStream { device: self.name(), cause })?;
        Ok(Stream::new(table.device, session, state))
    }

    fn remove_session(&self, id: SessionId) -> bool {
        self.parts.sessions.remove(id)
    }

    fn stats(&self) -> DeviceStats {
        let (queues_lost, queues_reopened) = self.parts.keeper.counts();
        DeviceStats { queues_lost, queues_reopened, ..self.parts.meters.stats(1) }
    }
}
