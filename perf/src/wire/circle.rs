//! `forward-ring`: what ring ports cost. Frames go round between two ports on one core, each a ring whose end is its
//! beginning, against testpmd between net_ring ports, which are the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rtrb::RingBuffer;
use warpdrive_mempool::{BURST, Burst, Mempool};
use warpdrive_pipeline::config::Full;
use warpdrive_pipeline::stage::Stage;
use warpdrive_pipeline::stage::io::{RxStage, TxStage};
use warpdrive_pipeline::worker::{Mailbox, Pipeline, Worker};
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::port::ring::{RingConfig, RingPort};
use warpdrive_pmd::port::{Port, TxQueue};
use warpdrive_pmd::stats::SharedCounters;

use super::{SIZE, pool};
use crate::measure::{Contender, alternate, cpu_time, on_cpu};
use crate::peers::PageSize;
use crate::testpmd::{Setup, Testpmd, forwarding_lines};
use crate::{BenchError, Lines, Options};

/// Packets that a `rx` stage takes at a time.
const TAKE: usize = 32;
/// Bursts of this that each port starts with.
const BURSTS: usize = 8;
/// Time between the start of polling and the first count.
const WARM: Duration = Duration::from_millis(50);
/// Time for the pipelines to end.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs the bench.
pub fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let (cpu, other) = options.two_cpus()?;
    let pages = PageSize::best();
    let mut testpmd = Testpmd::start(&Setup {
        cpu,
        main_cpu: other,
        pages,
        devices: &["net_ring0".to_owned(), "net_ring1".to_owned()],
        ports: 2,
        mbufs: 8192,
        wrapper: &[],
    });
    let pool = pool(pages)?;
    let mut sides: Vec<Contender<'_>> = vec![
        Box::new(|slice| ours(&pool, cpu, true, slice)),
        Box::new(|slice| ours(&pool, cpu, false, slice)),
    ];
    if let Ok(testpmd) = &mut testpmd {
        sides.push(Box::new(|slice| {
            testpmd.forward_first(BURSTS)?;
            testpmd.rate(WARM, slice)
        }));
    }
    let values = alternate(options, &mut sides)?;
    drop(sides);
    let notes = [
        "a packet is counted each time a port has taken it; a second is one of the polling thread's cpu time".to_owned(),
        format!(
            "{} frames of {SIZE} bytes at each port, bursts of {TAKE}, one polling core: cpu {cpu}",
            BURSTS * TAKE
        ),
        "testpmd moves pointers, whose packets it never looks at, and counts no bytes; ours counts bytes and notes when \
         each packet was received, so it reads and writes every packet's header"
            .to_owned(),
        pages.note().to_owned(),
    ];
    let told = format!("; start tx_first {BURSTS}");
    forwarding_lines(options, "forward-ring", &values, testpmd.as_ref(), &notes, &told)
        .into_iter()
        .for_each(emit);
    Ok(())
}

/// One slice: packets in a second of cpu time.
fn ours(pool: &Mempool, cpu: usize, latency: bool, slice: Duration) -> Result<f64, BenchError> {
    let stop = Arc::new(AtomicBool::new(false));
    let (worker, counters) = circle(pool, latency, &stop)?;
    let measure = || {
        std::thread::sleep(WARM);
        // Of this process only the worker is busy.
        let own = std::process::id();
        let (start, before) = (cpu_time(own)?, sent(&counters));
        std::thread::sleep(slice);
        let (end, after) = (cpu_time(own)?, sent(&counters));
        Ok((after - before) as f64 / (end - start).as_secs_f64())
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            on_cpu(cpu, || {
                let _ = worker.run();
                Ok(())
            })
        });
        let rate = measure();
        stop.store(true, Ordering::Relaxed);
        let ended = thread.join().unwrap_or_else(|_| Err(BenchError::Bug("the worker panicked".to_owned())));
        ended.and(rate)
    })
}

/// A worker with two pipelines, each from one port to the other, and what the ports count that were sent to.
fn circle(
    pool: &Mempool,
    latency: bool,
    stop: &Arc<AtomicBool>,
) -> Result<(Worker, [SharedCounters; 2]), BenchError> {
    let open = |name: &str| -> Result<_, BenchError> {
        let mut port = RingPort::open(name, &RingConfig::default(), pool)?;
        let (rx, mut tx) = (port.rx_queue(0)?, port.tx_queue(0)?);
        fill(pool, tx.as_mut())?;
        Ok((rx, tx))
    };
    let ((rx_a, tx_a), (rx_b, tx_b)) = (open("circle-a")?, open("circle-b")?);
    let counters = [Arc::clone(tx_a.counters()), Arc::clone(tx_b.counters())];
    let pipeline = |rx, tx| {
        let stages: Vec<Box<dyn Stage>> =
            vec![Box::new(RxStage::new(rx, TAKE, None)), Box::new(TxStage::new(tx, Full::Hold))];
        Pipeline::new(stages, latency)
    };
    // Nobody asks for histograms.
    let ((_, empty), (full, _)) = (RingBuffer::new(1), RingBuffer::new(1));
    let worker = Worker {
        watched: warpdrive_pipeline::strict::Watched::default(),
        pipelines: vec![pipeline(rx_a, tx_b), pipeline(rx_b, tx_a)],
        idle: IdlePolicy::default(),
        stop: Arc::clone(stop),
        drain: DRAIN,
        services: Vec::new(),
        pools: vec![pool.clone()],
        failures: 0,
        mailbox: Mailbox { empty, full },
    };
    Ok((worker, counters))
}

/// Puts the frames into a ring that will go round.
fn fill(pool: &Mempool, tx: &mut dyn TxQueue) -> Result<(), BenchError> {
    let mut left = BURSTS * TAKE;
    let mut burst = Burst::new();
    while left > 0 {
        let wanted = left.min(BURST);
        let got = pool.alloc_burst(&mut burst, wanted);
        for packet in burst.iter_mut() {
            // Cannot fail: buffers have 2,048 bytes.
            let _ = packet.set_len(SIZE);
        }
        if got < wanted || tx.tx_burst(&mut burst) < wanted {
            return Err(BenchError::Bug("a new ring does not take its frames".to_owned()));
        }
        left -= wanted;
    }
    Ok(())
}

fn sent(counters: &[SharedCounters]) -> u64 {
    counters.iter().map(|c| c.packets.get()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_round_and_none_is_lost() {
        let cpu = warpdrive_pipeline::cores::allowed().unwrap()[0];
        let pool = pool(PageSize::Small).unwrap();
        let rate = ours(&pool, cpu, true, Duration::from_millis(20)).unwrap();
        assert!(rate > 10_000.0, "{rate}");
        assert_eq!(pool.stats().in_use, 0);

        let stop = Arc::new(AtomicBool::new(false));
        let (mut worker, counters) = circle(&pool, false, &stop).unwrap();
        let begun = sent(&counters);
        let moved: usize = (0..100)
            .flat_map(|_| worker.pipelines.iter_mut().map(|p| p.round(0, false)).collect::<Vec<_>>())
            .sum();
        assert_eq!(moved, 200 * TAKE, "every burst is full");
        assert_eq!(sent(&counters) - begun, moved as u64);
        assert_eq!(pool.stats().in_use, 2 * BURSTS * TAKE);
    }
}
