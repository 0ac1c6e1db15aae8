//! Demo material, made at first use: so that a fresh clone runs without preparation.

use std::path::{Path, PathBuf};

use warpdrive_pmd::engine::rsa::{KeyError, RsaKey};

/// What a key name begins with that means a demo key: `"demo:rsa2048"`.
pub const PREFIX: &str = "demo:";

/// The demo keys there are.
pub const NAMES: &[&str] = &["demo:rsa2048", "demo:rsa3072", "demo:rsa4096"];

/// Where demo keys are kept: `$WARPDRIVE_DEMO_DIR`, else `warpdrive-demo` in the current folder.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::var_os("WARPDRIVE_DEMO_DIR").map_or_else(|| PathBuf::from("warpdrive-demo"), PathBuf::from)
}

/// The number of bits that a demo key's name asks for. `None` if it is not the name of one.
#[must_use]
pub fn bits(name: &str) -> Option<usize> {
    match name.strip_prefix(PREFIX)? {
        "rsa2048" => Some(2048),
        "rsa3072" => Some(3072),
        "rsa4096" => Some(4096),
        _ => None,
    }
}

/// Loads a demo key from `folder`, and makes it (private and public file) if it is not there yet. Says whether it was
/// made.
///
/// # Errors
/// [`KeyError`] when the files cannot be read or written.
pub fn key(folder: &Path, bits: usize) -> Result<(RsaKey, PathBuf, bool), KeyError> {
    let private = folder.join(format!("rsa{bits}.pem"));
    if private.exists() {
        return Ok((RsaKey::load(&private)?, private, false));
    }
    std::fs::create_dir_all(folder).map_err(|cause| KeyError::Write { path: folder.to_owned(), cause })?;
    let key = RsaKey::generate(bits)?;
    key.save_public_pem(folder.join(format!("rsa{bits}.pub.pem")))?;
    key.save_pem(&private)?;
    Ok((key, private, true))
}
