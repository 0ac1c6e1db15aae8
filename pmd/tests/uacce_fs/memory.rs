//! What is mapped.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Barrier;

use crate::client::{Map, errno, open, try_open};
use crate::stub::{PAGE, PAGES};
use crate::{Lab, soon};

/// The last word of a queue, where the stub puts its number.
const NUMBER: usize = PAGES * PAGE - 8;

#[test]
fn pages_of_a_queue_file_are_shared_both_ways() {
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    let (first, rest) =
        (Map::new(&file, 0, PAGE).unwrap(), Map::new(&file, PAGE, (PAGES - 1) * PAGE).unwrap());
    let theirs = &lab.stub.newest().map;
    first.store(0x340, 0x1234);
    rest.store(8, 0x5678);
    assert_eq!((theirs.load(0x340), theirs.load(PAGE + 8)), (0x1234, 0x5678));
    theirs.store(16, 9);
    theirs.store(NUMBER - 8, 10);
    assert_eq!((first.load(16), rest.load(NUMBER - 8 - PAGE)), (9, 10));
    assert_eq!(file.metadata().unwrap().size(), (PAGES * PAGE) as u64);
}

#[test]
fn each_open_has_memory_of_its_own() {
    let Some(lab) = Lab::new() else { return };
    let files = [open(&lab.queue()), open(&lab.queue())];
    let maps = files.each_ref().map(|file| Map::new(file, 0, PAGES * PAGE).unwrap());
    assert_eq!(maps.each_ref().map(|map| map.load(NUMBER)), [1, 2]);
    maps[0].store(0, 7);
    assert_eq!(maps[1].load(0), 0);
    assert_ne!(files[0].metadata().unwrap().ino(), files[1].metadata().unwrap().ino());
}

#[test]
fn closing_gives_the_queue_back_though_it_is_mapped() {
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    let map = Map::new(&file, PAGE, PAGE).unwrap();
    assert_eq!(lab.stub.open_queues(), 1);
    let other = file.try_clone().unwrap();
    drop(file);
    assert_eq!(lab.stub.open_queues(), 1, "a duplicate keeps it");
    drop(other);
    soon("the release", || lab.stub.open_queues() == 0);
    map.store(0, 1);
    let next = open(&lab.queue());
    assert_eq!(Map::new(&next, PAGE, PAGE).unwrap().load(0), 0, "nobody else gets the memory");
}

#[test]
fn sixteen_threads_open_at_once_and_each_has_its_own() {
    const THREADS: usize = 16;
    const TIMES: usize = 25;
    let Some(lab) = Lab::new() else { return };
    let (path, start) = (lab.queue(), Barrier::new(THREADS));
    let open_some = || {
        start.wait();
        let numbers = (0..TIMES).map(|_| {
            let file = open(&path);
            let map = Map::new(&file, 0, PAGES * PAGE).unwrap();
            let number = map.load(NUMBER);
            map.store(0, number);
            std::thread::yield_now();
            assert_eq!(map.load(0), number, "nobody else stores here");
            number
        });
        numbers.collect::<Vec<u64>>()
    };
    let numbers: BTreeSet<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(open_some)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(numbers, (1..=(THREADS * TIMES) as u64).collect());
    soon("all releases", || lab.stub.open_queues() == 0);
}

#[test]
fn an_open_file_cannot_be_opened_by_its_descriptor() {
    use std::os::fd::AsRawFd as _;
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    let again = try_open(format!("/proc/self/fd/{}", file.as_raw_fd()).as_ref());
    assert_eq!(errno(again), Some(libc::EIO));
    soon("the release of the second", || lab.stub.open_queues() == 1);
    assert_eq!(Map::new(&file, 0, PAGES * PAGE).unwrap().load(NUMBER), 1, "the first is as it was");
}

#[test]
fn a_device_without_queues_says_so() {
    let Some(lab) = Lab::new() else { return };
    lab.stub.limit.store(1, std::sync::atomic::Ordering::SeqCst);
    let first = open(&lab.queue());
    assert_eq!(errno(try_open(&lab.queue())), Some(libc::EBUSY));
    drop(first);
    soon("the release", || lab.stub.open_queues() == 0);
    open(&lab.queue());
}
