//! M12 and M15: a process that becomes another program has another address space under the same number.

use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::time::{Duration, Instant};

use warpdrive_pmd::uacce::abi::zip::status;
use warpdrive_pmd::uacce::abi::{ACCESS_READ, ACCESS_WRITE};

use crate::child::{Role, Stage, become_another};
use crate::domain::{ELSEWHERE, Given};
use crate::entries::{answers, compresses, deflate, ended, entry, zip};
use crate::lab::{HPRE, Lab, ZIP};
use crate::memory::{PAGE, Pages};
use crate::queue::Queue;

pub const ROLES: &[(&str, Role)] = &[
    ("becomes another program", becomes_another_program),
    ("is another program", is_another_program),
    ("leaves its memory to another", leaves_its_memory_to_another),
    ("has a secret", has_a_secret),
];

#[test]
fn m12_another_program_under_the_same_number_starts_anew() {
    let Some(lab) = Lab::new() else { return };
    lab.child("becomes another program").ends();
    lab.all_come_back(ZIP);
}

fn becomes_another_program(stage: &Stage) {
    let mut queue = Queue::start(stage, ZIP, 0);
    compresses(&mut queue);
    let given = Given::new(PAGE);
    assert_eq!(given.give(&queue, ELSEWHERE, ACCESS_READ | ACCESS_WRITE), None);
    // The queue stays open, though nothing of it is mapped any more.
    rustix::io::fcntl_setfd(&queue.file, rustix::io::FdFlags::empty()).unwrap();
    panic!("{}", become_another("is another program").exec());
}

fn is_another_program(stage: &Stage) {
    let mut queue = Queue::start(stage, ZIP, 0);
    compresses(&mut queue);
    answers(&mut Queue::start(stage, HPRE, 0));
    // What was given before was of another address space.
    let own = Pages::new(2 * PAGE);
    assert_eq!(zip(&mut queue, &deflate(ELSEWHERE, PAGE, own.address(), 2 * PAGE)).status, status::ADDRESS);
}

/// Where the later program has something.
const SECRET: usize = 0x4100_0000_0000;

#[test]
fn m12_whoever_keeps_the_memory_of_before_does_not_reach_that_of_the_other_program() {
    let Some(lab) = Lab::new() else { return };
    let mut child = lab.child("leaves its memory to another");
    child.hears("secret");
    child.hears("not reached");
    child.say("look");
    child.ends();
}

/// What is left behind by a program that becomes another: a process with the memory that it had.
struct Left {
    queue: Queue,
    /// Of its own; the other program has none there.
    output: Given,
    /// Ends when the program is another.
    ended: std::os::fd::OwnedFd,
    begun: i32,
}

fn leaves_its_memory_to_another(stage: &Stage) {
    let mut queue = Queue::start(stage, ZIP, 0);
    compresses(&mut queue);
    let output = Given::new(4 * PAGE);
    assert_eq!(output.give(&queue, ELSEWHERE, ACCESS_READ | ACCESS_WRITE), None);
    let (ended, begun) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let left = Box::leak(Box::new(Left { queue, output, ended, begun: begun.as_raw_fd() }));
    let stack = Box::leak(vec![0_u128; 1 << 16].into_boxed_slice()).as_mut_ptr_range().end;
    // SAFETY: a stack of its own; what it is given lives as long as the memory. It waits until nobody else uses that.
    let child = unsafe {
        libc::clone(
            keeps_ringing,
            stack.cast(),
            libc::CLONE_VM | libc::SIGCHLD,
            std::ptr::from_mut(left).cast(),
        )
    };
    assert!(child > 0);
    panic!("{}", become_another("has a secret").exec());
}

extern "C" fn keeps_ringing(left: *mut libc::c_void) -> i32 {
    // SAFETY: as it was given; its other user has become another program when the pipe ends.
    let left = unsafe {
        let left = &mut *left.cast::<Left>();
        libc::close(left.begun);
        libc::alarm(120);
        let mut byte = 0_u8;
        libc::read(left.ended.as_raw_fd(), std::ptr::from_mut(&mut byte).cast(), 1);
        left
    };
    let (read, write) = (
        entry(&deflate(SECRET as u64, PAGE, ELSEWHERE, 2 * PAGE)),
        entry(&deflate(ELSEWHERE, PAGE, SECRET as u64 + 4096, PAGE)),
    );
    let (start, mut reached) = (Instant::now(), false);
    while start.elapsed() < Duration::from_secs(1) {
        for words in [&read, &write] {
            reached |= ended(&left.queue.call(words)).status == status::DONE;
        }
    }
    let said: &[u8] = if reached { b"> reached\n" } else { b"> not reached\n" };
    let _ = rustix::io::write(std::io::stdout(), said);
    std::hint::black_box(&left.output);
    0
}

fn has_a_secret(stage: &Stage) {
    let secret = Pages::at(SECRET, 4 * PAGE);
    secret.guard();
    stage.tell("secret");
    stage.wait();
    secret.is_untouched(0, secret.bytes());
    // Its own queue is not that of before either.
    compresses(&mut Queue::start(stage, ZIP, 0));
}
