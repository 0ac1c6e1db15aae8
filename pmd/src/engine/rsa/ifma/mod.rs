//! RSA private operations eight at a time, on AVX-512 IFMA: one operation in each 64-bit lane.
//!
//! Read [`block`] for the kernels, [`montgomery`] for the arithmetic, [`exponent`] for the windows, [`pass`] for the
//! operation. Nothing here branches on a secret or uses one as an index: loops run over lengths, choices are masks.
//!
//! Sources: Gueron and Krasnov, "Software implementation of modular exponentiation, using advanced vector
//! instructions architectures" (2012) and "Accelerating big integer arithmetic using Intel IFMA extensions" (2016);
//! Montgomery, "Modular multiplication without trial division" (1985).

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use self::montgomery::MAX_BLOCKS;
use zeroize::Zeroize;

use self::constants::{Layout, blend, blend_half, lanes_of};
use self::pass::{Arena, Keys};
use self::scalar::{Digits, digits_of};
use self::simd::{DIGIT_BITS, DIGIT_MASK, LANES, V, lanes, lanes_mut};
use super::library::blinding_pair;
use super::padding::random::Random;
use super::parts::PrivateParts;
use super::secret::Secret;
use super::{RsaOptions, Simd};

mod block;
mod calibrate;
mod constants;
mod count;
mod exponent;
#[cfg(test)]
pub(super) mod fault;
mod montgomery;
mod pass;
mod pick;
mod scalar;
mod simd;

/// Operations of a full pass.
pub(super) const FULL: usize = LANES;
/// Operations of a half pass.
pub(super) const HALF: usize = LANES / 2;

/// A private key in lanes.
pub(super) struct IfmaKey {
    /// Of all keys ever made in this process.
    id: u64,
    layout: Layout,
    bits: usize,
    e: u64,
    lanes: Secret<V>,
    /// A pair for blinding, from which each engine makes its own.
    pair: [Digits; 2],
}

impl IfmaKey {
    /// Prepares a key for numbers of so many bits, if that size and its form are computed here: 1024, 2048, 3072 or 4096
    /// bits, primes of one length and no longer than half of that, and a public exponent of up to 64 bits. Primes with small
    /// factors, which are none, may be refused.
    ///
    /// Shorter primes change no bound of [`montgomery`]: what is reduced is below four times the modulus, which is then
    /// shorter by as many bits twice.
    ///
    /// # Errors
    /// When the system has no memory.
    pub(super) fn new(parts: &PrivateParts, bits: usize) -> io::Result<Option<Self>> {
        if !Ifma::available() {
            return Ok(None);
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(layout) = Layout::of_bits(bits) else {
            return Ok(None);
        };
        let half = bit_length(&parts.p);
        let fits = bit_length(&parts.q) == half && half <= bits / 2 && bit_length(&parts.n) == 2 * half;
        let e = parts.e.iter().try_fold(0u64, |e, &b| e.checked_mul(256).map(|e| e + u64::from(b)));
        let Some(e) = e.filter(|e| e % 2 == 1 && *e > 1 && fits) else {
            return Ok(None);
        };
        let Some(pair) = blinding_pair(&parts.n, &parts.e).map_err(io::Error::other)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            layout,
            bits,
            e,
            lanes: lanes_of(parts, layout)?,
            pair: pair.map(|number| digits_of(&number, 2 * layout.blocks() * block::DIGITS)),
        }))
    }

    /// Bits of the modulus.
    #[cfg(test)]
    pub(super) fn bits(&self) -> usize {
        self.bits
    }
}

fn bit_length(bytes: &[u8]) -> usize {
    let zeros = bytes.iter().take_while(|&&b| b == 0).count();
    bytes.get(zeros).map_or(0, |&first| 8 * (bytes.len() - zeros) - first.leading_zeros() as usize)
}

/// One private operation of a pass.
pub(super) struct Operation<'a> {
    /// The key.
    pub(super) key: &'a IfmaKey,
    /// As long as the modulus, and less than it: big-endian.
    pub(super) input: &'a [u8],
    /// As long as the modulus. Written only if the result passed its check.
    pub(super) output: &'a mut [u8],
    /// Whether it did.
    pub(super) done: bool,
}

/// Computes passes.
pub(super) struct Ifma {
    arena: Secret<Arena>,
    /// Keys of a pass, blended.
    blended: Secret<V>,
    /// Karatsuba's kernels, for primes of 1, 2, 3 and 4 blocks.
    karatsuba: [bool; MAX_BLOCKS / 2],
    check: bool,
    blinding: bool,
    /// The factors of each key that was blinded here, by its id.
    factors: HashMap<u64, Secret<u64>>,
}

/// Keys whose factors are kept. With more, all are made anew.
const MAX_FACTORS: usize = 2 * crate::engine::MAX_SESSIONS;

impl Ifma {
    /// Whether this cpu can do it.
    pub(super) fn available() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512ifma")
    }

    /// An instance with its memory, or nothing where the cpu, the system or the options do not allow it.
    pub(super) fn new(options: &RsaOptions) -> Option<Self> {
        let karatsuba = kernels(options)?;
        let largest = Layout::of_bits(4096)?;
        let arena = Secret::zeroed(1).ok()?;
        let blended = Secret::zeroed(largest.len()).ok()?;
        let (check, blinding) = (options.check, options.blinding);
        Some(Self { arena, blended, karatsuba, check, blinding, factors: HashMap::new() })
    }

    /// What an instance would be.
    pub(super) fn describe(options: &RsaOptions) -> Option<String> {
        let karatsuba = kernels(options)?;
        let sizes = |which: bool| {
            let sizes = [1024, 2048, 3072, 4096].iter().zip(karatsuba);
            sizes
                .filter(|(_, k)| *k == which)
                .map(|(bits, _)| bits.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let with = match (sizes(true), sizes(false)) {
            (_, plain) if plain.is_empty() => "Karatsuba kernels".to_owned(),
            (karatsuba, _) if karatsuba.is_empty() => "plain kernels".to_owned(),
            (karatsuba, plain) => format!("Karatsuba kernels for {karatsuba}, plain for {plain} bits"),
        };
        Some(format!("AVX-512 IFMA, 8 private operations at once ({with})"))
    }

    /// Computes up to eight operations with keys of one size, in a half pass if there are no more than four. Lanes
    /// without an operation repeat the first.
    pub(super) fn private(&mut self, operations: &mut [Operation<'_>], random: Option<&mut Random>) {
        let Some(first) = operations.first() else {
            return;
        };
        let (layout, bits) = (first.key.layout, first.key.bits);
        let count = operations.len();
        assert!(
            count <= FULL && operations.iter().all(|o| o.key.bits == bits && o.input.len() == bits / 8),
            "a pass takes up to eight operations of one size"
        );
        let half = count <= HALF;
        let at = |lane: usize| {
            let lane = if half { lane % HALF } else { lane };
            if lane < count { lane } else { 0 }
        };
        let blinding = self.blinding;
        if blinding {
            self.make_factors(operations, random);
            if operations.iter().any(|o| !self.factors.contains_key(&o.key.id)) {
                return; // no randomness, or no memory: nothing is done
            }
        }
        let arena = &mut self.arena[0];
        let digits = bits.div_ceil(DIGIT_BITS).next_multiple_of(block::DIGITS);
        let digits = digits.max(2 * layout.blocks() * block::DIGITS);
        for lane in 0..LANES {
            let input = operations[at(lane)].input;
            for (i, v) in arena.input[..digits].iter_mut().enumerate() {
                lanes_mut(v)[lane] = digit_at(input, i);
            }
        }
        let keys: [&IfmaKey; LANES] = std::array::from_fn(|lane| operations[at(lane)].key);
        if blinding {
            for (lane, key) in keys.iter().enumerate() {
                let Some(factors) = self.factors.get(&key.id) else { continue };
                for (to, from) in arena.factors.iter_mut().zip(factors.chunks_exact(factors.len() / 2)) {
                    for (to, &from) in to.iter_mut().zip(from) {
                        lanes_mut(to)[lane] = from;
                    }
                }
            }
        }
        let e = keys.map(|k| k.e);
        let karatsuba = self.karatsuba[layout.blocks() - 1];
        let same = keys.iter().all(|k| k.id == keys[0].id);
        // SAFETY: `new` made this instance only because the cpu has the features.
        let ok = unsafe {
            if half {
                let blended = &mut self.blended[..layout.len()];
                blend_half(blended, std::array::from_fn(|lane| &*keys[lane].lanes), layout);
                let keys = Keys { layout, lanes: blended, e, check: self.check, blinding };
                if karatsuba { pass::half::<true>(arena, &keys) } else { pass::half::<false>(arena, &keys) }
            } else {
                let lanes = if same {
                    &*keys[0].lanes
                } else {
                    let blended = &mut self.blended[..layout.len()];
                    blend(blended, keys.map(|k| &*k.lanes));
                    &*blended
                };
                let keys = Keys { layout, lanes, e, check: self.check, blinding };
                if karatsuba { pass::full::<true>(arena, &keys) } else { pass::full::<false>(arena, &keys) }
            }
        };
        for (lane, operation) in operations.iter_mut().enumerate() {
            operation.done = ok >> lane & 1 == 1;
            if operation.done {
                store(operation.output, &arena.output, lane);
            }
        }
        if blinding {
            for (lane, key) in keys.iter().enumerate() {
                // Should they be what is wrong, they would be so for ever: the next pass makes others.
                if lane < count && ok >> lane & 1 == 0 {
                    self.factors.remove(&key.id);
                }
                if let Some(factors) = self.factors.get_mut(&key.id) {
                    let half = factors.len() / 2;
                    for (to, from) in factors.chunks_exact_mut(half).zip(&arena.factors) {
                        to.iter_mut().zip(from).for_each(|(to, from)| *to = lanes(from)[lane]);
                    }
                }
            }
        }
        arena.wipe(layout);
        if half || !same {
            self.blended.wipe_front(layout.len());
        }
    }
}

impl Ifma {
    /// Makes blinding factors for keys that have none here yet, as far as there are memory and randomness.
    fn make_factors(&mut self, operations: &[Operation<'_>], random: Option<&mut Random>) {
        let Some(random) = random else { return };
        if self.factors.len() + operations.len() > MAX_FACTORS {
            self.factors.clear();
        }
        for operation in operations {
            if !self.factors.contains_key(&operation.key.id) {
                self.make_factors_of(operation.key, random);
            }
        }
    }

    fn make_factors_of(&mut self, key: &IfmaKey, random: &mut Random) {
        let digits = key.pair[0].len();
        let Ok(mut factors) = Secret::zeroed(2 * digits) else {
            return;
        };
        let arena = &mut self.arena[0];
        for (to, from) in arena.factors.iter_mut().zip(&key.pair) {
            for (to, &digit) in to.iter_mut().zip(from.iter()) {
                lanes_mut(to).fill(digit);
            }
        }
        let mut power = [0; 8];
        random.fill(&mut power);
        let e = [key.e; LANES];
        let keys = Keys { layout: key.layout, lanes: &key.lanes, e, check: true, blinding: true };
        // SAFETY: `new` made this instance only because the cpu has the features.
        unsafe { pass::raise_factors::<false>(arena, &keys, u64::from_ne_bytes(power)) };
        for (to, from) in factors.chunks_exact_mut(digits).zip(&arena.factors) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = lanes(from)[0]);
        }
        power.zeroize();
        arena.wipe(key.layout);
        self.factors.insert(key.id, factors);
    }
}

/// Which kernels the options ask for, for each size; `None` for the library.
fn kernels(options: &RsaOptions) -> Option<[bool; MAX_BLOCKS / 2]> {
    if !Ifma::available() {
        return None;
    }
    match options.simd {
        Simd::Auto | Simd::Avx512Ifma => Some(calibrate::karatsuba_is_faster()),
        Simd::Avx512IfmaKaratsuba => Some([true; MAX_BLOCKS / 2]),
        Simd::Avx512IfmaPlain => Some([false; MAX_BLOCKS / 2]),
        Simd::Library => None,
    }
}

/// Digit `i` of a big-endian number.
fn digit_at(bytes: &[u8], i: usize) -> u64 {
    let (at, shift) = (DIGIT_BITS * i / 8, DIGIT_BITS * i % 8);
    let Some(end) = bytes.len().checked_sub(at) else {
        return 0;
    };
    let word = match bytes[..end].last_chunk::<8>() {
        Some(word) => u64::from_be_bytes(*word),
        None => bytes[..end].iter().fold(0, |w, &b| w << 8 | u64::from(b)),
    };
    word >> shift & DIGIT_MASK
}

/// Writes a lane's number as big-endian bytes.
fn store(bytes: &mut [u8], digits: &[V], lane: usize) {
    let (mut buffer, mut have, mut next) = (0u128, 0, 0);
    for word in bytes.rchunks_mut(8) {
        while have < 64 {
            buffer |= u128::from(digits.get(next).map_or(0, |v| lanes(v)[lane])) << have;
            have += DIGIT_BITS;
            next += 1;
        }
        let full = (buffer as u64).to_be_bytes();
        word.copy_from_slice(&full[8 - word.len()..]);
        buffer >>= 64;
        have -= 64;
    }
}

#[cfg(test)]
mod tests;
