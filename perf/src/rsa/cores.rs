//! What two cores themselves add to every latency.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use warpdrive_pmd::clock::{Clock, ticks};

use crate::BenchError;
use crate::measure::{Better, Gaps, Line, on_cpu};
use crate::peers::NoPeer;

/// How long gaps are looked for.
const SPIN: Duration = Duration::from_millis(200);
/// Round trips of a cache line.
const TRIPS: usize = 20_000;
/// Round trips that are timed together: one alone is near the clock's own cost.
const TRIPS_TOGETHER: usize = 10;

/// The way of a cache line there and back, and the gaps of threads that only spin.
///
/// # Errors
/// [`BenchError`] when a thread cannot be pinned.
pub fn cores(near: usize, far: usize) -> Result<Line, BenchError> {
    let trips = ping_pong(near, far)?;
    let none = NoPeer { peer: "none", why: "what the machine itself adds to every latency above".to_owned() };
    let mut line = Line::compare("rsa-latency-cores", ("ns", Better::Lower), &trips, Err(&none));
    line.rounds = trips.len();
    line = line.note(format!("a cache line from cpu {near} to cpu {far} and back"));
    for gaps in both_gaps(near, far)? {
        line = line.note(format!("both spinning, {gaps}"));
    }
    Ok(line)
}

/// Nanoseconds of round trips.
fn ping_pong(near: usize, far: usize) -> Result<Vec<f64>, BenchError> {
    /// What the near side says when it cannot go on.
    const OVER: u64 = u64::MAX;
    let (ping, pong) = (AtomicU64::new(0), AtomicU64::new(0));
    let clock = Clock::get();
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let echoed = on_cpu(far, || {
                let mut last = 0;
                while last < TRIPS as u64 {
                    match ping.load(Ordering::Acquire) {
                        OVER => break,
                        new if new != last => {
                            last = new;
                            pong.store(new, Ordering::Release);
                        }
                        _ => std::hint::spin_loop(),
                    }
                }
                Ok(())
            });
            if echoed.is_err() {
                pong.store(OVER, Ordering::Release);
            }
            echoed
        });
        let trips = on_cpu(near, || {
            let mut trips = Vec::with_capacity(TRIPS / TRIPS_TOGETHER);
            for together in 0..TRIPS / TRIPS_TOGETHER {
                let start = ticks();
                for i in 1..=TRIPS_TOGETHER {
                    let n = (together * TRIPS_TOGETHER + i) as u64;
                    ping.store(n, Ordering::Release);
                    loop {
                        match pong.load(Ordering::Acquire) {
                            OVER => return Ok(trips),
                            back if back == n => break,
                            _ => std::hint::spin_loop(),
                        }
                    }
                }
                trips.push(clock.ns(ticks() - start) as f64 / TRIPS_TOGETHER as f64);
            }
            Ok(trips)
        });
        if trips.is_err() {
            ping.store(OVER, Ordering::Release);
        }
        echo.join().unwrap_or_else(|_| Err(BenchError::Bug("the echo panicked".to_owned())))?;
        trips
    })
}

fn both_gaps(near: usize, far: usize) -> Result<[Gaps; 2], BenchError> {
    let spin = |cpu| on_cpu(cpu, move || Ok(Gaps::measure(cpu, SPIN)));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| spin(far));
        let own = spin(near)?;
        let other =
            other.join().unwrap_or_else(|_| Err(BenchError::Bug("a spinning thread panicked".into())))?;
        Ok([own, other])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::median;

    #[test]
    fn a_cache_line_goes_there_and_back() {
        let cpus = warpdrive_pipeline::cores::allowed().unwrap();
        let [near, far, ..] = cpus[..] else { return };
        let trips = ping_pong(near, far).unwrap();
        assert_eq!(trips.len(), TRIPS / TRIPS_TOGETHER);
        assert!((10.0..100_000.0).contains(&median(&trips)), "{}", median(&trips));
    }

    #[test]
    fn a_cpu_that_is_not_there_ends_both_sides() {
        let cpus = warpdrive_pipeline::cores::allowed().unwrap();
        assert!(ping_pong(cpus[0], 1023).is_err());
        assert!(ping_pong(1023, cpus[0]).is_err());
    }
}
