//! System calls of threads, by ptrace: all that is unsafe about it.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::mem::zeroed;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use libc::{c_int, c_uint, c_void, pid_t};

/// A stop before or after a call, as PTRACE_O_TRACESYSGOOD marks it.
const CALL: c_int = libc::SIGTRAP | 0x80;
/// How long a thread may take to stop, for its detachment.
const STOP: Duration = Duration::from_secs(1);

/// A call as a traced thread made it: architecture and number.
pub(super) type Call = (u32, u64);

/// A thread that is traced.
pub(super) struct Traced {
    /// Its name.
    pub(super) name: String,
    /// The kernel's number of it.
    pub(super) id: pid_t,
    /// Whether it has ended.
    pub(super) ended: bool,
    /// How often it made each call.
    pub(super) calls: BTreeMap<Call, u64>,
}

/// Traces threads of another process, which must not be waited for elsewhere. If this process dies, so does theirs.
pub(super) struct Tracer {
    /// The threads.
    pub(super) threads: Vec<Traced>,
    /// Only the thread that seized others may do anything with them.
    of_one_thread: PhantomData<*const ()>,
}

impl Tracer {
    /// Seizes threads, and begins to count their calls.
    pub(super) fn seize(threads: Vec<(String, pid_t)>) -> io::Result<Self> {
        // EXITKILL is a property of each thread that is seized, and lasts until it is detached.
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        let mut tracer = Self { threads: Vec::new(), of_one_thread: PhantomData };
        for (name, id) in threads {
            let ended = match request(libc::PTRACE_SEIZE, id, options as usize) {
                Ok(()) => false,
                // Between the listing of threads and now.
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => true,
                Err(e) => return Err(e),
            };
            tracer.threads.push(Traced { name, id, ended, calls: BTreeMap::new() });
            if !ended {
                // Runs into a stop, from which it goes on to its next call.
                ignore_end(request(libc::PTRACE_INTERRUPT, id, 0))?;
            }
        }
        Ok(tracer)
    }

    /// Lets go of all threads: a process whose threads are traced does not end before its tracer has seen each end.
    pub(super) fn let_go(&mut self) {
        self.threads.drain(..).filter(|t| !t.ended).for_each(|mut thread| thread.detach());
    }

    /// Lets everything go on that has stopped since, and counts. True if there was anything.
    pub(super) fn turn(&mut self) -> io::Result<bool> {
        let mut any = false;
        for thread in self.threads.iter_mut().filter(|t| !t.ended) {
            if let Some(status) = stopped(thread.id)? {
                any = true;
                thread.go_on(status)?;
            }
        }
        Ok(any)
    }
}

impl Traced {
    fn go_on(&mut self, status: c_int) -> io::Result<()> {
        if !libc::WIFSTOPPED(status) {
            self.ended = true;
            return Ok(());
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        let (action, signal) = match (signal, event) {
            (CALL, _) => {
                if let Some(call) = entered(self.id)? {
                    *self.calls.entry(call).or_default() += 1;
                }
                (libc::PTRACE_SYSCALL, 0)
            }
            (libc::SIGTRAP, libc::PTRACE_EVENT_STOP) => (libc::PTRACE_SYSCALL, 0),
            // Somebody stopped the whole process: it stays so until SIGCONT.
            (_, libc::PTRACE_EVENT_STOP) => (libc::PTRACE_LISTEN, 0),
            (signal, 0) => (libc::PTRACE_SYSCALL, signal),
            _ => (libc::PTRACE_SYSCALL, 0),
        };
        ignore_end(request(action, self.id, signal as usize))
    }

    /// Lets go of it. What cannot be detached has ended.
    fn detach(&mut self) {
        let deadline = Instant::now() + STOP;
        let _ = request(libc::PTRACE_INTERRUPT, self.id, 0);
        while Instant::now() < deadline {
            match stopped(self.id) {
                Ok(Some(status)) if libc::WIFSTOPPED(status) => {
                    let own = status >> 16 != 0 || libc::WSTOPSIG(status) == CALL;
                    let signal = if own { 0 } else { libc::WSTOPSIG(status) };
                    let _ = request(libc::PTRACE_DETACH, self.id, signal as usize);
                    return;
                }
                Ok(None) => std::thread::sleep(Duration::from_micros(100)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// A request whose data is a number.
fn request(request: c_uint, id: pid_t, data: usize) -> io::Result<()> {
    // SAFETY: the requests used here read numbers and write no memory of ours.
    match unsafe { libc::ptrace(request, id, null_mut::<c_void>(), data as *mut c_void) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A thread may be killed at any moment; `waitpid` tells of it.
fn ignore_end(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

/// The status of a thread if it has stopped or ended since it was last asked for.
fn stopped(id: pid_t) -> io::Result<Option<c_int>> {
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    match unsafe { libc::waitpid(id, &raw mut status, libc::__WALL | libc::WNOHANG) } {
        0 => Ok(None),
        -1 => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::EINTR) => Ok(None),
            // It ended together with its process.
            e if e.raw_os_error() == Some(libc::ECHILD) => Ok(Some(0)),
            e => Err(e),
        },
        _ => Ok(Some(status)),
    }
}

/// The call that a stopped thread is about to make; none if it is at the end of one.
fn entered(id: pid_t) -> io::Result<Option<Call>> {
    // SAFETY: numbers, for which zero is a value.
    let mut info: libc::ptrace_syscall_info = unsafe { zeroed() };
    let size = size_of_val(&info);
    // SAFETY: the kernel writes at most `size` bytes, which is the size of `info`.
    let written = unsafe {
        libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, id, size as *mut c_void, (&raw mut info).cast::<c_void>())
    };
    if written < 0 {
        return ignore_end(Err(io::Error::last_os_error())).map(|()| None);
    }
    // SAFETY: all bytes have a value, which is a number whatever the kernel has written.
    let number = unsafe { info.u.entry.nr };
    Ok((info.op == libc::PTRACE_SYSCALL_INFO_ENTRY).then_some((info.arch, number)))
}

/// Makes a child die with the thread that starts it, however that ends.
pub(crate) fn dies_with_us(command: &mut Command) {
    let parent = std::process::id();
    let die = move || {
        // SAFETY: a number, no memory.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // It may have ended before.
        if std::os::unix::process::parent_id() == parent {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    };
    // SAFETY: between fork and exec the closure makes two system calls, and neither allocates nor locks.
    unsafe { command.pre_exec(die) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Child, Stdio};

    /// A shell that reads: each line that it gets makes calls. `None` where tracing is not permitted.
    fn traced(script: &str) -> Option<(Child, Tracer)> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null());
        dies_with_us(&mut command);
        let child = command.spawn().unwrap();
        let id = pid_t::try_from(child.id()).unwrap();
        match Tracer::seize(vec![("sh".to_owned(), id)]) {
            Ok(tracer) => Some((child, tracer)),
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
                eprintln!("skipped: ptrace is not permitted here");
                None
            }
            Err(e) => panic!("{e}"),
        }
    }

    fn until(tracer: &mut Tracer, mut done: impl FnMut(&Traced) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(&tracer.threads[0]) {
            assert!(Instant::now() < deadline, "{:?}", tracer.threads[0].calls);
            if !tracer.turn().unwrap() {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }

    fn calls(traced: &Traced, number: i64) -> u64 {
        traced.calls.iter().filter(|((_, nr), _)| *nr == number as u64).map(|(_, n)| n).sum()
    }

    #[test]
    fn each_call_is_counted_once_and_the_end_is_seen() {
        let script = "read x; i=0; while [ $i -lt 50 ]; do kill -0 $$; i=$((i+1)); done; exit 0";
        let Some((mut child, mut tracer)) = traced(script) else { return };
        drop(child.stdin.take());
        until(&mut tracer, |t| t.ended);
        let shell = &tracer.threads[0];
        assert_eq!(calls(shell, libc::SYS_kill), 50, "{:?}", shell.calls);
        assert_eq!(calls(shell, libc::SYS_exit_group), 1, "{:?}", shell.calls);
        // The ends of calls are stops, too, at which a result stands where the number was: mostly 0, which is read's.
        assert!(calls(shell, libc::SYS_read) < 20, "{:?}", shell.calls);
    }

    #[test]
    fn a_thread_that_ended_before_it_was_seized_has_ended() {
        let mut child = Command::new("true").spawn().unwrap();
        let id = pid_t::try_from(child.id()).unwrap();
        child.wait().unwrap();
        let mut tracer = Tracer::seize(vec![("true".to_owned(), id)]).unwrap();
        assert!(tracer.threads[0].ended);
        assert!(!tracer.turn().unwrap());
    }

    #[test]
    fn a_signal_gets_through_and_a_detached_thread_goes_on() {
        let script = "read x; trap 'exit 7' TERM; kill -0 $$; while :; do read x || exit 3; done";
        let Some((mut child, mut tracer)) = traced(script) else { return };
        child.stdin.as_mut().unwrap().write_all(b"begin\n").unwrap();
        until(&mut tracer, |t| calls(t, libc::SYS_kill) > 0);
        drop(tracer);
        let started = Instant::now();
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(3), "it reads the end of its input by itself");
        assert!(started.elapsed() < Duration::from_secs(10));

        let Some((mut child, mut tracer)) = traced(script) else { return };
        child.stdin.as_mut().unwrap().write_all(b"begin\n").unwrap();
        until(&mut tracer, |t| calls(t, libc::SYS_kill) > 0);
        crate::os::terminate(&child);
        until(&mut tracer, |t| t.ended);
        // The tracer has the status of a thread; that of the process it leaves, or has taken as well.
        let _ = child.wait();
        assert_eq!(calls(&tracer.threads[0], libc::SYS_exit_group), 1);
    }
}
