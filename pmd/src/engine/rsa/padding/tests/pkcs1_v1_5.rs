use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey};
use aws_lc_rs::{digest, hmac};
use num_bigint::BigUint;
use proptest::prelude::*;

use super::super::decrypt::{BadInput, ImplicitRejection};
use super::{KEY_BYTES, Numbers, data, keys, to_bytes};

/// The synthetic message by the text of draft-irtf-cfrg-rsa-guidance, on aws-lc.
pub(super) fn reference(d: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    let bytes = ciphertext.len();
    let d = [vec![0; bytes - d.len()], d.to_vec()].concat();
    let mac = |key: &[u8], parts: &[&[u8]]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &parts.concat()).as_ref().to_vec()
    };
    let kdk = mac(digest::digest(&digest::SHA256, &d).as_ref(), &[ciphertext]);
    let prf = |label: &str, len: usize| {
        let bits = (len as u16 * 8).to_be_bytes();
        let block = |i: usize| mac(&kdk, &[&(i as u16).to_be_bytes(), label.as_bytes(), &bits]);
        let mut out: Vec<u8> = (0..len.div_ceil(32)).flat_map(block).collect();
        out.truncate(len);
        out
    };
    let most = bytes - 11;
    let mut mask = 1;
    while mask <= most {
        mask *= 2;
    }
    let len = prf("length", 256)
        .chunks(2)
        .map(|c| usize::from(u16::from_be_bytes([c[0], c[1]])) & (mask - 1))
        .rfind(|&len| len <= most)
        .unwrap_or(0);
    prf("message", bytes).split_off(bytes - len)
}

fn decode(rejection: &ImplicitRejection, ciphertext: &[u8], mut em: Vec<u8>) -> Vec<u8> {
    let len = rejection.decode(ciphertext, &mut em).expect("the padding is never told");
    assert!(em[len..].iter().all(|&b| b == 0), "only the message is left");
    em.truncate(len);
    em
}

pub(super) fn decrypt(numbers: &Numbers, ciphertext: &[u8]) -> Option<Vec<u8>> {
    let rejection = ImplicitRejection::new(&numbers.d.to_bytes_be(), numbers.bytes);
    Some(decode(&rejection, ciphertext, numbers.private(ciphertext)?))
}

fn encode(message: &[u8], bytes: usize) -> Vec<u8> {
    let mut em = vec![0xa7; bytes - message.len() - 1];
    em[..2].copy_from_slice(&[0, 2]);
    em.push(0);
    em.extend(message);
    em
}

#[test]
fn what_aws_lc_and_openssl_encrypt_is_decoded() {
    for (numbers, key) in keys() {
        let key = PublicEncryptingKey::from_der(key.spki().unwrap().as_ref()).unwrap();
        let key = Pkcs1PublicEncryptingKey::new(key).unwrap();
        for len in [0, 1, 48, numbers.bytes - 12, numbers.bytes - 11] {
            let message: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut ciphertext = vec![0; numbers.bytes];
            key.encrypt(&message, &mut ciphertext).unwrap();
            assert_eq!(decrypt(numbers, &ciphertext), Some(message));
        }
    }
    let ciphertext = std::fs::read(data("pkcs1.bin")).unwrap();
    assert_eq!(decrypt(&keys()[0].0, &ciphertext), Some(b"known answer".to_vec()));
}

/// The file is made by OpenSSL: lines of modulus bits, a number that is the ciphertext, the length of the message that
/// it decrypts to, and SHA-256 of that.
#[test]
fn bad_padding_gives_the_messages_that_openssl_makes() {
    let text = std::fs::read_to_string(data("implicit-rejection.txt")).unwrap();
    let mut lengths = vec![];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [bits, ciphertext, len, hash] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let bytes = bits.parse::<usize>().unwrap() / 8;
        let (numbers, _) = keys().iter().find(|(numbers, _)| numbers.bytes == bytes).unwrap();
        let ciphertext = to_bytes(&ciphertext.parse::<BigUint>().unwrap(), bytes);
        let message = decrypt(numbers, &ciphertext).unwrap();
        assert_eq!(message.len(), len.parse::<usize>().unwrap(), "{line}");
        let ours: String =
            digest::digest(&digest::SHA256, &message).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(ours, hash, "{line}");
        assert_eq!(message, reference(&numbers.d.to_bytes_be(), &ciphertext));
        lengths.push((bytes, message.len()));
    }
    for bytes in [256, 384, 512] {
        assert!(lengths.contains(&(bytes, 0)) && lengths.contains(&(bytes, bytes - 11)), "the extremes");
        assert!(lengths.iter().filter(|(b, _)| *b == bytes).count() >= 10);
    }
}

#[test]
fn every_length_of_message_comes_back() {
    for bytes in KEY_BYTES {
        let rejection = ImplicitRejection::new(&[5; 60], bytes);
        for len in 0..=bytes - 11 {
            for fill in [0, 2, 0xff] {
                let message = vec![fill; len];
                let decoded = decode(&rejection, &vec![9; bytes], encode(&message, bytes));
                assert_eq!(decoded, message);
            }
        }
    }
}

#[test]
fn each_rule_of_the_padding_is_enforced_alone_and_no_two_answers_differ() {
    for bytes in KEY_BYTES {
        let d = vec![0x31; bytes];
        let rejection = ImplicitRejection::new(&d, bytes);
        let ciphertext: Vec<u8> = (0..bytes).map(|i| i as u8).collect();
        let synthetic = reference(&d, &ciphertext);
        let good = encode(b"message", bytes);
        assert_eq!(decode(&rejection, &ciphertext, good.clone()), b"message");
        let rejected = |em: Vec<u8>, why: &str| {
            assert_eq!(decode(&rejection, &ciphertext, em), synthetic, "{why}");
        };
        for flip in 1..=255 {
            for at in [0, 1] {
                let mut em = good.clone();
                em[at] ^= flip;
                rejected(em, "the first or the second byte");
            }
        }
        for at in 2..10 {
            let mut em = good.clone();
            em[at] = 0;
            rejected(em, "less than eight bytes of padding");
        }
        let mut eight = good.clone();
        eight[10] = 0;
        assert_eq!(decode(&rejection, &ciphertext, eight), good[11..], "eight are enough");
        let mut em = good.clone();
        em[bytes - 8] = 1;
        rejected(em, "no separator");
        rejected(vec![0; bytes], "all zero");
        rejected(vec![0xff; bytes], "all ones");
        let mut last = vec![0xff; bytes];
        last[..2].copy_from_slice(&[0, 2]);
        last[bytes - 1] = 0;
        assert_eq!(decode(&rejection, &ciphertext, last), b"", "an empty message");
    }
}

#[test]
fn a_private_exponent_is_padded_to_the_modulus_or_cut_to_it() {
    let ciphertext = [3; 256];
    let bad = || vec![0; 256];
    let long = [&[0, 0][..], &[7; 256]].concat();
    let of = |d: &[u8]| decode(&ImplicitRejection::new(d, 256), &ciphertext, bad());
    assert_eq!(of(&long), reference(&[7; 256], &ciphertext), "zeros in front, as DER has them");
    assert_eq!(of(&[7; 250]), reference(&[7; 250], &ciphertext));
    assert_ne!(of(&[7; 250]), of(&[7; 256]));
}

#[test]
fn lengths_other_than_the_modulus_are_refused() {
    let rejection = ImplicitRejection::new(&[1; 256], 256);
    for (ciphertext, em) in [(255, 256), (257, 256), (256, 255), (256, 257), (0, 256), (256, 0)] {
        let mut em = vec![0xee; em];
        assert_eq!(rejection.decode(&vec![0; ciphertext], &mut em), Err(BadInput));
        assert!(em.iter().all(|&b| b == 0xee));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Against a decoder that is plain and not constant in time.
    #[test]
    fn any_bytes_decode_to_their_message_or_to_the_synthetic_one(
        bytes in prop::sample::select(&KEY_BYTES[..]),
        d in prop::collection::vec(any::<u8>(), 128),
        ciphertext in prop::collection::vec(any::<u8>(), 512),
        rest in prop::collection::vec(any::<u8>(), 512),
        front in prop::sample::select(vec![[0, 2], [0, 2], [0, 1], [1, 2], [2, 0]]),
        zeros in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let mut em: Vec<u8> = rest[..bytes].iter().map(|&b| b.max(1)).collect();
        em[..2].copy_from_slice(&front);
        for zero in zeros {
            em[2 + zero.index(bytes - 2)] = 0;
        }
        let ciphertext = &ciphertext[..bytes];
        let separator = em[2..].iter().position(|&b| b == 0);
        let expected = match separator {
            Some(at) if at >= 8 && front == [0, 2] => em[at + 3..].to_vec(),
            _ => reference(&d, ciphertext),
        };
        let rejection = ImplicitRejection::new(&d, bytes);
        prop_assert_eq!(decode(&rejection, ciphertext, em), expected);
    }
}
