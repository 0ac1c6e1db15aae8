//! The clock of the data path: the time-stamp counter, calibrated once against `CLOCK_MONOTONIC`.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Now, in ticks. About 20 cycles, no system call.
#[must_use]
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 cpu has RDTSC, and Linux permits it to user space.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// The length of a tick.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Nanoseconds a tick, times 2^32: a fixed-point factor, so that the hot path needs no division.
    ns_per_tick_q32: u64,
    hz: u64,
}

impl Clock {
    /// The calibrated clock of this machine. The first call takes 20 ms.
    #[must_use]
    pub fn get() -> Self {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        *CLOCK.get_or_init(|| {
            let (t0, c0) = (Instant::now(), ticks());
            while t0.elapsed() < Duration::from_millis(20) {
                std::hint::spin_loop();
            }
            let (ns, c) = (t0.elapsed().as_nanos(), ticks() - c0);
            Clock {
                ns_per_tick_q32: ((ns << 32) / u128::from(c.max(1))) as u64,
                hz: (u128::from(c) * 1_000_000_000 / ns.max(1)) as u64,
            }
        })
    }

    /// Ticks to nanoseconds.
    #[must_use]
    #[inline]
    pub fn ns(self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.ns_per_tick_q32)) >> 32) as u64
    }

    /// A duration in ticks.
    #[must_use]
    pub fn ticks_of(self, d: Duration) -> u64 {
        (d.as_nanos() * u128::from(self.hz) / 1_000_000_000) as u64
    }

    /// Ticks a second.
    #[must_use]
    pub fn hz(self) -> u64 {
        self.hz
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_monotonic_clock() {
        let clock = Clock::get();
        let (t0, c0) = (Instant::now(), ticks());
        std::thread::sleep(Duration::from_millis(50));
        let ns = clock.ns(ticks() - c0) as f64;
        let truth = t0.elapsed().as_nanos() as f64;
        assert!((ns / truth - 1.0).abs() < 0.05, "{ns} against {truth}");
        let one = clock.ticks_of(Duration::from_secs(1));
        assert!((clock.ns(one) as f64 / 1e9 - 1.0).abs() < 1e-3);
    }
}
