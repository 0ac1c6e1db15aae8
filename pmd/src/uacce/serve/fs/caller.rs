//! Who calls.

use std::fs::File;
use std::io::Read;

use rustix::io::Errno;

use crate::uacce::serve::Process;

/// More than what is before and in the line `Tgid` of a status: a name of at most 64 characters, a mask and a state.
const HEAD: usize = 256;

/// The process of a thread: a request tells the thread, in numbers of our namespace.
///
/// # Errors
/// `EPERM`: it has no number here, or it has ended.
pub(super) fn process_of(thread: u32) -> Result<Process, Errno> {
    let mut head = [0; HEAD];
    let read = File::open(format!("/proc/{thread}/status")).and_then(|mut file| file.read(&mut head));
    let status = read.ok().and_then(|bytes| head.get(..bytes)).ok_or(Errno::PERM)?;
    tgid(status).map(Process).ok_or(Errno::PERM)
}

fn tgid(status: &[u8]) -> Option<u32> {
    let number = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(number).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_of_its_process() {
        let seen = std::thread::spawn(|| {
            let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
            (thread, process_of(thread))
        });
        let (thread, process) = seen.join().unwrap();
        assert_ne!(thread, std::process::id());
        assert_eq!(process, Ok(Process(std::process::id())));
        // As of who is in a namespace that we do not see, and of who has ended.
        assert_eq!([process_of(0), process_of(u32::MAX)], [Err(Errno::PERM); 2]);
    }

    #[test]
    fn names_of_threads_do_not_deceive() {
        assert_eq!(
            tgid(b"Name:\tTgid:\t7\nUmask:\t0022\nState:\tR (running)\nTgid:\t31\nNgid:\t0\n"),
            Some(31)
        );
        assert_eq!(tgid(b"Name:\t\xff\xfe\nTgid:\t5\n"), Some(5));
        assert_eq!((tgid(b""), tgid(b"Tgid:\tx\n"), tgid(b"Name:\ta\n")), (None, None, None));
    }
}
