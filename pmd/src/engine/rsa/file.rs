//! Files with keys and certificates: PEM (RFC 7468) or DER, by content.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::KeyError;

/// The largest file that is read: a key of 4096 bits takes 3 KiB, one behind a chain of certificates more.
const MAX_BYTES: usize = 64 << 10;

/// Labels of blocks that hold a key. What is really in them is told from their contents.
const KEY_LABELS: [&str; 6] =
    ["PRIVATE KEY", "PUBLIC KEY", "RSA PRIVATE KEY", "RSA PUBLIC KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY"];

/// Bytes that may be secret, wiped when dropped.
pub(super) type Der = Zeroizing<Vec<u8>>;

/// What is looked for in a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The one key there is, or else the first certificate.
    Key,
    /// The first certificate: a chain begins with its leaf (RFC 8446, 4.4.2).
    Certificate,
}

/// Reads a file and its permission bits.
pub(super) fn read(path: &Path) -> Result<(Der, u32), KeyError> {
    let failed = |cause| KeyError::Read { path: path.to_owned(), cause };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    // Room for more than is read: the buffer never grows, so no copy of the secret stays behind in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 64));
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok((bytes, mode))
}

/// Refuses a private key that group or others may access.
pub(super) fn check_mode(path: &Path, mode: u32) -> Result<(), KeyError> {
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyError::Exposed { path: path.to_owned(), mode }) }
}

/// The DER of what is wanted. `origin` is what messages call the bytes.
pub(super) fn find(bytes: &[u8], wanted: Wanted, origin: &str) -> Result<Der, KeyError> {
    if bytes.len() > MAX_BYTES {
        return Err(not_a_key(origin, format!("more than {MAX_BYTES} bytes")));
    }
    if bytes.trim_ascii().is_empty() {
        return Err(KeyError::Empty { origin: origin.to_owned() });
    }
    let is_pem = bytes.windows(10).any(|w| w == b"-----BEGIN");
    if is_pem { find_pem(bytes, wanted, origin) } else { Ok(Zeroizing::new(bytes.to_vec())) }
}

/// As [`find`], for what must be PEM. Other blocks are passed over, a second key is not.
pub(super) fn find_pem(text: &[u8], wanted: Wanted, origin: &str) -> Result<Der, KeyError> {
    if text.trim_ascii().is_empty() {
        return Err(KeyError::Empty { origin: origin.to_owned() });
    }
    // While it decodes, the pem crate frees one copy of the base64 text without wiping it; what it returns is wiped.
    let blocks = pem::parse_many(text)
        .map_err(|e| KeyError::Damaged { origin: origin.to_owned(), cause: e.to_string() })?;
    let (mut key, mut certificate, mut other) = (None, None, None);
    for block in blocks {
        let encrypted = block.headers().get("Proc-Type").is_some_and(|v| v.contains("ENCRYPTED"));
        let label = block.tag().to_owned();
        let der = Zeroizing::new(block.into_contents());
        if label == "CERTIFICATE" {
            certificate.get_or_insert(der);
        } else if wanted == Wanted::Certificate {
            other.get_or_insert(label);
        } else if encrypted || label == "ENCRYPTED PRIVATE KEY" {
            return Err(KeyError::Encrypted { origin: origin.to_owned() });
        } else if KEY_LABELS.contains(&label.as_str()) {
            if key.replace(der).is_some() {
                return Err(not_a_key(origin, "more than one key"));
            }
        } else {
            other.get_or_insert(label);
        }
    }
    key.or(certificate).ok_or_else(|| match other {
        Some(label) => refuse(&label, origin),
        None => not_a_key(origin, "a PEM block without its end"),
    })
}

fn refuse(label: &str, origin: &str) -> KeyError {
    let article = if label.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
    let hint = match label {
        "OPENSSH PRIVATE KEY" => {
            format!(" (a copy of it, converted by `ssh-keygen -p -m PEM -f {origin}`)")
        }
        _ => String::new(),
    };
    KeyError::NotAKey { origin: origin.to_owned(), found: format!("{article} {label}"), hint }
}

pub(super) fn not_a_key(origin: &str, found: impl Into<String>) -> KeyError {
    KeyError::NotAKey { origin: origin.to_owned(), found: found.into(), hint: String::new() }
}

/// Writes a PEM block to a new file.
pub(super) fn write_new(path: &Path, mode: u32, label: &str, der: &[u8]) -> Result<(), KeyError> {
    let block = pem::Pem::new(label, der);
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let text = Zeroizing::new(pem::encode_config(&block, config));
    drop(Zeroizing::new(block.into_contents()));
    let failed = |cause| KeyError::Write { path: path.to_owned(), cause };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|cause: io::Error| {
        // Half a key is no key, and would be in the way of the next try.
        let _ = std::fs::remove_file(path);
        failed(cause)
    })
}
