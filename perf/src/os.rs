//! What the standard library has not: the cpu time of another process, and asking a child to end.
#![expect(unsafe_code, reason = "calls of libc")]

use std::io;
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
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Sends SIGTERM to a child that was not waited for yet, so that its id is its own.
pub fn terminate(child: &std::process::Child) {
    if let Ok(pid) = libc::pid_t::try_from(child.id()) {
        // SAFETY: no memory is involved.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
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
    fn a_process_that_is_not_there_has_none() {
        assert!(cpu_time(u32::MAX).is_err());
        assert!(cpu_time(0).is_err());
    }
}
