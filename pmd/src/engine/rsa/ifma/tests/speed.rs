//! Measurements, by hand: `cargo test --release -p warpdrive-pmd --lib -- --ignored --nocapture speed`.

use std::time::Instant;

use super::keys::keys;
use super::*;

/// The best time of so many calls, in seconds.
fn best(calls: usize, mut call: impl FnMut()) -> f64 {
    (0..calls).fold(f64::MAX, |best, _| {
        let start = Instant::now();
        call();
        best.min(start.elapsed().as_secs_f64())
    })
}

/// A pass of one key again and again.
fn best_pass(engine: &mut Ifma, key: &keys::Key, operations: usize, calls: usize) -> f64 {
    let input = key.by_library(&vec![1; key.ifma.bits / 8]);
    let mut outputs = vec![vec![0; input.len()]; operations];
    best(calls, || {
        let mut operations: Vec<_> = outputs
            .iter_mut()
            .map(|output| Operation { key: &key.ifma, input: &input, output, done: false })
            .collect();
        engine.private(&mut operations, None);
        assert!(operations.iter().all(|o| o.done));
    })
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let Some(mut engine) = Ifma::new(&RsaOptions::default()) else { return };
    core_affinity::set_for_current(core_affinity::CoreId { id: 0 });
    for bits in [2048, 3072, 4096] {
        let key = &keys(bits)[0];
        for karatsuba in [false, true] {
            engine.karatsuba = [karatsuba; 4];
            for operations in [FULL, HALF] {
                let seconds = best_pass(&mut engine, key, operations, 100);
                let rate = operations as f64 / seconds;
                println!(
                    "{bits} karatsuba {karatsuba}: {operations} in {:.1} us = {rate:.0}/s",
                    seconds * 1e6
                );
            }
        }
        let (input, mut output) = (vec![1; bits / 8], vec![0; bits / 8]);
        let seconds = best(50, || key.library.private(&input, &mut output).unwrap());
        println!("{bits} library: {:.1} us = {:.0}/s", seconds * 1e6, 1.0 / seconds);
    }
}

#[test]
#[ignore = "a measurement"]
fn speed_of_full_passes() {
    let Some(mut engine) = Ifma::new(&RsaOptions::default()) else { return };
    core_affinity::set_for_current(core_affinity::CoreId { id: 0 });
    let seconds = best_pass(&mut engine, &keys(2048)[0], FULL, 6000);
    println!("full {:.1} us = {:.0}/s", seconds * 1e6, 8.0 / seconds);
}
