//! Random bytes for salts and blinding, without a system call for each.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

use crate::engine::rsa::KeyError;

const KEY_BYTES: usize = 32;
/// A multiple of the cipher's block of 64 bytes: it buffers nothing by itself then.
const BUFFER_BYTES: usize = 1024;

/// A random generator for one engine: ChaCha20, seeded by the system once.
///
/// The first bytes of each refill are the key of the next, and bytes are wiped as they are given out: who reads the
/// memory learns nothing of what was drawn before ("fast key erasure").
///
/// A copy made by fork(2) draws the same bytes as the original, so an engine must not be used on both sides of a
/// fork. Nothing here detects that, as asking for the process id is a system call.
pub(crate) struct Random {
    /// The next key, then what is left of the output. In a box, as a move would leave a copy that nobody wipes.
    buffer: Box<Zeroizing<[u8; BUFFER_BYTES]>>,
    /// Bytes at the front that are no output (any more).
    used: usize,
}

impl Random {
    /// A generator with a seed from the system.
    ///
    /// # Errors
    /// [`KeyError::Library`], if the system has no randomness.
    pub(crate) fn new() -> Result<Self, KeyError> {
        let mut random = Self::unseeded();
        SystemRandom::new()
            .fill(&mut random.buffer[..KEY_BYTES])
            .map_err(|_| KeyError::Library { what: "seed a random generator" })?;
        Ok(random)
    }

    /// A generator whose output is known.
    #[cfg(test)]
    pub(crate) fn from_seed(seed: [u8; KEY_BYTES]) -> Self {
        let mut random = Self::unseeded();
        random.buffer[..KEY_BYTES].copy_from_slice(&seed);
        random
    }

    fn unseeded() -> Self {
        Self { buffer: Box::new(Zeroizing::new([0; BUFFER_BYTES])), used: BUFFER_BYTES }
    }

    /// Fills `out`.
    pub(crate) fn fill(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            if self.used == BUFFER_BYTES {
                self.refill();
            }
            let bytes = out.len().min(BUFFER_BYTES - self.used);
            let (now, later) = out.split_at_mut(bytes);
            let drawn = &mut self.buffer[self.used..self.used + bytes];
            now.copy_from_slice(drawn);
            // Plain stores are enough: the buffer lives on, so they are not dead.
            drawn.fill(0);
            self.used += bytes;
            out = later;
        }
    }

    fn refill(&mut self) {
        let (key, rest) = self.buffer.split_at_mut(KEY_BYTES);
        // No key is used twice, so the nonce may be the same.
        let nonce = [0; 12];
        let mut cipher = ChaCha20::new((&*key).try_into().expect("32 bytes"), &nonce.into());
        key.fill(0);
        debug_assert!(rest.iter().all(|&b| b == 0), "drawn bytes are wiped");
        cipher.apply_keystream(self.buffer.as_mut_slice());
        self.used = KEY_BYTES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_chacha20() {
        // The first block for the zero key, nonce and counter, by RFC 8439, A.1, test vector 1: its first half is the
        // next key, its second half the first output.
        let block = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7\
                     da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586";
        let block: Vec<u8> =
            (0..64).map(|i| u8::from_str_radix(&block[2 * i..2 * i + 2], 16).unwrap()).collect();
        let mut random = Random::from_seed([0; 32]);
        let mut first = [0; 32];
        random.fill(&mut first);
        assert_eq!(first, block[32..]);
    }

    #[test]
    fn each_refill_has_a_key_from_the_one_before() {
        let mut key = [9; 32];
        let mut random = Random::from_seed(key);
        for _ in 0..5 {
            let mut stream = [0; BUFFER_BYTES];
            ChaCha20::new(&key.into(), &[0; 12].into()).apply_keystream(&mut stream);
            let mut drawn = [0; BUFFER_BYTES - KEY_BYTES];
            random.fill(&mut drawn);
            assert_eq!(drawn, stream[KEY_BYTES..]);
            key.copy_from_slice(&stream[..KEY_BYTES]);
        }
    }

    #[test]
    fn the_output_is_the_same_however_it_is_cut() {
        let mut whole = [0; 5000];
        Random::from_seed([7; 32]).fill(&mut whole);
        let mut random = Random::from_seed([7; 32]);
        let mut cut = vec![];
        for len in (0..).take_while(|n| n * (n + 1) / 2 <= 5000) {
            let mut piece = vec![0xee; len];
            random.fill(&mut piece);
            cut.extend(piece);
        }
        assert_eq!(cut, whole[..cut.len()]);
        assert!(cut.len() > 4 * BUFFER_BYTES);
    }

    #[test]
    fn what_was_drawn_is_gone_from_memory() {
        let mut random = Random::from_seed([9; 32]);
        let mut drawn = [0; 100];
        random.fill(&mut drawn);
        assert_eq!(random.used, KEY_BYTES + 100);
        assert_eq!(random.buffer[KEY_BYTES..random.used], [0; 100]);
        assert_ne!(random.buffer[..KEY_BYTES], [9; 32]);
        assert!(random.buffer[random.used..].iter().any(|&b| b != 0));
    }

    #[test]
    fn two_generators_of_the_system_differ() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        Random::new().unwrap().fill(&mut a);
        Random::new().unwrap().fill(&mut b);
        assert!(a != b && a != [0; 32] && b != [0; 32]);
    }
}
