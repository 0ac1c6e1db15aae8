use super::super::RsaKey;
use super::super::library::LibraryKey;
use super::*;

/// Keys of every size: 1024, 2048, 3072, 4096 bits, two of each.
fn keys() -> Vec<(RsaKey, IfmaKey, LibraryKey)> {
    let mut keys =
        vec![RsaKey::from_pem(include_str!("../../../../tests/data/rsa/rsa1024.pem"), "1024").unwrap()];
    for bits in [2048, 2048, 3072, 3072, 4096, 4096] {
        keys.push(RsaKey::generate(bits).unwrap());
    }
    keys.into_iter()
        .map(|key| {
            let parts = key.parts("test").unwrap();
            let (ifma, library) = (IfmaKey::new(parts).unwrap().unwrap(), LibraryKey::new(parts).unwrap());
            (key, ifma, library)
        })
        .collect()
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

    fn below(&mut self, n: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = n.iter().map(|_| self.next() as u8).collect();
        bytes[0] %= n[0];
        bytes
    }
}

#[test]
fn equals_the_library() {
    let Some(mut engine) = Ifma::new(&RsaOptions::default()) else {
        println!("skipped: this cpu has no AVX-512 IFMA");
        return;
    };
    let keys = keys();
    let mut numbers = Numbers(1);
    for karatsuba in [false, true] {
        engine.karatsuba = [karatsuba; 4];
        for bits in [1024, 2048, 3072, 4096] {
            let keys: Vec<_> = keys.iter().filter(|(_, k, _)| k.bits() == bits).collect();
            for count in 1..=8 {
                let inputs: Vec<_> = (0..count)
                    .map(|_| {
                        let key = &keys[numbers.next() as usize % keys.len()];
                        (key, numbers.below(key.0.modulus()))
                    })
                    .collect();
                let mut outputs = vec![vec![0; bits / 8]; count];
                let mut operations: Vec<_> = inputs
                    .iter()
                    .zip(&mut outputs)
                    .map(|((key, input), output)| Operation { key: &key.1, input, output, done: false })
                    .collect();
                engine.private(&mut operations, None);
                assert!(operations.iter().all(|o| o.done), "{bits} bits, {count} operations, {karatsuba}");
                for ((key, input), output) in inputs.iter().zip(&outputs) {
                    let mut expected = vec![0; bits / 8];
                    key.2.private(input, &mut expected).unwrap();
                    assert_eq!(*output, expected, "{bits} bits, {count} operations, {karatsuba}");
                }
            }
        }
    }
}

#[test]
fn blinded_results_are_the_same() {
    let options = RsaOptions { blinding: true, ..RsaOptions::default() };
    let Some(mut engine) = Ifma::new(&options) else {
        println!("skipped: this cpu has no AVX-512 IFMA");
        return;
    };
    let mut random = Random::from_seed([7; 32]);
    let keys = keys();
    let mut numbers = Numbers(9);
    for bits in [1024, 2048, 3072] {
        let keys: Vec<_> = keys.iter().filter(|(_, k, _)| k.bits() == bits).collect();
        for count in [3, 8, 8] {
            let inputs: Vec<_> = (0..count)
                .map(|i| (keys[i % keys.len()], numbers.below(keys[i % keys.len()].0.modulus())))
                .collect();
            let mut outputs = vec![vec![0; bits / 8]; count];
            let mut operations: Vec<_> = inputs
                .iter()
                .zip(&mut outputs)
                .map(|((key, input), output)| Operation { key: &key.1, input, output, done: false })
                .collect();
            engine.private(&mut operations, Some(&mut random));
            assert!(operations.iter().all(|o| o.done), "{bits} bits, {count} operations");
            for ((key, input), output) in inputs.iter().zip(&outputs) {
                let mut expected = vec![0; bits / 8];
                key.2.private(input, &mut expected).unwrap();
                assert_eq!(*output, expected, "{bits} bits, {count} operations");
            }
        }
    }
    // Without randomness nothing is done, rather than without blinding.
    let fresh = RsaKey::generate(2048).unwrap();
    let key = IfmaKey::new(fresh.parts("test").unwrap()).unwrap().unwrap();
    let mut output = [0; 256];
    let mut operations = [Operation { key: &key, input: &[1; 256], output: &mut output, done: false }];
    engine.private(&mut operations, None);
    assert!(!operations[0].done);
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let mut engine = Ifma::new(&RsaOptions::default()).unwrap();
    core_affinity::set_for_current(core_affinity::CoreId { id: 0 });
    let keys = keys();
    for bits in [2048, 3072, 4096] {
        let key = keys.iter().find(|(_, k, _)| k.bits() == bits).unwrap();
        let input = Numbers(3).below(key.0.modulus());
        let mut outputs = vec![vec![0; bits / 8]; 8];
        let mut run = |count: usize, karatsuba: bool| {
            engine.karatsuba = [karatsuba; 4];
            let mut best = f64::MAX;
            for _ in 0..100 {
                let mut operations: Vec<_> = outputs[..count]
                    .iter_mut()
                    .map(|output| Operation { key: &key.1, input: &input, output, done: false })
                    .collect();
                let t = std::time::Instant::now();
                engine.private(&mut operations, None);
                best = best.min(t.elapsed().as_secs_f64());
                assert!(operations.iter().all(|o| o.done));
            }
            best
        };
        for karatsuba in [false, true] {
            let (full, half) = (run(8, karatsuba), run(4, karatsuba));
            println!(
                "{bits} karatsuba {karatsuba}: full {:.1} us = {:.0}/s, half {:.1} us = {:.0}/s",
                full * 1e6,
                8.0 / full,
                half * 1e6,
                4.0 / half
            );
        }
        let mut out = vec![0; bits / 8];
        let mut best = f64::MAX;
        for _ in 0..50 {
            let t = std::time::Instant::now();
            key.2.private(&input, &mut out).unwrap();
            best = best.min(t.elapsed().as_secs_f64());
        }
        println!("{bits} library: {:.1} us = {:.0}/s", best * 1e6, 1.0 / best);
    }
}

#[test]
#[ignore = "a measurement"]
fn loop_full() {
    let mut engine = Ifma::new(&RsaOptions::default()).unwrap();
    core_affinity::set_for_current(core_affinity::CoreId { id: 0 });
    let key = RsaKey::generate(2048).unwrap();
    let ifma = IfmaKey::new(key.parts("test").unwrap()).unwrap().unwrap();
    let input = Numbers(3).below(key.modulus());
    let mut outputs = vec![vec![0; 256]; 8];
    let mut best = f64::MAX;
    for _ in 0..6000 {
        let mut operations: Vec<_> = outputs
            .iter_mut()
            .map(|output| Operation { key: &ifma, input: &input, output, done: false })
            .collect();
        let t = std::time::Instant::now();
        engine.private(&mut operations, None);
        best = best.min(t.elapsed().as_secs_f64());
    }
    println!("full {:.1} us = {:.0}/s", best * 1e6, 8.0 / best);
}
