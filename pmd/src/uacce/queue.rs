//! A Kunpeng queue from its user's side: entries in, the same entries out, with what came of them.
//!
//! | | |
//! |---|---|
//! | send | write entries, fence, doorbell with the place behind the last one: once a burst |
//! | receive | a completion is new if its phase is that of this round; then read the entry that it names |
//!
//! No system call in either. [`Lost`] says why neither does anything any more. Entries are written and read by single words, and
//! nothing that a device writes is believed: which entry is done must be one that was sent.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use rustix::io::Errno;

use super::abi::qm::{self, Command, Completion, Doorbell, Layout, QpContext, Version};
use super::abi::{HEARTBEAT_AT, PUT_Q, QM_SET_QP_CTX, Region, START};
use super::discover::UacceInfo;
use super::error::{Lost, UacceError};
use super::file::{Heard, Kernel, Mapped, Opener, QueueFile, device_fence};
use super::fork::{Kept, Lineage};
use super::share::Given;

mod entry;
mod heart;
mod open;
mod placed;

pub use self::entry::Entry;
use self::heart::Heart;

/// The page by which regions are told apart in the file.
const PAGE: u64 = 4096;
/// How long a completion is waited for by polling memory, before a call waits.
const SPIN: Duration = Duration::from_micros(20);
/// The longest that one call waits, so that other reasons to give up are seen.
const WAIT: Duration = Duration::from_secs(1);

/// An open queue that carries entries of one kind. Dropping it gives it back.
pub struct QmQueue<E> {
    file: Box<dyn QueueFile>,
    mmio: Mapped,
    dus: Mapped,
    info: Arc<UacceInfo>,
    layout: Layout,
    version: Version,
    id: u16,
    /// The most entries in flight: less than places, since a full ring would look like an empty one.
    depth: u16,
    /// Where the next entry goes, and up to where the device was told.
    tail: u16,
    rung: u16,
    /// The oldest entry that is not done, if any is in flight.
    oldest: u16,
    in_flight: u16,
    /// Which places are in flight.
    busy: Box<[bool]>,
    /// The next completion, its phase, and whether some were taken that the device was not told of.
    head: u16,
    phase: bool,
    taken: bool,
    heart: Option<Heart>,
    lost: Option<Lost>,
    stopped: bool,
    /// Memory that the device was given by way of this queue.
    given: Option<Kept<Given>>,
    entry: std::marker::PhantomData<E>,
}

impl<E: Entry> QmQueue<E> {
    /// Opens a queue of the device, for what `kind` says ([`QpContext::kind`]), that takes up to `depth` entries in flight.
    ///
    /// # Errors
    /// [`UacceError`].
    pub fn open(info: &Arc<UacceInfo>, kind: u16, depth: usize) -> Result<Self, UacceError> {
        Self::open_with(&Kernel, info, kind, depth, |_| Ok(()))
    }

    /// As [`open`](Self::open), by other means. `prepare` is called before the queue is started.
    pub(super) fn open_with(
        opener: &dyn Opener,
        info: &Arc<UacceInfo>,
        kind: u16,
        depth: usize,
        prepare: impl FnOnce(&dyn QueueFile) -> Result<(), UacceError>,
    ) -> Result<Self, UacceError> {
        let device = || info.name.clone();
        let layout_error = |what: String| UacceError::Layout { device: device(), what };
        let version = open::check(info).map_err(layout_error)?;
        let lineage = Lineage::of_this_process().map_err(|cause| UacceError::Memory {
            device: device(),
            what: "cannot tell children from this process",
            cause: cause.to_string(),
        })?;
        let open_error = |cause| UacceError::Open { path: info.path.clone(), cause };
        let file = opener.open(&info.path).map_err(open_error)?;
        let map = |region: Region, name, bytes| {
            let map_error = |cause| UacceError::Map { device: device(), region: name, bytes, cause };
            Mapped::new(file.fd(), region.offset(PAGE), bytes, lineage).map_err(map_error)
        };
        let dus = map(Region::Dus, "region_dus", info.dus_bytes)?;
        let mmio = map(Region::Mmio, "region_mmio", info.mmio_bytes)?;
        let call = |name, command, argument: &mut [u8], remedy| {
            let error = |cause| UacceError::Call { device: device(), call: name, cause, remedy };
            file.call(command, argument).map_err(error)
        };
        let mut context = QpContext { id: 0, kind }.bytes();
        call("QM_SET_QP_CTX", QM_SET_QP_CTX, &mut context, "a device that does this")?;
        let id = QpContext::of(context).id;
        let layout = open::layout(&*file, E::BYTES, info.dus_bytes).map_err(layout_error)?;
        let max = usize::from(layout.sq_depth.min(layout.cq_depth)) - 1;
        if depth == 0 || depth > max {
            return Err(UacceError::Depth { device: device(), depth, max });
        }
        prepare(&*file)?;
        call("UACCE_CMD_START", START, &mut [], "see what the kernel, or who serves the device, has logged")?;
        let heart = info.extensions().heartbeat && mmio.len() >= HEARTBEAT_AT + 4;
        Ok(Self {
            file,
            mmio,
            dus,
            info: Arc::clone(info),
            layout,
            version,
            id,
            depth: depth as u16,
            tail: 0,
            rung: 0,
            oldest: 0,
            in_flight: 0,
            busy: vec![false; usize::from(layout.sq_depth)].into(),
            head: 0,
            phase: true,
            taken: false,
            heart: heart.then(Heart::new),
            lost: None,
            stopped: false,
            given: None,
            entry: std::marker::PhantomData,
        })
    }

    /// The device.
    #[must_use]
    pub fn info(&self) -> &Arc<UacceInfo> {
        &self.info
    }

    /// The calls of its file.
    pub(super) fn file(&self) -> &dyn QueueFile {
        &*self.file
    }

    /// What the device was given by way of this queue, and the way.
    pub(super) fn given(&mut self) -> (&mut Option<Kept<Given>>, &dyn QueueFile) {
        (&mut self.given, &*self.file)
    }

    /// Whose it is.
    pub(super) fn lineage(&self) -> Lineage {
        self.dus.lineage()
    }

    /// Places in the ring: entries are numbered below this.
    #[must_use]
    pub fn places(&self) -> usize {
        self.busy.len()
    }

    /// How many entries are in flight.
    #[must_use]
    #[inline]
    pub fn in_flight(&self) -> usize {
        usize::from(self.in_flight)
    }

    /// How many more entries it takes.
    #[must_use]
    #[inline]
    pub fn room(&self) -> usize {
        if self.lost().is_some() {
            return 0;
        }
        // Of a device that overtakes itself the oldest entry keeps its place, and with it all behind.
        let span = if self.in_flight == 0 { 0 } else { self.between(self.oldest, self.tail) };
        let free = self.layout.sq_depth - 1 - span;
        usize::from((self.depth - self.in_flight).min(free))
    }

    /// Why it does nothing any more, if so.
    #[must_use]
    #[inline]
    pub fn lost(&self) -> Option<Lost> {
        if self.dus.is_left() { Some(Lost::Child) } else { self.lost }
    }

    fn after(&self, place: u16) -> u16 {
        if place + 1 == self.layout.sq_depth { 0 } else { place + 1 }
    }

    /// Places from one to another, going up.
    fn between(&self, from: u16, to: u16) -> u16 {
        if to >= from { to - from } else { self.layout.sq_depth - from + to }
    }

    /// Sends entries from the front of `entries` and says how many: the rest did not fit.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn send(&mut self, entries: &[E]) -> Result<usize, Lost> {
        let n = entries.len().min(self.room());
        for entry in &entries[..n] {
            self.push(entry);
        }
        self.ring()?;
        Ok(n)
    }

    /// Writes an entry, which the device hears of with the next [`ring`](Self::ring), and says where. There must be room.
    #[inline]
    pub(super) fn push(&mut self, entry: &E) -> u16 {
        debug_assert!(self.room() > 0);
        let place = self.tail;
        if self.in_flight == 0 {
            self.oldest = place;
            self.heart.iter_mut().for_each(Heart::rest);
        }
        self.dus.write(self.layout.entry(place), entry.words());
        self.busy[usize::from(place)] = true;
        self.tail = self.after(place);
        self.in_flight += 1;
        place
    }

    /// Tells the device of what was written.
    ///
    /// # Errors
    /// [`Lost`].
    #[inline]
    pub(super) fn ring(&mut self) -> Result<(), Lost> {
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        if self.rung == self.tail {
            return Ok(());
        }
        if self.dus.word(self.layout.tx_failed()).load(Ordering::Acquire) == FAILED {
            return Err(self.lose(Lost::Device));
        }
        self.rung = self.tail;
        self.doorbell(Command::Submitted, self.tail, 0);
        Ok(())
    }

    #[inline]
    fn doorbell(&self, command: Command, index: u16, priority: u16) {
        let word = Doorbell { queue: self.id, command, index, priority }.word(self.version);
        device_fence();
        self.mmio.double(self.version.doorbell_at()).store(word, Ordering::Release);
    }

    /// Receives entries that are done, into the front of `entries`, and says how many.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn recv(&mut self, entries: &mut [E]) -> Result<usize, Lost> {
        let mut n = 0;
        while n < entries.len()
            && let Some((_, entry)) = self.take()?
        {
            entries[n] = entry;
            n += 1;
        }
        self.acknowledge();
        Ok(n)
    }

    /// Takes an entry that is done, and its place.
    ///
    /// # Errors
    /// [`Lost`].
    #[inline]
    pub(super) fn take(&mut self) -> Result<Option<(u16, E)>, Lost> {
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        if self.in_flight == 0 {
            return Ok(None);
        }
        // Place and phase are in the second half, so one load gives both. What was written before them is there.
        let half = self.dus.double(self.layout.completion(self.head) + 8).load(Ordering::Acquire);
        let mut bytes = [0; qm::COMPLETION];
        bytes[8..].copy_from_slice(&half.to_le_bytes());
        let completion = Completion::of(&bytes);
        if completion.phase != self.phase {
            return self.nothing();
        }
        let place = completion.entry;
        if self.busy.get(usize::from(place)) != Some(&true) {
            return Err(self.lose(Lost::Nonsense));
        }
        let mut entry = E::default();
        self.dus.read(self.layout.entry(place), entry.words_mut());
        // Before the word that says whether to believe it.
        fence(Ordering::Acquire);
        if self.has_failed() {
            return Err(self.lose(Lost::Device));
        }
        self.done(place);
        Ok(Some((place, entry)))
    }

    #[inline]
    fn done(&mut self, place: u16) {
        self.busy[usize::from(place)] = false;
        self.in_flight -= 1;
        while self.oldest != self.tail && !self.busy[usize::from(self.oldest)] {
            self.oldest = self.after(self.oldest);
        }
        self.taken = true;
        self.head += 1;
        if self.head == self.layout.cq_depth {
            self.head = 0;
            self.phase = !self.phase;
        }
    }

    fn has_failed(&self) -> bool {
        self.dus.word(self.layout.rx_failed()).load(Ordering::Acquire) == FAILED
    }

    /// There is no completion although some are owed.
    fn nothing(&mut self) -> Result<Option<(u16, E)>, Lost> {
        if self.has_failed() {
            return Err(self.lose(Lost::Device));
        }
        if let Some(heart) = &mut self.heart
            && heart.is_still(self.mmio.word(HEARTBEAT_AT).load(Ordering::Relaxed))
            && self.file.wait(Duration::ZERO) == Heard::Failed
        {
            return Err(self.lose(Lost::Server));
        }
        Ok(None)
    }

    #[cold]
    fn lose(&mut self, lost: Lost) -> Lost {
        *self.lost.get_or_insert(lost)
    }

    /// Tells a device that completions were taken.
    #[inline]
    pub(super) fn acknowledge(&mut self) {
        if self.taken && self.hears_of_taken() && self.lost().is_none() {
            self.taken = false;
            self.doorbell(Command::Taken, self.head, 0);
        }
    }

    /// Whether the device wants to know what was taken. In the memory of a file that is served, that would hide from the server
    /// what was rung for before it has looked; and it knows when a completion is new by itself.
    fn hears_of_taken(&self) -> bool {
        self.info.extensions.is_none()
    }

    /// Receives an entry, waiting up to `timeout` for it. `None` at once when nothing is in flight.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn recv_sync(&mut self, timeout: Duration) -> Result<Option<E>, Lost> {
        Ok(self.recv_placed_sync(timeout)?.map(|(_, entry)| entry))
    }

    /// Waits until a completion may be there, or for as long as `timeout`: a system call.
    ///
    /// # Errors
    /// [`Lost`].
    pub(super) fn wait(&mut self, timeout: Duration) -> Result<(), Lost> {
        self.ring()?;
        if self.hears_of_taken() {
            self.taken = false;
            self.doorbell(Command::Taken, self.head, 1);
        }
        match self.file.wait(timeout.min(WAIT)) {
            Heard::Ready | Heard::Nothing => Ok(()),
            Heard::Failed if self.has_failed() => Err(self.lose(Lost::Device)),
            Heard::Failed => Err(self.lose(Lost::Server)),
        }
    }

    /// Gives the queue back, so that the device touches no memory for it any more. Nothing can be sent or received afterwards.
    ///
    /// # Errors
    /// What the call says: the device may still be at work.
    pub fn stop(&mut self) -> Result<(), Errno> {
        if self.stopped || self.dus.is_left() {
            return Ok(());
        }
        self.file.call(PUT_Q, &mut [])?;
        self.stopped = true;
        self.lose(Lost::Device);
        Ok(())
    }
}

impl<E> Drop for QmQueue<E> {
    fn drop(&mut self) {
        if !self.stopped && !self.dus.is_left() {
            // Closing the file does it too, if this does not.
            let _ = self.file.call(PUT_Q, &mut []);
        }
        if let Some(given) = &mut self.given {
            given.end(&*self.file, self.dus.is_left());
        }
    }
}

/// In the words at the end of a queue's memory: it has failed.
const FAILED: u32 = 1;

#[cfg(test)]
mod tests;
