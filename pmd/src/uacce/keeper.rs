//! What opens queues anew whose device has gone and come back.
//!
//! A thread of the device does it: to open a queue takes calls that wait for who serves the device, while a worker has packets to
//! move. It is made with the device, since a thread that a worker makes would inherit its cpu and its filter of system calls.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::UacceError;

/// How long after a loss the first attempt is made.
pub(super) const FIRST: Duration = Duration::from_millis(50);
/// The longest between two attempts.
const LONGEST: Duration = Duration::from_secs(1);

/// What came of an attempt.
pub(super) enum Attempt {
    /// There is a queue.
    Done,
    /// Nobody wants it any more.
    Unwanted,
    /// Not now.
    Failed(UacceError),
}

/// Twice as long, up to a limit.
pub(super) fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST)
}

/// The thread's owner. The thread ends with it, but is not waited for: it may be waiting itself.
pub(super) struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    device: String,
    state: Mutex<State>,
    wake: Condvar,
    lost: AtomicU64,
    reopened: AtomicU64,
}

#[derive(Default)]
struct State {
    /// What the thread has not taken over yet.
    new: Vec<Errand>,
    over: bool,
}

/// Something to be tried until it succeeds.
struct Errand {
    attempt: Box<dyn FnMut(Duration) -> Attempt + Send>,
    since: Instant,
    next: Instant,
    pause: Duration,
    /// Why not, the last time.
    told: String,
}

impl Keeper {
    /// Starts the thread for the queues of a device.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start(device: &str) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            device: device.to_owned(),
            state: Mutex::default(),
            wake: Condvar::new(),
            lost: AtomicU64::new(0),
            reopened: AtomicU64::new(0),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name(format!("keep-{device}")).spawn(move || of_thread.run())?;
        Ok(Self { shared })
    }

    /// A queue was lost.
    pub(super) fn count_lost(&self) {
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// A queue was opened anew.
    pub(super) fn count_reopened(&self) {
        self.shared.reopened.fetch_add(1, Ordering::Relaxed);
    }

    /// How many queues were lost, and how many of these opened anew.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.shared.lost.load(Ordering::Relaxed), self.shared.reopened.load(Ordering::Relaxed))
    }

    /// Has something tried after `pause`, and again after longer ones, until it succeeds or nobody wants it. It is told the pause before it.
    pub(super) fn ask(&self, pause: Duration, attempt: impl FnMut(Duration) -> Attempt + Send + 'static) {
        let since = Instant::now();
        let attempt = Box::new(attempt);
        self.shared.state().new.push(Errand {
            attempt,
            since,
            next: since + pause,
            pause,
            told: String::new(),
        });
        self.shared.wake.notify_one();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut errands = Vec::new();
        while self.wait(&mut errands) {
            let now = Instant::now();
            // Not with the lock: an attempt may be the last that keeps the device, and so the owner of this thread.
            errands.retain_mut(|errand| errand.next > now || self.go(errand));
        }
    }

    /// Waits until an errand is due. `false`: there will be none any more.
    fn wait(&self, errands: &mut Vec<Errand>) -> bool {
        let mut state = self.state();
        loop {
            errands.append(&mut state.new);
            if state.over {
                return false;
            }
            let due = errands.iter().map(|errand| errand.next).min();
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => return true,
                Some(left) => self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Makes an attempt. Whether there is to be another.
    fn go(&self, errand: &mut Errand) -> bool {
        let Ok(attempt) = catch_unwind(AssertUnwindSafe(|| (errand.attempt)(errand.pause))) else {
            tracing::error!("device {:?}: a queue is not opened anew: that has panicked", self.device);
            return false;
        };
        match attempt {
            Attempt::Unwanted => return false,
            Attempt::Done => {
                let seconds = errand.since.elapsed().as_secs_f64();
                tracing::warn!("device {:?}: a queue was opened anew after {seconds:.1} s", self.device);
                return false;
            }
            Attempt::Failed(cause) => {
                let text = cause.to_string();
                if text != errand.told {
                    tracing::warn!("device {:?}: no queue yet: {text}", self.device);
                    errand.told = text;
                }
            }
        }
        errand.pause = longer(errand.pause);
        errand.next = Instant::now() + errand.pause;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn failure() -> Attempt {
        Attempt::Failed(UacceError::Layout { device: "d".to_owned(), what: "not yet".to_owned() })
    }

    #[test]
    fn it_tries_until_it_succeeds_and_waits_longer_each_time() {
        let keeper = Keeper::start("a").unwrap();
        let (told, hear) = mpsc::channel();
        let mut left = 4;
        keeper.ask(Duration::from_millis(2), move |pause| {
            told.send((pause, Instant::now())).unwrap();
            left -= 1;
            if left == 0 { Attempt::Done } else { failure() }
        });
        let heard: Vec<_> = hear.iter().collect();
        let pauses: Vec<_> = heard.iter().map(|(pause, _)| pause.as_millis()).collect();
        assert_eq!(pauses, [2, 4, 8, 16], "and no attempt after the one that succeeded");
        for pair in heard.windows(2) {
            assert!(pair[1].1 - pair[0].1 >= pair[1].0, "{heard:?}");
        }
        assert_eq!((longer(LONGEST), longer(LONGEST / 4)), (LONGEST, LONGEST / 2));
    }

    #[test]
    fn errands_are_tried_side_by_side_and_the_unwanted_are_dropped() {
        let keeper = Keeper::start("a").unwrap();
        let (told, hear) = mpsc::channel();
        let of_first = told.clone();
        keeper.ask(Duration::from_millis(1), move |_| {
            let _ = of_first.send(1); // nobody hears at the end
            failure()
        });
        assert_eq!(hear.recv(), Ok(1));
        keeper.ask(Duration::ZERO, move |_| {
            told.send(2).unwrap();
            Attempt::Unwanted
        });
        assert!(hear.iter().any(|n| n == 2));
        assert!(hear.iter().take(3).all(|n| n == 1), "the first is still tried, the second is not");
    }

    #[test]
    fn an_errand_that_is_due_later_keeps_none_waiting() {
        let keeper = Keeper::start("a").unwrap();
        keeper.ask(Duration::from_secs(3600), |_| Attempt::Done);
        let (told, hear) = mpsc::channel();
        // It sleeps until then, or will.
        std::thread::sleep(Duration::from_millis(20));
        keeper.ask(Duration::ZERO, move |_| {
            told.send(()).unwrap();
            Attempt::Done
        });
        assert_eq!(hear.recv_timeout(Duration::from_secs(20)), Ok(()));
    }

    #[test]
    fn an_errand_that_panics_is_the_last_of_its_kind_and_no_other() {
        let keeper = Keeper::start("a").unwrap();
        let (told, hear) = mpsc::channel::<()>();
        keeper.ask(Duration::ZERO, move |_| {
            let _told = &told;
            panic!("on purpose");
        });
        assert!(hear.recv().is_err(), "it is dropped");
        let (told, hear) = mpsc::channel();
        keeper.ask(Duration::ZERO, move |_| {
            told.send(()).unwrap();
            Attempt::Done
        });
        assert_eq!(hear.recv(), Ok(()));
    }

    #[test]
    fn its_thread_ends_with_it_also_if_an_errand_has_kept_it() {
        let (told, hear) = mpsc::channel();
        let keeper = Arc::new(Keeper::start("a").unwrap());
        let (weak, kept) = (Arc::downgrade(&keeper.shared), Arc::clone(&keeper));
        keeper.ask(Duration::from_millis(1), move |_| {
            // Only the errand keeps it by now, or soon.
            let last = Arc::strong_count(&kept) == 1;
            told.send(last).unwrap();
            if last { Attempt::Unwanted } else { failure() }
        });
        drop(keeper);
        assert!(hear.iter().any(|last| last));
        let begun = Instant::now();
        while weak.strong_count() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "the thread is still there");
            std::thread::yield_now();
        }
    }
}
