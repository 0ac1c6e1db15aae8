//! Who takes part in the RSA benches, seen alike: [our engine](super::ours) and [the neighbours](super::peers).

use std::time::Duration;

use crate::BenchError;
use crate::measure::thread_time;

/// A slice starts to count after this time: 512-bit code is slower at first.
const WARM: Duration = Duration::from_millis(1);
/// What is signed.
pub(super) const MESSAGE: &[u8; 32] = b"thirty-two bytes are one digest.";

/// What one slice did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Private operations.
    pub ops: u64,
    /// Cpu time of the thread that did them.
    pub time: Duration,
    /// Cpu time of each pass, in microseconds.
    pub passes_us: Vec<f64>,
}

impl Run {
    /// Operations a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.ops as f64 / self.time.as_secs_f64()
    }
}

/// Something that does private operations.
pub trait Contender: Send {
    /// Its name and version.
    fn name(&self) -> &str;

    /// Works for about `time` of cpu time on the cpu it was made for, where the caller is, after a millisecond that does
    /// not count.
    ///
    /// # Errors
    /// [`BenchError`] when it failed.
    fn run_for(&mut self, time: Duration) -> Result<Run, BenchError>;
}

/// One in this process, from a function that makes one pass and returns how many operations that were.
pub(super) struct InProcess<F> {
    /// See [`Contender::name`].
    pub(super) name: String,
    /// One pass.
    pub(super) pass: F,
}

impl<F: FnMut() -> Result<usize, BenchError> + Send> Contender for InProcess<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn run_for(&mut self, time: Duration) -> Result<Run, BenchError> {
        let start = thread_time()?;
        while thread_time()? - start < WARM {
            (self.pass)()?;
        }
        let begin = thread_time()?;
        let mut before = begin;
        let mut run = Run::default();
        loop {
            run.ops += (self.pass)()? as u64;
            let now = thread_time()?;
            run.passes_us.push((now - before).as_secs_f64() * 1e6);
            run.time = now - begin;
            before = now;
            if run.time >= time {
                return Ok(run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_and_passes_are_counted_and_the_warming_up_is_not() {
        let mut passes = 0u64;
        let pass = || {
            passes += 1;
            let until = thread_time()? + Duration::from_micros(100);
            while thread_time()? < until {}
            Ok(4)
        };
        let run = InProcess { name: String::new(), pass }.run_for(Duration::from_millis(2)).unwrap();
        assert!(run.time >= Duration::from_millis(2), "{run:?}");
        assert_eq!(run.ops, 4 * run.passes_us.len() as u64);
        assert!(passes > run.passes_us.len() as u64 + 5, "{passes} {run:?}");
        let sum: f64 = run.passes_us.iter().sum();
        assert!((sum - run.time.as_secs_f64() * 1e6).abs() < 1.0, "{run:?}");
        assert!((run.rate() - run.ops as f64 / run.time.as_secs_f64()).abs() < 1e-6);
    }
}
