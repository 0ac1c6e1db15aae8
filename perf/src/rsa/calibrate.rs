//! How fast a core is just now: its clock, and the rate of the multiplier that eight-lane RSA lives on. A neighbour on
//! the same physical core halves the latter while the former stands still.
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "loops of known length in cycles"))]

use std::time::Duration;

use warpdrive_pmd::clock::{Clock, ticks};

use super::slices::Speed;
use crate::measure::median;

/// Measurements of which the middle one counts: an interruption spoils one or two.
const PARTS: usize = 9;
/// 512-bit code is slower, and lowers the clock, at first.
const WARM: Duration = Duration::from_micros(300);
/// Rounds of either loop: about 10 us.
const LOOPS: u32 = 2_000;

/// Measures the core that this thread is on. Takes about half a millisecond.
#[must_use]
pub fn speed() -> Speed {
    let clock = Clock::get();
    let multiplier = has_multiplier();
    let (start, warm) = (ticks(), clock.ticks_of(WARM));
    while ticks() - start < warm {
        count(multiplier, multiplies);
    }
    let each = |known, work: fn(u32) -> u64| count(known, work).map(|n| n * clock.hz() as f64);
    let mut clocks = [0.0; PARTS];
    let mut rates = [0.0; PARTS];
    for (cycles, rate) in clocks.iter_mut().zip(&mut rates) {
        *cycles = each(cfg!(target_arch = "x86_64"), chain).unwrap_or(0.0);
        *rate = each(multiplier, multiplies).unwrap_or(0.0);
    }
    let known = |values: [f64; PARTS]| Some(median(&values)).filter(|v| *v > 0.0);
    Speed { clock_hz: known(clocks), multiplies_hz: known(rates) }
}

/// What `work` did in a tick, if this cpu can do it.
fn count(known: bool, work: fn(u32) -> u64) -> Option<f64> {
    known.then(|| {
        let start = ticks();
        let done = work(LOOPS);
        done as f64 / (ticks() - start).max(1) as f64
    })
}

/// Whether there is vpmadd52 on 512 bits.
fn has_multiplier() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512ifma");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Multiplications of which each needs the result of the one before: three cycles each on every x86-64 of the last
/// ten years. Returns the cycles.
#[cfg(target_arch = "x86_64")]
fn chain(loops: u32) -> u64 {
    // SAFETY: registers only.
    unsafe {
        std::arch::asm!(
            "2:",
            "imul {x}, {x}", "imul {x}, {x}", "imul {x}, {x}", "imul {x}, {x}",
            "imul {x}, {x}", "imul {x}, {x}", "imul {x}, {x}", "imul {x}, {x}",
            "dec {n:e}",
            "jnz 2b",
            x = inout(reg) 3u64 => _,
            n = inout(reg) loops => _,
            options(nomem, nostack),
        );
    }
    u64::from(loops) * 8 * 3
}

/// Multiply-adds on 512 bits into 16 accumulators, from registers: nothing but the ports limits them. Returns how many.
#[cfg(target_arch = "x86_64")]
fn multiplies(loops: u32) -> u64 {
    assert!(has_multiplier());
    // SAFETY: the instructions exist, as was asked just now; they touch registers only, which are all declared.
    unsafe { multiply_adds(loops) };
    u64::from(loops) * 32
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512ifma")]
fn multiply_adds(loops: u32) {
    macro_rules! sixteen {
        () => {
            concat!(
                "vpmadd52luq zmm0, zmm16, zmm17\n",
                "vpmadd52luq zmm1, zmm16, zmm17\n",
                "vpmadd52luq zmm2, zmm16, zmm17\n",
                "vpmadd52luq zmm3, zmm16, zmm17\n",
                "vpmadd52luq zmm4, zmm16, zmm17\n",
                "vpmadd52luq zmm5, zmm16, zmm17\n",
                "vpmadd52luq zmm6, zmm16, zmm17\n",
                "vpmadd52luq zmm7, zmm16, zmm17\n",
                "vpmadd52luq zmm8, zmm16, zmm17\n",
                "vpmadd52luq zmm9, zmm16, zmm17\n",
                "vpmadd52luq zmm10, zmm16, zmm17\n",
                "vpmadd52luq zmm11, zmm16, zmm17\n",
                "vpmadd52luq zmm12, zmm16, zmm17\n",
                "vpmadd52luq zmm13, zmm16, zmm17\n",
                "vpmadd52luq zmm14, zmm16, zmm17\n",
                "vpmadd52luq zmm15, zmm16, zmm17\n",
            )
        };
    }
    // SAFETY: registers only, all of them declared.
    unsafe {
        std::arch::asm!(
            "2:",
            sixteen!(),
            sixteen!(),
            "dec {n:e}",
            "jnz 2b",
            n = inout(reg) loops => _,
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _,
            out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
            out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
            out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
            out("zmm16") _, out("zmm17") _,
            options(nomem, nostack),
        );
    }
}

/// Not known elsewhere, and not asked for.
#[cfg(not(target_arch = "x86_64"))]
fn chain(_: u32) -> u64 {
    0
}

/// Not known elsewhere, and not asked for.
#[cfg(not(target_arch = "x86_64"))]
fn multiplies(_: u32) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_has_a_clock_and_no_more_multiplications_than_it_has_ports_for() {
        let sound = |speed: Speed| {
            // Two ports at most on any cpu so far; the two are not measured at the same moment.
            let within = match (speed.clock_hz, speed.multiplies_hz) {
                (Some(clock), Some(multiplies)) => (0.1..2.5).contains(&(multiplies / clock)),
                _ => true,
            };
            let clock =
                !cfg!(target_arch = "x86_64") || speed.clock_hz.is_some_and(|hz| (1e8..1e10).contains(&hz));
            clock && within && speed.multiplies_hz.is_some() == has_multiplier()
        };
        // Other tests that run at the same time may disturb some, not all.
        let speeds: Vec<Speed> = (0..20).map(|_| speed()).collect();
        assert!(speeds.iter().any(|s| sound(*s)), "{speeds:?}");
    }
}
