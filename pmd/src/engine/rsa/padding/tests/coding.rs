//! The way of a request around an operation that is done elsewhere, against aws-lc on the other side.

use aws_lc_rs::rsa::{
    OaepPrivateDecryptingKey, Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};

use super::super::decrypt::ImplicitRejection;
use super::super::random::Random;
use super::super::sign::pss_encode;
use super::super::verify::{Inconsistent, emsa_pkcs1_v1_5_verify, emsa_pss_verify};
use super::oaep::encrypt;
use super::sign::{signed_by_aws_lc, verifies};
use super::{HASHES, Hash, Numbers, keys, schemes, to_bytes};
use crate::device::Status;
use crate::engine::rsa::coding::{Asked, Coding};
use crate::engine::rsa::session::oaep;
use crate::engine::rsa::{RsaKey, RsaOp, RsaScheme};

const MESSAGE: &[u8] = b"known answer";
const ROOM: usize = 600;

fn asked<'a>(src: &'a [u8], aux: &'a [u8]) -> Asked<'a> {
    Asked { src, aux, room: ROOM }
}

/// A client: encodes, has the operation done by other arithmetic, and decodes.
fn client(
    coding: Coding,
    key: &Numbers,
    random: &mut Random,
    src: &[u8],
    aux: &[u8],
) -> Result<Vec<u8>, Status> {
    let n = to_bytes(&key.n, key.bytes);
    let mut number = vec![0xee; key.bytes];
    coding.encode(asked(src, aux), &n, Some(random), &mut number)?;
    let mut left = match coding {
        Coding::Padded(RsaOp::Verify | RsaOp::Encrypt, _) => key.public(&number),
        _ => key.private(&number),
    }
    .expect("a number below the modulus");
    let rejection = ImplicitRejection::new(&key.d.to_bytes_be(), key.bytes);
    let mut dst = vec![0xee; ROOM];
    let len = coding.decode(asked(src, aux), Some(&rejection), &mut left, &mut dst)?;
    let written =
        if coding == Coding::Padded(RsaOp::Decrypt, RsaScheme::Pkcs1) { key.bytes - 11 } else { len };
    assert!(dst[written..].iter().all(|&b| b == 0xee) && dst[len..written].iter().all(|&b| b == 0));
    dst.truncate(len);
    Ok(dst)
}

fn encryption_schemes() -> impl Iterator<Item = RsaScheme> {
    HASHES.map(|hash| schemes(hash)[2]).into_iter().chain([RsaScheme::Pkcs1])
}

fn encrypted_by_aws_lc(scheme: RsaScheme, key: &RsaKey, message: &[u8]) -> Vec<u8> {
    if let Some(hash) = scheme.hash() {
        return encrypt(hash, key, message);
    }
    let public = PublicEncryptingKey::from_der(&key.spki().unwrap()).unwrap();
    let mut ciphertext = vec![0; key.bits() / 8];
    Pkcs1PublicEncryptingKey::new(public).unwrap().encrypt(message, &mut ciphertext).unwrap();
    ciphertext
}

fn decrypted_by_aws_lc(scheme: RsaScheme, key: &RsaKey, ciphertext: &[u8]) -> Option<Vec<u8>> {
    let private = PrivateDecryptingKey::from_pkcs8(key.pkcs8("decrypt").unwrap().as_bytes()).unwrap();
    let mut out = vec![0; key.bits() / 8];
    let message = match oaep(scheme) {
        Some(algorithm) => OaepPrivateDecryptingKey::new(private)
            .unwrap()
            .decrypt(algorithm, ciphertext, &mut out, None)
            .ok(),
        None => Pkcs1PrivateDecryptingKey::new(private).unwrap().decrypt(ciphertext, &mut out).ok(),
    };
    message.map(|message| message.to_vec())
}

#[test]
fn signatures_made_with_a_client_are_good_and_those_of_others_are_taken() {
    let mut random = Random::from_seed([4; 32]);
    for (numbers, key) in keys() {
        for scheme in HASHES.into_iter().flat_map(|hash| schemes(hash).into_iter().take(2)) {
            let (sign, verify) = (Coding::Padded(RsaOp::Sign, scheme), Coding::Padded(RsaOp::Verify, scheme));
            let ours = client(sign, numbers, &mut random, MESSAGE, b"").unwrap();
            assert!(verifies(scheme, key, MESSAGE, &ours), "{}", scheme.name());
            let theirs = signed_by_aws_lc(scheme, key, MESSAGE);
            for mut signature in [ours, theirs] {
                let mut check = |message: &[u8], signature: &[u8]| {
                    client(verify, numbers, &mut random, message, signature)
                };
                assert_eq!(check(MESSAGE, &signature), Ok(vec![]), "{}", scheme.name());
                assert_eq!(check(b"another", &signature), Err(Status::Mismatch));
                assert_eq!(check(MESSAGE, &signature[1..]), Err(Status::Mismatch));
                assert_eq!(check(MESSAGE, &[&[0], &signature[..]].concat()), Err(Status::Mismatch));
                assert_eq!(check(MESSAGE, &to_bytes(&numbers.n, numbers.bytes)), Err(Status::Mismatch));
                signature[numbers.bytes / 2] ^= 1;
                assert_eq!(check(MESSAGE, &signature), Err(Status::Mismatch));
            }
        }
    }
}

#[test]
fn messages_of_all_lengths_go_to_aws_lc_and_come_from_it() {
    let mut random = Random::from_seed([5; 32]);
    for (numbers, key) in keys() {
        for scheme in encryption_schemes() {
            let (encrypt, decrypt) =
                (Coding::Padded(RsaOp::Encrypt, scheme), Coding::Padded(RsaOp::Decrypt, scheme));
            let longest = numbers.bytes - scheme.hash().map_or(11, |hash| 2 * hash.bytes() + 2);
            let mut seen = std::collections::HashSet::new();
            for len in [0, 0, 1, 32, longest - 1, longest] {
                let message: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let ciphertext = client(encrypt, numbers, &mut random, &message, b"").unwrap();
                assert_eq!(decrypted_by_aws_lc(scheme, key, &ciphertext).as_ref(), Some(&message));
                assert_eq!(client(decrypt, numbers, &mut random, &ciphertext, b"").as_ref(), Ok(&message));
                assert!(seen.insert(ciphertext), "no two encryptions are alike");
                let theirs = encrypted_by_aws_lc(scheme, key, &message);
                assert_eq!(client(decrypt, numbers, &mut random, &theirs, b""), Ok(message));
            }
            let long = vec![1; longest + 1];
            assert_eq!(client(encrypt, numbers, &mut random, &long, b""), Err(Status::BadInput));
        }
    }
}

#[test]
fn padding_of_pkcs1_has_no_zeros() {
    let mut random = Random::from_seed([6; 32]);
    let n = [0xff; 512];
    for _ in 0..200 {
        let mut em = [0; 512];
        let encrypt = Coding::Padded(RsaOp::Encrypt, RsaScheme::Pkcs1);
        encrypt.encode(asked(&[0; 3], b""), &n, Some(&mut random), &mut em).unwrap();
        assert_eq!((&em[..2], &em[508..]), (&[0, 2][..], &[0; 4][..]));
        assert!(em[2..508].iter().all(|&byte| byte != 0));
    }
}

#[test]
fn bad_padding_is_bad_input_with_oaep_and_another_message_with_pkcs1() {
    let mut random = Random::from_seed([7; 32]);
    let (numbers, _) = &keys()[0];
    let mut ciphertext = [0; 256];
    ciphertext[255] = 2;
    for scheme in encryption_schemes() {
        let decrypt = Coding::Padded(RsaOp::Decrypt, scheme);
        let message = client(decrypt, numbers, &mut random, &ciphertext, b"");
        if scheme == RsaScheme::Pkcs1 {
            assert_eq!(message, client(decrypt, numbers, &mut random, &ciphertext, b""));
            assert!(message.is_ok_and(|message| message.len() <= 245));
        } else {
            assert_eq!(message, Err(Status::BadInput));
        }
    }
}

#[test]
fn a_number_goes_in_and_out_as_it_is() {
    let mut random = Random::from_seed([8; 32]);
    let (numbers, _) = &keys()[0];
    let input = to_bytes(&(&numbers.n - 5u8), 256);
    assert_eq!(client(Coding::Raw, numbers, &mut random, &input, b""), Ok(numbers.private(&input).unwrap()));
    for bad in [&input[1..], &[&[0], &input[..]].concat(), &to_bytes(&numbers.n, 256)] {
        assert_eq!(client(Coding::Raw, numbers, &mut random, bad, b""), Err(Status::BadInput));
    }
}

#[test]
fn room_and_randomness_are_demanded_before_anything_is_done() {
    let n = [0xf1; 256];
    let ciphertext = [1; 256];
    let try_with = |coding: Coding, src: &[u8], room, random: Option<&mut Random>| {
        coding.encode(Asked { src, aux: &ciphertext, room }, &n, random, &mut [0; 256])
    };
    let mut seeded = Random::from_seed([9; 32]);
    let padded = |op, scheme| {
        (Coding::Padded(op, scheme), if op == RsaOp::Decrypt { &ciphertext[..] } else { MESSAGE })
    };
    for ((coding, src), needed, draws) in [
        ((Coding::Raw, &ciphertext[..]), 256, false),
        (padded(RsaOp::Sign, RsaScheme::Pkcs1Sha256), 256, false),
        (padded(RsaOp::Sign, RsaScheme::PssSha512), 256, true),
        (padded(RsaOp::Verify, RsaScheme::PssSha512), 0, false),
        (padded(RsaOp::Encrypt, RsaScheme::OaepSha256), 256, true),
        (padded(RsaOp::Encrypt, RsaScheme::Pkcs1), 256, true),
        (padded(RsaOp::Decrypt, RsaScheme::OaepSha256), 0, false),
        (padded(RsaOp::Decrypt, RsaScheme::Pkcs1), 245, false),
    ] {
        assert_eq!(try_with(coding, src, needed, Some(&mut seeded)), Ok(()), "{coding:?}");
        let without = try_with(coding, src, needed, None);
        assert_eq!(without, if draws { Err(Status::EngineFailed) } else { Ok(()) }, "{coding:?}");
        if let Some(less) = needed.checked_sub(1) {
            let refused = try_with(coding, src, less, Some(&mut seeded));
            assert_eq!(refused, Err(Status::NoSpace { needed: needed as u32 }), "{coding:?}");
        }
    }
}

/// A verifier that overlooks something takes forged signatures, with small exponents at least (Bleichenbacher 2006).
#[test]
fn every_bit_of_an_encoding_counts() {
    for hash in HASHES {
        for em_bits in [1039, 1040, 1041, 1047, 2047] {
            let bytes = (em_bits + 1usize).div_ceil(8);
            let mut em = vec![0; bytes];
            pss_encode(hash, MESSAGE, &vec![0x5a; hash.bytes()], em_bits, &mut em);
            let check = |em: &[u8]| emsa_pss_verify(hash, MESSAGE, em_bits, em);
            assert_eq!(check(&em), Ok(()));
            for bit in 0..8 * bytes {
                em[bit / 8] ^= 0x80 >> (bit % 8);
                assert_eq!(check(&em), Err(Inconsistent), "bit {bit} of {em_bits}, {hash:?}");
                em[bit / 8] ^= 0x80 >> (bit % 8);
            }
        }
        let mut em = vec![0; 256];
        super::super::sign::emsa_pkcs1_v1_5_encode(hash, MESSAGE, &mut em).unwrap();
        let check = |em: &[u8]| emsa_pkcs1_v1_5_verify(hash, MESSAGE, em);
        assert_eq!(check(&em), Ok(()));
        for bit in 0..2048 {
            em[bit / 8] ^= 0x80 >> (bit % 8);
            assert_eq!(check(&em), Err(Inconsistent), "bit {bit}, {hash:?}");
            em[bit / 8] ^= 0x80 >> (bit % 8);
        }
    }
}

/// A salt of another length is padding that is not all zeros, or an 01 that comes too late.
#[test]
fn a_salt_of_another_length_is_refused() {
    for salt_bytes in [0, 20, 31, 33, 48] {
        let mut em = [0; 256];
        pss_encode(Hash::Sha256, MESSAGE, &vec![0x5a; salt_bytes], 2047, &mut em);
        assert_eq!(emsa_pss_verify(Hash::Sha256, MESSAGE, 2047, &em), Err(Inconsistent), "{salt_bytes}");
    }
}

#[test]
fn encodings_that_cannot_be_are_refused() {
    for hash in HASHES {
        for bytes in [0, 1, hash.bytes(), 2 * hash.bytes() + 1, 513, 5000] {
            let em = vec![0xbc; bytes];
            assert_eq!(emsa_pss_verify(hash, MESSAGE, (8 * bytes).saturating_sub(1), &em), Err(Inconsistent));
            assert_eq!(emsa_pkcs1_v1_5_verify(hash, MESSAGE, &em), Err(Inconsistent));
        }
    }
}
