//! A hostile user of queues: anything in rings and doorbells, entries with any fields, memory that comes and goes. The server goes
//! on, answers others, gives everything back, and touches nothing but what it was given, as it was given.
#![no_main]

use std::os::fd::AsRawFd as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use num_bigint::BigUint;
use warpdrive_mempool::{DmaMode, Mapping, PageChoice, PageSize, Sharing};
use warpdrive_pmd::engine::rsa::RsaOptions;
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::uacce::abi::hpre::{self, Addresses, Algorithm};
use warpdrive_pmd::uacce::abi::qm::{Command, Completion, Doorbell, Layout, Version};
use warpdrive_pmd::uacce::abi::zip::{self, Asked, Format};
use warpdrive_pmd::uacce::abi::{self, attribute};
use warpdrive_pmd::uacce::serve::{
    Accelerator, CoreConfig, DeviceConfig, Function, Process, QueueFile, Server, ServerConfig,
};

const PAGE: usize = 4096;
/// Small, so that rings go round.
const DEPTH: u16 = 16;
/// Steps of a script.
const MOST_STEPS: usize = 96;
/// Longer than anything takes.
const BOUND: Duration = Duration::from_secs(30);

/// What the queues of a script do: a device and a kind.
const QUEUES: [(usize, u16); 4] = [(0, 0), (1, zip::COMPRESS), (1, zip::DECOMPRESS), (2, zip::COMPRESS)];

/// Parts of the memory that can be given: first page, pages, access. Between them, before and behind are pages that are not.
const RANGES: [(usize, usize, u32); 5] = [
    (1, 2, abi::ACCESS_READ),
    (4, 2, abi::ACCESS_READ | abi::ACCESS_WRITE),
    (7, 1, abi::ACCESS_WRITE),
    (9, 1, abi::ACCESS_READ),
    (11, 20, abi::ACCESS_READ | abi::ACCESS_WRITE),
];
const PAGES: usize = 32;
/// Where the ranges are said to be: side by side, which they are not.
const ADDRESS: u64 = 0x6000_0000_0000;

#[derive(Arbitrary, Debug)]
struct Place {
    range: u8,
    /// From its beginning, or before it.
    offset: i16,
    /// Some other address altogether.
    other: Option<u64>,
}

#[derive(Arbitrary, Debug)]
enum Contents<'a> {
    Bytes(&'a [u8]),
    Text(u8),
    Deflated,
    PrivateKey,
    PublicKey,
}

/// A change of one word of an entry.
type Tweak = Option<(u8, u32)>;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Word { queue: u8, at: u32, value: u32 },
    Rsa { crt: bool, size: u8, key: Place, input: Place, output: Place, tweak: Tweak, rings: bool },
    Zip { queue: u8, flags: u8, stream: u8, source: Place, input: u32, output: Place, room: u32, tweak: Tweak },
    Ring { queue: u8, taken: bool, index: u16 },
    Bell { queue: u8, word: u64 },
    Share { queue: u8, range: u8, again: bool },
    ShareOther { queue: u8, share: [u64; 3], access: u8 },
    Unshare { queue: u8, range: u8 },
    Fill { range: u8, at: u16, contents: Contents<'a> },
    Call { queue: u8, command: u32, argument: &'a [u8] },
    Poll { queue: u8 },
    PutBack { queue: u8 },
    Reopen { queue: u8 },
    Wait { micros: u8 },
}

/// An open queue.
struct Queue {
    file: Box<dyn QueueFile>,
    memory: Mapping,
    layout: Layout,
    version: Version,
    number: u16,
    tail: u16,
    cq_head: u16,
    phase: bool,
}

/// The server's user.
fn me() -> Process {
    Process(std::process::id())
}

impl Queue {
    fn open(device: &dyn Accelerator, kind: u16) -> Self {
        let file = device.open(me()).expect("a queue");
        let number = |name| device.attribute(name).unwrap().trim().parse::<usize>().unwrap();
        let dus = number(attribute::REGION_DUS_SIZE);
        let api = device.attribute(attribute::API).unwrap();
        let fd = file.memory().try_clone_to_owned().unwrap();
        let bytes = std::fs::File::from(fd.try_clone().unwrap()).metadata().unwrap().len() as usize;
        let memory = Mapping::of_memfd(fd, 0, bytes).unwrap();
        let argument = [0, 0, kind as u8, 0];
        let answer = file.ioctl(me(), abi::QM_SET_QP_CTX, &argument).unwrap();
        let info = file.ioctl(me(), abi::QM_SET_QP_INFO, &[0; 16]).unwrap();
        let (entry, depth) = (u32::from_ne_bytes(info[..4].try_into().unwrap()), info[4]);
        file.ioctl(me(), abi::START, &[]).unwrap();
        let depth = u16::from(depth);
        Self {
            file,
            memory,
            layout: Layout::new(entry as usize, depth, depth, dus).unwrap(),
            version: Version::of(api.trim()).unwrap(),
            number: u16::from_ne_bytes([answer[0], answer[1]]),
            tail: 0,
            cq_head: 0,
            phase: true,
        }
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.memory.len());
        // SAFETY: inside the mapping and aligned; both sides access it by atomics only.
        unsafe { &*self.memory.as_ptr().add(at).cast() }
    }

    fn write(&self, index: u16, words: &[u32]) {
        let at = PAGE + self.layout.entry(index);
        words.iter().enumerate().for_each(|(i, word)| self.word(at + 4 * i).store(*word, Ordering::Relaxed));
    }

    fn bell(&self, word: u64) {
        let at = self.version.doorbell_at();
        // SAFETY: the doorbell is inside the mapping and aligned.
        unsafe { &*self.memory.as_ptr().add(at).cast::<AtomicU64>() }.store(word, Ordering::Release);
    }

    fn ring(&self, command: Command, index: u16) {
        self.bell(Doorbell { queue: self.number, command, index, priority: 0 }.word(self.version));
    }

    fn put(&mut self, words: &[u32], rings: bool) {
        self.write(self.tail, words);
        self.tail = (self.tail + 1) % self.layout.sq_depth;
        if rings {
            self.ring(Command::Submitted, self.tail);
        }
    }

    /// Sends an entry to a queue of which the rules are kept, and waits for what it becomes.
    fn call(&mut self, words: &[u32]) -> Vec<u32> {
        self.put(words, true);
        let at = PAGE + self.layout.completion(self.cq_head);
        let start = Instant::now();
        while (self.word(at + 12).load(Ordering::Acquire) >> 16 & 1 == 1) != self.phase {
            assert!(start.elapsed() < BOUND, "others wait for ever");
            std::thread::yield_now();
        }
        let mut bytes = [0; 16];
        for (i, chunk) in bytes.chunks_mut(4).enumerate() {
            chunk.copy_from_slice(&self.word(at + 4 * i).load(Ordering::Relaxed).to_le_bytes());
        }
        let done = Completion::of(&bytes);
        self.cq_head += 1;
        if self.cq_head == self.layout.cq_depth {
            (self.cq_head, self.phase) = (0, !self.phase);
        }
        let at = PAGE + self.layout.entry(done.entry);
        (0..words.len()).map(|i| self.word(at + 4 * i).load(Ordering::Relaxed)).collect()
    }
}

/// The server, and what the script's user has.
struct Rig {
    server: Server,
    /// Queues of one who keeps the rules.
    probes: [Queue; 2],
    /// The memory that is given in parts.
    memory: Mapping,
    /// What is in the pages that no device may write to.
    known: Vec<u8>,
    keys: [Vec<u8>; 2],
    deflated: Vec<u8>,
    /// What can be had while nobody but the probes has a queue.
    available: Vec<String>,
}

fn rig() -> &'static std::sync::Mutex<Rig> {
    static RIG: OnceLock<std::sync::Mutex<Rig>> = OnceLock::new();
    RIG.get_or_init(|| std::sync::Mutex::new(Rig::new()))
}

/// Something like text.
fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| b"the quick brown fox jumps "[(i * i / 7 + i) % 26]).collect()
}

/// Keys of 1024 bits as descriptors have them: 2^512 − 629 and 2^512 − 875 are primes.
fn keys() -> [Vec<u8>; 2] {
    let prime = |distance: u32| (BigUint::from(1_u8) << 512) - distance;
    let (p, q, e) = (prime(629), prime(875), BigUint::from(65_537_u32));
    let [dp, dq] = [&p, &q].map(|prime: &BigUint| e.modinv(&(prime - 1_u8)).unwrap());
    let qinv = q.modinv(&p).unwrap();
    let n = &p * &q;
    let field = |number: &BigUint, bytes: usize| {
        let number = number.to_bytes_be();
        [vec![0; bytes - number.len()], number].concat()
    };
    [
        [dq, dp, q, p, qinv].iter().flat_map(|number| field(number, 64)).collect(),
        [e, n].iter().flat_map(|number| field(number, 128)).collect(),
    ]
}

impl Rig {
    fn new() -> Self {
        let device = |name: &str, function, version| DeviceConfig {
            mode: DmaMode::ShareDomain,
            version,
            depth: if version == 1 { DEPTH } else { 2 },
            // Those that a script opens again may not be back yet.
            queues_per_process: 256,
            ..DeviceConfig::new(name, function)
        };
        let config = ServerConfig {
            cores: vec![CoreConfig { cpu: 0, idle: IdlePolicy::Sleep }],
            devices: vec![
                device("hisi_hpre-0", Function::Hpre, 1),
                device("hisi_zip-0", Function::Zip, 1),
                device("hisi_zip-1", Function::Zip, 3),
            ],
            in_flight: 24,
            rsa: RsaOptions::default(),
        };
        let server = Server::start(&config).expect("a server");
        let probes = [0, 1].map(|device| Queue::open(&*server.devices()[device], 0));
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let memory = Mapping::new(PAGES * PAGE, pages, Sharing::Shared, None).unwrap();
        let available = server.devices().iter().map(|device| available(&**device)).collect();
        let known = (0..PAGES * PAGE).map(|i| (i * 31 / 7 + 0xa5) as u8).collect();
        let plain = text(1500);
        let deflated = deflated(&plain);
        let rig = Self { server, probes, memory, known, keys: keys(), deflated, available };
        rig.restore();
        rig
    }

    fn byte(&self, at: usize) -> &AtomicU8 {
        assert!(at < self.memory.len());
        // SAFETY: inside the mapping; whoever writes at the same time gets a mixture.
        unsafe { &*self.memory.as_ptr().add(at).cast() }
    }

    fn restore(&self) {
        self.known.iter().enumerate().for_each(|(at, byte)| self.byte(at).store(*byte, Ordering::Relaxed));
    }

    /// Fills a part of a range, and remembers what may not change.
    fn fill(&mut self, range: u8, at: u16, contents: &Contents<'_>) {
        let (first, pages, _) = RANGES[usize::from(range) % RANGES.len()];
        let bytes = match contents {
            Contents::Bytes(bytes) => bytes.to_vec(),
            Contents::Text(pages) => text(usize::from(*pages) * 256),
            Contents::Deflated => self.deflated.clone(),
            Contents::PrivateKey => self.keys[0].clone(),
            Contents::PublicKey => self.keys[1].clone(),
        };
        let at = usize::from(at) % (pages * PAGE);
        for (i, byte) in bytes.iter().take(pages * PAGE - at).enumerate() {
            let at = first * PAGE + at + i;
            self.byte(at).store(*byte, Ordering::Relaxed);
            self.known[at] = *byte;
        }
    }

    /// Whether a device may write to a page, ever.
    fn may_change(page: usize) -> bool {
        let has_it = |(first, pages, access): &(usize, usize, u32)| {
            access & abi::ACCESS_WRITE != 0 && (*first..first + pages).contains(&page)
        };
        RANGES.iter().any(has_it)
    }

    fn check(&mut self) {
        let mut rsa = hpre::Entry::default();
        rsa.0[0] = hpre::NULL | hpre::NEW << 30;
        let done = self.probes[0].call(&rsa.0);
        assert_eq!(hpre::Entry(done.try_into().unwrap()).ended(), Some(0));
        let nowhere = Asked {
            format: Format::Deflate,
            source: 8,
            input: 8,
            destination: 8,
            room: 8,
            stream: None,
            begins: true,
            finish: true,
        };
        let done = self.probes[1].call(&zip::Entry::new(&nowhere, 0, 5).0);
        assert_eq!(zip::Entry(done.try_into().unwrap()).ended().status, zip::status::ADDRESS);
        // When all queues are back, nothing is under way.
        let start = Instant::now();
        for (device, before) in self.server.devices().iter().zip(&self.available) {
            while available(&**device) != *before {
                assert!(start.elapsed() < BOUND, "a queue does not come back");
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        for page in (0..PAGES).filter(|page| !Self::may_change(*page)) {
            let bytes = page * PAGE..(page + 1) * PAGE;
            let changed = bytes.into_iter().find(|at| self.byte(*at).load(Ordering::Relaxed) != self.known[*at]);
            assert_eq!(changed, None, "page {page} was written to");
        }
    }
}

fn available(device: &dyn Accelerator) -> String {
    device.attribute(attribute::AVAILABLE_INSTANCES).unwrap()
}

/// Stored blocks: a stream that any decompressor takes.
fn deflated(plain: &[u8]) -> Vec<u8> {
    let len = plain.len() as u16;
    [&[1][..], &len.to_le_bytes(), &(!len).to_le_bytes(), plain].concat()
}

/// Where a range is said to begin.
fn address(range: u8) -> u64 {
    let before: usize = RANGES[..usize::from(range) % RANGES.len()].iter().map(|(_, pages, _)| pages * PAGE).sum();
    ADDRESS + before as u64
}

impl Place {
    fn address(&self) -> u64 {
        self.other.unwrap_or(address(self.range).wrapping_add_signed(self.offset.into()))
    }
}

fn tweaked<const N: usize>(mut words: [u32; N], tweak: Tweak) -> [u32; N] {
    if let Some((at, value)) = tweak {
        words[usize::from(at) % N] = value;
    }
    words
}

fn share(rig: &Rig, queue: &Queue, command: u32, start: u64, bytes: u64, offset: u64, access: u32) -> bool {
    let mut argument = [start, bytes, offset].map(u64::to_ne_bytes).concat();
    argument.extend(rig.memory.memfd().expect("a memfd").as_raw_fd().to_ne_bytes());
    argument.extend(access.to_ne_bytes());
    queue.file.ioctl(me(), command, &argument).is_ok()
}

fn share_range(rig: &Rig, queue: &Queue, command: u32, range: u8) -> bool {
    let (first, pages, access) = RANGES[usize::from(range) % RANGES.len()];
    share(rig, queue, command, address(range), (pages * PAGE) as u64, (first * PAGE) as u64, access)
}

fn run(rig: &mut Rig, steps: &[Step<'_>]) {
    let open = |rig: &Rig, i: usize| Queue::open(&*rig.server.devices()[QUEUES[i].0], QUEUES[i].1);
    let mut queues = [0, 1, 2, 3].map(|i| open(rig, i));
    // Mostly it is given all that can be.
    (0..RANGES.len() as u8).for_each(|range| assert!(share_range(rig, &queues[0], abi::SHARE, range)));
    let which = |queue: u8| usize::from(queue) % QUEUES.len();
    for step in steps {
        match step {
            Step::Word { queue, at, value } => {
                let queue = &queues[which(*queue)];
                let words = queue.memory.len() as u32 / 4;
                queue.word((at % words) as usize * 4).store(*value, Ordering::Relaxed);
            }
            Step::Rsa { crt, size, key, input, output, tweak, rings } => {
                let algorithm = if *crt { Algorithm::Crt } else { Algorithm::NoCrt };
                let addresses = Addresses { key: key.address(), input: input.address(), output: output.address() };
                let operand = [128, 128, 256, 384, 512][usize::from(*size) % 5];
                let entry = hpre::Entry::new(algorithm, operand, addresses, 7);
                queues[0].put(&tweaked(entry.0, *tweak), *rings);
            }
            Step::Zip { queue, flags, stream, source, input, output, room, tweak } => {
                let format = [Format::Deflate, Format::Zlib, Format::Gzip][usize::from(*flags) % 3];
                let asked = Asked {
                    format,
                    source: source.address(),
                    // Mostly what can be there.
                    input: if flags & 0x40 == 0 { input % (24 * PAGE as u32) } else { *input },
                    destination: output.address(),
                    room: if flags & 0x40 == 0 { room % (24 * PAGE as u32) } else { *room },
                    stream: (flags & 8 != 0).then(|| u64::from(stream % 4)),
                    begins: flags & 0x10 != 0,
                    finish: flags & 0x20 != 0,
                };
                let mut entry = zip::Entry::new(&asked, if flags & 4 == 0 { 0 } else { 3 }, 7);
                entry.set_level(stream >> 4);
                let queue = &mut queues[1 + usize::from(*queue) % 3];
                queue.put(&tweaked(entry.0, *tweak), flags & 0x80 == 0);
            }
            Step::Ring { queue, taken, index } => {
                let command = if *taken { Command::Taken } else { Command::Submitted };
                // Beyond the ring, a queue is over: not too often.
                let index = if *index < 0xff00 { index % DEPTH } else { *index };
                queues[which(*queue)].ring(command, index);
            }
            Step::Bell { queue, word } => queues[which(*queue)].bell(*word),
            Step::Share { queue, range, again } => {
                for _ in 0..1 + u8::from(*again) {
                    share_range(rig, &queues[which(*queue)], abi::SHARE, *range);
                }
            }
            Step::ShareOther { queue, share: [start, bytes, offset], access } => {
                // Never so that a device may write to what it may not.
                let access = u32::from(*access) & !abi::ACCESS_WRITE;
                share(rig, &queues[which(*queue)], abi::SHARE, *start, *bytes, *offset, access);
            }
            Step::Unshare { queue, range } => {
                share_range(rig, &queues[which(*queue)], abi::UNSHARE, *range);
            }
            Step::Fill { range, at, contents } => rig.fill(*range, *at, contents),
            Step::Call { queue, command, argument } => {
                // Memory is given by the steps above alone: what may be written to is known then.
                if *command != abi::SHARE {
                    let argument = &argument[..argument.len().min(64)];
                    let _ = queues[which(*queue)].file.ioctl(me(), *command, argument);
                }
            }
            Step::Poll { queue } => {
                let _ = queues[which(*queue)].file.poll(None);
            }
            Step::PutBack { queue } => {
                let _ = queues[which(*queue)].file.ioctl(me(), abi::PUT_Q, &[]);
            }
            Step::Reopen { queue } => {
                let i = which(*queue);
                queues[i] = open(rig, i);
            }
            Step::Wait { micros } => std::thread::sleep(Duration::from_micros(u64::from(*micros))),
        }
    }
    drop(queues);
    rig.check();
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut rig = rig().lock().unwrap();
    run(&mut rig, &steps[..steps.len().min(MOST_STEPS)]);
});
