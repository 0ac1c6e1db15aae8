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
/// made. Of programs that make it at the same time one succeeds, and the others load that one's.
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
    // A link is made of a whole file, and not in the place of another.
    let new = private.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&new);
    key.save_pem(&new)?;
    let placed = std::fs::hard_link(&new, &private);
    let _ = std::fs::remove_file(&new);
    match placed {
        Ok(()) => {
            let public = folder.join(format!("rsa{bits}.pub.pem"));
            // Of a private key that is gone.
            let _ = std::fs::remove_file(&public);
            key.save_public_pem(public)?;
            Ok((key, private, true))
        }
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok((RsaKey::load(&private)?, private, false))
        }
        Err(cause) => Err(KeyError::Write { path: private, cause }),
    }
}
