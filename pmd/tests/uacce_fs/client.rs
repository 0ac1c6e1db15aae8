//! What programs do with queue files.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// Opens a queue file as programs do.
#[track_caller]
pub fn open(path: &Path) -> File {
    try_open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The same, if it can be opened.
pub fn try_open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// The number of an error.
pub fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|e| e.raw_os_error())
}

/// A part of a file that is mapped and shared.
pub struct Map {
    at: *mut AtomicU64,
    bytes: usize,
}

// SAFETY: whoever uses the memory does so by atomic operations.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    pub fn new(file: &File, offset: usize, bytes: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                access,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if at == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { at: at.cast(), bytes })
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.bytes);
        // SAFETY: it is inside the mapping, which lives as long as self, and is aligned.
        unsafe { &*self.at.byte_add(offset) }
    }

    pub fn load(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::SeqCst)
    }

    pub fn store(&self, offset: usize, value: u64) {
        self.word(offset).store(value, Ordering::SeqCst);
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: it is the mapping that `new` made, and no reference to it outlives self.
        unsafe { libc::munmap(self.at.cast(), self.bytes) };
    }
}

/// A call with what is in `argument`, which holds the answer afterwards.
pub fn call(file: &File, command: u32, argument: &mut [u8]) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes as many bytes as the number of the command says, which the tests provide.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), command.into(), argument.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// poll(2) for POLLIN: what it returns, and what is ready.
pub fn poll(fd: RawFd, timeout_ms: i32) -> (i32, i16) {
    let mut one = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one element, as it is told.
    let ready = unsafe { libc::poll(&raw mut one, 1, timeout_ms) };
    (ready, one.revents)
}

/// The result of `what` in a forked child, which must not take locks nor allocate: 0 to 255.
pub fn in_child(what: impl FnOnce() -> u8) -> (u32, u8) {
    // SAFETY: the child makes system calls only, and ends without unwinding or running destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = what();
        // SAFETY: no preconditions.
        unsafe { libc::_exit(code.into()) };
    }
    let mut status = 0;
    // SAFETY: `status` is valid for the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "status {status:#x}");
    (child.unsigned_abs(), libc::WEXITSTATUS(status) as u8)
}

/// A shell that has the file open as descriptor 3, or could not open it.
pub fn shell(file: &Path, uid: u32, gid: u32, then: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("exec 3<>\"$1\"; {then}")).arg("sh").arg(file);
    shell.uid(uid).gid(gid).current_dir("/").stderr(Stdio::null());
    shell
}

/// A process that runs until it is dropped.
pub struct Running(pub Child);

impl Running {
    /// Starts it and waits for its first line that has `word` in it.
    pub fn start(command: &mut Command, word: &str) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let running = Self(child);
        assert!(lines.map_while(Result::ok).any(|line| line.contains(word)), "it ended too early");
        running
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program once more, to run one test of it alone with `variable` set to `value`.
pub fn another(test: &str, variable: &str, value: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(variable, value);
    command
}
