//! Round trips through libdeflate and through the plain inflate of [`inflate`], which also knows the
//! distances.

mod inflate;

use libdeflater::Decompressor;
use proptest::collection::vec;
use proptest::prelude::*;

use super::huffman::Builder;
use super::{Carry, End, Past, Primed, Quick};
use inflate::inflate;

/// Deterministic noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// Noise, copies from near and far, runs, words of a small alphabet.
    fn mixture(&mut self, len: usize) -> Vec<u8> {
        let mut data = Vec::new();
        while data.len() < len {
            let most = 1 << self.below(11);
            let n = 1 + self.below(most);
            match self.below(4) {
                0 => data.extend(self.bytes(n)),
                1 => data.extend(std::iter::repeat_n(self.next() as u8, n)),
                2 => data.extend((0..n).map(|_| b"etaoin shrdlu"[self.below(13)])),
                _ if data.is_empty() => {}
                _ => {
                    let far = 1 << self.below(17);
                    let back = 1 + self.below(far.min(data.len()));
                    for _ in 0..n {
                        data.push(data[data.len() - back]);
                    }
                }
            }
        }
        data.truncate(len);
        data
    }
}

fn fresh(quick: &mut Quick, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; Quick::bound(data.len())];
    let mut carry = Carry::default();
    let len = quick.encode(Past::Fresh, data, 0, 1 << 15, End::Final, &mut carry, &mut out);
    out.truncate(len.expect("bound suffices"));
    assert_eq!(carry, Carry::default());
    out
}

fn libdeflate(stream: &[u8], len: usize) -> Vec<u8> {
    let mut plain = vec![0; len + 1];
    let n = Decompressor::new().deflate_decompress(stream, &mut plain).expect("a valid stream");
    plain.truncate(n);
    plain
}

#[track_caller]
fn round_trip(quick: &mut Quick, data: &[u8]) -> usize {
    let stream = fresh(quick, data);
    assert!(libdeflate(&stream, data.len()) == data);
    let (plain, farthest) = inflate(&stream, &[]).expect("a valid stream");
    assert!(plain == data && farthest <= 1 << 15);
    stream.len()
}

#[test]
fn every_short_length_comes_back() {
    let mut quick = Quick::new();
    let noise = Noise(1).mixture(300);
    for len in 0..300 {
        round_trip(&mut quick, &noise[..len]);
        round_trip(&mut quick, &vec![7; len]);
        round_trip(&mut quick, &Noise(len as u64 + 1).bytes(len));
    }
}

#[test]
fn lengths_around_the_size_of_a_block_come_back() {
    let mut quick = Quick::new();
    let mixture = Noise(2).mixture(200_000);
    for len in [65_534, 65_535, 65_536, 65_537, 65_551, 65_552, 131_072, 131_073, 200_000] {
        round_trip(&mut quick, &mixture[..len]);
        assert!(round_trip(&mut quick, &vec![0; len]) < len / 150);
        let bytes = Noise(3).bytes(len);
        assert!(round_trip(&mut quick, &bytes) <= len + (len / 65_535 + 1) * 5, "{len}");
    }
}

#[test]
fn the_same_input_gives_the_same_output_whatever_came_before() {
    let data = Noise(4).mixture(40_000);
    let first = fresh(&mut Quick::new(), &data);
    let mut used = Quick::new();
    for seed in 5..8 {
        fresh(&mut used, &Noise(seed).mixture(100_000));
        assert!(fresh(&mut used, &data) == first);
    }
}

/// Encodes `data` in `pieces` with a sliding buffer that keeps `window` bytes.
fn in_pieces(quick: &mut Quick, data: &[u8], pieces: &[(usize, End)], window: usize) -> Vec<u8> {
    let (mut stream, mut carry, mut at) = (Vec::new(), Carry::default(), 0);
    for (i, &(len, end)) in pieces.iter().enumerate() {
        let first = at - at.min(window + i % 3);
        let slice = &data[first..at + len];
        let mut out = vec![0; Quick::bound(len)];
        let past = if i == 0 { Past::Fresh } else { Past::Kept };
        let n = quick.encode(past, slice, at - first, window, end, &mut carry, &mut out);
        stream.extend(&out[..n.expect("bound suffices")]);
        if end != End::Open {
            assert_eq!(carry, Carry::default());
            if end == End::Sync {
                assert!(stream.ends_with(&[0, 0, 0xff, 0xff]));
            }
        }
        at += len;
    }
    stream
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_make_one_stream_within_the_window(
        seed in 1u64..,
        cuts in vec((0usize..9000, any::<bool>()), 1..40),
        window_bits in 13u32..=15,
    ) {
        let mut pieces: Vec<_> =
            cuts.into_iter().map(|(n, sync)| (n, if sync { End::Sync } else { End::Open })).collect();
        pieces.last_mut().unwrap().1 = End::Final;
        let data = Noise(seed).mixture(pieces.iter().map(|p| p.0).sum());
        let window = 1 << window_bits;
        let stream = in_pieces(&mut Quick::new(), &data, &pieces, window);
        prop_assert!(libdeflate(&stream, data.len()) == data);
        let (plain, farthest) = inflate(&stream, &[]).expect("a valid stream");
        prop_assert!(plain == data);
        prop_assert!(farthest <= window);
    }

    #[test]
    fn history_and_dictionaries_are_used_within_the_window(
        seed in 1u64..,
        old in 0usize..70_000,
        new in 0usize..5000,
        window_bits in 13u32..=15,
    ) {
        let data = Noise(seed).mixture(old + new);
        let window = 1 << window_bits;
        let mut quick = Quick::new();
        let mut out = vec![0; Quick::bound(new)];
        let n = quick.encode(Past::Fresh, &data, old, window, End::Final, &mut Carry::default(), &mut out).unwrap();
        let (plain, farthest) = inflate(&out[..n], &data[..old]).expect("a valid stream");
        prop_assert!(plain == data[old..] && farthest <= window);

        let primed = Primed::new(&data[..old]);
        let past = Past::Primed(&primed);
        let n = quick.encode(past, &data[old..], 0, window, End::Final, &mut Carry::default(), &mut out).unwrap();
        let (plain, farthest) = inflate(&out[..n], &data[..old]).expect("a valid stream");
        prop_assert!(plain == data[old..] && farthest <= window);
    }

    #[test]
    fn too_little_room_is_told_and_just_enough_is_used(seed in 1u64.., len in 0usize..400, end in 0..3) {
        let data = Noise(seed).mixture(len);
        let end = [End::Open, End::Sync, End::Final][end as usize];
        let mut quick = Quick::new();
        let before = Carry { bits: 0b101, count: 3 };
        let mut encode = |room: usize| {
            let mut out = vec![0xa5; room + 9];
            let mut carry = before;
            let n = quick.encode(Past::Fresh, &data, 0, 1 << 15, end, &mut carry, &mut out[..room]);
            assert!(out[room..] == [0xa5; 9]);
            n.map(|n| (out[..n].to_vec(), carry))
        };
        let whole = encode(Quick::bound(len)).expect("bound suffices");
        // The bits left over need a place too while they are written.
        let least = whole.0.len() + usize::from(whole.1.count > 0);
        for room in 0..least {
            prop_assert!(room >= whole.0.len() || encode(room).is_none());
        }
        for room in least..least + 9 {
            prop_assert!(encode(room).as_ref() == Some(&whole));
        }
    }
}

#[test]
fn a_primed_dictionary_saves_what_it_holds() {
    let dictionary = Noise(9).bytes(1 << 15);
    let primed = Primed::new(&dictionary);
    let mut quick = Quick::new();
    for (from, len) in [(0, 250), (1000, 100), (32_768 - 250, 250), (32_768 - 16, 16)] {
        let mut data = dictionary[from..from + len].to_vec();
        data.push(1);
        let mut out = vec![0; Quick::bound(len + 1)];
        let past = Past::Primed(&primed);
        let n = quick.encode(past, &data, 0, 1 << 15, End::Final, &mut Carry::default(), &mut out).unwrap();
        let (plain, _) = inflate(&out[..n], &dictionary).unwrap();
        assert!(plain == data);
        assert!(n <= 20, "{n} bytes for a match of {len} at {from}");
    }
}

#[test]
fn noise_is_stored() {
    let mut quick = Quick::new();
    for len in [100, 1500, 4096, 30_000] {
        assert_eq!(round_trip(&mut quick, &Noise(10).bytes(len)), len + 5);
    }
}

#[test]
fn noise_seen_before_is_found_again() {
    let mut data = Noise(11).bytes(10_000);
    data.extend_from_within(..);
    assert!(round_trip(&mut Quick::new(), &data) < 10_700);
}

#[test]
fn a_stream_remembers_the_pieces_before() {
    let text = Noise(12).mixture(3000);
    let mut data = Vec::new();
    for i in 0..100 {
        data.extend(&text);
        data.extend(Noise(20 + i).bytes(16));
    }
    let pieces: Vec<_> = (0..100).map(|i| (3016, if i < 99 { End::Sync } else { End::Final })).collect();
    let mut quick = Quick::new();
    let stream = in_pieces(&mut quick, &data, &pieces, 8192);
    assert!(libdeflate(&stream, data.len()) == data);
    let alone = fresh(&mut quick, &data[..3016]).len();
    assert!(stream.len() < alone + 99 * 90, "{} bytes, the first piece {alone}", stream.len());
}

#[test]
fn code_lengths_stay_within_the_limit_and_fill_the_code() {
    let mut fibonacci = vec![1u32, 1];
    while fibonacci.len() < 24 {
        fibonacci.push(fibonacci.iter().rev().take(2).sum());
    }
    for limit in [7, 15] {
        let freqs = &fibonacci[..limit + 9];
        let mut lengths = vec![0; freqs.len()];
        Builder::new().lengths(freqs, limit, &mut lengths);
        let space: u32 = lengths.iter().map(|&length| (1 << limit) >> length).sum();
        assert!(lengths.iter().all(|length| (1..=limit as u8).contains(length)));
        assert_eq!(space, 1 << limit);
        // The more frequent of two symbols has no longer code.
        assert!(lengths.is_sorted_by(|a, b| a >= b));
    }
}
