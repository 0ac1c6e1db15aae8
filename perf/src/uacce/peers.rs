//! Request and reply of 64 bytes between two cpus by the kernel's means, where both sides wait in the kernel.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use warpdrive_pipeline::cores::{self, CpuSet};

use super::rtt::{Times, time};
use crate::BenchError;
use crate::measure::on_cpu;

/// Bytes of a request and of a reply: those of an entry.
const BYTES: usize = 64;

/// Over a pair of connected Unix stream sockets.
pub(super) fn socket((near, far): (usize, usize), length: Duration) -> Result<Times, BenchError> {
    let (mut ours, mut theirs) = UnixStream::pair().map_err(failed)?;
    let reply = move || -> io::Result<()> {
        let mut bytes = [0; BYTES];
        while theirs.read_exact(&mut bytes).is_ok() {
            theirs.write_all(&bytes)?;
        }
        Ok(())
    };
    let ask = move || {
        let mut bytes = [7; BYTES];
        // The sockets are closed at the end, which ends the other side.
        time(length, || ours.write_all(&bytes).and_then(|()| ours.read_exact(&mut bytes)).map_err(failed))
    };
    between(near, far, ask, reply)
}

/// Bytes that both sides see.
#[derive(Default)]
struct Shared([AtomicU64; BYTES / 8]);

impl Shared {
    fn write(&self, value: u64) {
        self.0.iter().for_each(|word| word.store(value, Ordering::Relaxed));
    }

    fn read(&self) -> u64 {
        self.0.iter().fold(0, |sum, word| sum.wrapping_add(word.load(Ordering::Relaxed)))
    }
}

/// By memory that both sides see and an eventfd for each direction.
pub(super) fn events((near, far): (usize, usize), length: Duration) -> Result<Times, BenchError> {
    let event = || eventfd(0, EventfdFlags::CLOEXEC).map_err(|e| failed(e.into()));
    let (there, back) = (event()?, event()?);
    let (request, answer, over) = (Shared::default(), Shared::default(), AtomicBool::new(false));
    let (there, back, request, answer) = (&there, &back, &request, &answer);
    let reply = || -> io::Result<()> {
        loop {
            wait(there)?;
            if over.load(Ordering::Acquire) {
                return Ok(());
            }
            answer.write(request.read());
            signal(back)?;
        }
    };
    let end = End { over: &over, event: there };
    let ask = move || {
        let _end = end;
        time(length, || {
            request.write(7);
            signal(there).and_then(|()| wait(back)).map_err(failed)?;
            match answer.read() {
                0 => Err(BenchError::Bug("an eventfd without its answer".to_owned())),
                _ => Ok(()),
            }
        })
    };
    between(near, far, ask, reply)
}

/// Ends who replies, whether or not anybody ever asked.
struct End<'a> {
    over: &'a AtomicBool,
    event: &'a OwnedFd,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let _ = signal(self.event);
    }
}

fn signal(event: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::write(event, &1_u64.to_ne_bytes()).map(drop)?)
}

fn wait(event: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::read(event, &mut [0_u8; 8]).map(drop)?)
}

/// Has one side ask on a cpu and the other reply on another, until who asks is done.
fn between(
    near: usize,
    far: usize,
    ask: impl FnOnce() -> Result<Times, BenchError> + Send,
    reply: impl FnOnce() -> io::Result<()> + Send,
) -> Result<Times, BenchError> {
    std::thread::scope(|scope| {
        let (say, pinned) = std::sync::mpsc::channel();
        let replies = scope.spawn(move || {
            let set = CpuSet::of(&[far]).and_then(|cpu| cores::pin_current(&cpu));
            let is_pinned = set.is_ok();
            let _ = say.send(set);
            if is_pinned { reply() } else { Ok(()) }
        });
        match pinned.recv() {
            Ok(set) => set?,
            Err(_) => return Err(BenchError::Bug("the replying thread ended".to_owned())),
        }
        let times = on_cpu(near, ask);
        let replied = replies.join().map_err(|_| BenchError::Bug("the replying thread panicked".into()))?;
        let times = times?;
        replied.map_err(failed)?;
        Ok(times)
    })
}

fn failed(cause: io::Error) -> BenchError {
    BenchError::Io { what: "request and reply by the kernel".to_owned(), cause, remedy: "none: report it" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_there_and_back_take_time_and_come_to_an_end() {
        let cpus = warpdrive_pipeline::cores::allowed().unwrap();
        let cpus = (cpus[0], *cpus.last().unwrap());
        for way in [socket, events] {
            let times = way(cpus, Duration::from_millis(5)).unwrap();
            assert!(
                times.count > 0 && times.median_us > 0.1 && times.p999_us >= times.median_us,
                "{times:?}"
            );
        }
    }
}
