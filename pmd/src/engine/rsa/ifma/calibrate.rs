//! Which kernels are faster on this cpu: measured, once in a process.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::super::secret::{Plain, Secret};
use super::block::Block;
use super::montgomery::{Chain, MAX_BLOCKS, Modulus, Scratch, square};

const HALF_BLOCKS: usize = MAX_BLOCKS / 2;
/// Squarings of one measurement: some ten microseconds.
const SQUARINGS: usize = 32;
/// Measurements of each kind. The best of them counts.
const ROUNDS: usize = 8;

struct Room {
    scratch: [Scratch; 2],
    x: [[Block; HALF_BLOCKS]; 2],
    zeros: [Block; HALF_BLOCKS],
}

// SAFETY: integers throughout.
unsafe impl Plain for Room {}

/// Whether Karatsuba's kernels win, for primes of 1, 2, 3 and 4 blocks. Takes a millisecond, the first time. The cpu
/// must have the features.
pub(super) fn karatsuba_is_faster() -> [bool; HALF_BLOCKS] {
    static MEASURED: OnceLock<[bool; HALF_BLOCKS]> = OnceLock::new();
    *MEASURED.get_or_init(|| {
        let Ok(mut room) = Secret::zeroed(1) else {
            return [false; HALF_BLOCKS];
        };
        let room = &mut room[0];
        std::array::from_fn(|i| {
            let (mut plain, mut karatsuba) = (Duration::MAX, Duration::MAX);
            for _ in 0..ROUNDS {
                // SAFETY: callers know that the cpu has the features.
                unsafe {
                    plain = plain.min(time::<false>(room, i + 1));
                    karatsuba = karatsuba.min(time::<true>(room, i + 1));
                }
            }
            karatsuba < plain
        })
    })
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn time<const K: bool>(room: &mut Room, n: usize) -> Duration {
    // What is multiplied makes no difference.
    let Room { scratch: [s, t], x: [x, y], zeros } = room;
    let modulus = Modulus { m: &zeros[..n], fold: &zeros[..n], inverse: &zeros[0].digits };
    let chain = |x, scratch| Chain { modulus, x, scratch, pick: None };
    let mut chains = [chain(&mut x[..n], s), chain(&mut y[..n], t)];
    square::<K, 2, 0>(&mut chains);
    let start = Instant::now();
    for _ in 0..SQUARINGS {
        square::<K, 2, 0>(&mut chains);
    }
    start.elapsed()
}
