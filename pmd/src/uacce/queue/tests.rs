use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::*;
use crate::uacce::abi::qm::QpInfo;
use crate::uacce::abi::{self, hpre};
use crate::uacce::fake::{Engine, Fake, Plan};
use crate::uacce::fork::tests::holds_in_a_child;

type Hpre = QmQueue<hpre::Entry>;

/// Done, with the tag in the words that nobody looks at.
fn echo() -> Engine {
    Box::new(|_, words| {
        let mut entry = hpre::Entry(words.try_into().unwrap());
        entry.0[15] = entry.0[8].wrapping_mul(3);
        entry.end(0);
        words.copy_from_slice(&entry.0);
    })
}

fn entry(tag: u64) -> hpre::Entry {
    hpre::Entry::null(tag)
}

fn open(fake: &Fake, depth: usize) -> Hpre {
    Hpre::open_with(fake, &fake.info(), 0, depth, |_| Ok(())).unwrap()
}

fn refused(fake: &Fake, depth: usize) -> UacceError {
    Hpre::open_with(fake, &fake.info(), 0, depth, |_| Ok(())).err().expect("it is not possible")
}

/// Sends `n` entries in bursts of any size up to the depth, and checks each answer.
fn run(queue: &mut Hpre, n: u64, burst: usize) {
    let (mut sent, mut got) = (0, 0);
    let begun = Instant::now();
    let mut done = vec![hpre::Entry::default(); burst];
    while got < n {
        let entries: Vec<_> = (sent..n.min(sent + burst as u64)).map(entry).collect();
        let room = queue.room();
        let taken = queue.send(&entries).unwrap();
        assert_eq!(taken, entries.len().min(room));
        sent += taken as u64;
        let k = queue.recv(&mut done).unwrap();
        for entry in &done[..k] {
            assert_eq!((entry.tag(), entry.ended(), entry.0[15]), (got, Some(0), got as u32 * 3));
            got += 1;
        }
        assert_eq!(queue.in_flight() as u64, sent - got);
        assert!(begun.elapsed() < Duration::from_secs(60), "{got} of {n}");
    }
}

#[test]
fn entries_come_back_in_all_depths_and_over_all_wraps() {
    for (places, completions, depth, burst) in
        [(2, 2, 1, 1), (3, 3, 2, 2), (16, 16, 15, 4), (16, 5, 4, 4), (7, 16, 6, 9), (1024, 1024, 1023, 100)]
    {
        let fake = Fake::new(Plan::hpre().depth(places, completions), echo());
        let mut queue = open(&fake, depth);
        assert_eq!((queue.room(), queue.places(), queue.in_flight()), (depth, usize::from(places), 0));
        // Several rounds of both rings, and so several changes of the phase.
        run(&mut queue, 5 * u64::from(places.max(completions)), burst);
    }
}

#[test]
fn drivers_that_say_nothing_have_rings_of_1024() {
    let fake = Fake::new(Plan::hpre(), echo());
    let mut queue = open(&fake, 1023);
    assert_eq!(queue.places(), 1024);
    run(&mut queue, 3000, 200);
    assert!(matches!(refused(&fake, 1024), UacceError::Depth { depth: 1024, max: 1023, .. }));
    assert!(matches!(refused(&fake, 0), UacceError::Depth { .. }));
}

#[test]
fn a_full_queue_takes_no_more_and_then_goes_on() {
    let fake = Fake::new(Plan::hpre().depth(8, 8), echo());
    let mut queue = open(&fake, 5);
    fake.hold(true);
    let entries: Vec<_> = (0..9).map(entry).collect();
    assert_eq!((queue.send(&entries), queue.room()), (Ok(5), 0));
    assert_eq!(queue.send(&entries), Ok(0));
    assert_eq!(queue.recv(&mut [hpre::Entry::default(); 9]), Ok(0), "nothing is done");
    fake.hold(false);
    let first = queue.recv_sync(Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!((first.tag(), queue.room(), queue.in_flight()), (0, 1, 4));
}

#[test]
fn the_order_of_calls_is_that_of_drivers_and_a_dropped_queue_is_given_back() {
    let fake = Fake::new(Plan::hpre(), echo());
    let queue = Hpre::open_with(&fake, &fake.info(), 1, 4, |file| {
        file.call(abi::SHARE, &mut [0; 32]).unwrap();
        Ok(())
    });
    drop(queue);
    let calls: Vec<_> = fake.calls.lock().unwrap().iter().map(|call| call.0).collect();
    assert_eq!(calls, [abi::QM_SET_QP_CTX, abi::QM_SET_QP_INFO, abi::SHARE, START, PUT_Q]);
    assert_eq!(fake.calls.lock().unwrap()[0].1, [0, 0, 1, 0], "what it is for");
    assert_eq!(fake.open.load(Ordering::SeqCst), 0);
    let mut queue = open(&fake, 4);
    queue.stop().unwrap();
    queue.stop().unwrap();
    assert_eq!((queue.room(), queue.send(&[entry(1)])), (0, Err(Lost::Device)));
    drop(queue);
    assert_eq!(fake.count(PUT_Q), 2, "once each");
}

#[test]
fn every_refusal_has_its_error_and_leaves_nothing_open() {
    let fake = Fake::new(Plan::hpre(), echo());
    for (command, errno, what) in [
        (0, Errno::BUSY, "release queues"),
        (0, Errno::ACCESS, "permission"),
        (0, Errno::NOENT, "start who serves"),
        (abi::QM_SET_QP_CTX, Errno::INVAL, "QM_SET_QP_CTX"),
        (START, Errno::IO, "UACCE_CMD_START"),
    ] {
        fake.refuse.lock().unwrap().insert(command, errno);
        let error = refused(&fake, 4).to_string();
        assert!(error.contains(what) && error.contains("Remedy: "), "{error}");
        fake.refuse.lock().unwrap().clear();
        assert_eq!(fake.open.load(Ordering::SeqCst), 0, "{what}");
    }
    drop(open(&fake, 4));
}

#[test]
fn queues_that_are_not_as_they_should_be_are_refused() {
    let qp = |entry_bytes, sq_depth, cq_depth| QpInfo { entry_bytes, sq_depth, cq_depth, reserved: 0 };
    for (plan, what) in [
        (Plan { api: "hisi_qm_v2", ..Plan::hpre() }, "doorbell where the entries"),
        (Plan { info: Some(qp(128, 16, 16)), ..Plan::hpre() }, "128 bytes, not 64"),
    ] {
        let fake = Fake::new(plan, echo());
        let error = refused(&fake, 4).to_string();
        assert!(error.contains(what) && error.contains("Remedy: "), "{error}");
    }
    let fake = Fake::new(Plan::hpre(), echo());
    let change = |change: &dyn Fn(&mut UacceInfo)| {
        let mut info = UacceInfo::clone(&fake.info());
        change(&mut info);
        let error = Hpre::open_with(&fake, &Arc::new(info), 0, 4, |_| Ok(())).err().unwrap().to_string();
        assert!(error.contains("Remedy: "), "{error}");
        error
    };
    assert!(change(&|info| info.dus_bytes = 4096).contains("no room for 1024 entries"));
    assert!(change(&|info| info.dus_bytes += 4).contains("no words"));
    assert!(change(&|info| info.mmio_bytes = 0x340).contains("doorbell at 0x340"));
    assert!(change(&|info| info.version = None).contains("nothing is known"));
}

#[test]
fn doorbells_are_those_of_the_version_and_rung_once_a_burst() {
    // Recorded from UADK's sources; queues of version 2 were not run on hardware.
    let fake = Fake::new(Plan::hpre(), echo());
    let mut queue = open(&fake, 100);
    queue.send(&(0..3).map(entry).collect::<Vec<_>>()).unwrap();
    run_out(&mut queue, 3);
    assert_eq!(*fake.doorbells.lock().unwrap(), [0x0000_0003_0000_0123]);
    // Nothing hides it: who serves the file knows what is new by itself.
    queue.send(&[entry(3)]).unwrap();
    queue.wait(Duration::from_secs(5)).unwrap();
    run_out(&mut queue, 1);
    assert_eq!(fake.doorbells.lock().unwrap()[1..], [0x0000_0004_0000_0123]);
}

/// Receives so many without a call.
fn run_out(queue: &mut Hpre, n: usize) {
    let begun = Instant::now();
    let mut got = 0;
    while got < n {
        got += queue.recv(&mut [hpre::Entry::default()]).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn hardware_hears_of_what_was_taken_once_a_burst() {
    let fake = Fake::new(Plan { words: None, ..Plan::hpre() }, echo());
    let mut queue = open(&fake, 100);
    queue.send(&(0..3).map(entry).collect::<Vec<_>>()).unwrap();
    let begun = Instant::now();
    let soon = |what: &str, it: &dyn Fn() -> bool| {
        while !it() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}: not so");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let third = queue.layout.completion(2) + 12;
    soon("all three", &|| queue.dus.word(third).load(Ordering::Acquire) >> 16 & 1 == 1);
    assert_eq!(queue.recv(&mut [hpre::Entry::default(); 3]), Ok(3));
    soon("both doorbells", &|| fake.doorbells.lock().unwrap().len() == 2);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(*fake.doorbells.lock().unwrap(), [0x0000_0003_0000_0123, 0x0000_0003_0001_0123]);
}

#[test]
fn queues_of_version_2_and_later_have_their_own_place_and_bits() {
    // From UADK's sources; not run on hardware. The file is no server's: its regions lie one over the other, so that the doorbell
    // is in the first entry's words.
    for api in ["hisi_qm_v2", "hisi_qm_v3"] {
        let fake = Fake::new(Plan { api, words: None, ..Plan::hpre() }, echo());
        fake.hold(true);
        let mut queue = open(&fake, 100);
        let word = |queue: &Hpre| queue.mmio.double(0x1000).load(Ordering::SeqCst);
        queue.send(&(0..3).map(entry).collect::<Vec<_>>()).unwrap();
        assert_eq!(word(&queue), 0x0000_0003_0000_0123);
        queue.taken = true;
        queue.head = 7;
        queue.acknowledge();
        assert_eq!(word(&queue), 0x0000_0007_0000_1123);
        queue.wait(Duration::ZERO).unwrap();
        assert_eq!(word(&queue), 0x0001_0007_0000_1123);
    }
}

#[test]
fn a_device_that_overtakes_itself_loses_nothing() {
    let fake = Fake::new(Plan::hpre().depth(8, 8), echo());
    fake.backwards.store(true, Ordering::SeqCst);
    let mut queue = open(&fake, 7);
    for round in 0..10_u64 {
        fake.hold(true);
        let tags: Vec<u64> = (0..5).map(|n| round * 5 + n).collect();
        assert_eq!(queue.send(&tags.iter().map(|tag| entry(*tag)).collect::<Vec<_>>()), Ok(5));
        fake.hold(false);
        // The last first: the places behind the oldest are not free before that is done.
        let last = queue.recv_sync(Duration::from_secs(20)).unwrap().unwrap();
        assert_eq!((last.tag(), queue.in_flight(), queue.room()), (tags[4], 4, 2), "round {round}");
        let mut got = vec![last.tag()];
        got.extend((0..4).map(|_| queue.recv_sync(Duration::from_secs(20)).unwrap().unwrap().tag()));
        got.sort_unstable();
        assert_eq!((got, queue.room()), (tags, 7));
    }
}

#[test]
fn completions_of_nothing_end_the_queue() {
    // Beyond the ring; of a place that is free; the same twice.
    for lie in [8, u16::MAX, 7, 0] {
        let fake = Fake::new(Plan::hpre().depth(8, 8), echo());
        let mut queue = open(&fake, 7);
        *fake.lie.lock().unwrap() = Some(lie);
        queue.send(&[entry(0), entry(1), entry(2)]).unwrap();
        let begun = Instant::now();
        let lost = loop {
            match queue.recv(&mut [hpre::Entry::default(); 1]) {
                Ok(n) => assert!(n == 0 || lie == 0, "{lie}"),
                Err(lost) => break lost,
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{lie} is believed");
        };
        assert_eq!((lost, queue.room(), queue.send(&[entry(3)])), (Lost::Nonsense, 0, Err(Lost::Nonsense)));
        assert_eq!(queue.recv(&mut [hpre::Entry::default()]), Err(Lost::Nonsense), "and stays so");
    }
}

#[test]
fn the_two_words_of_failure_count_when_they_are_1() {
    for (is_rx, value) in [(false, 1), (true, 1), (false, 2), (true, u32::MAX)] {
        let fake = Fake::new(Plan::hpre().depth(8, 8), echo());
        let mut queue = open(&fake, 7);
        let at = if is_rx { queue.layout.rx_failed() } else { queue.layout.tx_failed() };
        queue.send(&[entry(0)]).unwrap();
        queue.dus.word(at).store(value, Ordering::SeqCst);
        let begun = Instant::now();
        let received = loop {
            match queue.recv(&mut [hpre::Entry::default()]) {
                Ok(0) => assert!(begun.elapsed() < Duration::from_secs(20), "no completion"),
                received => break received,
            }
        };
        let sent = queue.send(&[entry(1)]);
        match (is_rx, value) {
            (false, 1) => assert_eq!((received, sent), (Ok(1), Err(Lost::Device))),
            (true, 1) => assert_eq!((received, sent), (Err(Lost::Device), Err(Lost::Device))),
            _ => assert_eq!((received, sent), (Ok(1), Ok(1)), "{value} says nothing"),
        }
    }
}

#[test]
fn a_killed_server_is_noticed_within_seconds_and_another_is_used_by_a_new_queue() {
    let fake = Fake::new(Plan::hpre(), echo());
    let mut queue = open(&fake, 7);
    run(&mut queue, 20, 3);
    fake.hold(true);
    queue.send(&[entry(0)]).unwrap();
    assert_eq!(queue.recv(&mut [hpre::Entry::default()]), Ok(0));
    fake.kill(true);
    let begun = Instant::now();
    let lost = loop {
        match queue.recv(&mut [hpre::Entry::default()]) {
            Ok(n) => assert_eq!(n, 0),
            Err(lost) => break lost,
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    };
    let waited = begun.elapsed();
    assert_eq!(lost, Lost::Server);
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
    assert!(matches!(refused(&fake, 7), UacceError::Open { .. }), "it is not back yet");
    fake.kill(false);
    fake.hold(false);
    assert_eq!(queue.recv(&mut [hpre::Entry::default()]), Err(Lost::Server), "the old queue stays lost");
    run(&mut open(&fake, 7), 20, 3);
}

#[test]
fn who_waits_by_a_call_hears_of_the_end_at_once() {
    let fake = Fake::new(Plan::hpre(), echo());
    let mut queue = open(&fake, 7);
    fake.hold(true);
    queue.send(&[entry(0)]).unwrap();
    let killer = fake.clone();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        killer.kill(true);
    });
    let begun = Instant::now();
    assert_eq!(queue.recv_sync(Duration::from_secs(30)), Err(Lost::Server));
    assert!(begun.elapsed() < Duration::from_secs(10));
    killer.join().unwrap();
}

#[test]
fn waiting_ends_with_the_completion_or_with_the_time() {
    let fake = Fake::new(Plan::hpre(), echo());
    let mut queue = open(&fake, 7);
    assert_eq!(queue.recv_sync(Duration::from_secs(30)), Ok(None), "nothing is in flight");
    fake.hold(true);
    queue.send(&[entry(5)]).unwrap();
    let begun = Instant::now();
    assert_eq!(queue.recv_sync(Duration::from_millis(50)), Ok(None));
    assert!(begun.elapsed() >= Duration::from_millis(50));
    let other = fake.clone();
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        other.hold(false);
    });
    let entry = queue.recv_sync(Duration::from_secs(30)).unwrap().unwrap();
    assert_eq!(entry.tag(), 5);
    other.join().unwrap();
}

#[test]
fn a_child_is_refused_and_touches_nothing() {
    let fake = Fake::new(Plan::hpre(), echo());
    let mut queue = open(&fake, 7);
    queue.send(&[entry(0)]).unwrap();
    let mut copy = Some(open(&fake, 7));
    assert!(holds_in_a_child(|| {
        let refused = queue.send(&[entry(1)]) == Err(Lost::Child)
            && queue.recv(&mut [hpre::Entry::default()]) == Err(Lost::Child)
            && queue.recv_sync(Duration::from_secs(5)) == Err(Lost::Child)
            && queue.wait(Duration::from_secs(5)) == Err(Lost::Child)
            && queue.stop() == Ok(())
            && queue.room() == 0;
        drop(copy.take());
        refused
    }));
    assert_eq!(fake.count(PUT_Q), 0, "the parent's queues are not given back");
    run_out(&mut queue, 1);
    run(&mut copy.unwrap(), 50, 7);
}
