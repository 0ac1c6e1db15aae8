//! What the standard library has not: the cpu time of another process, and asking a child to end.
#![expect(unsafe_code, reason = "calls of libc")]

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// PID_MAX_LIMIT of include/linux/threads.h.
const PID_MAX: libc::pid_t = 4 * 1024 * 1024;

/// The cpu time of all threads of a process since it began, to the nanosecond: what a bench on a busy machine should
/// divide by. That of a process that is not ours
/// may be read as well.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    // A clock's number is the process id shifted: larger ids, which Linux does not give, would be other clocks.
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| (1..=PID_MAX).contains(pid));
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the kernel's library writes one clockid_t.
    let code = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    read_clock(clock)
}

/// The cpu time of the calling thread so far.
///
/// # Errors
/// When the kernel has no such clock.
pub fn thread_time() -> io::Result<Duration> {
    read_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The cpu time of a thread of this process so far, to the nanosecond also while it runs. That of the whole process is
/// behind by up to a tick of the scheduler for threads on other cpus.
///
/// # Errors
/// When there is no such thread.
pub fn thread_time_of(thread: u32) -> io::Result<Duration> {
    // CPUCLOCK_SCHED and CPUCLOCK_PERTHREAD_MASK of include/linux/posix-timers.h; glibc knows threads of its own only.
    const SCHED_OF_THREAD: libc::clockid_t = 2 | 4;
    let id = libc::pid_t::try_from(thread).ok().filter(|id| (1..=PID_MAX).contains(id));
    let id = id.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    read_clock((!id << 3) | SCHED_OF_THREAD)
}

/// The kernel's id of the calling thread.
#[must_use]
pub fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

fn read_clock(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Sends SIGTERM to a child that was not waited for yet, so that its id is its own.
pub fn terminate(child: &std::process::Child) {
    signal(child, libc::SIGTERM);
}

/// Has a child that was not waited for yet stand still, or go on.
pub fn hold(child: &std::process::Child, still: bool) {
    signal(child, if still { libc::SIGSTOP } else { libc::SIGCONT });
}

fn signal(child: &std::process::Child, signal: libc::c_int) {
    if let Ok(pid) = libc::pid_t::try_from(child.id()) {
        // SAFETY: no memory is involved.
        unsafe { libc::kill(pid, signal) };
    }
}

/// What a process used until it ended.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// The work of its threads.
    pub user: Duration,
    /// The kernel's work for it.
    pub system: Duration,
    /// Whether it ended as it should.
    pub success: bool,
}

/// Waits for a child's end.
///
/// # Errors
/// When it was waited for already.
pub fn wait_used(child: std::process::Child) -> io::Result<Used> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one int and one rusage.
    while unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1_000);
    let success = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
    Ok(Used { user: time(usage.ru_utime), system: time(usage.ru_stime), success })
}

/// Moves the calling thread, and no other, to a network namespace that `ip netns` has named. Sockets made there stay
/// there; threads and processes it starts begin there.
///
/// # Errors
/// When there is none of that name, or without CAP_SYS_ADMIN.
pub fn enter_network(namespace: &str) -> io::Result<()> {
    let file = std::fs::File::open(std::path::Path::new("/run/netns").join(namespace))?;
    // SAFETY: no memory is involved, and the descriptor is open until the end of this function.
    if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Offloads of an interface by which packets leave or arrive that no wire carries, with the numbers that switch them on or
/// off and that ask for them (include/uapi/linux/ethtool.h).
const OFFLOADS: [(&str, u32, u32); 5] = [
    ("gro", 0x2c, 0x2b),
    ("gso", 0x24, 0x23),
    ("tso", 0x1f, 0x1e),
    ("tx checksums", 0x17, 0x16),
    ("scatter-gather", 0x19, 0x18),
];

/// Switches the offloads of an interface of this thread's network namespace off.
///
/// # Errors
/// When there is no such interface, without CAP_NET_ADMIN, or when it keeps one.
pub fn offloads_off(interface: &str) -> io::Result<()> {
    for (_, set, _) in OFFLOADS {
        ethtool(interface, set, 0)?;
    }
    match offloads(interface)?.as_slice() {
        [] => Ok(()),
        kept => Err(io::Error::other(format!("it keeps {}", kept.join(", ")))),
    }
}

/// Which of those offloads an interface has.
///
/// # Errors
/// When there is no such interface.
pub fn offloads(interface: &str) -> io::Result<Vec<&'static str>> {
    let mut on = Vec::new();
    for (name, _, get) in OFFLOADS {
        if ethtool(interface, get, 0)? != 0 {
            on.push(name);
        }
    }
    Ok(on)
}

/// Sends a `struct ethtool_value` to the kernel and returns the value that comes back.
fn ethtool(interface: &str, command: u32, value: u32) -> io::Result<u32> {
    // SAFETY: numbers and a pointer, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0.
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an interface's name of 16 bytes or more"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    let mut data = [command, value];
    request.ifr_ifru.ifru_data = data.as_mut_ptr().cast();
    let any = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: the name ends with a zero, and what the request points to is the structure that all these commands take;
    // both live until the call returns.
    if unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(data[1])
}

/// Lets this process, and those that it starts from now on, have so many files open.
///
/// # Errors
/// When the limit is lower and this user may not raise it.
pub fn allow_files(count: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= count);
    if enough(now.current) {
        return Ok(());
    }
    let maximum = if enough(now.maximum) { now.maximum } else { Some(count) };
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum })?)
}

/// Free bytes where a path is.
///
/// # Errors
/// When there is no such path.
pub fn free_bytes(path: &std::path::Path) -> io::Result<u64> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: numbers, for which zero is a value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero, and the kernel's library writes one statvfs.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stat.f_bavail * stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_for_who_works_and_not_for_who_sleeps() {
        let own = std::process::id();
        let before = cpu_time(own).unwrap();
        let until = std::time::Instant::now() + Duration::from_millis(20);
        while std::time::Instant::now() < until {}
        assert!(cpu_time(own).unwrap() > before);

        let mut sleeper = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        let spent = cpu_time(sleeper.id()).unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(spent < Duration::from_millis(500), "{spent:?}");
    }

    #[test]
    fn a_thread_that_sleeps_takes_no_time() {
        let before = thread_time().unwrap();
        std::thread::sleep(Duration::from_millis(30));
        assert!(thread_time().unwrap() - before < Duration::from_millis(20));
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while thread_time().unwrap() - before < Duration::from_millis(1) {
            assert!(std::time::Instant::now() < until, "the clock stands still");
        }
    }

    #[test]
    fn the_time_of_another_thread_is_known_while_it_runs() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (send, receive) = std::sync::mpsc::channel();
            let stop = &stop;
            scope.spawn(move || {
                send.send(thread_id()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let until = std::time::Instant::now() + Duration::from_secs(5);
            let id = receive.recv().unwrap();
            let before = thread_time_of(id).unwrap();
            while thread_time_of(id).unwrap() - before < Duration::from_micros(10) {
                assert!(std::time::Instant::now() < until);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(thread_time_of(u32::MAX).is_err());
    }

    #[test]
    fn what_a_child_used_is_known_at_its_end() {
        let shell = |script: &str| std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
        let busy = wait_used(shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")).unwrap();
        assert!(busy.success && busy.user > Duration::from_millis(5), "{busy:?}");
        let failed = wait_used(shell("exit 3")).unwrap();
        assert!(!failed.success && failed.user < busy.user, "{failed:?}");
    }

    #[test]
    fn an_interface_that_is_not_there_has_no_offloads_to_switch() {
        assert!(offloads("wd-none0").is_err() && offloads_off("wd-none0").is_err());
        let long = offloads("an-interface-name").unwrap_err();
        assert_eq!(long.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn as_many_files_may_be_open_as_are_wished_for() {
        use rustix::process::{Resource, getrlimit};
        let before = getrlimit(Resource::Nofile).current.unwrap();
        allow_files(before.saturating_sub(1)).unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, Some(before), "it is not lowered");
        assert!(allow_files(u64::MAX - 1).is_err(), "beyond what the kernel has for anybody");
    }

    #[test]
    fn there_is_room_somewhere_and_none_nowhere() {
        assert!(free_bytes(std::path::Path::new("/tmp")).unwrap() > 0);
        assert!(free_bytes(std::path::Path::new("/no/such/folder")).is_err());
    }

    #[test]
    fn a_process_that_is_not_there_has_none() {
        assert!(cpu_time(u32::MAX).is_err());
        assert!(cpu_time(0).is_err());
    }
}
