//! One AF_XDP socket: its options, its binding to a queue of the NIC, and its end.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use warpdrive_mempool::{Lent, Mapping, PageChoice, PageSize, Sharing};

use super::abi::XDP_MAX_TX_SKB_BUDGET;
use super::rings::{ConsumerRing, ProducerRing, RingKind};
use super::umem::Layout;

/// How long a queue may take to come free after its last socket was closed: the kernel does that in a work queue.
const RELEASE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(5);

/// A bound socket, shared by the two halves of its queue. It is closed when both are gone.
///
/// The order of the fields is the order of the end: the link to the socket's queue first, then the buffers.
pub(super) struct Socket {
    fd: OwnedFd,
    after: AfterClose,
    /// Keeps the program attached while there are sockets.
    _attachment: Arc<OwnedFd>,
}

/// What happens when the socket is closed.
struct AfterClose {
    ifindex: u32,
    queue: u32,
    /// With zero-copy: see [`queue_comes_free`].
    probe: Option<OwnedFd>,
    /// Buffers the kernel had when a half was dropped. They stay with it until the socket is closed.
    lent: Mutex<Vec<Lent>>,
}

/// A descriptor of the receive and transmit rings.
pub(super) use libc::xdp_desc as Desc;

/// The four rings of a socket.
pub(super) struct Rings {
    pub rx: ConsumerRing<Desc>,
    pub fill: ProducerRing<u64>,
    pub tx: ProducerRing<Desc>,
    pub completion: ConsumerRing<u64>,
}

/// A step of opening that failed.
pub(super) struct Failed {
    pub step: Step,
    pub cause: io::Error,
}

/// The steps of opening a socket, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    RegisterMemory,
    MakeRings,
    BusyPoll,
    Bind,
}

impl Step {
    fn failed(self, cause: io::Error) -> Failed {
        Failed { step: self, cause }
    }
}

/// A socket before it is bound.
pub(super) struct Unbound {
    fd: OwnedFd,
    rings: Rings,
}

impl Unbound {
    /// Makes a socket with rings of `entries` each.
    pub(super) fn new(entries: u32) -> Result<Self, Failed> {
        let fd = create().map_err(|e| Step::Create.failed(e))?;
        let rings = make_rings(&fd, entries).map_err(|e| Step::MakeRings.failed(e))?;
        // Without it a call sends 32 descriptors. A kernel that does not know the option is as good.
        let _ = set(&fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &entries);
        Ok(Self { fd, rings })
    }

    /// Gives the kernel the memory at `base`, which is that of a pool's region.
    pub(super) fn register(&self, base: usize, layout: &Layout) -> Result<(), Failed> {
        let umem = libc::xdp_umem_reg {
            addr: base as u64,
            len: (layout.buffers * layout.buffer_size) as u64,
            chunk_size: layout.chunk_size as u32,
            headroom: layout.extra_headroom as u32,
            flags: if layout.unaligned { libc::XDP_UMEM_UNALIGNED_CHUNK_FLAG } else { 0 },
            tx_metadata_len: 0,
        };
        set(&self.fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &umem).map_err(|e| Step::RegisterMemory.failed(e))
    }

    /// Prefers polling from our system calls to interrupts (Documentation/networking/napi.rst).
    pub(super) fn busy_poll(&self, microseconds: u32) -> Result<(), Failed> {
        const BUDGET: libc::c_int = 64;
        [
            (libc::SO_PREFER_BUSY_POLL, 1),
            (libc::SO_BUSY_POLL, microseconds as libc::c_int),
            (libc::SO_BUSY_POLL_BUDGET, BUDGET),
        ]
        .iter()
        .try_for_each(|(option, value)| set(&self.fd, libc::SOL_SOCKET, *option, value))
        .map_err(|e| Step::BusyPoll.failed(e))
    }

    /// Binds to a queue, with the memory of `first` if there is such a socket, which then decides the flags too.
    pub(super) fn bind(
        self,
        (ifindex, queue): (u32, u32),
        flags: u16,
        first: Option<&Socket>,
        attachment: &Arc<OwnedFd>,
    ) -> Result<(Arc<Socket>, Rings), Failed> {
        let flags = if first.is_some() { libc::XDP_SHARED_UMEM } else { flags };
        let deadline = Instant::now() + RELEASE;
        while let Err(e) = bind(&self.fd, ifindex, queue, flags, first.map(|s| &s.fd)) {
            if e.raw_os_error() != Some(libc::EBUSY) || Instant::now() > deadline {
                return Err(Step::Bind.failed(e));
            }
            thread::sleep(RETRY);
        }
        let mut options = libc::xdp_options { flags: 0 };
        get(&self.fd, libc::XDP_OPTIONS, &mut options).map_err(|e| Step::Bind.failed(e))?;
        let zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
        // Made now, for a socket stays in the network namespace in which it was made.
        let probe = zero_copy.then(create).transpose().map_err(|e| Step::Create.failed(e))?;
        let after = AfterClose { ifindex, queue, probe, lent: Mutex::default() };
        let socket = Socket { fd: self.fd, after, _attachment: Arc::clone(attachment) };
        Ok((Arc::new(socket), self.rings))
    }
}

impl Socket {
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(super) fn zero_copy(&self) -> bool {
        self.after.probe.is_some()
    }

    /// Makes the kernel send what is in the transmit ring. It says why not by the ring, which stays as it is.
    #[inline]
    pub(super) fn kick_tx(&self) {
        // SAFETY: no memory is passed.
        unsafe {
            libc::sendto(self.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
        };
    }

    /// Makes the kernel look at the fill ring, or poll the NIC.
    #[inline]
    pub(super) fn kick_rx(&self) {
        // SAFETY: no memory is passed.
        unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
    }

    /// What the kernel counted.
    pub(super) fn statistics(&self) -> Option<libc::xdp_statistics> {
        // SAFETY: all-zero bytes are a valid xdp_statistics.
        let mut statistics: libc::xdp_statistics = unsafe { std::mem::zeroed() };
        get(&self.fd, libc::XDP_STATISTICS, &mut statistics).ok().map(|()| statistics)
    }

    /// Keeps what a half has lent until the socket is closed.
    pub(super) fn keep_until_close(&self, lent: Lent) {
        self.after.lent.lock().unwrap_or_else(PoisonError::into_inner).push(lent);
    }
}

impl Drop for AfterClose {
    fn drop(&mut self) {
        // The socket is closed by now, and no ring is mapped any more: each half unmapped its own before it let go of
        // the socket. In copy mode the kernel is done with the memory then (xsk_unbind_dev waits for its readers).
        if self.probe.take().is_some_and(|probe| !queue_comes_free(probe, self.ifindex, self.queue)) {
            // The NIC may still write: better short of buffers than of sense. The pool's memory stays for them.
            tracing::warn!(
                queue = self.queue,
                "the NIC did not give an AF_XDP queue back: its buffers are kept"
            );
            return;
        }
        for lent in self.lent.get_mut().unwrap_or_else(PoisonError::into_inner) {
            lent.take_back_all();
        }
    }
}

/// With zero-copy the driver lets go of the buffers some time after the socket was closed, in a work queue of the
/// kernel. It shows by the queue's taking another socket: `probe`, with a page of its own.
fn queue_comes_free(probe: OwnedFd, ifindex: u32, queue: u32) -> bool {
    const PAGE: PageSize = PageSize::Size4K;
    let prepare = || -> io::Result<Mapping> {
        let page = Mapping::new(PAGE.bytes(), PageChoice::Exactly(PAGE), Sharing::Shared, None)
            .map_err(io::Error::other)?;
        let umem = libc::xdp_umem_reg {
            addr: page.va().0 as u64,
            len: PAGE.bytes() as u64,
            chunk_size: PAGE.bytes() as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set(&probe, libc::SOL_XDP, libc::XDP_UMEM_REG, &umem)?;
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING] {
            set(&probe, libc::SOL_XDP, ring, &1u32)?;
        }
        Ok(page)
    };
    let Ok(_page) = prepare() else {
        return false;
    };
    let deadline = Instant::now() + RELEASE;
    loop {
        match bind(&probe, ifindex, queue, libc::XDP_COPY, None) {
            Ok(()) => return true,
            // The interface is gone, and its driver with it.
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => return true,
            Err(_) if Instant::now() > deadline => return false,
            Err(_) => thread::sleep(RETRY),
        }
    }
}

fn create() -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved; the result is checked and owned here alone.
    unsafe {
        let fd = libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

fn make_rings(fd: &OwnedFd, entries: u32) -> io::Result<Rings> {
    for ring in
        [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING]
    {
        set(fd, libc::SOL_XDP, ring, &entries)?;
    }
    // SAFETY: all-zero bytes are valid offsets.
    let mut at: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    get(fd, libc::XDP_MMAP_OFFSETS, &mut at)?;
    let kind = |page_offset, offsets| RingKind { page_offset, offsets, entries };
    Ok(Rings {
        rx: ConsumerRing::map(fd, kind(libc::XDP_PGOFF_RX_RING, at.rx))?,
        fill: ProducerRing::map(fd, kind(libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t, at.fr))?,
        tx: ProducerRing::map(fd, kind(libc::XDP_PGOFF_TX_RING, at.tx))?,
        completion: ConsumerRing::map(fd, kind(libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t, at.cr))?,
    })
}

fn bind(fd: &OwnedFd, ifindex: u32, queue: u32, flags: u16, shared: Option<&OwnedFd>) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: shared.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    // SAFETY: the address is valid for the length given.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set<T>(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the value is valid for its size. It is of the type of the option, and if not, of a wrong size: refused.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn get<T>(fd: &OwnedFd, option: libc::c_int, value: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes; every `T` used here is plain numbers.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, std::ptr::from_mut(value).cast(), &mut len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
