//! Every length and every place, against what the standard library makes of it.

use super::super::constant_time::{from_first_nonzero, from_first_zero, less, shift_to_front};

#[test]
fn everything_moves_to_the_front_by_any_distance() {
    for len in (0..70).chain([127, 128, 129, 245, 501]) {
        let bytes: Vec<u8> = (0..len).map(|i| i as u8 | 1).collect();
        for by in 0..=len {
            let mut moved = bytes.clone();
            shift_to_front(&mut moved, by as u32);
            let expected = [&bytes[by..], &vec![0; by]].concat();
            assert_eq!(moved, expected, "{len} bytes by {by}");
        }
    }
}

#[test]
fn the_first_zero_and_the_first_other_are_found_anywhere() {
    for len in 0..40 {
        assert_eq!(from_first_zero(&vec![0x80; len]), 0);
        assert_eq!(from_first_nonzero(&vec![0; len]), (0, 0));
        for at in 0..len {
            for (byte, after) in [(0x80, 0), (1, 7), (0xff, 1)] {
                let mut bytes = vec![byte; len];
                bytes[at] = 0;
                bytes[at + 1..].iter_mut().step_by(2).for_each(|b| *b = 0);
                assert_eq!(from_first_zero(&bytes), (len - at) as u32);
                let mut bytes = vec![0; len];
                bytes[at] = byte;
                bytes[at + 1..].iter_mut().step_by(2).for_each(|b| *b = after);
                assert_eq!(from_first_nonzero(&bytes), (byte, (len - at) as u32));
            }
        }
    }
}

#[test]
fn less_is_less() {
    let numbers = [0, 1, 2, 245, 246, 511, 512, 65_535, (1 << 31) - 2, (1 << 31) - 1];
    for a in numbers {
        for b in numbers {
            assert_eq!(bool::from(less(a, b)), a < b, "{a} < {b}");
        }
    }
}
