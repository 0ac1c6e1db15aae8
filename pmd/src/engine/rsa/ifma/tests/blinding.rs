//! Blinding factors: whatever becomes of them, no pass goes without.

use super::*;

const BLINDED: Way = Way { karatsuba: false, blinding: true };

#[test]
fn a_pass_has_the_factors_of_all_its_keys_also_when_there_are_too_many_to_keep() {
    let Some(mut bench) = Bench::new() else { return };
    let keys = keys::keys(1024);
    let input = [1; 128];
    let of: Vec<_> = keys.iter().map(|key| (key, &input[..])).collect();
    for free in 0..FULL {
        bench.engine.factors.clear();
        for id in 0..(MAX_FACTORS - free) as u64 {
            bench.engine.factors.insert(u64::MAX - id, Secret::zeroed(1).unwrap());
        }
        let done = bench.pass(BLINDED, &of);
        assert!(done.iter().all(Option::is_some), "room for {free} more");
        assert!(bench.engine.factors.len() <= MAX_FACTORS);
    }
}

#[test]
fn a_pass_that_is_not_done_leaves_nothing_behind() {
    let Some(mut bench) = Bench::new() else { return };
    bench.engine.blinding = true;
    let (input, mut output) = ([1; 128], [0; 128]);
    let key = &keys::keys(1024)[0].ifma;
    let mut operations = [Operation { key, input: &input, output: &mut output, done: false }];
    bench.engine.private(&mut operations, None);
    assert!(!operations[0].done);
    assert!(bench.engine.arena[0].input.iter().all(|v| *lanes(v) == [0; LANES]));
}
