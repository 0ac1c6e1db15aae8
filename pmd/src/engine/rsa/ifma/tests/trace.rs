//! Passes take the same way through memory whatever the keys and the inputs: see [`trace`](super::super::super::trace).

use super::super::super::trace::{Outcome, compare};
use super::*;

/// A pass, and two secrets for it.
struct Pass {
    arena: Secret<Arena>,
    /// Keys in lanes: what a pass is given, and where it is taken from.
    lanes: Vec<V>,
    secret_lanes: [Vec<V>; 2],
    /// Inputs and factors.
    secret_digits: [Vec<V>; 2],
    layout: Layout,
    half: bool,
    way: Way,
}

impl Pass {
    fn new(bits: usize, half: bool, way: Way) -> Self {
        let layout = Layout::of_bits(bits).expect("a size that is computed");
        // They have the same public exponent, on whose bits the check depends.
        let keys = keys::keys(bits)[..2].iter().map(|k| &k.ifma).collect::<Vec<_>>();
        assert_eq!(keys[0].e, keys[1].e);
        let secret_lanes = [0, 1].map(|which| {
            let mut lanes = vec![vector(&mut || 0); layout.len()];
            let key = |lane: usize| &*keys[(which + lane) % 2].lanes;
            // SAFETY: whoever calls has seen that the cpu has the features.
            unsafe {
                if half {
                    blend_half(&mut lanes, std::array::from_fn(key), layout);
                } else {
                    blend(&mut lanes, std::array::from_fn(key));
                }
            }
            lanes
        });
        let secret_digits = [0, 1].map(|which| {
            let mut numbers = Numbers(which);
            // Below any modulus: the highest digits are zero.
            let digit = |_| {
                let mut v = vector(&mut || numbers.next() & DIGIT_MASK);
                if half {
                    lanes_mut(&mut v).copy_within(..HALF, HALF);
                }
                v
            };
            (0..bits / DIGIT_BITS - 1).map(digit).collect()
        });
        let lanes = secret_lanes[0].clone();
        Self { arena: Secret::zeroed(1).unwrap(), lanes, secret_lanes, secret_digits, layout, half, way }
    }

    /// Puts a secret where the pass finds it.
    fn prepare(&mut self, which: usize) {
        self.lanes.copy_from_slice(&self.secret_lanes[which]);
        let (arena, digits) = (&mut self.arena[0], &self.secret_digits[which]);
        let [factor, inverse] = &mut arena.factors;
        for to in [&mut arena.input, factor, inverse] {
            to[..digits.len()].copy_from_slice(digits);
        }
    }

    fn run(&mut self) {
        let Self { arena, lanes, layout, half, way: Way { karatsuba, blinding }, .. } = self;
        let (arena, layout, blinding) = (&mut arena[0], *layout, *blinding);
        let keys = Keys { layout, lanes, e: [65_537; LANES], check: true, blinding };
        // SAFETY: as in `new`.
        let passed = unsafe {
            match (*half, *karatsuba) {
                (true, true) => pass::half::<true>(arena, &keys),
                (true, false) => pass::half::<false>(arena, &keys),
                (false, true) => pass::full::<true>(arena, &keys),
                (false, false) => pass::full::<false>(arena, &keys),
            }
        };
        // Factors that are no inverses of each other give results that do not pass.
        assert_eq!(passed != 0, !blinding);
        arena.wipe(layout);
    }
}

fn vector(lane: &mut dyn FnMut() -> u64) -> V {
    // SAFETY: zeros are a vector.
    let mut v = unsafe { std::mem::zeroed() };
    lanes_mut(&mut v).fill_with(lane);
    v
}

/// Steps a pass with one secret beside a pass with another.
fn same(bits: usize, half: bool, way: Way) {
    if Bench::new().is_none() {
        return;
    }
    let mut pass = Pass::new(bits, half, way);
    let Some(outcome) = compare(&mut pass, Pass::prepare, Pass::run) else { return };
    let Outcome::Same(steps) = outcome else { panic!("{bits} bits, half: {half}, {way:?}: {outcome:x?}") };
    println!("{bits} bits, half: {half}, {way:?}: the same in {steps} instructions");
    assert!(steps > 100_000);
}

#[test]
#[ignore = "takes minutes"]
fn every_kind_of_pass_takes_the_same_way_whatever_the_secrets() {
    for half in [true, false] {
        Way::ALL.into_iter().for_each(|way| same(1024, half, way));
    }
}

#[test]
#[ignore = "takes an hour"]
fn passes_of_every_size_take_the_same_way_whatever_the_secrets() {
    for bits in [2048, 3072, 4096] {
        same(bits, false, Way { karatsuba: true, blinding: true });
    }
}
