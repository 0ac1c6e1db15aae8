//! A queue of any kind: how it is requested and released, and which ring does its work.

use std::ffi::{c_char, c_int, c_ulong, c_void};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use warpdrive_mempool::DmaMode;
use warpdrive_pmd::uacce::abi::{Region, qm, zip};
use warpdrive_pmd::uacce::queue::Entry;
use warpdrive_pmd::uacce::{Lost, QmQueue, Roots, UacceError, UacceInfo, discover};

use crate::border::{Failure, of_discovery, of_uacce};
use crate::memory::{Memory, PAGE, Reserve, Shares};
use crate::ring::{Kind, Ring};
use crate::rsa::Rsa;
use crate::slots::Slots;
use crate::types::{
    WD_EXT_LEVEL, WD_EXT_NULL, WD_EXT_SERVED, WD_EXT_SHARE, WD_NOIOMMU, WD_SHARE_DOMAIN, WD_SVA,
    uacce_dev_info,
};
use crate::zip::Zip;

/// The most queues of a process.
const MOST_QUEUES: usize = 1024;
/// How long a release waits for what is in flight.
const PATIENCE: Duration = Duration::from_secs(2);

/// All queues of this process.
pub(crate) static QUEUES: Slots<Queue, MOST_QUEUES> = Slots::new();

/// What is asked for.
pub(crate) struct Asked {
    /// A device, or what it does.
    pub(crate) device: String,
    /// Where devices are presented. `None`: the kernel's.
    pub(crate) root: Option<PathBuf>,
    /// Which way, of a ZIP device.
    pub(crate) kind: u32,
    /// Requests in flight; 0: as many as there is room for.
    pub(crate) depth: u32,
}

/// An open queue.
pub(crate) struct Queue {
    lane: Lane,
    memory: Memory,
    /// For C, which has its address.
    device: Arc<uacce_dev_info>,
    path: PathBuf,
}

enum Lane {
    Rsa(Ring<Rsa>),
    Zip(Ring<Zip>),
}

macro_rules! each {
    ($lane:expr, $ring:ident => $what:expr) => {
        match $lane {
            Lane::Rsa($ring) => $what,
            Lane::Zip($ring) => $what,
        }
    };
}

impl Queue {
    /// Finds a device and opens a queue of it.
    pub(crate) fn request(asked: &Asked) -> Result<Self, Failure> {
        let roots = asked.root.as_deref().map_or_else(Roots::default, Roots::below);
        let info = discover::find(&roots, &asked.device).map_err(|error| of_discovery(&error))?;
        let available = info.available_instances().ok().flatten();
        let kind = u16::try_from(asked.kind).ok();
        let lane = if info.does("rsa") {
            let kind = kind.filter(|kind| *kind == 0).ok_or_else(|| bad_kind(&info, asked.kind))?;
            Lane::Rsa(open(&info, kind, asked.depth, Rsa::new(&info))?)
        } else if ["deflate", "zlib", "gzip"].iter().any(|name| info.does(name)) {
            let kind = kind.filter(|kind| [zip::COMPRESS, zip::DECOMPRESS].contains(kind));
            let kind = kind.ok_or_else(|| bad_kind(&info, asked.kind))?;
            Lane::Zip(open(&info, kind, asked.depth, Zip::new(&info, kind))?)
        } else {
            let text = format!(
                "wd_request_queue: {} computes {}, for which there is no driver here. Remedy: a device for rsa, or for \
                 deflate, zlib or gzip",
                info.name,
                info.algorithms.join(", ")
            );
            return Err(Failure::new(Errno::OPNOTSUPP, text));
        };
        let folder = asked.root.as_deref().map_or(Path::new("/"), |root| root);
        let memory = Memory::new(&info, folder.to_owned());
        Ok(Self { lane, memory, device: Arc::new(describe(&info, available)), path: info.path.clone() })
    }

    /// The device, as C sees it.
    pub(crate) fn device(&self) -> *const uacce_dev_info {
        Arc::as_ptr(&self.device)
    }

    /// The queue file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> c_int {
        each!(&self.lane, ring => ring.qm().fd().as_raw_fd())
    }

    /// Whether it is a parent's.
    pub(crate) fn check_process(&self) -> Result<(), Failure> {
        match each!(&self.lane, ring => ring.qm().lost()) {
            Some(Lost::Child) => Err(crate::ring::failure(Lost::Child)),
            _ => Ok(()),
        }
    }

    /// What its device reaches, and the calls that change it.
    pub(crate) fn memory(&mut self) -> (&mut Memory, &mut dyn Shares) {
        let shares: &mut dyn Shares = each!(&mut self.lane, ring => ring);
        (&mut self.memory, shares)
    }

    /// What is reserved for it.
    pub(crate) fn reserved(&self) -> Option<&Arc<Reserve>> {
        self.memory.reserved()
    }

    /// Below which its device was found.
    pub(crate) fn folder(&self) -> &Path {
        self.memory.folder()
    }

    /// Sends a request.
    ///
    /// # Safety
    /// As of [`Ring::send`].
    #[inline]
    pub(crate) unsafe fn send(&mut self, request: *mut c_void) -> Result<(), Failure> {
        // SAFETY: by this function's contract.
        each!(&mut self.lane, ring => unsafe { ring.send(request, &self.memory) })
    }

    /// Sends an entry as it is.
    ///
    /// # Safety
    /// As of [`Ring::send_raw`].
    pub(crate) unsafe fn send_raw(&mut self, entry: *mut c_void) -> Result<(), Failure> {
        // SAFETY: by this function's contract.
        each!(&mut self.lane, ring => unsafe { ring.send_raw(entry) })
    }

    /// Receives a request, waiting for it if a time is given.
    ///
    /// # Safety
    /// As of [`Ring::recv`].
    #[inline]
    pub(crate) unsafe fn recv(&mut self, timeout: Option<Duration>) -> Result<*mut c_void, Failure> {
        // SAFETY: by this function's contract.
        each!(&mut self.lane, ring => unsafe { ring.recv(timeout) })
    }

    /// Tells the device of everything that was sent.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        each!(&mut self.lane, ring => ring.flush())
    }

    /// Gives it back, in the process that has requested it. Whether it is certain that its device touches nothing any more.
    pub(crate) fn end(self) -> bool {
        let Self { mut lane, memory, .. } = self;
        let is_halted = each!(&mut lane, ring => ring.end(PATIENCE));
        each!(&lane, ring => memory.end(ring, is_halted));
        is_halted
    }
}

fn bad_kind(info: &UacceInfo, kind: u32) -> Failure {
    let text = format!(
        "wd_request_queue: {} has no queues of kind {kind}. Remedy: 0; of ZIP devices 0 or 1",
        info.name
    );
    Failure::new(Errno::INVAL, text)
}

fn open<K: Kind>(info: &Arc<UacceInfo>, kind: u16, depth: u32, driver: K) -> Result<Ring<K>, Failure>
where
    K::Entry: Entry,
{
    // One place stays empty. How many there are is known when a queue is open.
    let most = usize::from(qm::DEPTH) - 1;
    let wanted = if depth == 0 { most } else { depth as usize };
    let opened = match QmQueue::open(info, kind, wanted) {
        Err(UacceError::Depth { max, .. }) if depth == 0 => QmQueue::open(info, kind, max),
        opened => opened,
    };
    opened.map(|qm| Ring::new(qm, driver)).map_err(|error| of_uacce(&error))
}

fn describe(info: &UacceInfo, available: Option<u32>) -> uacce_dev_info {
    let small = |number: u32| c_int::try_from(number).unwrap_or(c_int::MAX);
    let does = info.extensions();
    let extensions = [
        (info.extensions.is_some(), WD_EXT_SERVED),
        (does.share, WD_EXT_SHARE),
        (does.level, WD_EXT_LEVEL),
        (does.null, WD_EXT_NULL),
    ];
    uacce_dev_info {
        node_id: info.numa_node.map_or(-1, small),
        iommu_type: match info.mode() {
            DmaMode::Sva => WD_SVA,
            DmaMode::ShareDomain => WD_SHARE_DOMAIN,
            DmaMode::NoIommu => WD_NOIOMMU,
        },
        flags: info.flags.cast_signed(),
        available_instances: available.map_or(-1, small),
        extensions: extensions.into_iter().filter(|(has, _)| *has).map(|(_, bit)| bit).sum(),
        name: text(&info.name),
        api: text(&info.api),
        algs: text(&info.algorithms.join(" ")),
        qfrs_offset: [Region::Mmio, Region::Dus, Region::Ss].map(|region| region.offset(PAGE) as c_ulong),
    }
}

/// As an array of C, cut off where there is no room, with a zero at its end.
pub(crate) fn text<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    for (to, from) in array[..N - 1].iter_mut().zip(text.bytes()) {
        *to = from as c_char;
    }
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_with_a_zero() {
        assert_eq!(text::<4>("ab"), [b'a' as c_char, b'b' as c_char, 0, 0]);
        assert_eq!(text::<4>("abcdef"), [b'a' as c_char, b'b' as c_char, b'c' as c_char, 0]);
    }
}
