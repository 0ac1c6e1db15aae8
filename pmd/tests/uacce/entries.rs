//! What clients ask for, and whether the answer is right.

use num_bigint::BigUint;
use pkcs1::RsaPrivateKeyRef;
use pkcs1::der::Decode as _;
use warpdrive_pmd::uacce::abi::hpre::{self, Addresses, Algorithm};
use warpdrive_pmd::uacce::abi::zip::{self, Asked, Ended, Format};

use crate::memory::Pages;
use crate::queue::Queue;

/// An entry that asks for nothing.
pub fn null() -> [u32; 16] {
    let mut entry = hpre::Entry::default();
    entry.0[0] = hpre::NULL | hpre::NEW << 30;
    entry.0
}

/// Does nothing; it must end well.
#[track_caller]
pub fn answers(queue: &mut Queue) {
    assert_eq!(code(&queue.call(&null())), 0);
}

/// How an HPRE entry has ended.
#[track_caller]
pub fn code(words: &[u32]) -> u32 {
    hpre::Entry(words.try_into().unwrap()).ended().expect("it has ended")
}

/// Bytes of the numbers of [`Rsa`].
pub const RSA: usize = 256;

/// Numbers of an RSA operation of 2048 bits, side by side: the key, the input, and room for the output.
pub struct Rsa {
    pub key: Vec<u8>,
    pub input: Vec<u8>,
    pub result: Vec<u8>,
    algorithm: Algorithm,
}

const KEY: &str = include_str!("../data/rsa/rsa2048-pkcs1.pem");

impl Rsa {
    /// The operation of a public key.
    pub fn public() -> Self {
        Self::with_exponent(65_537)
    }

    /// With another exponent, and so another key.
    pub fn with_exponent(e: u32) -> Self {
        let der = pem::parse(KEY).unwrap().into_contents();
        let key = RsaPrivateKeyRef::from_der(&der).unwrap();
        let n = key.modulus.as_bytes();
        let e = BigUint::from(e);
        let key = [padded(&e.to_bytes_be(), RSA), padded(n, RSA)].concat();
        let input = input(1);
        let result = BigUint::from_bytes_be(&input).modpow(&e, &BigUint::from_bytes_be(n)).to_bytes_be();
        Self { key, input, result: padded(&result, RSA), algorithm: Algorithm::NoCrt }
    }

    /// The operation of the private key, by its remainders.
    pub fn private() -> Self {
        let der = pem::parse(KEY).unwrap().into_contents();
        let key = RsaPrivateKeyRef::from_der(&der).unwrap();
        let numbers = [key.exponent2, key.exponent1, key.prime2, key.prime1, key.coefficient];
        let parts = numbers.map(|number| padded(number.as_bytes(), RSA / 2)).concat();
        let [d, n] = [key.private_exponent, key.modulus].map(|n| BigUint::from_bytes_be(n.as_bytes()));
        let input = input(2);
        let result = BigUint::from_bytes_be(&input).modpow(&d, &n).to_bytes_be();
        Self { key: parts, input, result: padded(&result, RSA), algorithm: Algorithm::Crt }
    }

    /// An entry for it, with its parts where they are in this process.
    pub fn entry(&self, output: &mut [u8]) -> [u32; 16] {
        assert_eq!(output.len(), RSA);
        self.entry_at(self.key.as_ptr() as u64, self.input.as_ptr() as u64, output.as_mut_ptr() as u64)
    }

    /// An entry for it, with its parts anywhere.
    pub fn entry_at(&self, key: u64, input: u64, output: u64) -> [u32; 16] {
        hpre::Entry::new(self.algorithm, RSA, Addresses { key, input, output }, 0x5eed_0000_0001).0
    }

    /// Does it with ordinary memory; the result must be right.
    #[track_caller]
    pub fn is_done(&self, queue: &mut Queue) {
        let mut output = vec![0; RSA];
        assert_eq!(code(&queue.call(&self.entry(&mut output))), 0);
        assert!(output == self.result, "the result is right");
    }
}

fn input(seed: u8) -> Vec<u8> {
    // Below any modulus.
    (0..RSA).map(|i| if i == 0 { 0 } else { (i as u8).wrapping_mul(37) ^ seed }).collect()
}

fn padded(number: &[u8], bytes: usize) -> Vec<u8> {
    let number = &number[number.iter().take_while(|byte| **byte == 0).count()..];
    [vec![0; bytes - number.len()], number.to_vec()].concat()
}

/// Something like text.
pub fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| b"the quick brown fox jumps "[(i * i / 7 + i) % 26]).collect()
}

/// Blocks of DEFLATE from one place to another.
pub fn deflate(source: u64, input: usize, destination: u64, room: usize) -> Asked {
    Asked {
        format: Format::Deflate,
        source,
        input: input as u32,
        destination,
        room: room as u32,
        stream: None,
        begins: true,
        finish: true,
    }
}

/// The entry of a request.
pub fn entry(asked: &Asked) -> [u32; 32] {
    zip::Entry::new(asked, 0, 77).0
}

/// How a ZIP entry has ended.
pub fn ended(words: &[u32]) -> Ended {
    zip::Entry(words.try_into().unwrap()).ended()
}

/// Sends a request, and waits for its end.
#[track_caller]
pub fn zip(queue: &mut Queue, asked: &Asked) -> Ended {
    let words = queue.call(&entry(asked));
    assert_eq!(zip::Entry(words.clone().try_into().unwrap()).tag(), 77);
    ended(&words)
}

/// Compresses ordinary memory; the result must be right.
#[track_caller]
pub fn compresses(queue: &mut Queue) {
    let (plain, output) = (text(10_000), Pages::new(16 << 10));
    let ended = zip(queue, &deflate(plain.as_ptr() as u64, plain.len(), output.address(), output.bytes()));
    assert_eq!(ended.status, zip::status::DONE);
    assert!(inflate(&output.get(0, ended.produced as usize), plain.len()) == plain);
}

/// What was compressed.
#[track_caller]
pub fn inflate(blocks: &[u8], bytes: usize) -> Vec<u8> {
    let mut plain = vec![0; bytes + 1];
    let n = libdeflater::Decompressor::new().deflate_decompress(blocks, &mut plain).expect("DEFLATE");
    plain.truncate(n);
    plain
}
