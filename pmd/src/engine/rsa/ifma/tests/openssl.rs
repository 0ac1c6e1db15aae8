//! OpenSSL's raw private operation, from the library of the system if there is one.

use std::ffi::{CStr, c_int, c_uchar, c_void};
use std::mem::transmute;
use std::ptr::null_mut;
use std::sync::OnceLock;

use super::super::super::parts::PrivateParts;

const LIBRARY: &CStr = c"libcrypto.so.3";
/// openssl/rsa.h.
const RSA_NO_PADDING: c_int = 3;

type Rsa = *mut c_void;
type Number = *mut c_void;
type Address = *mut c_void;

type New = unsafe extern "C" fn() -> Rsa;
type Set2 = unsafe extern "C" fn(Rsa, Number, Number) -> c_int;
type Set3 = unsafe extern "C" fn(Rsa, Number, Number, Number) -> c_int;
type ToNumber = unsafe extern "C" fn(*const c_uchar, c_int, Number) -> Number;
type Private = unsafe extern "C" fn(c_int, *const c_uchar, *mut c_uchar, Rsa, c_int) -> c_int;

/// The functions that are used here. The documentation calls them deprecated; the library has them all the same.
pub(super) struct OpenSsl {
    new: New,
    set_key: Set3,
    set_factors: Set2,
    set_crt: Set3,
    number: ToNumber,
    private: Private,
}

/// A private key in OpenSSL. Lives as long as the process, as test keys do.
pub(super) struct Key {
    openssl: &'static OpenSsl,
    rsa: Rsa,
}

// SAFETY: OpenSSL ties an RSA object to no thread.
unsafe impl Send for Key {}
// SAFETY: an RSA object that nobody changes may do operations on several threads (openssl-threads(7)).
unsafe impl Sync for Key {}

/// The library, or nothing and a word about it.
pub(super) fn get() -> Option<&'static OpenSsl> {
    static OPENSSL: OnceLock<Option<OpenSsl>> = OnceLock::new();
    let openssl = OPENSSL.get_or_init(load).as_ref();
    if openssl.is_none() {
        println!("skipped: {} with its RSA functions is not on this machine", LIBRARY.to_string_lossy());
    }
    openssl
}

fn load() -> Option<OpenSsl> {
    // SAFETY: OpenSSL's library may be loaded at any time; it is never unloaded.
    let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if library.is_null() {
        return None;
    }
    let find = |name: &CStr| {
        // SAFETY: the library is loaded.
        let address = unsafe { libc::dlsym(library, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    };
    // SAFETY: each address is that of the function of this name, and the types are those of its declaration in
    // openssl/rsa.h and openssl/bn.h, which do not change within version 3 of the library.
    unsafe {
        Some(OpenSsl {
            new: transmute::<Address, New>(find(c"RSA_new")?),
            set_key: transmute::<Address, Set3>(find(c"RSA_set0_key")?),
            set_factors: transmute::<Address, Set2>(find(c"RSA_set0_factors")?),
            set_crt: transmute::<Address, Set3>(find(c"RSA_set0_crt_params")?),
            number: transmute::<Address, ToNumber>(find(c"BN_bin2bn")?),
            private: transmute::<Address, Private>(find(c"RSA_private_encrypt")?),
        })
    }
}

impl OpenSsl {
    pub(super) fn key(&'static self, parts: &PrivateParts) -> Key {
        // SAFETY: BN_bin2bn reads as many bytes and makes a new number, or null.
        let number =
            |bytes: &[u8]| unsafe { (self.number)(bytes.as_ptr(), bytes.len() as c_int, null_mut()) };
        let PrivateParts { n, e, d, p, q, dp, dq, qinv } = parts;
        // SAFETY: the object is new, and the calls take the numbers over. They fail if something is null.
        unsafe {
            let rsa = (self.new)();
            assert!(!rsa.is_null());
            assert_eq!((self.set_key)(rsa, number(n), number(e), number(d)), 1);
            assert_eq!((self.set_factors)(rsa, number(p), number(q)), 1);
            assert_eq!((self.set_crt)(rsa, number(dp), number(dq), number(qinv)), 1);
            Key { openssl: self, rsa }
        }
    }
}

impl Key {
    /// input ^ d mod n, if OpenSSL takes the input.
    pub(super) fn private(&self, input: &[u8]) -> Option<Vec<u8>> {
        let mut output = vec![0; input.len()];
        let len = input.len() as c_int;
        // SAFETY: reads `len` bytes, and writes as many as the modulus has, which callers give. The key is valid.
        let written = unsafe {
            (self.openssl.private)(len, input.as_ptr(), output.as_mut_ptr(), self.rsa, RSA_NO_PADDING)
        };
        (written == len).then_some(output)
    }
}
