//! M1 and M2: the calls of a queue, by this project's client; and that a queue knows entries, of whatever algorithm, and the driver of
//! an algorithm its descriptors alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use warpdrive_mempool::{DmaMode, Domain, Mempool, PoolConfig};
use warpdrive_pmd::device::{Device as _, Request, SessionSpec, Status};
use warpdrive_pmd::engine::zip::{ZipConfig, ZipFormat, ZipOp, ZipSession};
use warpdrive_pmd::uacce::abi::{hpre, zip};
use warpdrive_pmd::uacce::queue::Entry;
use warpdrive_pmd::uacce::{QmQueue, Roots, UacceDevice, UacceInfo, UacceOptions};

use crate::child::{Role, Stage};
use crate::entries::{Rsa, deflate, inflate, text};
use crate::lab::{HPRE, LONG, Lab, ZIP};
use crate::memory::{PAGE, Pages, nobody_brings};

pub const ROLES: &[(&str, Role)] =
    &[("uses all calls", uses_all_calls), ("uses one queue for both", uses_one_queue_for_both)];

const BLOCK: usize = 1000;

#[test]
fn m01_a_queue_is_requested_sent_to_received_from_flushed_and_released() {
    let Some(lab) = Lab::new() else { return };
    lab.child("uses all calls").ends();
    lab.all_come_back(ZIP);
}

fn uses_all_calls(stage: &Stage) {
    let domain = Domain::new(DmaMode::Sva);
    let pool = Mempool::new(&PoolConfig { buffers: 256, ..PoolConfig::default() }, &domain).unwrap();
    let roots = Roots::below(&stage.folder);
    let device = UacceDevice::open(ZIP, &roots, &domain, UacceOptions::default()).unwrap();
    let session = ZipSession::with(ZipConfig::new(ZipOp::Compress, ZipFormat::Deflate, 1)).unwrap();
    let session = device.create_session(SessionSpec::Zip(session)).unwrap();
    let request = |tag: u64| {
        let [mut packet, mut output] = [(); 2].map(|()| pool.alloc().unwrap());
        packet.extend_from_slice(&text(BLOCK)).unwrap();
        output.set_len(BLOCK).unwrap();
        let mut request = Request::new(session, packet).with_tag(tag);
        request.set_src(0..BLOCK).unwrap();
        request.set_output(output, 0..BLOCK).unwrap();
        request
    };
    let info = Arc::new(UacceInfo::read(&roots, ZIP).unwrap());
    let available = || info.available_instances().unwrap().unwrap();
    let before = available();
    let mut queue = device.request_queue(16).unwrap();
    assert_eq!(available(), before - 1);

    // Nothing is waited for when nothing is in flight.
    let start = Instant::now();
    assert!(queue.recv_sync(LONG).is_none() && queue.recv().is_none());
    assert!(start.elapsed() < LONG / 2);

    queue.send(request(7)).unwrap();
    queue.flush();
    let done = queue.recv_sync(LONG).expect("it comes");
    assert_eq!((done.request.tag, done.status), (7, Status::Ok));

    // As many as fit, the rest stays; all come back, each once.
    let mut requests: Vec<_> = (0..20).map(request).collect();
    assert_eq!((queue.send_burst(&mut requests), requests.len(), queue.room()), (16, 4, 0));
    assert!(queue.send(request(99)).is_err());
    queue.flush();
    let mut done = Vec::with_capacity(16);
    let start = Instant::now();
    while done.len() < 16 {
        queue.recv_burst(&mut done, 5);
        assert!(start.elapsed() < LONG, "{} of 16", done.len());
    }
    let mut tags: Vec<_> = done.iter().map(|done| done.request.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, Vec::from_iter(0..16));
    assert_eq!(queue.in_flight(), 0);
    for done in &done {
        assert!((1..BLOCK as u32).contains(&done.produced) && done.status == Status::Ok);
    }
    drop(queue);
    assert_eq!(available(), before, "released");

    // Waiting ends with its time: the source is at a page that nobody brings.
    let mut queue = QmQueue::<zip::Entry>::open(&info, zip::COMPRESS, 4).unwrap();
    let [source, output] = [(); 2].map(|()| Pages::new(PAGE));
    let missing = nobody_brings(&source);
    let asked = deflate(source.address(), BLOCK, output.address(), output.bytes());
    queue.send(&[zip::Entry::new(&asked, 0, 1)]).unwrap();
    let start = Instant::now();
    assert!(queue.recv_sync(Duration::from_millis(50)).unwrap().is_none());
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(50) && took < LONG / 2, "{took:?}");
    drop(missing);
    assert_eq!(queue.recv_sync(LONG).unwrap().expect("it comes").ended().status, zip::status::DONE);
}

#[test]
fn m02_queues_carry_entries_and_drivers_of_algorithms_know_descriptors() {
    let Some(lab) = Lab::new() else { return };
    lab.child("uses one queue for both").ends();
}

fn uses_one_queue_for_both(stage: &Stage) {
    let rsa = Rsa::private();
    let mut result = vec![0; rsa.result.len()];
    let done = sends::<hpre::Entry>(stage, HPRE, 0, hpre::Entry(rsa.entry(&mut result)));
    assert_eq!(done.ended(), Some(0));
    assert!(result == rsa.result);

    let (plain, output) = (text(BLOCK), Pages::new(4096));
    let asked = deflate(plain.as_ptr() as u64, BLOCK, output.address(), output.bytes());
    let done = sends::<zip::Entry>(stage, ZIP, zip::COMPRESS, zip::Entry::new(&asked, 0, 1)).ended();
    assert_eq!(done.status, zip::status::DONE);
    assert!(inflate(&output.get(0, done.produced as usize), BLOCK) == plain);
}

/// Open, send, receive, close: the same for whatever is in the entries.
fn sends<E: Entry>(stage: &Stage, device: &str, kind: u16, entry: E) -> E {
    let info = Arc::new(UacceInfo::read(&Roots::below(&stage.folder), device).unwrap());
    let mut queue = QmQueue::<E>::open(&info, kind, 4).unwrap();
    assert_eq!(queue.send(&[entry]).unwrap(), 1);
    queue.recv_sync(LONG).unwrap().expect("it comes")
}
