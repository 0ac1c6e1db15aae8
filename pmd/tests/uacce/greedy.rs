//! Clients that take as much as they can get. It must be theirs, and not that of others.

use std::time::{Duration, Instant};

use warpdrive_pmd::uacce::abi::qm::Command;
use warpdrive_pmd::uacce::abi::zip::{Entry, MOST};
use warpdrive_pmd::uacce::abi::{ACCESS_READ, SHARE};

use crate::child::{Child, Role, Stage};
use crate::domain::ELSEWHERE;
use crate::entries::{Rsa, deflate, text};
use crate::hostile::{SOON, beside, others_are_served};
use crate::lab::{HPRE, Lab, QUEUES, ZIP, available, soon};
use crate::memory::{PAGE, Pages, memfd};
use crate::queue::{Queue, errno, give};
use crate::server::Serving;
use crate::space::space;

pub const ROLES: &[(&str, Role)] = &[
    ("gives more than there is", gives_more_than_there_is),
    ("gives in pieces", gives_in_pieces),
    ("asks for the most", asks_for_the_most),
    ("uses many keys", uses_many_keys),
];

#[test]
fn memory_that_is_larger_than_the_machine_is_not_taken() {
    let Some(lab) = Lab::new() else { return };
    beside(&lab, "gives more than there is");
}

fn gives_more_than_there_is(stage: &Stage) {
    let queue = Queue::start(stage, ZIP, 0);
    stage.tell("begins");
    // Files without pages, of which each is most of what a process can map.
    const HUGE: usize = 1 << 46;
    let fd = memfd(HUGE);
    for i in 0..4 {
        let at = ELSEWHERE + i * HUGE as u64;
        let refused = errno(give(&queue.file, SHARE, at, HUGE, &fd, ACCESS_READ));
        assert_eq!(refused, Some(libc::ENOSPC));
    }
    stage.tell("done");
    stage.wait();
}

#[test]
fn memory_in_many_pieces_leaves_descriptors_for_others() {
    let Some(folder) = space() else { return };
    let serving = Serving::start(folder.path());
    // As many as a process has from most service managers.
    serving.limit_descriptors(1024);
    let mut children: Vec<Child> = (0..3).map(|_| Child::start("gives in pieces", folder.path())).collect();
    for child in &mut children {
        child.hears("given");
    }
    let mut other = Child::start("works well", folder.path());
    other.hears("served after");
    drop(children);
    soon("all queues", || available(folder.path(), ZIP) == QUEUES);
}

fn gives_in_pieces(stage: &Stage) {
    const PIECES: usize = 1024;
    let queue = Queue::start(stage, ZIP, 0);
    let fd = memfd(PAGE);
    let share = |i: usize| {
        let at = ELSEWHERE + ((i as u64) << 20);
        errno(give(&queue.file, SHARE, at, PAGE, &fd, ACCESS_READ))
    };
    for i in 0..PIECES {
        assert_eq!(share(i), None, "{i}");
    }
    assert_eq!(share(PIECES), Some(libc::ENOSPC), "as many as are possible");
    stage.tell("given");
    stage.wait();
}

#[test]
fn requests_that_take_long_leave_others_their_turns() {
    let Some(lab) = Lab::new() else { return };
    let mut greedy = lab.child("asks for the most");
    let one = greedy.hears("begins after").parse().unwrap();
    let mut child = lab.child("works well");
    let took: u32 = child.hears("served after").parse().unwrap();
    // Ten requests, and in front of each what was begun at most; while 128 are in flight.
    let most = 12 * Duration::from_millis(one) + SOON;
    assert!(Duration::from_millis(took.into()) < most, "{took} ms where one takes {one} ms");
    greedy.hears("done");
    greedy.ends();
    others_are_served(&lab);
    lab.all_come_back(ZIP);
}

fn asks_for_the_most(stage: &Stage) {
    let mut queues = [0; 4].map(|kind| Queue::start(stage, ZIP, kind));
    let (source, output) = (Pages::new(MOST), Pages::new(MOST));
    source.put(0, &text(MOST));
    let mut words = Entry::new(&deflate(source.address(), MOST, output.address(), MOST), 0, 77);
    words.set_level(u8::MAX - 1);
    let start = Instant::now();
    queues[0].send(&words.0);
    while queues[0].try_recv().is_none() {
        assert!(start.elapsed() < Duration::from_secs(60), "no completion");
        std::thread::sleep(Duration::from_millis(1));
    }
    let one = start.elapsed();
    for queue in &mut queues {
        (0..32).for_each(|_| queue.put(&words.0));
        queue.ring(Command::Submitted, queue.tail);
    }
    std::thread::sleep(one);
    stage.tell(format_args!("begins after {}", one.as_millis()));
    std::thread::sleep(12 * one + SOON);
    drop(queues);
    stage.tell("done");
    stage.wait();
}

#[test]
fn keys_of_many_processes_leave_others_theirs() {
    let Some(lab) = Lab::new() else { return };
    let mut children: Vec<Child> = (0..40).map(|_| lab.child("uses many keys")).collect();
    for child in &mut children {
        child.hears("used");
    }
    others_are_served(&lab);
}

fn uses_many_keys(stage: &Stage) {
    let mut queue = Queue::start(stage, HPRE, 0);
    for i in 0..64 {
        Rsa::with_exponent(3 + 2 * i).is_done(&mut queue);
    }
    stage.tell("used");
    stage.wait();
}
