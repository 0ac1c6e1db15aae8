//! What ends, and what is left behind.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use warpdrive_pmd::uacce::abi;

use crate::client::{Map, another, call, errno, open, poll};
use crate::stub::{PAGE, PAGES, SLOW};
use crate::{Lab, soon};

/// Set in the process that counts what it has.
const COUNT: &str = "WARPDRIVE_TEST_COUNT";

#[test]
fn the_end_of_the_server_releases_all_queues() {
    let Some(mut lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    let map = Map::new(&file, 0, PAGE).unwrap();
    let queue = lab.stub.newest();
    let waiting = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| poll(std::os::fd::AsRawFd::as_raw_fd(&file), 20_000));
        soon("the waker", || queue.has_waker());
        assert!(!lab.mounted.as_ref().unwrap().ended());
        drop(lab.mounted.take());
        waiter.join().unwrap()
    });
    assert_eq!(waiting.1 & libc::POLLERR, libc::POLLERR, "who waits is told");
    assert_eq!(lab.stub.open_queues(), 0);
    assert_eq!(Arc::strong_count(&lab.stub), 1, "nobody holds the device");
    assert_eq!(std::fs::read_dir(lab.folder.path()).unwrap().count(), 0, "the folder is as it was");
    map.store(0, 1);
    assert_eq!(errno(call(&file, abi::START, &mut [])), Some(libc::ENOTCONN));
}

#[test]
fn the_end_of_the_server_waits_for_calls_under_way() {
    let Some(mut lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    let queue = lab.stub.newest();
    std::thread::scope(|scope| {
        // Whoever calls is told at once, but the device is still at it.
        scope.spawn(|| assert_eq!(errno(call(&file, SLOW, &mut [])), Some(libc::ECONNABORTED)));
        soon("the call", || queue.slow_calls() == 1);
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            queue.end_slow();
        });
        drop(lab.mounted.take());
        assert_eq!((queue.slow_calls(), lab.stub.open_queues(), Arc::strong_count(&lab.stub)), (0, 0, 1));
    });
}

#[test]
fn a_server_that_somebody_cuts_off_knows_it() {
    let Some(lab) = Lab::new() else { return };
    let (file, mounted) = (open(&lab.queue()), lab.mounted.as_ref().unwrap());
    call(&file, abi::START, &mut []).unwrap();
    assert!(!mounted.ended());
    // In use it stays where it is, but the connection ends.
    let forced = unmount(lab.folder.path(), UnmountFlags::FORCE);
    assert_eq!(forced, Err(rustix::io::Errno::BUSY));
    soon("the end", || mounted.ended());
    assert_eq!(lab.stub.open_queues(), 0, "and the queues are given back");
}

#[test]
fn the_end_of_a_server_that_is_nowhere_does_not_wait_for_its_users() {
    let Some(mut lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    unmount(lab.folder.path(), UnmountFlags::DETACH).unwrap();
    drop(lab.mounted.take());
    assert_eq!(call(&file, abi::START, &mut []).unwrap(), 0, "who has a queue keeps it");
    drop(file);
    soon("the end of the session", || Arc::strong_count(&lab.stub) == 1);
}

/// What a process holds.
#[derive(Debug, PartialEq)]
struct Held {
    descriptors: usize,
    threads: usize,
    mappings: usize,
}

impl Held {
    fn now() -> Self {
        let count = |folder: &str| std::fs::read_dir(Path::new("/proc/self").join(folder)).unwrap().count();
        let mappings = std::fs::read_to_string("/proc/self/maps").unwrap();
        // Those of queues; the allocator has others at will.
        let mappings = mappings.lines().filter(|line| line.contains("memfd:queue")).count();
        Self { descriptors: count("fd"), threads: count("task"), mappings }
    }
}

/// Files that are open on this machine, in the kernel's count: it includes those that only FUSE holds.
fn open_files() -> usize {
    let count = std::fs::read_to_string("/proc/sys/fs/file-nr").unwrap();
    count.split('\t').next().unwrap().parse().unwrap()
}

/// Bytes in use, of any kind of memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE
}

#[test]
fn a_thousand_opens_leave_nothing_behind() {
    if std::env::var_os(COUNT).is_some() {
        return thousand_opens();
    }
    // In a process of its own: other tests open and close, too.
    let alone = another("life::a_thousand_opens_leave_nothing_behind", COUNT, "1").output().unwrap();
    eprintln!("{}", String::from_utf8_lossy(&alone.stderr));
    assert!(alone.status.success() && String::from_utf8_lossy(&alone.stdout).contains("1 passed"));
}

fn thousand_opens() {
    let before = Held::now();
    let Some(mut lab) = Lab::new() else { return };
    let cycle = || {
        let file = open(&lab.queue());
        let map = Map::new(&file, 0, PAGES * PAGE).unwrap();
        (0..PAGES).for_each(|page| map.store(page * PAGE, 1));
        call(&file, abi::START, &mut []).unwrap();
        poll(std::os::fd::AsRawFd::as_raw_fd(&file), 0);
        drop(std::fs::read(lab.attribute("available_instances")).unwrap());
    };
    let all_closed = || soon("all releases", || lab.stub.open_queues() == 0);
    (0..100).for_each(|_| cycle());
    all_closed();
    let (warm, bytes, files) = (Held::now(), resident_bytes(), open_files());
    (0..1000).for_each(|_| cycle());
    all_closed();
    assert_eq!(Held::now(), warm);
    let grown = resident_bytes().saturating_sub(bytes);
    // Of the queues alone it would be 160 MB.
    assert!(grown < 4 << 20, "{grown} bytes more");
    // Others open and close files too, but not so many for so long.
    soon("the end of the kernel's hold of the memory", || open_files() < files + 500);
    drop(lab.mounted.take());
    drop(lab);
    assert_eq!(Held::now(), before);
}
