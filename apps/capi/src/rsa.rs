//! Requests for RSA.

use std::ffi::c_int;

use rustix::io::Errno;
use warpdrive_pmd::uacce::UacceInfo;
use warpdrive_pmd::uacce::abi::hpre::{Addresses, Algorithm, Entry, NULL, error, key_bytes};

use crate::border::Failure;
use crate::memory::{Memory, dma};
use crate::ring::Kind;
use crate::types::wd_rsa_req;

/// What knows them.
pub(crate) struct Rsa {
    /// Whether the device has an operation that does nothing.
    has_null: bool,
}

impl Rsa {
    pub(crate) fn new(info: &UacceInfo) -> Self {
        Self { has_null: info.extensions().null }
    }
}

impl Kind for Rsa {
    type Entry = Entry;
    type Request = wd_rsa_req;
    type Note = ();

    unsafe fn begin(&self, request: *mut wd_rsa_req, memory: &Memory) -> Result<(Entry, ()), Failure> {
        // SAFETY: by the contract of the trait; the copy is ours.
        let asked = unsafe { request.read() };
        let entry = match Algorithm::of(asked.op) {
            Some(algorithm) => entry(&asked, algorithm, memory)?,
            None if asked.op == NULL && self.has_null => Entry::null(0),
            None => {
                let text = format!("wd_send: the device knows no operation {} of RSA", asked.op);
                return Err(Failure::new(Errno::INVAL, text));
            }
        };
        // SAFETY: as above; no reference is made.
        unsafe { (&raw mut (*request).status).write(-libc::EINPROGRESS) };
        Ok((entry, ()))
    }

    unsafe fn end(&self, request: *mut wd_rsa_req, (): (), entry: &Entry) {
        // SAFETY: by the contract of the trait.
        unsafe { (&raw mut (*request).status).write(status(entry)) };
    }

    unsafe fn cancel(&self, request: *mut wd_rsa_req) {
        // SAFETY: by the contract of the trait.
        unsafe { (&raw mut (*request).status).write(-libc::ECANCELED) };
    }
}

fn entry(asked: &wd_rsa_req, algorithm: Algorithm, memory: &Memory) -> Result<Entry, Failure> {
    let bytes = asked.bytes as usize;
    if !matches!(bytes, 128 | 256 | 384 | 512) {
        let text = format!("wd_send: numbers of {bytes} bytes. Remedy: 128, 256, 384 or 512");
        return Err(Failure::new(Errno::INVAL, text));
    }
    let at = |what, address: usize, bytes| dma(memory, what, address, bytes);
    let addresses = Addresses {
        key: at("key", asked.key as usize, key_bytes(algorithm, bytes))?,
        input: at("src", asked.src as usize, bytes)?,
        output: at("dst", asked.dst as usize, bytes)?,
    };
    Ok(Entry::new(algorithm, bytes, addresses, 0))
}

fn status(entry: &Entry) -> c_int {
    match entry.ended() {
        Some(0) => 0,
        Some(error::ADDRESS) => -libc::EFAULT,
        Some(error::PARAMETER) => -libc::EINVAL,
        _ => -libc::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_says_is_a_number_of_c() {
        let ended = |code| {
            let mut entry = Entry::default();
            entry.end(code);
            status(&entry)
        };
        assert_eq!([0, error::ADDRESS, error::PARAMETER].map(ended), [0, -libc::EFAULT, -libc::EINVAL]);
        assert_eq!((ended(2), ended(1 << 11), ended(3)), (-libc::EIO, -libc::EIO, -libc::EIO));
        let undone = Entry::new(Algorithm::Crt, 256, Addresses::default(), 0);
        assert_eq!(status(&undone), -libc::EIO, "given back as it was");
    }
}
