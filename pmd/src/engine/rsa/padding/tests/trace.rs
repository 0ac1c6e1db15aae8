//! Decoders take the same way through memory whatever the encoded message: see [`trace`](crate::engine::rsa::trace).

use super::super::decrypt::{ImplicitRejection, eme_oaep_decode};
use super::super::{Hash, mgf1_xor};
use crate::engine::rsa::trace::{Outcome, compare};

const BYTES: usize = 128;

type Encoded = [u8; BYTES];

/// Whether decoding takes the same way for the first and for each of the others.
fn same(encoded: &[(&str, Encoded)], decode: impl Fn(&mut Encoded)) {
    for (name, other) in &encoded[1..] {
        let pair = [encoded[0].1, *other];
        let outcome = compare(&mut [0; BYTES], |em, which| *em = pair[which], &decode);
        let Some(outcome) = outcome else { return };
        assert!(
            matches!(outcome, Outcome::Same(steps) if steps > 1_000),
            "{:?} and {name:?}: {outcome:x?}",
            encoded[0].0
        );
    }
}

/// 00 02, padding, 00, a message of `len` bytes.
fn pkcs1(len: usize) -> Encoded {
    let mut em = [0xa7; BYTES];
    (em[0], em[1], em[BYTES - len - 1]) = (0, 2, 0);
    em
}

#[test]
fn pkcs1_messages_of_any_length_and_bad_padding() {
    let with = |at: usize, byte| {
        let mut em = pkcs1(40);
        em[at] = byte;
        em
    };
    let rejection = ImplicitRejection::new(&[0x5a; BYTES], BYTES);
    let encoded = [
        ("forty bytes", pkcs1(40)),
        ("nothing", pkcs1(0)),
        ("the longest", pkcs1(BYTES - 11)),
        ("first byte", with(0, 1)),
        ("second byte", with(1, 1)),
        ("short padding", with(5, 0)),
        ("no zero", with(BYTES - 41, 1)),
        ("zeros", [0; BYTES]),
    ];
    same(&encoded, |em| {
        let _ = rejection.decode(&[0x33; BYTES], em);
    });
}

/// Masked as RFC 8017, 7.1.1, step 2, with `y` in front.
fn oaep(y: u8, mut db: [u8; BYTES - 33]) -> Encoded {
    let mut seed = [0x44; 32];
    mgf1_xor(Hash::Sha256, &seed, &mut db);
    mgf1_xor(Hash::Sha256, &db, &mut seed);
    [&[y], &seed[..], &db].concat().try_into().expect("128 bytes")
}

#[test]
fn oaep_messages_that_are_refused_and_those_of_any_length() {
    /// The hash of the label, zeros, 01, a message of `len` bytes.
    fn block(len: usize) -> [u8; BYTES - 33] {
        let mut db = [0; BYTES - 33];
        let mut label = [0; 64];
        db[..32].copy_from_slice(Hash::Sha256.hash_into(&[], &mut label));
        let (zeros, message) = db[32..].split_at_mut(BYTES - 65 - len);
        *zeros.last_mut().expect("one at least") = 1;
        message.fill(0x66);
        db
    }
    let with = |at: usize, byte| {
        let mut db = block(20);
        db[at] = byte;
        db
    };
    let decode = |em: &mut Encoded| {
        let _ = eme_oaep_decode(Hash::Sha256, em);
    };
    let refused = [
        ("first byte", oaep(1, block(20))),
        ("another first byte and length", oaep(200, block(0))),
        ("label", oaep(0, with(0, 0))),
        ("another separator", oaep(0, with(BYTES - 33 - 21, 2))),
        ("something among the zeros", oaep(0, with(40, 9))),
        ("no separator", oaep(0, [0; BYTES - 33])),
    ];
    same(&refused, decode);
    // Whoever gets a message may know its length.
    same(&[("forty bytes", oaep(0, block(40))), ("none", oaep(0, block(0)))], decode);
}
