//! Passes against OpenSSL, aws-lc and plain big integers.
//!
//! What the tests do in a second or two, [`private`] does a hundred thousand times for each size of key on demand:
//!
//! ```text
//! cargo test --release -p warpdrive-pmd --lib -- --ignored --nocapture hundred_thousand
//! ```
//!
//! `WARPDRIVE_RSA_OPERATIONS` sets another number.

use super::super::RsaKey;
use super::super::library::LibraryKey;
use super::*;

mod arithmetic;
mod blinding;
mod faults;
mod kernels;
mod keys;
mod openssl;
mod private;
mod trace;

/// A way of doing a pass.
#[derive(Clone, Copy, Debug)]
struct Way {
    karatsuba: bool,
    blinding: bool,
}

impl Way {
    const ALL: [Self; 4] = [
        Self { karatsuba: false, blinding: false },
        Self { karatsuba: true, blinding: false },
        Self { karatsuba: false, blinding: true },
        Self { karatsuba: true, blinding: true },
    ];
}

/// An instance that does passes in any way.
struct Bench {
    engine: Ifma,
    random: Random,
}

impl Bench {
    /// Nothing, and a word about it, where the cpu cannot.
    fn new() -> Option<Self> {
        let engine = Ifma::new(&RsaOptions::default());
        if engine.is_none() {
            println!("skipped: this cpu has no AVX-512 IFMA");
        }
        Some(Self { engine: engine?, random: Random::from_seed([7; 32]) })
    }

    /// One pass: what came out, where the result passed its check.
    fn pass(&mut self, way: Way, of: &[(&keys::Key, &[u8])]) -> Vec<Option<Vec<u8>>> {
        self.engine.karatsuba = [way.karatsuba; 4];
        self.engine.blinding = way.blinding;
        let mut outputs: Vec<_> = of.iter().map(|(_, input)| vec![0xee; input.len()]).collect();
        let mut operations: Vec<_> = of
            .iter()
            .zip(&mut outputs)
            .map(|((key, input), output)| Operation { key: &key.ifma, input, output, done: false })
            .collect();
        self.engine.private(&mut operations, Some(&mut self.random));
        let done: Vec<_> = operations.iter().map(|o| o.done).collect();
        outputs
            .into_iter()
            .zip(done)
            .map(|(output, done)| {
                assert!(done || output.iter().all(|&b| b == 0xee), "what is not right is not written");
                done.then_some(output)
            })
            .collect()
    }
}

/// A small generator (splitmix64): the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
