//! M17: poll and epoll.

use std::time::Duration;

use rustix::event::epoll;
use warpdrive_pmd::uacce::abi::qm::Command;
use warpdrive_pmd::uacce::serve::{DeviceConfig, Function};

use crate::child::{Role, Stage};
use crate::entries::{Rsa, answers, code, deflate, ended, entry, null, text};
use crate::lab::{HPRE, LONG, Lab};
use crate::memory::{PAGE, Pages};
use crate::queue::{Queue, poll};

pub const ROLES: &[(&str, Role)] = &[
    ("waits for completions", waits_for_completions),
    ("waits for nothing", waits_for_nothing),
    ("works beside it", works_beside_it),
    ("waits now and then", waits_now_and_then),
    ("waits at two entries", waits_at_two_entries),
];

const LONG_MS: i32 = LONG.as_millis() as i32;
const READY: (i32, i16) = (1, libc::POLLIN);
const NOT_READY: (i32, i16) = (0, 0);

#[test]
fn m17_poll_and_epoll_wake_when_a_completion_comes() {
    let Some(lab) = Lab::new() else { return };
    lab.child("waits for completions").ends();
}

fn waits_for_completions(stage: &Stage) {
    let mut queue = Queue::start(stage, HPRE, 0);
    let (rsa, mut signed) = (Rsa::private(), vec![0; 256]);
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let file = queue.file.try_clone().unwrap();
    epoll::add(&set, &file, epoll::EventData::new_u64(7), epoll::EventFlags::IN).unwrap();
    let epoll_wait = |ms: i64| {
        let mut events = Vec::with_capacity(4);
        let timeout = rustix::event::Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 };
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&timeout)).unwrap();
        events.iter().map(|event| event.data.u64()).collect::<Vec<_>>()
    };
    assert_eq!(poll(&queue.file, 0), NOT_READY);
    assert!(epoll_wait(10).is_empty());
    for round in 0..40 {
        queue.send(&rsa.entry(&mut signed));
        if round % 2 == 0 {
            assert_eq!(poll(&queue.file, LONG_MS), READY);
        } else {
            assert_eq!(epoll_wait(LONG_MS.into()), [7]);
        }
        assert_eq!(code(&queue.try_recv().expect("it has come")), 0);
        queue.taken();
        assert_eq!((poll(&queue.file, 0), epoll_wait(0)), (NOT_READY, vec![]), "it was taken");
    }
}

#[test]
fn m17_only_those_wake_to_whom_something_came() {
    let Some(lab) = Lab::new() else { return };
    let mut waits = lab.child("waits for nothing");
    waits.hears("waits");
    let mut works = lab.child("works beside it");
    works.hears("worked");
    waits.hears("nothing came");
    waits.ends();
    works.ends();
}

/// How long nothing comes.
const WHILE: Duration = Duration::from_secs(1);

fn waits_for_nothing(stage: &Stage) {
    let mut queue = Queue::start(stage, HPRE, 0);
    let mut busy = Queue::start(stage, HPRE, 0);
    answers(&mut queue);
    queue.taken();
    stage.tell("waits");
    // Neither the other process's completions nor those of this one's other queue.
    let nothing = std::thread::scope(|scope| {
        let waits = scope.spawn(|| poll(&queue.file, WHILE.as_millis() as i32));
        for _ in 0..100 {
            answers(&mut busy);
        }
        waits.join().unwrap()
    });
    assert_eq!(nothing, NOT_READY);
    stage.tell("nothing came");
    stage.wait();
}

fn works_beside_it(stage: &Stage) {
    let mut queue = Queue::start(stage, HPRE, 0);
    for _ in 0..100 {
        queue.send(&null());
        assert_eq!(poll(&queue.file, LONG_MS), READY);
        queue.recv();
        queue.taken();
    }
    stage.tell("worked");
    stage.wait();
}

#[test]
fn m17_whoever_waits_now_and_then_is_woken_at_all_places_of_the_ring() {
    let Some(lab) = Lab::new() else { return };
    lab.child("waits now and then").ends();
}

fn waits_now_and_then(stage: &Stage) {
    let mut queue = Queue::start(stage, HPRE, 0);
    let depth = queue.layout.cq_depth;
    // The completion that waits is always at the same place, one round of the ring after the last that was waited for.
    for _ in 0..3 {
        for _ in 1..depth {
            answers(&mut queue);
            queue.taken();
        }
        queue.send(&null());
        assert_eq!(poll(&queue.file, 5_000), READY);
        assert_eq!(code(&queue.recv()), 0);
    }
}

#[test]
fn m17_queues_of_two_entries_wake_too() {
    let mut device = DeviceConfig::new("hisi_zip-1", Function::Zip);
    (device.version, device.depth) = (3, 2);
    let Some(lab) = Lab::of(vec![device]) else { return };
    lab.child("waits at two entries").ends();
}

fn waits_at_two_entries(stage: &Stage) {
    let mut queue = Queue::start(stage, "hisi_zip-1", 0);
    let (plain, output) = (text(PAGE), Pages::new(2 * PAGE));
    let words = entry(&deflate(plain.as_ptr() as u64, PAGE, output.address(), 2 * PAGE));
    for round in 0..40 {
        queue.send(&words);
        // Once in a while, as a client that looks for some time before it waits.
        if round % 3 == 0 {
            assert_eq!(ended(&queue.recv()).status, 0);
        } else {
            // It may be told of the completion before once more, of which it has not said that it was taken; but of this one in any case.
            let words = loop {
                assert_eq!(poll(&queue.file, 5_000), READY, "{round}");
                if let Some(words) = queue.try_recv() {
                    break words;
                }
            };
            assert_eq!(ended(&words).status, 0);
        }
        if round % 2 == 0 {
            queue.ring(Command::Taken, queue.cq_head);
        }
    }
}
