//! Who answers calls that wait.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::tally::{From, Tally, ThreadCalls, known_name, name_of_slot};
use super::{OWN, StrictError, StrictPlan, Watched, filter, let_panics_be_told, sys};
use crate::config::Strict;

/// The most threads that are watched in one run: more than there are cores to pin them to.
const MAX_THREADS: usize = 1024;

/// The supervisor of watched threads. It goes on as long as one of them lives, even when this is dropped: a thread whose
/// calls nobody answers would wait for ever.
pub struct Supervisor {
    pub(super) shared: Arc<Shared>,
    filter: Vec<libc::sock_filter>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

pub(super) struct Shared {
    mode: Strict,
    /// Watched threads, in the order in which they came.
    threads: [OnceLock<Arc<Tally>>; MAX_THREADS],
    taken: AtomicUsize,
    /// Wakes the supervisor.
    wake: OwnedFd,
    /// Wakes who writes the log.
    news: OwnedFd,
    end: AtomicU8,
    all_open: AtomicBool,
    /// The supervisor has ended, and so there will be no more news.
    last_news: AtomicBool,
}

/// Threads may come.
const RUNNING: u8 = 0;
/// No more threads will come: the end is when all have ended.
const SEALED: u8 = 1;
/// All threads have ended.
const ENDED: u8 = 2;

impl Supervisor {
    /// Starts it.
    ///
    /// # Errors
    /// [`StrictError`] when the kernel has no notifications, or no thread can be had.
    pub fn start(plan: &StrictPlan) -> Result<Self, StrictError> {
        let failed = |what| move |cause| StrictError::new("the supervisor", what, cause);
        if !sys::sizes_fit().map_err(failed("the kernel has no notifications of system calls"))? {
            let cause = io::Error::from_raw_os_error(libc::EINVAL);
            return Err(failed("the kernel's notifications are longer than ours")(cause));
        }
        let event = || eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from);
        let shared = Arc::new(Shared {
            mode: plan.mode,
            threads: [const { OnceLock::new() }; MAX_THREADS],
            taken: AtomicUsize::new(0),
            wake: event().map_err(failed("eventfd"))?,
            news: event().map_err(failed("eventfd"))?,
            end: AtomicU8::new(RUNNING),
            all_open: AtomicBool::new(false),
            last_news: AtomicBool::new(false),
        });
        let_panics_be_told();
        let spawn = |name: &str, work: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared))
        };
        // If the second cannot be had, dropping this ends the first.
        let supervisor = Self {
            filter: filter::program(&plan.allow),
            threads: Mutex::default(),
            shared: Arc::clone(&shared),
        };
        for (name, work) in [("strict", supervise as fn(&Shared)), ("strict-log", tell)] {
            let thread = spawn(name, work).map_err(failed("a thread"))?;
            supervisor.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(supervisor)
    }

    /// Installs the filter on the calling thread. Its calls are let through until it says that it is steady.
    ///
    /// # Errors
    /// [`StrictError`] when the kernel or a container refuses.
    pub fn watch_current(&self, name: &str, from: From) -> Result<Watched, StrictError> {
        let failed = |what| move |cause| StrictError::new(name, what, cause);
        sys::leave_signals_to_others().map_err(failed("pthread_sigmask"))?;
        rustix::thread::set_no_new_privs(true)
            .map_err(|e| failed("prctl(PR_SET_NO_NEW_PRIVS)")(io::Error::from(e)))?;
        let tally = Arc::new(Tally::new(name, from));
        let place = self.shared.taken.fetch_add(1, Ordering::AcqRel);
        let Some(place) = self.shared.threads.get(place) else {
            return Err(failed("too many threads")(io::Error::from_raw_os_error(libc::ENOSPC)));
        };
        OWN.set(Some(Arc::clone(&tally)));
        let mut filter = self.filter.clone();
        let watched = Watched(Some(Arc::clone(&tally)));
        // From here on, the supervisor looks out for the listener: nobody else can be told, as that is a call.
        let _ = place.set(Arc::clone(&tally));
        signal(&self.shared.wake);
        match sys::install(&mut filter) {
            Ok(listener) => {
                let _ = tally.listener.set(listener);
                Ok(watched)
            }
            Err(cause) => {
                tally.gone.store(true, Ordering::Release);
                Err(failed("cannot install a filter of system calls")(cause))
            }
        }
    }

    /// Says that nothing is prepared any more, by whatever thread.
    pub fn all_is_open(&self) {
        self.shared.all_open.store(true, Ordering::Release);
    }

    /// What the watched threads have called in their steady state.
    #[must_use]
    pub fn calls(&self) -> Vec<ThreadCalls> {
        self.shared.threads().map(Tally::calls).collect()
    }

    /// Ends it. To be called when all watched threads have ended.
    pub fn end(&self) {
        self.seal(ENDED);
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.join();
        }
    }

    fn seal(&self, end: u8) {
        self.shared.end.fetch_max(end, Ordering::AcqRel);
        signal(&self.shared.wake);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.seal(SEALED);
    }
}

impl Shared {
    fn threads(&self) -> impl Iterator<Item = &Tally> {
        let taken = self.taken.load(Ordering::Acquire).min(MAX_THREADS);
        self.threads[..taken].iter().filter_map(|place| place.get().map(|tally| &**tally))
    }
}

fn signal(event: &OwnedFd) {
    // Cannot be full: each event is one of 2^64 - 2.
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

fn wait(event: &OwnedFd) {
    let _ = rustix::io::read(event, &mut [0; 8]);
}

/// Answers until no thread is left that asks. Takes no lock and allocates nothing once it looks after threads.
fn supervise(shared: &Shared) {
    let _lost = Lost(shared);
    let mut asked: Vec<&Tally> = Vec::with_capacity(MAX_THREADS);
    let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(MAX_THREADS + 1);
    loop {
        asked.clear();
        polled.clear();
        polled.push(PollFd::new(&shared.wake, PollFlags::IN));
        let end = shared.end.load(Ordering::Acquire);
        let mut coming = false;
        for tally in shared.threads().filter(|t| !t.gone.load(Ordering::Acquire)) {
            match tally.listener.get() {
                Some(listener) => {
                    asked.push(tally);
                    polled.push(PollFd::new(listener, PollFlags::IN));
                }
                None => coming = true,
            }
        }
        if end == ENDED || (end == SEALED && asked.is_empty() && !coming) {
            return;
        }
        // A thread that installs its filter cannot tell: that would be a call.
        let soon = Timespec { tv_sec: 0, tv_nsec: 500_000 };
        match poll(&mut polled, coming.then_some(&soon)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => lost(&e.into()),
        }
        if polled[0].revents().contains(PollFlags::IN) {
            wait(&shared.wake);
        }
        for (tally, fd) in asked.iter().zip(&polled[1..]) {
            if fd.revents().contains(PollFlags::IN) {
                answer(shared, tally);
            } else if !fd.revents().is_empty() {
                // Nobody has the filter any more.
                tally.gone.store(true, Ordering::Release);
            }
        }
    }
}

/// Answers one call.
fn answer(shared: &Shared, tally: &Tally) {
    let Some(listener) = tally.listener.get().map(|l| l.as_fd()) else { return };
    let call = match sys::receive(listener) {
        Ok(call) => call,
        Err(e) if passing(&e) => return,
        Err(e) => lost(&e),
    };
    let steady = tally.is_steady(shared.all_open.load(Ordering::Acquire));
    if steady && shared.mode == Strict::Kill {
        kill(tally, &call.data);
    }
    // Before the answer, so that the number is there when the thread has ended.
    let first = steady && tally.count(&call.data);
    match sys::let_continue(listener, call.id) {
        Ok(()) => {}
        Err(e) if passing(&e) => {}
        Err(e) => lost(&e),
    }
    if first {
        signal(&shared.news);
    }
}

/// A signal came, or the thread that asked is no more.
fn passing(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EINTR | libc::ENOENT | libc::EAGAIN))
}

/// Ends the process in place of a call.
fn kill(tally: &Tally, call: &libc::seccomp_data) -> ! {
    let thread = tally.name();
    let why = "in its steady state, and eal.strict is \"kill\"; the call was not executed";
    let see = "strict = \"log\" to see all there are; docs/SYSCALLS.md says what calls the kernel";
    match known_name(call) {
        Some(name) => say_and_end(format_args!(
            "error: {thread} called {name} {why}. Remedy: strict_allow = [{name:?}] if it may; {see}\n"
        )),
        None => say_and_end(format_args!(
            "error: {thread} made system call {} of architecture {:#x} {why}. Remedy: {see}\n",
            call.nr, call.arch
        )),
    }
}

/// Ends the process, because nobody would answer its threads.
fn lost(cause: &io::Error) -> ! {
    say_and_end(format_args!(
        "error: the supervisor of strict workers broke off: {cause}. Remedy: eal.strict = \"off\"; this is a bug\n"
    ))
}

fn say_and_end(words: std::fmt::Arguments<'_>) -> ! {
    let mut buffer = [0; 1024];
    let mut rest = &mut buffer[..];
    // Another thread may be in the middle of a line. What does not fit is left out.
    let _ = rest.write_all(b"\n").and_then(|()| rest.write_fmt(words));
    let left = rest.len();
    sys::end_process(&buffer[..buffer.len() - left])
}

/// The end of the supervisor, which the log learns of; by a panic, the end of all.
struct Lost<'a>(&'a Shared);

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lost(&io::Error::other("a panic"));
        }
        self.0.last_news.store(true, Ordering::Release);
        signal(&self.0.news);
    }
}

/// Logs the first call of each kind. Nobody waits for this, so it may wait for locks.
fn tell(shared: &Shared) {
    let mut told = BTreeSet::new();
    loop {
        wait(&shared.news);
        let last = shared.last_news.load(Ordering::Acquire);
        for tally in shared.threads() {
            for (slot, _) in tally.counted() {
                if told.insert((tally.name().to_owned(), slot)) {
                    tracing::warn!(
                        worker = tally.name(),
                        call = name_of_slot(slot),
                        "a system call in the steady state"
                    );
                }
            }
        }
        if last {
            return;
        }
    }
}
