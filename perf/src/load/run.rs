//! One load applied to a subject.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use warpdrive_pmd::clock::{Clock, ticks};

use super::arrivals::Due;
use super::{Load, Shape, Subject};
use crate::measure::thread_time;
use crate::record::Arrivals;
use crate::{BenchError, os};

/// The longest latency that is told apart.
const LONGEST_NS: u64 = 60_000_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;
/// Operations sent between two looks at what came back.
const BURST: usize = 64;
/// What was refused when it was due is offered for this part of the load's length beyond its end.
const GRACE: f64 = 0.05;

/// What became of a load. All counts are of operations that count: those of the warm-up do not.
#[derive(Clone)]
pub struct Outcome {
    /// From the time an operation was due (open loop) or sent (closed loop) to the time its completion was received,
    /// in nanoseconds.
    pub latency: Histogram<u64>,
    /// Operations sent.
    pub sent: u64,
    /// Those that came back.
    pub done: u64,
    /// Those that never did.
    pub lost: u64,
    /// Those that were due, but the subject took no more.
    pub unsent: u64,
    /// The time they took, from the end of the warm-up to the end of the load or the last completion.
    pub elapsed: Duration,
    /// The longest that one was sent after it was due although there was room, in nanoseconds: the sender's own delay.
    pub late_ns: u64,
    /// The part of its cpu that the sender had, or the engine's thread if that was less, in percent.
    pub cpu_share: f64,
}

impl fmt::Debug for Outcome {
    /// Of the histogram its number and largest value: all of it is thousands of numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { latency, sent, done, lost, unsent, elapsed, late_ns, cpu_share } = self;
        f.debug_struct("Outcome")
            .field("latencies", &latency.len())
            .field("longest_ns", &latency.max())
            .field("sent", sent)
            .field("done", done)
            .field("lost", lost)
            .field("unsent", unsent)
            .field("elapsed", elapsed)
            .field("late_ns", late_ns)
            .field("cpu_share", cpu_share)
            .finish()
    }
}

impl Outcome {
    /// Operations done in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.elapsed.is_zero() { 0.0 } else { self.done as f64 / self.elapsed.as_secs_f64() }
    }

    /// Whether all that was due was sent and came back.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lost == 0 && self.unsent == 0
    }
}

/// An empty histogram for latencies in nanoseconds.
///
/// # Errors
/// Never: the bounds are constant.
pub fn histogram() -> Result<Histogram<u64>, BenchError> {
    Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).map_err(|e| BenchError::Bug(e.to_string()))
}

/// Applies a load and waits for what is under way at its end. The calling thread is the sender; it should be pinned.
///
/// # Errors
/// When an operation failed, or one got lost where none may.
pub fn apply<S: Subject + ?Sized>(subject: &mut S, load: &Load) -> Result<Outcome, BenchError> {
    let engine_time = |thread: Option<u32>| match thread {
        None => Ok(None),
        Some(pid) => os::thread_time_of(pid).map(Some).map_err(|cause| BenchError::CpuTime { pid, cause }),
    };
    let thread = subject.engine_thread();
    let (own, engine, wall) = (thread_time()?, engine_time(thread)?, Instant::now());
    let mut outcome = match load.shape {
        Shape::Closed { depth } => closed(subject, load, depth)?,
        Shape::Open { rate, arrivals } => open(subject, load, rate, arrivals)?,
    };
    let mut had = thread_time()? - own;
    if let (Some(before), Some(after)) = (engine, engine_time(thread)?) {
        had = had.min(after - before);
    }
    outcome.cpu_share = (100.0 * had.as_secs_f64() / wall.elapsed().as_secs_f64()).min(100.0);
    Ok(outcome)
}

/// What is counted while a load runs.
struct Tally {
    clock: Clock,
    start: u64,
    warm: u64,
    overhead_ns: u64,
    latency: Histogram<u64>,
    /// Operations of those that count which came back, and when the last did.
    done: u64,
    last: u64,
}

impl Tally {
    fn new(load: &Load) -> Result<Self, BenchError> {
        let clock = Clock::get();
        Ok(Self {
            clock,
            start: ticks(),
            warm: clock.ticks_of(load.warm),
            overhead_ns: load.overhead_ns,
            latency: histogram()?,
            done: 0,
            last: 0,
        })
    }

    /// Ticks since the start.
    #[inline]
    fn now(&self) -> u64 {
        ticks().saturating_sub(self.start)
    }

    /// An operation came back that was due, or sent, at `tag`.
    #[inline]
    fn note(&mut self, tag: u64) {
        if tag >= self.warm {
            let now = self.now();
            let ns = self.clock.ns(now.saturating_sub(tag));
            self.latency.saturating_record(ns.saturating_sub(self.overhead_ns));
            self.done += 1;
            self.last = now;
        }
    }

    fn outcome(self, sent: u64, unsent: u64, end: u64, late: u64) -> Outcome {
        Outcome {
            sent,
            done: self.done,
            lost: sent.saturating_sub(self.done),
            unsent,
            elapsed: Duration::from_nanos(self.clock.ns(end.max(self.last).saturating_sub(self.warm))),
            late_ns: self.clock.ns(late),
            cpu_share: 0.0,
            latency: self.latency,
        }
    }
}

fn open<S: Subject + ?Sized>(
    subject: &mut S,
    load: &Load,
    rate: f64,
    arrivals: Arrivals,
) -> Result<Outcome, BenchError> {
    let clock = Clock::get();
    let mut due = Due::new(arrivals, clock.hz() as f64 / rate, load.seed);
    let end = clock.ticks_of(load.warm + load.length);
    let give_up_at = end + clock.ticks_of(load.length.mul_f64(GRACE).max(Duration::from_millis(1)));
    let (mut sent, mut late, mut behind) = (0, 0, false);
    let mut tally = Tally::new(load)?;
    let mut next = due.next().unwrap_or(end);
    while next < end {
        let now = tally.now();
        let mut burst = 0;
        while next <= now && next < end && burst < BURST {
            if !subject.send(next) {
                behind = true;
                break;
            }
            sent += u64::from(next >= tally.warm);
            // What waited for room was held up by the subject, which is part of its latency and no fault of the sender.
            if !behind && next >= tally.warm {
                late = late.max(now - next);
            }
            burst += 1;
            next = due.next().unwrap_or(end);
        }
        if burst > 0 {
            subject.flush()?;
        }
        behind &= next <= now;
        let back = subject.receive(&mut |tag| tally.note(tag))?;
        if now > give_up_at {
            break;
        }
        if burst == 0 && back == 0 {
            std::hint::spin_loop();
        }
    }
    let unsent = std::iter::once(next).chain(due).take_while(|due| *due < end).count();
    drain(subject, &mut tally)?;
    Ok(tally.outcome(sent, unsent as u64, end, late))
}

fn closed<S: Subject + ?Sized>(subject: &mut S, load: &Load, depth: usize) -> Result<Outcome, BenchError> {
    let clock = Clock::get();
    let end = clock.ticks_of(load.warm + load.length);
    let patience = clock.ticks_of(subject.patience());
    let mut tally = Tally::new(load)?;
    // What comes back after the end still has a latency; for the rate it is too late.
    let (mut sent, mut lost, mut in_time, mut last) = (0, 0, 0, 0);
    let mut is_warm = false;
    loop {
        let now = tally.now();
        if now >= end {
            break;
        }
        if now >= tally.warm && !is_warm {
            subject.take_lost();
            (lost, is_warm) = (0, true);
        }
        let mut burst = 0;
        while burst < BURST && subject.in_flight() < depth && subject.send(tally.now()) {
            burst += 1;
        }
        if burst > 0 {
            subject.flush()?;
            sent += if now >= tally.warm { burst as u64 } else { 0 };
        }
        let back = subject.receive(&mut |tag| tally.note(tag))?;
        if back > 0 {
            in_time += if now >= tally.warm { back as u64 } else { 0 };
            last = now;
        } else if burst == 0 {
            std::hint::spin_loop();
            if now.saturating_sub(last) > patience {
                lost += subject.give_up()?;
                last = now;
            }
        }
    }
    lost += drain(subject, &mut tally)?;
    let mut outcome = tally.outcome(sent, 0, end, 0);
    outcome.elapsed = load.length;
    (outcome.done, outcome.lost) = (in_time, lost);
    Ok(outcome)
}

/// Waits for what is under way, as long as the subject has patience. Returns how many operations never came, those
/// included that were known to be lost before.
fn drain<S: Subject + ?Sized>(subject: &mut S, tally: &mut Tally) -> Result<u64, BenchError> {
    subject.flush()?;
    let mut deadline = Instant::now() + subject.patience();
    let mut given_up = 0;
    while subject.in_flight() > 0 {
        if subject.receive(&mut |tag| tally.note(tag))? > 0 {
            deadline = Instant::now() + subject.patience();
        } else if Instant::now() > deadline {
            given_up = subject.give_up()?;
            break;
        }
    }
    let known = subject.take_lost();
    // Where all fails at once nothing is waited for, so that the subject has not been asked whether to go on.
    if tally.done == 0 && known > 0 && given_up == 0 {
        subject.give_up()?;
    }
    Ok(given_up + known)
}

#[cfg(test)]
mod tests {
    use super::super::nothing::{Nothing, Servant};
    use super::*;

    fn load(shape: Shape, ms: u64) -> Load {
        let length = Duration::from_millis(ms);
        Load { shape, warm: length / 10, length, seed: 1, overhead_ns: 0 }
    }

    fn constant(rate: f64) -> Shape {
        Shape::Open { rate, arrivals: Arrivals::Constant }
    }

    #[test]
    fn what_is_offered_is_done_when_there_is_room() {
        let outcome = apply(&mut Nothing::default(), &load(constant(20_000.0), 200)).unwrap();
        // Who is not run at the very end sends less.
        assert!((3990..=4001).contains(&(outcome.sent + outcome.unsent)), "{outcome:?}");
        assert_eq!((outcome.done, outcome.lost), (outcome.sent, 0));
        assert!(outcome.done > 0 && outcome.cpu_share > 0.0, "{outcome:?}");
    }

    #[test]
    fn who_is_too_slow_has_some_left_over_and_its_own_rate() {
        // One at a time, each 100 us: 10,000 a second of 20,000.
        let mut servant = Servant::new(1, Duration::from_micros(100));
        let outcome = apply(&mut servant, &load(constant(20_000.0), 100)).unwrap();
        assert!(outcome.unsent > 600 && outcome.lost == 0, "{outcome:?}");
        assert!(outcome.sent + outcome.unsent >= 1_998, "{outcome:?}");
        assert!(!outcome.is_complete() && outcome.rate() < 10_500.0, "{outcome:?}");
        // The last that was sent was due about half the time before.
        assert!(outcome.latency.max() > 30_000_000, "{outcome:?}");
    }

    #[test]
    fn a_closed_loop_keeps_so_many_under_way() {
        let mut servant = Servant::new(8, Duration::from_millis(1));
        let outcome = apply(&mut servant, &load(Shape::Closed { depth: 4 }, 100)).unwrap();
        assert_eq!(servant.most, 4);
        // Four at a time, each a millisecond; the machine may hold it up.
        assert!((100..=400).contains(&outcome.done), "{outcome:?}");
        assert!(outcome.latency.min() >= 990_000, "{outcome:?}");
    }

    #[test]
    fn what_never_comes_back_is_lost() {
        let mut servant = Servant::new(1024, Duration::from_micros(10)).losing_every(10);
        let outcome = apply(&mut servant, &load(constant(10_000.0), 100)).unwrap();
        assert_eq!(outcome.sent, outcome.done + outcome.lost);
        assert!((95..=105).contains(&outcome.lost), "{outcome:?}");
        let outcome = apply(&mut servant, &load(Shape::Closed { depth: 2 }, 100)).unwrap();
        assert!(outcome.lost > 0 && outcome.done > 0, "{outcome:?}");
    }

    /// Does at once what it is sent, except for one of so many, which it knows to have failed.
    struct Failing {
        every: u64,
        sent: u64,
        lost: u64,
        done: Vec<u64>,
    }

    impl Subject for Failing {
        fn send(&mut self, tag: u64) -> bool {
            self.sent += 1;
            if self.sent.is_multiple_of(self.every) {
                self.lost += 1;
            } else {
                self.done.push(tag);
            }
            true
        }

        fn receive(&mut self, done: &mut dyn FnMut(u64)) -> Result<usize, BenchError> {
            let n = self.done.len();
            self.done.drain(..).for_each(done);
            Ok(n)
        }

        fn in_flight(&self) -> usize {
            self.done.len()
        }

        fn max_depth(&self) -> usize {
            1
        }

        fn take_lost(&mut self) -> u64 {
            std::mem::take(&mut self.lost)
        }
    }

    #[test]
    fn what_is_known_to_be_lost_is_counted_and_makes_room() {
        // Lost before the load began: none of its own.
        let mut failing = Failing { every: 5, sent: 0, lost: 1_000_000, done: vec![] };
        let outcome = apply(&mut failing, &load(Shape::Closed { depth: 1 }, 50)).unwrap();
        assert!(outcome.lost >= 5 && outcome.sent.abs_diff(outcome.done + outcome.lost) <= 2 * BURST as u64);
        assert!(outcome.lost.abs_diff(outcome.sent / 5) <= BURST as u64, "{outcome:?}");
        let outcome = apply(&mut failing, &load(constant(10_000.0), 50)).unwrap();
        assert_eq!(outcome.sent, outcome.done + outcome.lost);
        assert!(outcome.lost.abs_diff(outcome.sent / 5) <= 1, "{outcome:?}");
        // All of them: the subject has its say.
        failing.every = 1;
        for shape in [Shape::Closed { depth: 1 }, constant(10_000.0)] {
            assert!(apply(&mut failing, &load(shape, 50)).is_err());
        }
    }

    #[test]
    fn the_harness_own_part_is_taken_off() {
        let mut servant = Servant::new(1, Duration::from_micros(50));
        let mut load = load(Shape::Closed { depth: 1 }, 20);
        let whole = apply(&mut servant, &load).unwrap().latency.min();
        load.overhead_ns = 30_000;
        let less = apply(&mut servant, &load).unwrap().latency.min();
        assert!(whole >= 50_000 && (20_000..45_000).contains(&less), "{whole} {less}");
    }
}
