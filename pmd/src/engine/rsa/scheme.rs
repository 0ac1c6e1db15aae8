//! What can be done with an RSA key, and how it is padded.

use serde::Deserialize;

use super::padding::Hash;

/// What a session does with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RsaOp {
    /// Private: message to signature.
    Sign,
    /// Public: checks a signature.
    Verify,
    /// Public: short message to key-size bytes.
    Encrypt,
    /// Private: the reverse.
    Decrypt,
}

impl RsaOp {
    /// The name used in configuration files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
        }
    }
}

/// Padding and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RsaScheme {
    /// Signatures: RSASSA-PKCS1-v1_5 with SHA-256.
    Pkcs1Sha256,
    /// Signatures: RSASSA-PKCS1-v1_5 with SHA-384.
    Pkcs1Sha384,
    /// Signatures: RSASSA-PKCS1-v1_5 with SHA-512.
    Pkcs1Sha512,
    /// Signatures: RSASSA-PSS with SHA-256, MGF1 with the same, and a salt of 32 bytes.
    PssSha256,
    /// Signatures: RSASSA-PSS with SHA-384, MGF1 with the same, and a salt of 48 bytes.
    PssSha384,
    /// Signatures: RSASSA-PSS with SHA-512, MGF1 with the same, and a salt of 64 bytes.
    PssSha512,
    /// Encryption: RSAES-OAEP with SHA-256, MGF1 with the same, and no label.
    OaepSha256,
    /// Encryption: RSAES-OAEP with SHA-384, MGF1 with the same, and no label.
    OaepSha384,
    /// Encryption: RSAES-OAEP with SHA-512, MGF1 with the same, and no label.
    OaepSha512,
    /// Encryption: RSAES-PKCS1-v1_5, for old peers only.
    ///
    /// Decryption never says that a message was badly padded, because who learns that about messages of his choice can
    /// decrypt any message (Bleichenbacher 1998): the result is then a message of random length and content, the same
    /// every time ("implicit rejection", draft-irtf-cfrg-rsa-guidance). An input that is not as long as the modulus, or
    /// not a number below it, is [`Status::BadInput`](crate::device::Status): everybody can see that.
    ///
    /// The length of the message is a secret too. So the destination must have room for the longest, key size − 11
    /// bytes, or the request ends as [`Status::NoSpace`](crate::device::Status) before anything is decrypted; and so
    /// many bytes are written whatever the message: its own, then zeros. What is
    /// [`produced`](crate::device::Completion::produced) tells how many are its own, and whoever acts on it must not
    /// let an attacker see how.
    Pkcs1,
}

impl RsaScheme {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Pkcs1Sha256,
        Self::Pkcs1Sha384,
        Self::Pkcs1Sha512,
        Self::PssSha256,
        Self::PssSha384,
        Self::PssSha512,
        Self::OaepSha256,
        Self::OaepSha384,
        Self::OaepSha512,
        Self::Pkcs1,
    ];

    /// The name used in configuration files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pkcs1Sha256 => "pkcs1-sha256",
            Self::Pkcs1Sha384 => "pkcs1-sha384",
            Self::Pkcs1Sha512 => "pkcs1-sha512",
            Self::PssSha256 => "pss-sha256",
            Self::PssSha384 => "pss-sha384",
            Self::PssSha512 => "pss-sha512",
            Self::OaepSha256 => "oaep-sha256",
            Self::OaepSha384 => "oaep-sha384",
            Self::OaepSha512 => "oaep-sha512",
            Self::Pkcs1 => "pkcs1",
        }
    }

    /// Whether `op` can use it.
    #[must_use]
    pub fn is_for(self, op: RsaOp) -> bool {
        matches!(self.padding(), Padding::Pkcs1Signature | Padding::Pss)
            == matches!(op, RsaOp::Sign | RsaOp::Verify)
    }

    /// Its hash; PKCS#1 encryption has none.
    pub(super) fn hash(self) -> Option<Hash> {
        match self {
            Self::Pkcs1Sha256 | Self::PssSha256 | Self::OaepSha256 => Some(Hash::Sha256),
            Self::Pkcs1Sha384 | Self::PssSha384 | Self::OaepSha384 => Some(Hash::Sha384),
            Self::Pkcs1Sha512 | Self::PssSha512 | Self::OaepSha512 => Some(Hash::Sha512),
            Self::Pkcs1 => None,
        }
    }

    /// How it pads.
    pub(super) fn padding(self) -> Padding {
        match self {
            Self::Pkcs1Sha256 | Self::Pkcs1Sha384 | Self::Pkcs1Sha512 => Padding::Pkcs1Signature,
            Self::PssSha256 | Self::PssSha384 | Self::PssSha512 => Padding::Pss,
            Self::OaepSha256 | Self::OaepSha384 | Self::OaepSha512 => Padding::Oaep,
            Self::Pkcs1 => Padding::Pkcs1Encryption,
        }
    }
}

/// The encodings of RFC 8017.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// EMSA-PKCS1-v1_5.
    Pkcs1Signature,
    /// EMSA-PSS.
    Pss,
    /// EME-OAEP.
    Oaep,
    /// EME-PKCS1-v1_5.
    Pkcs1Encryption,
}
