//! Operations of which somebody else does the arithmetic: the numbers of the key, what goes in, what comes out. And those that
//! nobody else does, one at a time.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::coding::{Asked, Coding};
use super::engine::alone;
use super::padding::random::Random;
use super::session::PrivateKey;
use super::{MAX_KEY_BYTES, PublicKeySession, RsaOp};
use crate::device::Status;

/// The private operation of a session, without the operation.
#[derive(Clone, Copy)]
pub(crate) struct Foreign<'a> {
    key: &'a PrivateKey,
    coding: Coding,
}

/// The numbers of a private key, big-endian, one behind the other.
pub(crate) enum KeyNumbers {
    /// dq, dp, q, p and 1/q mod p, each half as long as the modulus.
    Crt(Zeroizing<Vec<u8>>),
    /// The private exponent and the modulus, as long as that.
    Exponent(Zeroizing<Vec<u8>>),
}

impl PublicKeySession {
    /// The operation, if it is a private one.
    pub(crate) fn foreign(&self) -> Option<Foreign<'_>> {
        self.private().map(|(key, coding)| Foreign { key, coding })
    }

    /// Does what is not a private operation: verifies, encrypts, agrees.
    pub(crate) fn alone(&self, src: &[u8], aux: &[u8], dst: &mut [u8]) -> Result<usize, Status> {
        alone(self, src, aux, dst)
    }
}

impl Foreign<'_> {
    /// Bytes of the modulus: of the numbers that go in and come out.
    pub(crate) fn key_bytes(&self) -> usize {
        self.key.n.len()
    }

    /// Whether what comes out of the operation is the answer as it is.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self.coding, Coding::Raw | Coding::Padded(RsaOp::Sign, _))
    }

    /// The key.
    pub(crate) fn numbers(&self) -> Option<KeyNumbers> {
        let library = &self.key.library;
        let crt = library.crt(self.key_bytes() / 2).map(KeyNumbers::Crt);
        crt.or_else(|| library.exponent(self.key_bytes()).map(KeyNumbers::Exponent))
    }

    /// Makes the number that goes in, as long as the modulus.
    pub(crate) fn encode(
        &self,
        asked: Asked<'_>,
        random: Option<&mut Random>,
        number: &mut [u8],
    ) -> Result<(), Status> {
        self.coding.encode(asked, &self.key.n, random, number)
    }

    /// Whether `output` is what the operation makes of `input`. Where the key does not tell the public exponent, it is believed.
    ///
    /// A wrong one by the Chinese remainder theorem tells the key to whoever sees it (Boneh, DeMillo and Lipton 1997).
    pub(crate) fn is_right(&self, input: &[u8], output: &[u8]) -> bool {
        if !self.key.library.has_public_exponent() {
            return true;
        }
        let mut back = Zeroizing::new([0; MAX_KEY_BYTES]);
        let back = &mut back[..self.key_bytes()];
        self.key.library.public(output, back).is_ok() && bool::from(back.ct_eq(input))
    }

    /// Makes the answer of the number that came out, and says how much of `dst` it is.
    pub(crate) fn decode(
        &self,
        asked: Asked<'_>,
        number: &mut [u8],
        dst: &mut [u8],
    ) -> Result<usize, Status> {
        self.coding.decode(asked, self.key.rejection.as_ref(), number, dst)
    }
}
