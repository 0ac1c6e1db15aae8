//! Keys of certificates, as the TLS library wants them: those of RSA sign by the device, the others at once.

use std::fmt;
use std::sync::Arc;

use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use warpdrive_pmd::device::SessionId;

use super::park::{self, Answer, Question};

/// The schemes that an RSA key signs with, the best first. SHA-256 is as long as a signature of 2,048 bits is strong.
pub const SCHEMES: [SignatureScheme; 6] = [
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// An RSA key whose signatures a device computes. The library has it as well, for when the device does not.
pub struct DeviceKey {
    /// The device's session for each of the schemes.
    pub sessions: [SessionId; SCHEMES.len()],
    /// Bytes of a signature.
    pub signature_len: usize,
    /// The same key.
    pub library: Arc<dyn SigningKey>,
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({:?})", self.sessions)
    }
}

impl SigningKey for DeviceKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let place = SCHEMES.iter().position(|scheme| offered.contains(scheme))?;
        let library = self.library.choose_scheme(&SCHEMES[place..=place])?;
        let (session, signature_len) = (self.sessions[place], self.signature_len);
        Some(Box::new(DeviceSigner { session, signature_len, scheme: SCHEMES[place], library }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }

    fn public_key(&self) -> Option<rustls::pki_types::SubjectPublicKeyInfoDer<'_>> {
        self.library.public_key()
    }
}

#[derive(Debug)]
struct DeviceSigner {
    session: SessionId,
    signature_len: usize,
    scheme: SignatureScheme,
    library: Box<dyn Signer>,
}

impl Signer for DeviceSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        match Question::new(self.session, self.signature_len, message).map(park::ask) {
            Some(Answer::Signature(signature)) => Ok(signature),
            Some(Answer::Library) | None => self.library.sign(message),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
