//! The rules for ports.

use std::time::{Duration, Instant};

use warpdrive_mempool::{BURST, Burst, DmaMode, Domain, Mempool, Packet, PoolConfig};

use crate::port::{Port, PortError, RxQueue, TxQueue};
use crate::stats::QueueStats;

/// What a driver's medium is like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Medium {
    /// Nothing that is sent arrives: the receiver makes its own frames.
    pub generates: bool,
    /// Received packets are the sender's own buffers.
    pub shares_buffers: bool,
    /// The transmit queue fills up while nobody receives.
    pub fills_up: bool,
    /// Frames may be lost without being counted.
    pub lossy: bool,
    /// A port whose frames do not fit the pool's buffers cannot be opened, so none too long can come.
    pub refuses_small_buffers: bool,
    /// Longest frame that can be sent, in bytes; longer ones must be taken and counted as errors.
    pub max_frame: Option<usize>,
}

/// The receiving port.
pub enum Receiver {
    /// It is open.
    Open(Box<dyn Port>),
    /// It can be opened once the sender is gone: a file.
    Later(Box<dyn FnOnce() -> Box<dyn Port>>),
}

/// Two ports whose queues 0 are joined: what the first sends, the second receives.
pub struct Ends {
    /// The sender.
    pub tx: Box<dyn Port>,
    /// The receiver.
    pub rx: Receiver,
}

/// Sets a driver up for the suite.
pub trait PortRig {
    /// For messages.
    fn name(&self) -> &str;

    /// What to expect.
    fn medium(&self) -> Medium;

    /// Opens a fresh pair. Received packets come from `rx_pool`; the sender's packets from `tx_pool`.
    fn open(&mut self, tx_pool: &Mempool, rx_pool: &Mempool) -> Ends;
}

/// Runs every check that applies to the rig's medium.
///
/// # Panics
/// When a rule is broken.
pub fn check_port(rig: &mut dyn PortRig) {
    queues_are_taken_once(rig);
    received_bursts_keep_their_limits(rig);
    an_exhausted_pool_is_no_disaster(rig);
    dropping_returns_every_buffer(rig);
    if rig.medium().generates {
        return;
    }
    frames_arrive_whole_and_in_order(rig);
    chained_packets_arrive_or_are_counted(rig);
    a_full_queue_leaves_the_rest(rig);
    too_long_to_send_is_counted(rig);
    if !rig.medium().refuses_small_buffers {
        too_long_to_receive_is_counted(rig);
    }
}

/// How long nothing may arrive before the medium counts as empty.
const QUIET: Duration = Duration::from_millis(500);
/// Frames under way at once: well within any kernel's queues.
const WINDOW: usize = 64;
/// IEEE Std 802 - Local Experimental Ethertype 1: no kernel answers it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const MAGIC: &[u8; 8] = b"conforms";
const SHORTEST: usize = 60;
const LONGEST: usize = 1_514;

fn pool(name: &str, buffers: usize, size: usize) -> Mempool {
    let config = PoolConfig { name: name.to_owned(), buffers, size, ..PoolConfig::default() };
    Mempool::new(&config, &Domain::new(DmaMode::Sva)).expect("memory for the conformance suite")
}

/// Frame `n` of the given length, recognisable and different in every byte.
fn frame(n: u32, len: usize) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    f.extend_from_slice(&ETHERTYPE);
    f.extend_from_slice(MAGIC);
    f.extend_from_slice(&n.to_be_bytes());
    let mut x = n.wrapping_mul(2_654_435_761) | 1;
    while f.len() < len {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        f.push(x as u8);
    }
    f
}

fn frames(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|n| frame(n, SHORTEST + (n as usize * 211) % (LONGEST - SHORTEST + 1))).collect()
}

/// The bytes of a packet, all segments, if it is one of ours: kernels send frames of their own.
fn ours(packet: &Packet) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = packet.segments().flat_map(|s| s.data().iter().copied()).collect();
    (bytes.get(12..14) == Some(&ETHERTYPE) && bytes.get(14..22) == Some(MAGIC)).then_some(bytes)
}

fn packet(pool: &Mempool, bytes: &[u8]) -> Packet {
    let mut packet = pool.alloc().expect("the sender's pool is large enough");
    packet.extend_from_slice(bytes).expect("the frame fits a buffer");
    packet
}

/// A pair with queue 0 of each taken.
struct Wire {
    tx_pool: Mempool,
    rx_pool: Mempool,
    tx: Option<(Box<dyn Port>, Box<dyn TxQueue>)>,
    rx: Option<(Box<dyn Port>, Box<dyn RxQueue>)>,
    later: Option<Box<dyn FnOnce() -> Box<dyn Port>>>,
}

fn receiver(mut port: Box<dyn Port>) -> (Box<dyn Port>, Box<dyn RxQueue>) {
    let queue = port.rx_queue(0).expect("receive queue 0");
    (port, queue)
}

impl Wire {
    fn new(rig: &mut dyn PortRig, rx_buffers: usize, rx_size: usize) -> Self {
        let (tx_pool, rx_pool) = (pool("tx", 1_024, 4_096), pool("rx", rx_buffers, rx_size));
        let Ends { mut tx, rx } = rig.open(&tx_pool, &rx_pool);
        let queue = tx.tx_queue(0).expect("transmit queue 0");
        let (rx, later) = match rx {
            Receiver::Open(port) => (Some(receiver(port)), None),
            Receiver::Later(open) => (None, Some(open)),
        };
        Self { tx_pool, rx_pool, tx: Some((tx, queue)), rx, later }
    }

    fn tx(&mut self) -> &mut dyn TxQueue {
        &mut *self.tx.as_mut().expect("the sender is open").1
    }

    /// The receive queue; if it can only be opened when the sender is gone, that is now.
    fn rx(&mut self) -> &mut dyn RxQueue {
        if let Some(open) = self.later.take() {
            self.tx = None;
            self.rx = Some(receiver(open()));
        }
        &mut *self.rx.as_mut().expect("the receiver is open").1
    }

    /// Sends all of the burst, waiting for the queue to take it; fails when it never does.
    fn send(&mut self, burst: &mut Burst) -> QueueStats {
        let deadline = Instant::now() + 4 * QUIET;
        while !burst.is_empty() {
            self.tx().tx_burst(burst);
            self.tx().flush();
            assert!(Instant::now() < deadline, "the transmit queue takes nothing more");
        }
        while self.tx().flush() > 0 && Instant::now() < deadline {}
        self.tx().counters().snapshot()
    }

    fn send_frames(&mut self, frames: &[Vec<u8>]) -> QueueStats {
        let mut stats = QueueStats::default();
        for chunk in frames.chunks(BURST / 2) {
            let mut burst = Burst::new();
            for f in chunk {
                let sent = burst.push(packet(&self.tx_pool, f));
                assert!(sent.is_ok());
            }
            stats = self.send(&mut burst);
        }
        stats
    }

    /// Receives until `want` of our frames are there or nothing comes any more. Keeps the packets in `keep` if given.
    fn receive(&mut self, want: usize, mut keep: Option<&mut Vec<Packet>>) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        let mut burst = Burst::new();
        let mut quiet = Instant::now();
        while got.len() < want && quiet.elapsed() < QUIET {
            if let Some((_, tx)) = &mut self.tx
                && self.later.is_none()
            {
                tx.flush();
            }
            if self.rx().rx_burst(&mut burst, BURST) > 0 {
                quiet = Instant::now();
            }
            while !burst.is_empty() {
                for packet in burst.drain_front(1) {
                    got.extend(ours(&packet));
                    if let Some(keep) = &mut keep {
                        keep.push(packet);
                    }
                }
            }
        }
        got
    }

    /// Sends and receives all frames, never more than a window under way if the receiver is open.
    fn exchange(&mut self, frames: &[Vec<u8>]) -> (Vec<Vec<u8>>, QueueStats) {
        if self.later.is_some() {
            let stats = self.send_frames(frames);
            return (self.receive(frames.len(), None), stats);
        }
        let (mut got, mut stats) = (Vec::new(), QueueStats::default());
        for window in frames.chunks(WINDOW) {
            stats = self.send_frames(window);
            got.extend(self.receive(window.len(), None));
        }
        (got, stats)
    }
}

fn is_subsequence(part: &[Vec<u8>], whole: &[Vec<u8>]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|p| whole.any(|w| w == p))
}

fn frames_arrive_whole_and_in_order(rig: &mut dyn PortRig) {
    let (name, medium) = (rig.name().to_owned(), rig.medium());
    let sent = frames(500);
    let mut wire = Wire::new(rig, 1_024, 2_048);
    let (got, tx) = wire.exchange(&sent);
    let rx = wire.rx().counters().snapshot();
    assert!(is_subsequence(&got, &sent), "{name}: a frame was changed, repeated or overtaken");
    assert_eq!(tx.packets + tx.errors, sent.len() as u64, "{name}: sent or counted as an error");
    let bytes: u64 = sent.iter().map(|f| f.len() as u64).sum();
    assert!(tx.errors > 0 || tx.bytes == bytes, "{name}: {} bytes counted of {bytes} sent", tx.bytes);
    assert!(rx.packets >= got.len() as u64, "{name}: received more than it counts");
    if !medium.lossy {
        let lost = rx.no_buffer + rx.missed + rx.errors + tx.errors;
        assert!(
            got.len() as u64 + lost >= sent.len() as u64,
            "{name}: {} of {} frames, {lost} lost",
            got.len(),
            sent.len()
        );
    }
    assert!(!got.is_empty(), "{name}: nothing arrived");
}

fn chained_packets_arrive_or_are_counted(rig: &mut dyn PortRig) {
    let (name, lossy) = (rig.name().to_owned(), rig.medium().lossy);
    let mut wire = Wire::new(rig, 256, 2_048);
    let whole = frame(1, 300);
    let mut head = packet(&wire.tx_pool, &whole[..100]);
    head.chain(packet(&wire.tx_pool, &whole[100..117]));
    head.chain(packet(&wire.tx_pool, &whole[117..]));
    let mut burst = Burst::new();
    let pushed = burst.push(head).and(burst.push(packet(&wire.tx_pool, &frame(2, 80))));
    assert!(pushed.is_ok());
    let tx = wire.send(&mut burst);
    assert_eq!(tx.packets + tx.errors, 2, "{name}: a chained packet is sent or an error");
    let expected = if tx.errors == 0 { vec![whole, frame(2, 80)] } else { vec![frame(2, 80)] };
    let got = wire.receive(expected.len(), None);
    assert!(got == expected || lossy && is_subsequence(&got, &expected), "{name}: chained packet changed");
}

fn a_full_queue_leaves_the_rest(rig: &mut dyn PortRig) {
    let (name, medium) = (rig.name().to_owned(), rig.medium());
    if !medium.fills_up {
        return;
    }
    let mut wire = Wire::new(rig, 256, 2_048);
    let mut accepted = Vec::new();
    for n in (0u32..).step_by(8) {
        assert!(n < 1_000, "{name}: the rig says that the queue fills up");
        let chunk: Vec<_> = (n..n + 8).map(|n| frame(n, 64)).collect();
        let mut burst = Burst::new();
        for f in &chunk {
            let pushed = burst.push(packet(&wire.tx_pool, f));
            assert!(pushed.is_ok());
        }
        let taken = wire.tx().tx_burst(&mut burst);
        let rest: Vec<_> = burst.iter().filter_map(ours).collect();
        assert_eq!(rest, chunk[taken..], "{name}: the rest stays in the burst, in order");
        accepted.extend_from_slice(&chunk[..taken]);
        if taken < chunk.len() {
            break;
        }
    }
    assert_eq!(wire.receive(accepted.len(), None), accepted, "{name}: what was taken arrives");
    let (got, _) = wire.exchange(&[frame(9_999, 64)]);
    assert_eq!(got, [frame(9_999, 64)], "{name}: the queue works again");
}

fn too_long_to_send_is_counted(rig: &mut dyn PortRig) {
    let name = rig.name().to_owned();
    let Some(max) = rig.medium().max_frame else {
        return;
    };
    let mut wire = Wire::new(rig, 256, 4_096);
    let mut burst = Burst::new();
    for f in [frame(1, 64), frame(2, max + 1), frame(3, 70)] {
        let pushed = burst.push(packet(&wire.tx_pool, &f));
        assert!(pushed.is_ok());
    }
    let tx = wire.send(&mut burst);
    assert_eq!((tx.packets, tx.errors), (2, 1), "{name}: a frame of {} bytes is taken and counted", max + 1);
    assert_eq!(wire.receive(2, None), [frame(1, 64), frame(3, 70)], "{name}: its neighbours arrive");
}

fn too_long_to_receive_is_counted(rig: &mut dyn PortRig) {
    let (name, medium) = (rig.name().to_owned(), rig.medium());
    if medium.shares_buffers {
        return;
    }
    let mut wire = Wire::new(rig, 64, 640);
    let sent = [frame(1, 64), frame(2, 1_200), frame(3, 70)];
    let got = wire.exchange(&sent).0;
    // Drivers that find out when they look further.
    wire.receive(1, None);
    let rx = wire.rx().counters().snapshot();
    assert_eq!(got, [frame(1, 64), frame(3, 70)], "{name}: frames that fit arrive");
    assert_eq!(rx.errors, 1, "{name}: a frame longer than a buffer is counted");
}

fn an_exhausted_pool_is_no_disaster(rig: &mut dyn PortRig) {
    let (name, medium) = (rig.name().to_owned(), rig.medium());
    if medium.shares_buffers {
        return;
    }
    let buffers = 16;
    let mut wire = Wire::new(rig, buffers, 2_048);
    let sent = frames(40);
    if !medium.generates {
        wire.send_frames(&sent);
    }
    let mut kept = Vec::new();
    let got = if medium.generates {
        receive_some(wire.rx(), &mut kept, buffers + 10);
        Vec::new()
    } else {
        wire.receive(sent.len(), Some(&mut kept))
    };
    assert!(kept.len() <= buffers, "{name}: more packets than buffers");
    let refused = wire.rx_pool.stats().failures > 0;
    let rx = wire.rx().counters().snapshot();
    assert!(refused || rx.no_buffer + rx.missed > 0, "{name}: exhaustion is counted");
    assert!(is_subsequence(&got, &sent), "{name}: what arrived is right");
    kept.clear();
    if medium.generates {
        assert!(receive_some(wire.rx(), &mut kept, 1) > 0, "{name}: it goes on when buffers are back");
        return;
    }
    // A file waits for buffers: the rest comes now. A wire goes on with what is sent now.
    let again = if wire.tx.is_some() {
        wire.receive(sent.len(), None);
        wire.exchange(&[frame(77, 100)]).0
    } else {
        wire.receive(1, None)
    };
    assert!(!again.is_empty(), "{name}: it goes on when buffers are back");
}

fn receive_some(rx: &mut dyn RxQueue, kept: &mut Vec<Packet>, polls: usize) -> usize {
    let mut burst = Burst::new();
    let mut got = 0;
    for _ in 0..polls {
        got += rx.rx_burst(&mut burst, 4);
        let n = burst.len();
        kept.extend(burst.drain_front(n));
    }
    got
}

fn dropping_returns_every_buffer(rig: &mut dyn PortRig) {
    let name = rig.name().to_owned();
    let mut wire = Wire::new(rig, 256, 2_048);
    wire.send_frames(&frames(30));
    let mut burst = Burst::new();
    wire.rx().rx_burst(&mut burst, 5);
    let (tx_pool, rx_pool) = (wire.tx_pool.clone(), wire.rx_pool.clone());
    drop(wire);
    drop(burst);
    for pool in [tx_pool, rx_pool] {
        assert_eq!(pool.stats().in_use, 0, "{name}: buffers of {:?} did not come back", pool.name());
    }
}

fn received_bursts_keep_their_limits(rig: &mut dyn PortRig) {
    let name = rig.name().to_owned();
    let mut wire = Wire::new(rig, 256, 2_048);
    assert_eq!(wire.tx().tx_burst(&mut Burst::new()), 0, "{name}: an empty burst");
    wire.send_frames(&frames(32));
    let mine = frame(999, 99);
    let mut burst = Burst::new();
    assert_eq!(wire.rx().rx_burst(&mut burst, 0), 0, "{name}: max = 0");
    assert!(burst.is_empty());
    let kept = pool("kept", BURST, 2_048);
    for _ in 0..BURST - 2 {
        let pushed = burst.push(packet(&kept, &mine));
        assert!(pushed.is_ok());
    }
    let deadline = Instant::now() + 4 * QUIET;
    while burst.len() == BURST - 2 && Instant::now() < deadline {
        let n = wire.rx().rx_burst(&mut burst, 1);
        assert!(n <= 1, "{name}: more than max");
    }
    while burst.room() > 0 && Instant::now() < deadline {
        let n = wire.rx().rx_burst(&mut burst, BURST);
        assert!(n <= 1, "{name}: more than the room of the burst");
    }
    assert_eq!(burst.len(), BURST, "{name}: frames arrive");
    assert_eq!(wire.rx().rx_burst(&mut burst, BURST), 0, "{name}: the burst is full");
    for packet in &burst.as_slice()[..BURST - 2] {
        assert_eq!(packet.data(), mine, "{name}: packets that were in the burst stay");
    }
}

fn queues_are_taken_once(rig: &mut dyn PortRig) {
    let name = rig.name().to_owned();
    let (tx_pool, rx_pool) = (pool("tx", 64, 2_048), pool("rx", 64, 2_048));
    let Ends { mut tx, rx } = rig.open(&tx_pool, &rx_pool);
    let count = tx.info().tx_queues;
    assert!(count > 0, "{name}: the sender has a queue");
    let first = tx.tx_queue(0);
    assert!(first.is_ok(), "{name}: {:?}", first.err());
    assert!(
        matches!(tx.tx_queue(0), Err(PortError::QueueTaken { direction: "tx", index: 0, .. })),
        "{name}: tx queue 0 twice"
    );
    assert!(matches!(tx.tx_queue(count), Err(PortError::NoSuchQueue { .. })), "{name}: tx queue {count}");
    drop(first);
    let mut rx = match rx {
        Receiver::Open(port) => port,
        Receiver::Later(open) => {
            drop(tx);
            open()
        }
    };
    let count = rx.info().rx_queues;
    let first = rx.rx_queue(0);
    assert!(first.is_ok(), "{name}: {:?}", first.err());
    assert!(
        matches!(rx.rx_queue(0), Err(PortError::QueueTaken { direction: "rx", index: 0, .. })),
        "{name}: rx queue 0 twice"
    );
    assert!(matches!(rx.rx_queue(count), Err(PortError::NoSuchQueue { .. })), "{name}: rx queue {count}");
}
