//! Devices that lie, fail or go away; children.

use std::sync::atomic::Ordering;

use super::*;
use crate::device::Flush;
use crate::engine::rsa::{RsaKey, RsaOp, RsaScheme, RsaSession};
use crate::engine::zip::{ZipFormat, ZipOp};
use crate::uacce::abi;
use crate::uacce::abi::hpre;
use crate::uacce::fake::engines;
use crate::uacce::fork::tests::holds_in_a_child;
use rustix::io::Errno;

const RSA_1024: &str = include_str!("../../../tests/data/rsa/rsa1024.pem");

fn sign() -> SessionSpec {
    let key = RsaKey::from_pem(RSA_1024, "known").unwrap();
    SessionSpec::Rsa(RsaSession::new(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &key).unwrap())
}

/// An engine that does it well and then changes the words that it leaves.
fn lying(mut engine: Engine, lie: impl Fn(&mut [u32]) + Send + 'static) -> Engine {
    Box::new(move |kind, words| {
        engine(kind, words);
        lie(words);
    })
}

#[test]
fn what_a_lying_device_says_of_lengths_and_tags_is_not_believed() {
    type Lie = fn(&mut [u32]);
    let lies: [(&str, Lie); 7] = [
        ("more than there was room for", |w| w[1] = w[14] + 1),
        ("all the room there is", |w| w[1] = u32::MAX),
        ("more than there was", |w| w[0] = w[4] + 1),
        ("less than there was", |w| w[0] -= 1),
        ("another's tag", |w| w[26] ^= 1),
        ("a status of its own", |w| w[3] = 0x77),
        ("a tag elsewhere", |w| w[7] &= 0x0fff_ffff),
    ];
    for (what, lie) in lies {
        let bench = Bench::new(Plan::zip(), lying(engines::zip(), lie));
        let pack = bench.session(super::zip::zip(ZipOp::Compress, ZipFormat::Gzip));
        let mut queue = bench.queue(4);
        let done = one(&mut *queue, bench.request(pack, &text(1, 300), 500));
        assert_eq!((done.status, done.produced, done.consumed), (Status::EngineFailed, 0, 0), "{what}");
        let mut request = bench.request(pack, &text(1, 300), 500);
        request.set_stream(bench.device.create_stream(pack).unwrap(), Flush::Finish);
        let mut done = one(&mut *queue, request);
        let stream = done.request.take_stream().unwrap();
        if what == "less than there was" {
            // Of a stream that is possible: the rest is to be sent again.
            assert_eq!((done.status, done.ended, stream.is_broken()), (Status::OutputFull, false, false));
        } else {
            assert_eq!((done.status, stream.is_broken()), (Status::EngineFailed, true), "{what}");
        }
    }
    let lies: [(&str, Lie); 5] = [
        ("not done", |w| w[0] = w[0] & !(3 << 30) | 1 << 30),
        ("an error", |w| w[0] |= 2 << 5),
        ("an error of the other kind", |w| w[0] |= 1 << 20),
        ("another's tag", |w| w[8] ^= 1),
        ("another's tag above", |w| w[9] ^= 1),
    ];
    for (what, lie) in lies {
        let bench = Bench::new(Plan::hpre(), lying(engines::rsa(), lie));
        let session = bench.session(sign());
        let done = one(&mut *bench.queue(4), bench.request(session, b"message", 128));
        assert_eq!((done.status, done.produced), (Status::EngineFailed, 0), "{what}");
    }
}

#[test]
fn faults_of_the_device_are_faults_of_the_request() {
    let bench = Bench::new(Plan::hpre(), lying(engines::rsa(), |w| w[0] |= hpre::error::ADDRESS << 5));
    let session = bench.session(sign());
    let done = one(&mut *bench.queue(4), bench.request(session, b"message", 128));
    assert!(matches!(done.status, Status::Fault(_)));
    let bench = Bench::new(Plan::zip(), lying(engines::zip(), |w| w[3] = abi::zip::status::ADDRESS));
    let session = bench.session(super::zip::zip(ZipOp::Compress, ZipFormat::Gzip));
    let done = one(&mut *bench.queue(4), bench.request(session, b"message", 128));
    assert!(matches!(done.status, Status::Fault(_)));
}

#[test]
fn a_stream_that_gets_nowhere_ends() {
    let stuck = |w: &mut [u32]| (w[0], w[1], w[3], w[15]) = (0, 0, 0, 0);
    for op in [ZipOp::Compress, ZipOp::Decompress] {
        let bench = Bench::new(Plan::zip(), lying(engines::zip(), stuck));
        let session = bench.session(super::zip::zip(op, ZipFormat::Deflate));
        let mut request = bench.request(session, &[3, 0], 100);
        request.set_stream(bench.device.create_stream(session).unwrap(), Flush::Sync);
        assert_eq!(one(&mut *bench.queue(4), request).status, Status::EngineFailed);
    }
}

#[test]
fn wrong_results_of_hardware_are_never_given_out() {
    // A flipped bit in what the device has written to the packet.
    let flip = |w: &mut [u32]| {
        let at = u64::from(w[6]) | u64::from(w[7]) << 32;
        // SAFETY: the output of the request that is being done.
        unsafe { *std::ptr::with_exposed_provenance_mut::<u8>(at as usize + 9) ^= 4 };
    };
    let bench = Bench::new(Plan { words: None, ..Plan::hpre() }, lying(engines::rsa(), flip));
    let session = bench.session(sign());
    let done = one(&mut *bench.queue(4), bench.request(session, b"message", 128));
    assert_eq!((done.status, done.produced), (Status::EngineFailed, 0));
    let (_, output) = done.request.into_packets();
    assert_eq!(output.unwrap().data(), [0; 128], "it tells nothing of the key");
}

/// What is in flight when the device goes comes back once as cancelled, and its packets with it. Whether the queue comes back with the
/// device is known.
fn goes_away(plan: Plan, back: bool, go: impl Fn(&Fake)) {
    let bench = Bench::new(plan, engines::zip());
    let pack = bench.session(super::zip::zip(ZipOp::Compress, ZipFormat::Zlib));
    let mut queue = bench.queue(8);
    assert_eq!(one(&mut *queue, bench.request(pack, b"bytes", 100)).status, Status::Ok);
    bench.fake.hold(true);
    for n in 0..4 {
        let mut request = bench.request(pack, b"bytes", 100).with_tag(n);
        if n == 3 {
            request.set_stream(bench.device.create_stream(pack).unwrap(), Flush::Sync);
        }
        queue.send(request).unwrap();
    }
    go(&bench.fake);
    let begun = Instant::now();
    let mut tags = Vec::new();
    while queue.in_flight() > 0 {
        while let Some(mut done) = queue.recv() {
            assert_eq!((done.status, done.produced), (Status::Cancelled, 0));
            tags.push(done.request.tag);
            assert_eq!(
                done.request.take_stream().map(|s| s.is_broken()),
                (done.request.tag == 3).then_some(true)
            );
        }
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!((tags, queue.room()), (vec![0, 1, 2, 3], 8));
    assert!(queue.recv().is_none() && queue.is_gone());
    // Nobody waits for room that never comes: what is sent now comes back at once.
    for n in 0..9 {
        assert_eq!(queue.send(bench.request(pack, b"bytes", 100).with_tag(n)).is_ok(), n < 8);
    }
    let mut again = Vec::with_capacity(9);
    assert_eq!((queue.recv_burst(&mut again, 9), queue.in_flight(), queue.room()), (8, 0, 8));
    assert!(again.iter().all(|done| (done.status, done.produced) == (Status::Cancelled, 0)));
    drop(again);
    bench.fake.kill(false);
    *bench.fake.lie.lock().unwrap() = None;
    bench.fake.failed.store(false, Ordering::SeqCst);
    bench.fake.refuse.lock().unwrap().clear();
    bench.fake.hold(false);
    if back {
        comes_back(&*queue);
    } else {
        stays_away(&*queue);
    }
    let done = one(&mut *queue, bench.request(pack, b"bytes", 100));
    assert_eq!(done.status, if back { Status::Ok } else { Status::Cancelled });
    drop((done, queue));
    assert_eq!(
        one(&mut *bench.queue(8), bench.request(pack, b"bytes", 100)).status,
        Status::Ok,
        "a new one works"
    );
    assert_eq!(bench.pool.stats().in_use, 0);
    let stats = bench.device.stats();
    assert_eq!((stats.queues_lost, stats.queues_reopened), (1, u64::from(back)));
}

/// The queue of a device that is there again is, too.
#[track_caller]
fn comes_back(queue: &dyn Queue) {
    let begun = Instant::now();
    while queue.is_gone() {
        assert!(begun.elapsed() < PATIENCE, "it does not come back");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[track_caller]
fn stays_away(queue: &dyn Queue) {
    // More than the longest between two attempts.
    std::thread::sleep(Duration::from_secs(3));
    assert!(queue.is_gone(), "it comes back");
}

#[test]
fn requests_of_a_killed_server_are_cancelled_once() {
    goes_away(Plan::zip(), true, |fake| fake.kill(true));
}

#[test]
fn requests_of_a_device_that_has_failed_are_cancelled_once() {
    let fail = |fake: &Fake| {
        // So that there is no other queue before the test wants one.
        fake.refuse.lock().unwrap().insert(0, Errno::NODEV);
        fake.failed.store(true, Ordering::SeqCst);
    };
    goes_away(Plan::zip(), true, fail);
}

#[test]
fn a_device_that_completes_what_was_not_sent_gets_no_other_queue() {
    let nonsense = |fake: &Fake| {
        *fake.lie.lock().unwrap() = Some(9_999);
        fake.hold(false);
    };
    goes_away(Plan::zip(), false, nonsense);
}

#[test]
fn a_queue_that_is_not_given_back_keeps_its_memory_and_has_no_successor() {
    let bench = Bench::new(Plan::hpre(), engines::rsa());
    let session = bench.session(sign());
    let mut queue = bench.queue(4);
    bench.fake.hold(true);
    for n in 0..3 {
        queue.send(bench.request(session, b"message", 128).with_tag(n)).unwrap();
    }
    bench.fake.refuse.lock().unwrap().insert(abi::PUT_Q, Errno::BUSY);
    bench.fake.failed.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    while !queue.is_gone() {
        assert!(queue.recv().is_none() && begun.elapsed() < PATIENCE);
    }
    assert_eq!((queue.in_flight(), queue.room(), bench.pool.stats().in_use), (0, 4, 6));
    bench.fake.refuse.lock().unwrap().clear();
    bench.fake.failed.store(false, Ordering::SeqCst);
    bench.fake.hold(false);
    stays_away(&*queue);
    let done = one(&mut *queue, bench.request(session, b"message", 128));
    assert_eq!(done.status, Status::Cancelled);
    drop((done, queue));
    assert_eq!(bench.pool.stats().in_use, 6, "nobody knows whether the device will write there");
    let stats = bench.device.stats();
    assert_eq!((stats.queues_lost, stats.queues_reopened), (1, 0));
}

#[test]
fn a_queue_that_comes_back_has_what_it_had() {
    let bench = Bench::new(Plan::zip(), engines::zip());
    let pack = bench.session(super::zip::zip(ZipOp::Compress, ZipFormat::Zlib));
    let mut queue = bench.queue(8);
    let mut stream = bench.request(pack, b"bytes", 100);
    stream.set_stream(bench.device.create_stream(pack).unwrap(), Flush::Sync);
    let mut stream = one(&mut *queue, stream).request.take_stream().unwrap();
    for round in 1..=3 {
        // The lane for the other direction is opened by the first request, or with the queue when it comes back.
        let unpack = bench.session(super::zip::zip(ZipOp::Decompress, ZipFormat::Zlib));
        let packed = output(one(&mut *queue, bench.request(pack, b"bytes", 100)));
        assert_eq!(output(one(&mut *queue, bench.request(unpack, &packed, 100))), b"bytes");
        let (calls, maps) = (bench.fake.count(abi::START), bench.fake.maps.lock().unwrap().len());
        assert_eq!((calls, bench.fake.open.load(Ordering::SeqCst)), (2 * round, 2));
        bench.fake.hold(true);
        (0..5).for_each(|n| queue.send(bench.request(pack, b"bytes", 100).with_tag(n)).unwrap());
        bench.fake.kill(true);
        let begun = Instant::now();
        while !queue.is_gone() {
            assert!(queue.recv().is_none() || queue.is_gone());
            assert!(begun.elapsed() < PATIENCE);
        }
        bench.fake.maps.lock().unwrap().clear(); // a server's that is dead
        bench.fake.kill(false);
        bench.fake.hold(false);
        comes_back(&*queue);
        // What it owed it gives still: what it was sent before is cancelled, and what it is sent now is done.
        let owed = queue.in_flight() as u64;
        assert!((4..=5).contains(&owed) && queue.room() as u64 == 8 - owed);
        queue.send(bench.request(pack, b"bytes", 100).with_tag(9)).unwrap();
        assert_eq!((queue.in_flight() as u64, queue.room() as u64), (owed + 1, 7 - owed));
        for n in 5 - owed..5 {
            let done = queue.recv().unwrap();
            assert_eq!((done.request.tag, done.status), (n, Status::Cancelled));
        }
        let done = next(&mut *queue);
        assert_eq!((done.request.tag, done.status), (9, Status::Ok));
        assert_eq!(bench.fake.maps.lock().unwrap().len(), maps, "it knows the memory that the last one knew");
        drop(done);
        // What a server knew of a stream is gone with it.
        let mut request = bench.request(pack, b"bytes", 100);
        request.set_stream(stream, Flush::Sync);
        let mut done = one(&mut *queue, request);
        stream = done.request.take_stream().unwrap();
        assert_eq!(done.status, Status::BadStream);
        stream.restart();
        let mut request = bench.request(pack, b"bytes", 100);
        request.set_stream(stream, Flush::Sync);
        let mut done = one(&mut *queue, request);
        assert_eq!(done.status, Status::Ok);
        stream = done.request.take_stream().unwrap();
    }
    let stats = bench.device.stats();
    assert_eq!((stats.queues_lost, stats.queues_reopened), (3, 3));
    drop(queue);
    assert_eq!((bench.pool.stats().in_use, bench.fake.open.load(Ordering::SeqCst)), (0, 0));
}

#[test]
fn what_a_queue_has_for_its_device_is_nobodys_if_it_is_not_given_back() {
    // Where the device finds its numbers, of each request that it does.
    let (told, hear) = std::sync::mpsc::channel();
    let tell = move |words: &mut [u32]| _ = told.send(u64::from(words[4]) | u64::from(words[5]) << 32);
    let bench = Bench::new(Plan::hpre(), lying(engines::rsa(), tell));
    let session = bench.session(sign());
    let place = |queue: &mut dyn Queue| {
        assert_eq!(one(queue, bench.request(session, b"message", 128)).status, Status::Ok);
        hear.recv().unwrap()
    };
    let mut queue = bench.queue(4);
    let first = place(&mut *queue);
    drop(queue);
    let mut queue = bench.queue(4);
    assert_eq!(place(&mut *queue), first, "memory that was given back is used again");
    bench.fake.hold(true);
    queue.send(bench.request(session, b"message", 128)).unwrap();
    bench.fake.refuse.lock().unwrap().insert(abi::PUT_Q, Errno::BUSY);
    drop(queue);
    bench.fake.refuse.lock().unwrap().clear();
    bench.fake.hold(false);
    assert_ne!(place(&mut *bench.queue(4)), first);
}

#[test]
fn a_device_that_comes_back_as_another_one_is_not_used() {
    let bench = Bench::new(Plan::hpre(), engines::rsa());
    let session = bench.session(sign());
    let mut queue = bench.queue(4);
    let mut other = (*bench.fake.info()).clone();
    other.algorithms.pop();
    let what = bench.fake.info().difference(&other);
    assert_eq!(what.as_deref(), Some("algorithms: rsa, dh before, rsa now"));
    *bench.fake.next.lock().unwrap() = Some(other);
    bench.fake.hold(true);
    queue.send(bench.request(session, b"message", 128)).unwrap();
    bench.fake.kill(true);
    assert_eq!(next(&mut *queue).status, Status::Cancelled);
    bench.fake.hold(false);
    bench.fake.kill(false);
    stays_away(&*queue);
    assert_eq!(one(&mut *queue, bench.request(session, b"message", 128)).status, Status::Cancelled);
    *bench.fake.next.lock().unwrap() = None;
    comes_back(&*queue);
    assert_eq!(one(&mut *queue, bench.request(session, b"message", 128)).status, Status::Ok);
}

#[test]
fn a_queue_that_is_dropped_while_its_device_is_gone_leaves_nothing() {
    let bench = Bench::new(Plan::hpre(), engines::rsa());
    let session = bench.session(sign());
    let mut queues = [bench.queue(4), bench.queue(4)];
    bench.fake.hold(true);
    queues.iter_mut().for_each(|queue| queue.send(bench.request(session, b"message", 128)).unwrap());
    bench.fake.kill(true);
    queues.iter_mut().for_each(|queue| assert_eq!(next(&mut **queue).status, Status::Cancelled));
    // One before the next is there, and one with it, which nobody has taken.
    let [first, second] = queues;
    drop(first);
    bench.fake.kill(false);
    bench.fake.hold(false);
    comes_back(&*second);
    drop(second);
    let Bench { fake, desk } = bench;
    let pool = desk.pool.clone();
    drop(desk);
    let begun = Instant::now();
    // Nor does the device's keeper.
    while fake.users() > 1 {
        assert!(begun.elapsed() < PATIENCE, "{} users", fake.users());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!((pool.stats().in_use, fake.open.load(Ordering::SeqCst)), (0, 0));
}

#[test]
fn a_child_has_no_queue_whose_device_has_gone() {
    let bench = Bench::new(Plan::hpre(), engines::rsa());
    let session = bench.session(sign());
    let mut queue = bench.queue(4);
    bench.fake.hold(true);
    queue.send(bench.request(session, b"message", 128)).unwrap();
    bench.fake.kill(true);
    assert_eq!(next(&mut *queue).status, Status::Cancelled);
    bench.fake.kill(false);
    bench.fake.hold(false);
    comes_back(&*queue);
    let mut waiting = vec![bench.request(session, b"message", 128)];
    let mut queue = Some(queue);
    assert!(holds_in_a_child(|| {
        let Some(mut queue) = queue.take() else { return false };
        let nothing = queue.send_burst(&mut waiting) == 0 && queue.recv().is_none();
        let nothing = nothing && queue.is_gone() && (queue.room(), queue.in_flight()) == (0, 0);
        // With the one that waits in its place.
        drop(queue);
        nothing
    }));
    let mut queue = queue.unwrap();
    assert_eq!((queue.send_burst(&mut waiting), next(&mut *queue).status), (1, Status::Ok));
}

#[test]
fn recv_sync_hears_of_a_killed_server_at_once() {
    let bench = Bench::new(Plan::zip(), engines::zip());
    let pack = bench.session(super::zip::zip(ZipOp::Compress, ZipFormat::Zlib));
    let mut queue = bench.queue(8);
    bench.fake.hold(true);
    queue.send(bench.request(pack, b"bytes", 100)).unwrap();
    let killer = bench.fake.clone();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        killer.kill(true);
    });
    let begun = Instant::now();
    assert_eq!(queue.recv_sync(Duration::from_secs(30)).unwrap().status, Status::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(10));
    killer.join().unwrap();
}

#[test]
fn a_dropped_queue_waits_until_the_device_has_let_go() {
    // Giving back is refused: so what is in flight is waited for.
    let bench = Bench::new(Plan::zip(), engines::zip());
    let pack = bench.session(super::zip::zip(ZipOp::Compress, ZipFormat::Zlib));
    let mut queue = bench.queue(8);
    bench.fake.hold(true);
    for _ in 0..3 {
        queue.send(bench.request(pack, b"bytes", 100)).unwrap();
    }
    bench.fake.refuse.lock().unwrap().insert(abi::PUT_Q, Errno::BUSY);
    let (begun, other) = (Instant::now(), bench.fake.clone());
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        other.hold(false);
    });
    drop(queue);
    assert!(begun.elapsed() >= Duration::from_millis(150), "it waited");
    other.join().unwrap();
    assert_eq!(bench.pool.stats().in_use, 0);
    // A device that never lets go keeps the memory, rather than that somebody else gets it.
    let mut queue = bench.queue(8);
    bench.fake.hold(true);
    queue.send(bench.request(pack, b"bytes", 100)).unwrap();
    drop(queue);
    assert_eq!(bench.pool.stats().in_use, 2);
}

#[test]
fn a_childs_requests_are_refused_and_the_parents_go_on() {
    let bench = Bench::new(Plan::hpre(), engines::rsa());
    let session = bench.session(sign());
    let mut queue = bench.queue(4);
    let mut dropped = Some(bench.queue(4));
    bench.fake.hold(true);
    queue.send(bench.request(session, b"message", 128)).unwrap();
    dropped.as_mut().unwrap().send(bench.request(session, b"message", 128)).unwrap();
    let mut waiting = vec![bench.request(session, b"message", 128)];
    assert!(holds_in_a_child(|| {
        let nothing = queue.send_burst(&mut waiting) == 0
            && waiting.len() == 1
            && queue.recv().is_none()
            && queue.recv_burst(&mut Vec::with_capacity(4), 4) == 0
            && queue.recv_sync(Duration::from_secs(9)).is_none()
            && (queue.room(), queue.in_flight()) == (0, 0);
        queue.flush();
        drop(dropped.take());
        let refused = bench.device.request_queue(4).is_err()
            && bench.device.create_session(sign()).is_err()
            && !bench.device.remove_session(session);
        nothing && refused
    }));
    assert_eq!(bench.fake.count(abi::PUT_Q), 0);
    assert_eq!(bench.fake.open.load(Ordering::SeqCst), 2);
    bench.fake.hold(false);
    assert_eq!(next(&mut *queue).status, Status::Ok);
    assert_eq!(next(&mut **dropped.as_mut().unwrap()).status, Status::Ok);
    assert_eq!((queue.send_burst(&mut waiting), next(&mut *queue).status), (1, Status::Ok));
}
