//! poll and epoll.

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::epoll;

use crate::client::{open, poll};
use crate::{Lab, soon};

const READY: (i32, i16) = (1, libc::POLLIN);
const NOT_READY: (i32, i16) = (0, 0);
/// Longer than anything takes.
const LONG_MS: i32 = 20_000;

#[test]
fn poll_without_time_says_what_is() {
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    let queue = lab.stub.newest();
    assert_eq!(poll(file.as_raw_fd(), 0), NOT_READY);
    assert!(!queue.has_waker(), "nobody waits");
    queue.ready.store(true, Ordering::SeqCst);
    assert_eq!(poll(file.as_raw_fd(), 0), READY);
    queue.failed.store(true, Ordering::SeqCst);
    assert_eq!(poll(file.as_raw_fd(), 0), (1, libc::POLLIN | libc::POLLERR));
    assert_eq!(queue.polls.load(Ordering::SeqCst), 3);
}

#[test]
fn poll_wakes_when_a_completion_comes() {
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    let queue = lab.stub.newest();
    assert_eq!(poll(file.as_raw_fd(), 20), NOT_READY, "it waits for a while");
    for _ in 0..20 {
        queue.ready.store(false, Ordering::SeqCst);
        let start = Instant::now();
        let waited = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| poll(file.as_raw_fd(), LONG_MS));
            soon("the waker", || queue.has_waker());
            queue.complete();
            waiter.join().unwrap()
        });
        assert_eq!(waited, READY);
        assert!(start.elapsed() < Duration::from_secs(10), "it was woken, and not at the end of its time");
    }
}

#[test]
fn poll_wakes_when_the_queue_fails() {
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    let queue = lab.stub.newest();
    let waited = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| poll(file.as_raw_fd(), LONG_MS));
        soon("the waker", || queue.has_waker());
        queue.failed.store(true, Ordering::SeqCst);
        queue.wake();
        waiter.join().unwrap()
    });
    assert_eq!(waited, (1, libc::POLLIN | libc::POLLERR));
}

#[test]
fn a_wake_without_a_completion_goes_on_waiting() {
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    let queue = lab.stub.newest();
    let waited = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| poll(file.as_raw_fd(), LONG_MS));
        soon("the waker", || queue.has_waker());
        queue.wake();
        soon("the next waker", || queue.has_waker());
        queue.complete();
        waiter.join().unwrap()
    });
    assert_eq!(waited, READY);
    assert!(queue.polls.load(Ordering::SeqCst) >= 3, "asked, woken for nothing, asked again, woken, asked");
}

#[test]
fn epoll_wakes_again_and_again() {
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    let queue = lab.stub.newest();
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&set, &file, epoll::EventData::new_u64(7), epoll::EventFlags::IN).unwrap();
    let wait = |ms: i64| {
        let mut events = Vec::with_capacity(4);
        let timeout = rustix::event::Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 };
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&timeout)).unwrap();
        events.iter().map(|event| (event.data.u64(), event.flags)).collect::<Vec<_>>()
    };
    assert_eq!(wait(10), []);
    for _ in 0..10 {
        let woken = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(LONG_MS.into()));
            soon("the waker", || queue.has_waker());
            queue.complete();
            waiter.join().unwrap()
        });
        assert_eq!(woken, [(7, epoll::EventFlags::IN)]);
        queue.ready.store(false, Ordering::SeqCst);
        assert_eq!(wait(10), [], "what was taken is not told again");
    }
}

#[test]
fn attributes_are_always_ready() {
    let Some(lab) = Lab::new() else { return };
    let file = std::fs::File::open(lab.attribute("api")).unwrap();
    assert_eq!(poll(file.as_raw_fd(), 0), READY);
}
