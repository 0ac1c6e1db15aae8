//! A queue of one kind of device: requests in, the same requests out.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use rustix::io::Errno;
use warpdrive_mempool::{Access, Region};
use warpdrive_pmd::uacce::abi::{self, Share};
use warpdrive_pmd::uacce::queue::Entry;
use warpdrive_pmd::uacce::{Lost, QmQueue};

use crate::border::{Failure, of_uacce};
use crate::memory::{Memory, OfDevice, PAGE, Shares};

/// What knows the requests of one kind of device.
pub(crate) trait Kind: 'static {
    /// What the queue carries.
    type Entry: Entry;
    /// The structure that C has for it.
    type Request;
    /// What is remembered of a request while the device has it.
    type Note;

    /// Makes an entry.
    ///
    /// # Safety
    /// `request` and the memory that it names are as [`wd_send`](crate::wd_send) demands.
    unsafe fn begin(
        &self,
        request: *mut Self::Request,
        memory: &Memory,
    ) -> Result<(Self::Entry, Self::Note), Failure>;

    /// Writes to the request what came of it. Nothing in `entry` is to be believed.
    ///
    /// # Safety
    /// As of [`begin`](Self::begin), of the same request.
    unsafe fn end(&self, request: *mut Self::Request, note: Self::Note, entry: &Self::Entry);

    /// Writes to the request that the device is gone.
    ///
    /// # Safety
    /// As of [`end`](Self::end).
    unsafe fn cancel(&self, request: *mut Self::Request);
}

/// A request that the device has.
enum Pending<K: Kind> {
    Request(*mut K::Request, K::Note),
    /// An entry of the caller's own making.
    Raw(*mut u32),
}

/// An open queue with what is in flight.
pub(crate) struct Ring<K: Kind> {
    qm: QmQueue<K::Entry>,
    kind: K,
    /// By place.
    pending: Box<[Option<Pending<K>>]>,
    /// Once the queue is lost: whether its device touches nothing any more.
    halted: Option<bool>,
}

// SAFETY: requests are C's, lent to the queue until they are received; whichever thread uses the queue then may access them.
unsafe impl<K: Kind + Send> Send for Ring<K> where K::Note: Send {}

impl<K: Kind> Ring<K> {
    pub(crate) fn new(qm: QmQueue<K::Entry>, kind: K) -> Self {
        let pending = (0..qm.places()).map(|_| None).collect();
        Self { qm, kind, pending, halted: None }
    }

    /// The queue itself.
    pub(crate) fn qm(&self) -> &QmQueue<K::Entry> {
        &self.qm
    }

    /// Sends a request.
    ///
    /// # Safety
    /// As of [`Kind::begin`]; and until the request is received or the queue released, it and its memory stay as they are.
    #[inline]
    pub(crate) unsafe fn send(&mut self, request: *mut c_void, memory: &Memory) -> Result<(), Failure> {
        self.check_room()?;
        let request = request.cast::<K::Request>();
        // SAFETY: by this function's contract.
        let (entry, note) = unsafe { self.kind.begin(request, memory) }?;
        self.put(&entry, Pending::Request(request, note))
    }

    /// Sends an entry as it is.
    ///
    /// # Safety
    /// `entry` is an entry of the device's, which is written to when it is received; it and what it names stay until then.
    pub(crate) unsafe fn send_raw(&mut self, entry: *mut c_void) -> Result<(), Failure> {
        self.check_room()?;
        let words = entry.cast::<u32>();
        let mut copy = K::Entry::default();
        for (at, word) in copy.words_mut().iter_mut().enumerate() {
            // SAFETY: by this function's contract there are as many words.
            *word = unsafe { words.add(at).read() };
        }
        self.put(&copy, Pending::Raw(words))
    }

    fn check_room(&self) -> Result<(), Failure> {
        match self.qm.lost() {
            Some(lost) => Err(failure(lost)),
            None if self.qm.room() == 0 => Err(Failure::usual(Errno::BUSY)),
            None => Ok(()),
        }
    }

    fn put(&mut self, entry: &K::Entry, pending: Pending<K>) -> Result<(), Failure> {
        let place = self.qm.send_placed(entry).map_err(failure)?.ok_or(Failure::usual(Errno::BUSY))?;
        self.pending[usize::from(place)] = Some(pending);
        Ok(())
    }

    /// Receives a request, waiting for it if a time is given.
    ///
    /// # Safety
    /// As of [`Kind::end`], of all requests that were sent.
    #[inline]
    pub(crate) unsafe fn recv(&mut self, timeout: Option<Duration>) -> Result<*mut c_void, Failure> {
        let taken = match timeout {
            None => self.qm.recv_placed(),
            Some(timeout) => self.qm.recv_placed_sync(timeout),
        };
        let (place, entry) = match taken {
            Ok(Some(taken)) => taken,
            Ok(None) if timeout.is_some() && self.qm.in_flight() > 0 => {
                return Err(Failure::usual(Errno::TIMEDOUT));
            }
            Ok(None) => return Err(Failure::usual(Errno::AGAIN)),
            // SAFETY: by this function's contract.
            Err(lost) => return unsafe { self.cancelled(lost) },
        };
        // What the queue says is in flight was sent from here, unless ringing for it has failed.
        let pending = self.pending[usize::from(place)].take().ok_or_else(|| failure(Lost::Nonsense))?;
        match pending {
            Pending::Request(request, note) => {
                // SAFETY: by this function's contract.
                unsafe { self.kind.end(request, note, &entry) };
                Ok(request.cast())
            }
            Pending::Raw(words) => {
                for (at, word) in entry.words().iter().enumerate() {
                    // SAFETY: there are as many words, by the contract of send_raw.
                    unsafe { words.add(at).write(*word) };
                }
                Ok(words.cast())
            }
        }
    }

    /// Of a queue that is lost: a request that comes back undone, if it is certain that the device does not touch it any more.
    ///
    /// # Safety
    /// As of [`recv`](Self::recv).
    #[cold]
    unsafe fn cancelled(&mut self, lost: Lost) -> Result<*mut c_void, Failure> {
        if lost == Lost::Child {
            return Err(failure(lost));
        }
        if !self.halt() {
            return Err(Failure::new(
                Errno::BUSY,
                "the device is gone, or may still be at work. Remedy: release the queue, and let what requests name stay as it is",
            ));
        }
        let pending = self.pending.iter_mut().find_map(Option::take).ok_or_else(|| failure(lost))?;
        match pending {
            Pending::Request(request, _) => {
                // SAFETY: by this function's contract.
                unsafe { self.kind.cancel(request) };
                Ok(request.cast())
            }
            Pending::Raw(words) => Ok(words.cast()),
        }
    }

    /// Gives the queue back. Whether it is certain that its device touches nothing any more.
    fn halt(&mut self) -> bool {
        if let Some(halted) = self.halted {
            return halted;
        }
        let halted = match self.qm.stop() {
            Ok(()) => true,
            // Who could touch it is gone.
            Err(errno) => matches!(errno, Errno::NOTCONN | Errno::NODEV | Errno::CONNABORTED),
        };
        self.halted = Some(halted);
        halted
    }

    /// Tells the device of everything that was sent.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.qm.flush().map_err(failure)
    }

    /// Waits for what is in flight, but not for ever, and gives the queue back. Whether its device touches nothing any more.
    pub(crate) fn end(&mut self, patience: Duration) -> bool {
        let begun = Instant::now();
        while self.qm.in_flight() > 0 {
            let left = patience.saturating_sub(begun.elapsed());
            // Requests may be no more: nothing is written to them.
            match self.qm.recv_placed_sync(left) {
                Ok(Some(_)) => {}
                Ok(None) if left.is_zero() => break,
                Ok(None) => {}
                Err(_) => break,
            }
        }
        self.halt()
    }
}

impl<K: Kind> Shares for Ring<K> {
    fn share_region(&mut self, region: &Arc<Region>) -> Result<(), Failure> {
        self.qm.mem_share(region, Access::ReadWrite).map_err(|error| of_uacce(&error))
    }

    fn share(&self, share: &Share) -> Result<(), Errno> {
        self.qm.share(share)
    }

    fn unshare(&self, address: u64) -> Result<(), Errno> {
        self.qm.unshare(address)
    }

    fn reserve(&self, bytes: usize) -> Result<OfDevice, Failure> {
        let name = &self.qm.info().name;
        let fail = |errno, cause: String| {
            Failure::new(errno, format!("{name}: {bytes} bytes of its memory cannot be had: {cause}"))
        };
        let of_file = |errno: Errno| fail(errno, errno.to_string());
        let stat = rustix::fs::fstat(self.qm.fd()).map_err(of_file)?;
        // A served file ends with its memory, and behind its end there is nothing to be touched.
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            let before = abi::Region::Ss.offset(PAGE);
            let there = stat.st_size.unsigned_abs().saturating_sub(before);
            if (bytes as u64) > there {
                return Err(fail(
                    Errno::NOMEM,
                    format!("it has {there}. Remedy: a larger `reserve` of the device"),
                ));
            }
        }
        let reserved = self.qm.reserve_mem(bytes).map_err(|error| fail(Errno::NOMEM, error.to_string()))?;
        let file = self.qm.fd().try_clone_to_owned();
        let _file = file.map_err(|cause| fail(Errno::MFILE, cause.to_string()))?;
        Ok(OfDevice { reserved, _file })
    }
}

/// Why nothing can be sent or received any more.
#[cold]
pub(crate) fn failure(lost: Lost) -> Failure {
    let errno = match lost {
        Lost::Child => Errno::PERM,
        Lost::Device | Lost::Server => Errno::NODEV,
        Lost::Nonsense => Errno::IO,
    };
    Failure::new(errno, lost.to_string())
}
