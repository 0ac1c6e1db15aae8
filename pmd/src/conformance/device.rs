//! The rules for devices and their queues.

use std::time::{Duration, Instant};

use warpdrive_mempool::{Iova, Mempool};

use crate::device::{Completion, Device, DeviceError, Queue, Request, Segment, SessionId, Status};

/// Sets a device up for the suite. Shared by the threads of a test.
pub trait DeviceRig: Sync {
    /// For messages.
    fn name(&self) -> &str;

    /// The device, with its sessions made.
    fn device(&self) -> &dyn Device;

    /// The pool of all packets in its requests, mapped in the device's domain; at least 1024 buffers of 1 KiB.
    fn pool(&self) -> &Mempool;

    /// A valid request number `n`, as different from its neighbours as may be. The suite sets the tag.
    fn request(&self, n: u64) -> Request;

    /// Checks the result of request number `n`, whose status is [`Status::Ok`]; panics if it is wrong.
    fn verify(&self, n: u64, completion: &Completion);
}

/// Runs every check.
///
/// # Panics
/// When a rule is broken.
pub fn check_device(rig: &dyn DeviceRig) {
    depth_has_limits(rig);
    every_request_comes_back_once(rig);
    a_full_queue_keeps_the_rest(rig);
    completions_fit_the_vector(rig);
    bad_requests_are_answered(rig);
    recv_sync_returns(rig);
    dropping_a_queue_returns_packets(rig);
    two_queues_work_at_once(rig);
    assert_eq!(rig.pool().stats().in_use, 0, "{}: packets did not come back", rig.name());
}

const PATIENCE: Duration = Duration::from_secs(20);

fn queue(rig: &dyn DeviceRig, depth: usize) -> Box<dyn Queue> {
    let queue = rig.device().request_queue(depth).expect("a queue for the conformance suite");
    assert_eq!((queue.room(), queue.in_flight()), (depth, 0), "{}: a fresh queue is empty", rig.name());
    queue
}

fn requests(rig: &dyn DeviceRig, range: std::ops::Range<u64>) -> Vec<Request> {
    range.map(|n| rig.request(n).with_tag(n)).collect()
}

/// Receives `want` completions.
fn receive(rig: &dyn DeviceRig, queue: &mut dyn Queue, want: usize) -> Vec<Completion> {
    let mut got = Vec::with_capacity(want);
    let deadline = Instant::now() + PATIENCE;
    queue.flush();
    while got.len() < want {
        let before = got.len();
        let n = queue.recv_burst(&mut got, want - before);
        assert_eq!(got.len(), before + n, "{}: recv_burst says how many", rig.name());
        assert!(Instant::now() < deadline, "{}: {} of {want} completions", rig.name(), got.len());
        if n == 0 {
            std::thread::yield_now();
        }
    }
    got
}

/// Sends requests `range` through the queue and checks that each comes back once, right, with its tag.
fn run(rig: &dyn DeviceRig, queue: &mut dyn Queue, range: std::ops::Range<u64>) {
    let name = rig.name();
    let mut seen = vec![false; (range.end - range.start) as usize];
    let mut next = range.start;
    let mut waiting: Vec<Request> = Vec::new();
    let mut out = Vec::with_capacity(7);
    let deadline = Instant::now() + PATIENCE;
    while seen.contains(&false) {
        assert!(Instant::now() < deadline, "{name}: requests are missing");
        while waiting.len() < 9 && next < range.end {
            waiting.push(rig.request(next).with_tag(next));
            next += 1;
        }
        let (room, before) = (queue.room(), waiting.len());
        let sent = queue.send_burst(&mut waiting);
        assert_eq!(sent, before.min(room), "{name}: takes what it has room for");
        assert_eq!(waiting.len(), before - sent, "{name}: takes what it says");
        queue.flush();
        queue.recv_burst(&mut out, 64);
        for completion in out.drain(..) {
            let tag = completion.request.tag;
            assert!(range.contains(&tag), "{name}: tag {tag} is of another queue");
            let place = &mut seen[(tag - range.start) as usize];
            assert!(!*place, "{name}: request {tag} came back twice");
            *place = true;
            assert_eq!(completion.status, Status::Ok, "{name}: request {tag}");
            assert!(completion.sent > 0, "{name}: the time of sending is known");
            rig.verify(tag, &completion);
        }
    }
    assert_eq!(queue.in_flight(), 0, "{name}: nothing is left");
    assert!(queue.recv().is_none(), "{name}: nothing more comes");
}

fn depth_has_limits(rig: &dyn DeviceRig) {
    for depth in [0, usize::MAX] {
        let answer = rig.device().request_queue(depth);
        assert!(matches!(answer, Err(DeviceError::Depth { .. })), "{}: depth {depth}", rig.name());
    }
}

fn every_request_comes_back_once(rig: &dyn DeviceRig) {
    for depth in [1, 3, 32] {
        run(rig, &mut *queue(rig, depth), 0..120);
    }
}

fn a_full_queue_keeps_the_rest(rig: &dyn DeviceRig) {
    let name = rig.name();
    let mut queue = queue(rig, 4);
    let mut burst = requests(rig, 0..10);
    assert_eq!(queue.send_burst(&mut burst), 4, "{name}: as many as the queue is deep");
    assert_eq!(burst.iter().map(|r| r.tag).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9], "{name}: the rest stays");
    assert_eq!((queue.room(), queue.in_flight()), (0, 4), "{name}");
    assert_eq!(queue.send_burst(&mut burst), 0, "{name}: full");
    let refused = queue.send(burst.remove(0));
    assert_eq!(refused.err().map(|r| r.tag), Some(4), "{name}: a full queue gives the request back");
    let mut tags: Vec<_> = receive(rig, &mut *queue, 4).iter().map(|c| c.request.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, [0, 1, 2, 3], "{name}");
    assert_eq!((queue.room(), queue.in_flight()), (4, 0), "{name}: room again");
}

fn completions_fit_the_vector(rig: &dyn DeviceRig) {
    let name = rig.name();
    let mut queue = queue(rig, 16);
    assert_eq!(queue.send_burst(&mut requests(rig, 0..8)), 8, "{name}");
    let mut total = 0;
    let deadline = Instant::now() + PATIENCE;
    while total < 8 {
        let mut out = Vec::with_capacity(3);
        let capacity = out.capacity();
        let n = queue.recv_burst(&mut out, 64);
        assert!(n <= capacity && out.capacity() == capacity, "{name}: the vector does not grow");
        let before = out.len();
        let more = queue.recv_burst(&mut out, 0);
        assert_eq!((more, out.len()), (0, before), "{name}: max = 0");
        total += n;
        assert!(Instant::now() < deadline, "{name}: {total} of 8 completions");
    }
}

fn bad_requests_are_answered(rig: &dyn DeviceRig) {
    let name = rig.name();
    let session = rig.request(0).session;
    let packet = || {
        let mut packet = rig.pool().alloc().expect("a packet");
        packet.set_len(512).expect("a buffer of at least 1 KiB");
        packet
    };
    let mut overlap = Request::new(session, packet());
    overlap.set_src(0..256).and(overlap.set_dst(255..512)).expect("within the packet");
    let mut unknown = rig.request(1);
    unknown.session = SessionId(u32::MAX);
    let nowhere = Segment { iova: Iova(64), len: 64 };
    let none = Segment::default();
    let end = rig.pool().region();
    let last =
        end.iova_of(end.mapping().va()).map_or(Iova(0), |i| Iova(i.0 + end.mapping().len() as u64 - 8));
    // SAFETY: the first 4 KiB of the address space are never mapped in a domain; the request faults.
    let unmapped = unsafe { Request::raw(session, nowhere, none, none) };
    // SAFETY: as above: the source faults, so nothing is written.
    let unmapped_output = unsafe { Request::raw(session, none, none, nowhere) };
    // SAFETY: it reaches past the end of the pool's region, so it is not mapped as a whole and faults.
    let beyond = unsafe { Request::raw(session, Segment { iova: last, len: 4096 }, none, none) };
    // SAFETY: the range wraps around the address space, so it faults.
    let wraps = unsafe { Request::raw(session, Segment { iova: Iova(u64::MAX - 3), len: 64 }, none, none) };
    let is_fault = |s: Status| matches!(s, Status::Fault(_));
    type Rule = (&'static str, Request, fn(Status) -> bool);
    let bad: Vec<Rule> = vec![
        ("an overlap", overlap, |s| s == Status::Overlap),
        ("an unknown session", unknown, |s| s == Status::NoSession),
        ("an unmapped source", unmapped, is_fault),
        ("an unmapped destination", unmapped_output, is_fault),
        ("a source that leaves the region", beyond, is_fault),
        ("a source that wraps around", wraps, is_fault),
    ];
    let mut queue = queue(rig, 8);
    for (what, request, right) in bad {
        let sent = queue.send(request.with_tag(42));
        assert!(sent.is_ok(), "{name}: the queue has room");
        let completion = receive(rig, &mut *queue, 1).remove(0);
        assert!(right(completion.status), "{name}: {what} ends as {:?}", completion.status);
        assert_eq!((completion.request.tag, completion.produced), (42, 0), "{name}: {what}");
    }
    run(rig, &mut *queue, 0..5);
}

fn recv_sync_returns(rig: &dyn DeviceRig) {
    let name = rig.name();
    let mut queue = queue(rig, 4);
    let start = Instant::now();
    assert!(queue.recv_sync(PATIENCE).is_none(), "{name}: nothing is in flight");
    assert!(start.elapsed() < PATIENCE / 2, "{name}: does not wait for nothing");
    assert!(queue.send(rig.request(1).with_tag(1)).is_ok());
    let first = queue.recv_sync(Duration::ZERO);
    let completion = first.or_else(|| queue.recv_sync(PATIENCE));
    let completion = completion.unwrap_or_else(|| panic!("{name}: recv_sync gave up"));
    assert_eq!((completion.request.tag, completion.status), (1, Status::Ok), "{name}");
    rig.verify(1, &completion);
}

fn dropping_a_queue_returns_packets(rig: &dyn DeviceRig) {
    for received in [0, 2] {
        let mut queue = queue(rig, 16);
        assert_eq!(queue.send_burst(&mut requests(rig, 0..12)), 12);
        drop(receive(rig, &mut *queue, received));
        drop(queue);
        // An engine core may free the last of them a moment later.
        let deadline = Instant::now() + PATIENCE;
        while rig.pool().stats().in_use > 0 {
            assert!(Instant::now() < deadline, "{}: packets in flight did not come back", rig.name());
            std::thread::yield_now();
        }
    }
}

fn two_queues_work_at_once(rig: &dyn DeviceRig) {
    std::thread::scope(|scope| {
        for range in [0..150, 1_000..1_150] {
            scope.spawn(move || run(rig, &mut *queue(rig, 16), range));
        }
    });
}
