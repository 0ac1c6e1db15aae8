//! Encryption and decryption.

use std::fs;

use warpdrive_pmd::device::Status;
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::rsa::{RsaKey, RsaOp, RsaScheme};

use super::{Bench, MESSAGE, PLACEMENTS, data, encryption_schemes, keys, known_key, longest};

#[test]
fn what_is_encrypted_decrypts_up_to_the_longest_message() {
    for placement in PLACEMENTS {
        let mut bench = Bench::new(placement);
        for key in keys() {
            let bytes = key.bits() / 8;
            for scheme in encryption_schemes() {
                let encrypt = bench.session(RsaOp::Encrypt, scheme, &key.public());
                let decrypt = bench.session(RsaOp::Decrypt, scheme, key);
                let max = longest(scheme, key);
                for len in [0, 1, max] {
                    let message = vec![0x17; len];
                    let sealed = bench.run(encrypt, &message, b"", bytes).unwrap();
                    assert_eq!(sealed.len(), bytes);
                    // Room for the message is enough, or where its length is secret, for the longest.
                    let enough = if scheme == RsaScheme::Pkcs1 { max } else { len };
                    assert_eq!(bench.run(decrypt, &sealed, b"", enough).as_ref(), Ok(&message));
                    assert_eq!(bench.run(decrypt, &sealed, b"", bytes + 1).as_ref(), Ok(&message));
                    for room in [0, enough / 2, enough.saturating_sub(1)] {
                        let refused = Err(Status::NoSpace { needed: enough as u32 });
                        let expected = if room < enough { refused } else { Ok(message.clone()) };
                        assert_eq!(bench.run(decrypt, &sealed, b"", room), expected);
                    }
                }
                assert_eq!(bench.run(encrypt, &vec![1; max + 1], b"", bytes), Err(Status::BadInput));
            }
        }
        assert_eq!(bench.pool.stats().in_use, 0);
    }
}

#[test]
fn what_cannot_be_decrypted_is_bad_input() {
    let mut bench = Bench::new(Placement::Inline);
    let key = &known_key();
    let pkcs1 = RsaScheme::Pkcs1;
    for scheme in encryption_schemes() {
        let decrypt = bench.session(RsaOp::Decrypt, scheme, key);
        let sealed = fs::read(data(&format!("{}.bin", scheme.name()))).unwrap();
        assert!(bench.run(decrypt, &sealed, b"", 256).is_ok());
        // Of another length, or no number below the modulus: everybody can see that.
        let longer = [&sealed[..], b"x"].concat();
        for bad in [&b""[..], &sealed[..255], &longer, &[0xff; 256]] {
            assert_eq!(bench.run(decrypt, bad, b"", 256), Err(Status::BadInput), "{}", scheme.name());
        }
        let mut tampered = sealed.clone();
        tampered[0] ^= 0x40;
        for bad in [&tampered[..], &[0; 256]] {
            if scheme != pkcs1 {
                assert_eq!(bench.run(decrypt, bad, b"", 256), Err(Status::BadInput), "{}", scheme.name());
            }
        }
        for other in encryption_schemes().filter(|s| ![scheme, pkcs1].contains(s)) {
            let decrypt = bench.session(RsaOp::Decrypt, other, key);
            assert_eq!(bench.run(decrypt, &sealed, b"", 256), Err(Status::BadInput));
        }
    }
}

#[test]
fn bad_pkcs1_padding_gives_another_message_and_always_the_same() {
    // Two devices, so that nothing is remembered from one to the other.
    let mut benches = PLACEMENTS.map(Bench::new);
    let key = known_key();
    let sessions = benches.each_mut().map(|b| b.session(RsaOp::Decrypt, RsaScheme::Pkcs1, &key));
    let good = fs::read(data("pkcs1.bin")).unwrap();
    let mut lengths = vec![];
    // Fixed key and fixed inputs: one changed message in 100,000 looks well padded by chance.
    let changed = (0..32).map(|i| {
        let mut changed = good.clone();
        changed[8 * i + usize::from(i == 0)] ^= 1;
        changed
    });
    let of_another_scheme = fs::read(data("oaep-sha256.bin")).unwrap();
    for bad in changed.chain([of_another_scheme, vec![0; 256]]) {
        let mut answers = vec![];
        for (bench, session) in benches.iter_mut().zip(sessions) {
            let needed = Err(Status::NoSpace { needed: 245 });
            assert_eq!(bench.run(session, &bad, b"", 244), needed, "as for a good one");
            for room in [245, 256] {
                answers.push(bench.run(session, &bad, b"", room).unwrap());
            }
        }
        assert!(answers.iter().all(|a| *a == answers[0] && a != MESSAGE && a.len() <= 245));
        lengths.push(answers[0].len());
    }
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 20, "lengths are drawn too: {lengths:?}");
}

#[test]
fn bad_pkcs1_padding_gives_the_messages_that_openssl_gives() {
    use aws_lc_rs::digest::{SHA256, digest};
    let mut bench = Bench::new(Placement::Inline);
    let sessions = [2048, 3072, 4096].map(|bits| {
        let pem = fs::read_to_string(data(&format!("rsa{bits}-pkcs1.pem"))).unwrap();
        bench.session(RsaOp::Decrypt, RsaScheme::Pkcs1, &RsaKey::from_pem(&pem, "known").unwrap())
    });
    let text = fs::read_to_string(data("implicit-rejection.txt")).unwrap();
    let mut n = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [bits, ciphertext, len, hash] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let bytes = bits.parse::<usize>().unwrap() / 8;
        let number = ciphertext.parse::<u32>().unwrap().to_be_bytes();
        let ciphertext = [&vec![0; bytes - number.len()][..], &number].concat();
        let message = bench.run(sessions[bytes / 128 - 2], &ciphertext, b"", bytes).unwrap();
        let ours: String = digest(&SHA256, &message).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!((message.len().to_string().as_str(), ours.as_str()), (len, hash), "{line}");
        n += 1;
    }
    assert!(n >= 30);
}
