//! The generator against a tool of others: what it sends, testpmd receives; what testpmd sends, it receives.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use warpdrive_mempool::{DmaMode, Domain, Mempool, PageChoice, PageSize as Page, PoolConfig};
use warpdrive_perf::lab::{IN, Lab, Shape};
use warpdrive_perf::load::{Load, Shape as Loop, Subject, apply};
use warpdrive_perf::measure::on_cpu;
use warpdrive_perf::peers::PageSize;
use warpdrive_perf::record::Arrivals;
use warpdrive_perf::testpmd::{Setup, Testpmd};
use warpdrive_perf::wire::frame::Kind;
use warpdrive_perf::wire::{Generator, Wiring};
use warpdrive_perf::{BenchError, lab, os};
use warpdrive_pipeline::cores;
use warpdrive_pmd::port::af_packet::{AfPacketConfig, AfPacketPort};
use warpdrive_pmd::port::{Port, PortError};

/// How far apart two counts of the same frames may be.
const TOLERANCE: f64 = 0.05;
const WINDOW: Duration = Duration::from_secs(1);
/// Well below what either side can do on a busy machine.
const RATE: f64 = 20_000.0;
/// Time for what is on its way to arrive.
const SETTLE: Duration = Duration::from_millis(200);

/// One of these tests at a time: each wants both cpus.
static ALONE: Mutex<()> = Mutex::new(());

/// A testpmd behind a veth pair, and the cpu that is left.
struct Bed {
    testpmd: Testpmd,
    lab: Lab,
    cpu: usize,
    _alone: MutexGuard<'static, ()>,
}

fn bed() -> Option<Bed> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cpus = cores::allowed().unwrap();
    let [near, far, ..] = cpus[..] else {
        eprintln!("skipped: two cpus are needed");
        return None;
    };
    let lab = match Lab::of(Shape::Loop) {
        Ok(lab) => lab,
        Err(e) => {
            eprintln!("skipped: {e}");
            return None;
        }
    };
    // Rings that hold what comes while its core is away.
    let device = format!("net_af_packet0,iface={IN},blocksz=65536,framesz=2048,framecnt=16384");
    let started = Testpmd::start(&Setup {
        cpu: far,
        main_cpu: near,
        pages: PageSize::Small,
        devices: &[device],
        ports: 1,
        mbufs: 8192,
        wrapper: &lab::inside(&lab.forwarder),
    });
    match started {
        Ok(testpmd) => Some(Bed { testpmd, lab, cpu: near, _alone: alone }),
        Err(none) => {
            eprintln!("skipped: {none}");
            None
        }
    }
}

/// Runs `work` with a generator on the near end.
fn with_generator<T: Send>(
    bed: &Bed,
    work: impl FnOnce(&mut Generator) -> Result<T, BenchError> + Send,
) -> T {
    let namespace = bed.lab.generator.clone();
    let done = on_cpu(bed.cpu, move || {
        os::enter_network(&namespace).expect("the lab was made by us");
        let (mut generator, _port) = generator()?;
        work(&mut generator)
    });
    done.unwrap()
}

fn generator() -> Result<(Generator, AfPacketPort), BenchError> {
    let pages = PageChoice::Exactly(Page::Size4K);
    let pool = Mempool::new(&PoolConfig { pages, ..PoolConfig::default() }, &Domain::new(DmaMode::Sva))?;
    let mut port = AfPacketPort::open("near", &AfPacketConfig::new(IN), &pool)?;
    let queues = |port: &mut AfPacketPort| Ok::<_, PortError>((port.tx_queue(0)?, port.rx_queue(0)?));
    let (tx, rx) = queues(&mut port)?;
    Ok((Generator::new(Wiring { tx, rx, pool, kind: Kind::Udp, size: 64, depth: 64 })?, port))
}

fn agree(what: &str, ours: u64, theirs: u64) {
    let (ours, theirs) = (ours as f64, theirs as f64);
    assert!(ours > 1000.0 && theirs > 1000.0, "{what}: ours {ours}, testpmd's {theirs}");
    let apart = (ours / theirs - 1.0).abs();
    assert!(apart <= TOLERANCE, "{what}: ours {ours}, testpmd's {theirs}, {:.1} % apart", apart * 100.0);
}

#[test]
fn testpmd_receives_what_the_generator_sends_at_the_rate_it_says() {
    let Some(mut bed) = bed() else { return };
    bed.testpmd.set_mode("rxonly").unwrap();
    bed.testpmd.forward().unwrap();
    let (_, before) = bed.testpmd.counters().unwrap();
    let shape = Loop::Open { rate: RATE, arrivals: Arrivals::Poisson };
    let load = Load { shape, warm: Duration::ZERO, length: WINDOW, seed: 1, overhead_ns: 0 };
    let (outcome, taken) = with_generator(&bed, |generator| {
        let outcome = apply(generator, &load)?;
        Ok((outcome, generator.counters().0.packets.get()))
    });
    std::thread::sleep(SETTLE);
    let (_, after) = bed.testpmd.counters().unwrap();
    bed.testpmd.stop().unwrap();
    let received = after[0].rx - before[0].rx;
    assert_eq!(outcome.sent, taken, "what was sent is what the port took");
    assert_eq!((outcome.done, outcome.lost), (0, outcome.sent), "nobody sends them back");
    agree("frames", taken, received);
    // What a busy machine kept the generator from sending, it says.
    let due = (RATE * WINDOW.as_secs_f64()) as u64 - outcome.unsent;
    agree("frames that were due and could be sent", due, received);
}

#[test]
fn the_generator_receives_what_testpmd_sends() {
    let Some(mut bed) = bed() else { return };
    bed.testpmd.set_mode("txonly").unwrap();
    let (_, before) = bed.testpmd.counters().unwrap();
    // The generator receives on a thread of its own, from before the first frame to after the last.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (ready, opened) = std::sync::mpsc::channel();
    let (namespace, cpu) = (bed.lab.generator.clone(), bed.cpu);
    let (counted, seen, missed) = std::thread::scope(|scope| {
        let (stop, namespace) = (&stop, &namespace);
        let receiver = scope.spawn(move || {
            on_cpu(cpu, move || {
                os::enter_network(namespace).expect("the lab was made by us");
                let (mut generator, _port) = generator()?;
                let _ = ready.send(());
                let mut until = None;
                while until.is_none_or(|until| Instant::now() < until) {
                    generator.receive(&mut |_| panic!("nothing was sent"))?;
                    if until.is_none() && stop.load(std::sync::atomic::Ordering::Relaxed) {
                        until = Some(Instant::now() + SETTLE);
                    }
                }
                let (_, rx) = generator.counters();
                let strays = generator.strays();
                Ok((rx.packets.get(), strays.foreign.get() + strays.late.get(), rx.missed.get()))
            })
            .unwrap()
        });
        let sent = opened.recv().map(|()| {
            bed.testpmd.forward()?;
            std::thread::sleep(WINDOW);
            bed.testpmd.stop()
        });
        // Whatever became of that, or the receiver would never end.
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let received = receiver.join().unwrap();
        sent.expect("the receiver was ready").unwrap();
        received
    });
    let (_, after) = bed.testpmd.counters().unwrap();
    assert_eq!(counted, seen, "each frame that was received is a stray");
    agree("frames", counted + missed, after[0].tx - before[0].tx);
}
