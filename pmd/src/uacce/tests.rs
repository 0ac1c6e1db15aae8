//! Devices over fake ones: what a device of the trait promises, what the other side sees, and what it cannot do to us.

use std::sync::Arc;
use std::time::{Duration, Instant};

use warpdrive_mempool::{DmaMode, Domain, Mempool, Packet, PageChoice, PageSize, PoolConfig};

use super::device::UacceDevice;
use super::discover::UacceInfo;
use super::fake::{Engine, Fake, Plan};
use super::file::Opener;
use crate::conformance::{DeviceRig, check_device};
use crate::device::{Completion, Device, DeviceError, Queue, Request, SessionId, SessionSpec, Status};

mod faults;
mod hpre;
mod memory;
mod served;
mod zip;
mod zip_streams;

/// A device with packets.
struct Desk {
    pool: Mempool,
    device: UacceDevice,
}

impl Desk {
    fn new(info: Arc<UacceInfo>, opener: Arc<dyn Opener>) -> Self {
        let domain = Domain::new(info.mode());
        let config = PoolConfig {
            buffers: 1024,
            size: 4096,
            pages: PageChoice::Exactly(PageSize::Size4K),
            ..PoolConfig::default()
        };
        let pool = Mempool::new(&config, &domain).unwrap();
        let device = UacceDevice::open_with("bench", info, &domain, opener).unwrap();
        Self { pool, device }
    }

    fn session(&self, spec: SessionSpec) -> SessionId {
        self.device.create_session(spec).unwrap()
    }

    fn queue(&self, depth: usize) -> Box<dyn Queue> {
        self.device.request_queue(depth).unwrap()
    }

    fn packet(&self, bytes: &[u8]) -> Packet {
        let mut packet = self.pool.alloc().unwrap();
        packet.extend_from_slice(bytes).unwrap();
        packet
    }

    /// Input in one packet, and output in another, of so many bytes.
    fn request(&self, session: SessionId, input: &[u8], room: usize) -> Request {
        let mut output = self.pool.alloc().unwrap();
        output.append(room).unwrap();
        let mut request = Request::new(session, self.packet(input));
        request.set_src(0..input.len()).unwrap();
        request.set_output(output, 0..room).unwrap();
        request
    }
}

/// A fake device behind the trait.
struct Bench {
    fake: Fake,
    desk: Desk,
}

impl Bench {
    fn new(plan: Plan, engine: Engine) -> Self {
        let fake = Fake::new(plan, engine);
        Self { desk: Desk::new(fake.info(), Arc::new(fake.clone())), fake }
    }
}

impl std::ops::Deref for Bench {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

/// The next completion, by polling.
fn next(queue: &mut dyn Queue) -> Completion {
    let begun = Instant::now();
    loop {
        if let Some(completion) = queue.recv() {
            return completion;
        }
        assert!(begun.elapsed() < PATIENCE && queue.in_flight() > 0, "nothing comes");
        std::thread::yield_now();
    }
}

/// Sends one, and waits for it.
fn one(queue: &mut dyn Queue, request: Request) -> Completion {
    queue.send(request).unwrap();
    next(queue)
}

/// What was written to the second packet.
fn output(completion: Completion) -> Vec<u8> {
    let n = completion.produced as usize;
    let (_, output) = completion.request.into_packets();
    output.unwrap().data()[..n].to_vec()
}

/// Bytes that compress, and differ by number.
fn text(n: u64, len: usize) -> Vec<u8> {
    format!("request {n} of many, {} ", n.wrapping_mul(0x9e37_79b9)).bytes().cycle().take(len).collect()
}
