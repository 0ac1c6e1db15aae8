//! M15: forks. A queue is that of its opener, whoever has its descriptor.

use warpdrive_pmd::uacce::abi::zip::status;
use warpdrive_pmd::uacce::abi::{self, ACCESS_READ, ACCESS_WRITE};

use crate::child::{Role, Stage};
use crate::domain::{ELSEWHERE, Given};
use crate::entries::{Rsa, answers, code, compresses, deflate, ended, entry, inflate, text, zip};
use crate::lab::{HPRE, Lab, QUEUES, ZIP, soon};
use crate::memory::{PAGE, Pages};
use crate::queue::{Queue, call, errno, give};

pub const ROLES: &[(&str, Role)] = &[
    ("forks in each state", forks_in_each_state),
    ("forks and writes", forks_and_writes),
    ("leaves a child behind", leaves_a_child_behind),
];

/// A forked child, which must not allocate nor take locks, and ends with the result of `what`.
struct Forked(libc::pid_t);

impl Forked {
    fn new(what: impl FnOnce() -> u8) -> Self {
        // SAFETY: the child makes system calls only, and ends without unwinding or running destructors.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            // SAFETY: no preconditions. It does not outlive a test that fails for long.
            unsafe { libc::alarm(120) };
            let code = what();
            // SAFETY: no preconditions.
            unsafe { libc::_exit(code.into()) };
        }
        Self(pid)
    }

    fn ends(self) -> u8 {
        let mut status = 0;
        // SAFETY: `status` is valid for the call.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, 0) }, self.0);
        assert!(libc::WIFEXITED(status), "status {status:#x}");
        libc::WEXITSTATUS(status) as u8
    }
}

/// Sleeps until it is killed.
fn sleeps() -> u8 {
    loop {
        // SAFETY: no preconditions.
        unsafe { libc::pause() };
    }
}

/// All calls, of which none is a child's: the place of the first that is not refused, or 0.
fn calls_are_refused(queue: &Queue, given: &Given) -> u8 {
    let mut argument = [0; 32];
    let commands = [abi::START, abi::PUT_Q, abi::GET_SS_DMA, abi::QM_SET_QP_CTX, abi::QM_SET_QP_INFO];
    for (place, command) in (1..).zip(commands) {
        if errno(call(&queue.file, command, &mut argument)) != Some(libc::EPERM) {
            return place;
        }
    }
    for (place, command) in [(10, abi::SHARE), (11, abi::UNSHARE)] {
        let result = give(&queue.file, command, ELSEWHERE, PAGE, &given.fd, ACCESS_READ);
        if errno(result) != Some(libc::EPERM) {
            return place;
        }
    }
    0
}

#[test]
fn m15_calls_of_a_child_are_refused_in_each_state() {
    let Some(lab) = Lab::new() else { return };
    lab.child("forks in each state").ends();
    lab.all_come_back(HPRE);
}

fn forks_in_each_state(stage: &Stage) {
    let given = Given::new(PAGE);
    let refused = |queue: &Queue, state: &str| {
        assert_eq!(Forked::new(|| calls_are_refused(queue, &given)).ends(), 0, "{state}");
    };
    let mut queue = Queue::map(stage, HPRE, 0).unwrap();
    refused(&queue, "open");
    call(&queue.file, abi::START, &mut []).unwrap();
    refused(&queue, "started");
    answers(&mut queue);
    assert_eq!(given.give(&queue, ELSEWHERE, ACCESS_READ), None);
    refused(&queue, "memory was given");
    let (rsa, mut signed) = (Rsa::private(), vec![0; 256]);
    for _ in 0..64 {
        queue.send(&rsa.entry(&mut signed));
    }
    refused(&queue, "entries in flight");
    (0..64).for_each(|_| assert_eq!(code(&queue.recv()), 0));
    assert!(signed == rsa.result);
    assert_eq!(given.take(&queue, ELSEWHERE), None, "a child's UNSHARE changed nothing");
    answers(&mut queue);
    call(&queue.file, abi::PUT_Q, &mut []).unwrap();
    refused(&queue, "put back");
}

#[test]
fn m15_what_a_parent_writes_after_a_fork_reaches_the_device() {
    let Some(lab) = Lab::new() else { return };
    lab.child("forks and writes").ends();
}

fn forks_and_writes(stage: &Stage) {
    let mut queue = Queue::start(stage, ZIP, 0);
    let (own, given) = (Pages::new(64 * PAGE), Given::new(64 * PAGE));
    let plain = text(16 * PAGE);
    for pages in [&own, &given.pages] {
        pages.put(0, &vec![0xee; 64 * PAGE]);
    }
    assert_eq!(given.give(&queue, ELSEWHERE, ACCESS_READ | ACCESS_WRITE), None);
    let room = 24 * PAGE;
    let at = 32 * PAGE;
    for (pages, address) in [(&own, own.address()), (&given.pages, ELSEWHERE)] {
        // The child keeps what pages were at the fork, so that the parent's are copied when written to: to where the device
        // must go as well.
        let child = Forked::new(sleeps);
        pages.put(0, &plain);
        let asked = deflate(address, plain.len(), address + at as u64, room);
        let ended_with = zip(&mut queue, &asked);
        assert_eq!(ended_with.status, status::DONE);
        assert!(inflate(&pages.get(at, ended_with.produced as usize), plain.len()) == plain);
        // Forked with entries in flight: results come to the parent.
        let words = entry(&asked);
        for _ in 0..20 {
            queue.send(&words);
        }
        let second = Forked::new(sleeps);
        for _ in 0..20 {
            let ended_with = ended(&queue.recv());
            assert_eq!(ended_with.status, status::DONE);
            assert!(inflate(&pages.get(at, ended_with.produced as usize), plain.len()) == plain);
        }
        for child in [child, second] {
            // SAFETY: children of this process, which were not waited for.
            unsafe {
                libc::kill(child.0, libc::SIGKILL);
                libc::waitpid(child.0, std::ptr::null_mut(), 0);
            }
        }
    }
    // Of what was the process's own, the child has its copy, which no device writes to.
    own.put(at, &[0xaa; 16]);
    let (reads, writes) = rustix::pipe::pipe().unwrap();
    let child = Forked::new(|| {
        let mut byte = [0];
        let n = rustix::io::read(&reads, &mut byte);
        u8::from(
            n != Ok(1)
                || (0..16).any(|i| {
                    own.word(at + (i & !3)).load(std::sync::atomic::Ordering::SeqCst) != 0xaaaa_aaaa
                }),
        )
    });
    assert_eq!(zip(&mut queue, &deflate(own.address(), PAGE, own.address() + at as u64, room)).status, 0);
    rustix::io::write(&writes, &[1]).unwrap();
    assert_ne!(own.get(at, 16), [0xaa; 16]);
    assert_eq!(child.ends(), 0, "the child's copy");
}

#[test]
fn m15_a_child_that_has_the_descriptor_keeps_the_queue_but_cannot_use_it() {
    let Some(lab) = Lab::new() else { return };
    let mut parent = lab.child("leaves a child behind");
    let child: i32 = parent.hears("left").parse().unwrap();
    parent.kill();
    // It is told by nobody that its parent is gone; the queue is there as long as it has the descriptor.
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(lab.available(ZIP), QUEUES - 1);
    let mut other = lab.child("works on");
    other.hears("worked");
    // SAFETY: the child of the client, which it does not wait for.
    unsafe { libc::kill(child, libc::SIGKILL) };
    other.ends();
    soon("the queue", || lab.available(ZIP) == QUEUES);
}

fn leaves_a_child_behind(stage: &Stage) {
    let mut queue = Queue::start(stage, ZIP, 0);
    compresses(&mut queue);
    let given = Given::new(PAGE);
    assert_eq!(given.give(&queue, ELSEWHERE, ACCESS_READ | ACCESS_WRITE), None);
    let output = Pages::new(4 * PAGE);
    let words = entry(&deflate(output.address(), PAGE, output.address() + 8192, 2 * PAGE));
    queue.send(&words);
    queue.recv();
    let child = Forked::new(|| {
        // It still has the rings, and uses them as if they were its own: its parent's memory is no more.
        loop {
            queue.send(&words);
            // SAFETY: no preconditions.
            unsafe { libc::usleep(1000) };
        }
    });
    stage.tell(format_args!("left {}", child.0));
    stage.wait();
}
