//! ZIP: `zip` compares blocks and streams through our queue with libdeflate, zlib and DPDK, `zip-isal` with igzip,
//! `zip-cli` the command with pigz and gunzip.

use std::time::{Duration, Instant};

use crate::BenchError;
use crate::measure::{Better, Line, on_cpu, thread_time};
use crate::peers::NoPeer;

pub mod cli;
pub(crate) mod corpus;
mod direct;
mod dpdk;
pub mod isal;
mod lanes;
mod program;
mod rig;
mod stream;
pub mod throughput;

/// Of bytes that are not compressed, whichever way: 10^6 a second.
const RATE: (&str, Better) = ("MB/s", Better::Higher);
/// What is left of the input.
const SIZE: (&str, Better) = ("of the input", Better::Lower);

/// The speed of one slice, in MB/s.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate {
    /// For a second of cpu time of the thread that works.
    cpu: f64,
    /// For a second by the clock.
    wall: f64,
}

impl Rate {
    fn new(bytes: u64, cpu: Duration, wall: Duration) -> Self {
        let of = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
        Self { cpu: of(cpu), wall: of(wall) }
    }
}

/// One side of a comparison.
type Side<'a> = crate::turns::Side<'a, Rate>;

/// Has `pass`, which returns bytes, run on a cpu as often as it takes. Always whole passes: they are alike.
fn passes(
    cpu: usize,
    time: Duration,
    mut pass: impl FnMut() -> Result<u64, BenchError> + Send,
) -> Result<Rate, BenchError> {
    on_cpu(cpu, || {
        let (wall, begin) = (Instant::now(), thread_time()?);
        let mut bytes = 0;
        loop {
            bytes += pass()?;
            let used = thread_time()? - begin;
            if used >= time {
                return Ok(Rate::new(bytes, used, wall.elapsed()));
            }
        }
    })
}

fn cpu(rates: &[Rate]) -> Vec<f64> {
    rates.iter().map(|rate| rate.cpu).collect()
}

fn wall(rates: &[Rate]) -> Vec<f64> {
    rates.iter().map(|rate| rate.wall).collect()
}

/// Sizes have no noise: one round of one value.
fn size_line(name: &str, ours: f64, theirs: Result<(&str, f64), &NoPeer>) -> Line {
    match theirs {
        Ok((peer, theirs)) => Line::compare(name, SIZE, &[ours], Ok((peer, &[theirs]))),
        Err(none) => Line::compare(name, SIZE, &[ours], Err(none)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    #[test]
    fn passes_are_whole_and_last_as_long_as_they_should() {
        let mut done = 0;
        let rate = passes(Options::for_tests(1).cpu().unwrap(), Duration::from_millis(5), || {
            let until = thread_time()? + Duration::from_millis(1);
            while thread_time()? < until {}
            done += 1;
            Ok(1_000)
        })
        .unwrap();
        assert!(done >= 5, "{done}");
        assert!((0.5..=1.0).contains(&rate.cpu), "1,000 bytes in 1 ms and a bit: {rate:?}");
    }
}
