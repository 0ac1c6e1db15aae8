//! Between C and Rust: no panic goes across, and a failure is a number, `errno` and a sentence.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;
use warpdrive_pmd::uacce::{DiscoverError, UacceError};

/// Why a call fails.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the caller's program goes by.
    pub(crate) errno: Errno,
    /// What a person goes by. `None`: it is part of the usual course, such as a queue that is full.
    pub(crate) text: Option<Cow<'static, str>>,
}

impl Failure {
    /// Of the usual course.
    pub(crate) const fn usual(errno: Errno) -> Self {
        Self { errno, text: None }
    }

    /// With what went wrong, and the remedy.
    pub(crate) fn new(errno: Errno, text: impl Into<Cow<'static, str>>) -> Self {
        Self { errno, text: Some(text.into()) }
    }
}

/// What the client of queue files says.
pub(crate) fn of_uacce(error: &UacceError) -> Failure {
    let errno = match error {
        UacceError::Discover(error) => return of_discovery(error),
        UacceError::Open { cause, .. } => Errno::from_io_error(cause).unwrap_or(Errno::IO),
        UacceError::Map { cause, .. } => Errno::from_io_error(cause).unwrap_or(Errno::NOMEM),
        UacceError::Call { cause, .. } => *cause,
        UacceError::Depth { .. } => Errno::INVAL,
        UacceError::Memory { .. } => Errno::NOMEM,
        _ => Errno::OPNOTSUPP,
    };
    Failure::new(errno, error.to_string())
}

/// What discovery says.
pub(crate) fn of_discovery(error: &DiscoverError) -> Failure {
    let errno = match error {
        DiscoverError::NoList { .. } | DiscoverError::NotFound { .. } => Errno::NODEV,
        DiscoverError::Exhausted { .. } => Errno::BUSY,
        DiscoverError::Unreadable { cause, .. } => Errno::from_io_error(cause).unwrap_or(Errno::IO),
        _ => Errno::IO,
    };
    Failure::new(errno, error.to_string())
}

thread_local! {
    static LAST: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// The last sentence of this thread.
pub(crate) fn last_text() -> *const c_char {
    // Of a thread that ends there is none.
    let text = LAST.try_with(|last| last.borrow().as_ref().map(|text| text.as_ptr()));
    text.ok().flatten().unwrap_or(c"".as_ptr())
}

fn tell(failure: Failure) -> Errno {
    if let Some(text) = failure.text {
        // What comes from outside, such as names, may have zeros in it.
        let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
        let _ = LAST.try_with(|last| *last.borrow_mut() = Some(text));
    }
    set_errno(failure.errno.raw_os_error());
    failure.errno
}

fn errno() -> c_int {
    // SAFETY: libc gives each thread an errno of its own, which is always valid.
    unsafe { *libc::__errno_location() }
}

fn set_errno(number: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = number };
}

/// Does a call of C: its result, or why not, after `errno` and the sentence were set.
#[inline]
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<T, Errno> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(failure)) => Err(tell(failure)),
        Err(_) => {
            let text =
                "libwarpdrive: a bug, which was written to stderr. Remedy: report it; release the queue";
            Err(tell(Failure::new(Errno::NOTRECOVERABLE, text)))
        }
    }
}

/// Does a call of C that returns nothing: `errno` is the only sign that it fails, and stays as it was when it does not.
pub(crate) fn telling(call: impl FnOnce() -> Result<(), Failure>) {
    let before = errno();
    if guarded(call).is_ok() {
        // Locks and system calls on the way may have set it.
        set_errno(before);
    }
}

/// As C has it: 0, or the negative number of the error.
#[inline]
pub(crate) fn number(result: Result<(), Errno>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(errno) => -errno.raw_os_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn last() -> String {
        // SAFETY: of this thread, and no call is made while it is read.
        unsafe { CStr::from_ptr(last_text()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_ends_at_the_border() {
        assert_eq!(number(guarded(|| panic!("expected by this test"))), -libc::ENOTRECOVERABLE);
        assert_eq!(errno(), libc::ENOTRECOVERABLE);
        assert!(last().contains("bug"));
    }

    #[test]
    fn errno_of_calls_that_return_nothing_is_only_that_of_a_failure() {
        set_errno(libc::EDOM);
        let works = || {
            set_errno(libc::EAGAIN);
            Ok(())
        };
        telling(works);
        assert_eq!(errno(), libc::EDOM);
        telling(|| Err(Failure::usual(Errno::NOENT)));
        assert_eq!(errno(), libc::ENOENT);
    }

    #[test]
    fn failures_are_told_to_their_thread() {
        assert_eq!(last(), "");
        let failed = || Err(Failure::new(Errno::NODEV, "no\0device".to_owned()));
        assert_eq!(number(guarded(failed)), -libc::ENODEV);
        assert_eq!((errno(), last()), (libc::ENODEV, "no device".to_owned()));
        assert_eq!(number(guarded(|| Err(Failure::usual(Errno::AGAIN)))), -libc::EAGAIN);
        assert_eq!((errno(), last()), (libc::EAGAIN, "no device".to_owned()), "no news");
        assert_eq!(number(guarded(|| Ok(()))), 0);
        std::thread::scope(|scope| scope.spawn(|| assert_eq!(last(), "")).join().unwrap());
    }
}
