//! `load-ring`: packets to another core and back.

use std::thread::JoinHandle;

use warpdrive_mempool::{Burst, DmaMode, Domain, Mempool};
use warpdrive_pmd::port::ring::{RingRx, RingTx, channel};
use warpdrive_pmd::port::{RxQueue as _, TxQueue as _};

use super::{QUICK, ROUNDS, SLICE_S, facts, pool};
use crate::load::Subject;
use crate::load::modes::{About, drive};
use crate::measure::on_cpu;
use crate::{Bench, BenchError, Emit, Kind, Options, os};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "load-ring",
    about: "packets handed to another core by a ring, and back by another",
    peer: "",
    package: "",
    unit: "packets/s",
    seconds: SLICE_S,
    rounds: ROUNDS,
    quick: QUICK,
    run: Kind::Load(run),
};
/// Slots of each ring.
const SLOTS: usize = 1024;
const BURST: usize = 32;

fn run(options: &Options, emit: Emit<'_>) -> Result<(), BenchError> {
    let (near, far) = options.two_cpus()?;
    let domain = Domain::new(DmaMode::Sva);
    let about = About {
        bench: BENCH.name,
        what: format!(
            "an owned packet through a ring of {SLOTS} slots to another core, which sends it back through a second one; bursts of up to {BURST}"
        ),
        unit: BENCH.unit,
        facts: facts(&domain, (near, far)),
    };
    let pool = pool(2 * SLOTS, 2048, &domain)?;
    on_cpu(near, || {
        let mut rings = Rings::new(&pool, far)?;
        drive(options, &about, &mut rings, emit)
    })
}

/// Two rings, and a thread at the far end that sends back what comes.
struct Rings {
    pool: Mempool,
    there: Option<RingTx>,
    back: RingRx,
    out: Burst,
    home: Burst,
    in_flight: usize,
    far: Option<JoinHandle<Result<(), BenchError>>>,
    far_thread: u32,
}

impl Rings {
    fn new(pool: &Mempool, far: usize) -> Result<Self, BenchError> {
        let (there, mut arrive) = channel(SLOTS);
        let (mut leave, back) = channel(SLOTS);
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let echo = move || {
            let _ = ready.send(os::thread_id());
            let mut burst = Burst::new();
            while !arrive.is_finished() {
                if arrive.rx_burst(&mut burst, BURST) == 0 {
                    std::hint::spin_loop();
                }
                while !burst.is_empty() && leave.tx_burst(&mut burst) == 0 {
                    std::hint::spin_loop();
                }
            }
            Ok(())
        };
        let far = std::thread::Builder::new()
            .name("bench-far".to_owned())
            .spawn(move || on_cpu(far, echo))
            .map_err(|e| BenchError::Bug(format!("no thread: {e}")))?;
        let Ok(far_thread) = started.recv() else {
            let ended =
                far.join().unwrap_or_else(|_| Err(BenchError::Bug("the far thread panicked".to_owned())));
            return Err(ended
                .err()
                .unwrap_or_else(|| BenchError::Bug("the far thread did not start".to_owned())));
        };
        Ok(Self {
            pool: pool.clone(),
            there: Some(there),
            back,
            out: Burst::new(),
            home: Burst::new(),
            in_flight: 0,
            far: Some(far),
            far_thread,
        })
    }
}

impl Subject for Rings {
    #[inline]
    fn send(&mut self, tag: u64) -> bool {
        if self.out.len() >= BURST || self.in_flight >= SLOTS {
            return false;
        }
        let Some(mut packet) = self.pool.alloc() else { return false };
        packet.set_timestamp(tag);
        self.in_flight += 1;
        self.out.push(packet).is_ok()
    }

    #[inline]
    fn flush(&mut self) -> Result<(), BenchError> {
        if let Some(there) = &mut self.there
            && !self.out.is_empty()
        {
            there.tx_burst(&mut self.out);
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self, done: &mut dyn FnMut(u64)) -> Result<usize, BenchError> {
        self.flush()?;
        let n = self.back.rx_burst(&mut self.home, BURST);
        for packet in self.home.iter() {
            done(packet.timestamp());
        }
        self.home.clear();
        self.in_flight -= n;
        Ok(n)
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn max_depth(&self) -> usize {
        SLOTS
    }

    fn engine_thread(&self) -> Option<u32> {
        Some(self.far_thread)
    }
}

impl Drop for Rings {
    /// Ends the far thread: it goes on until this end of its ring is gone.
    fn drop(&mut self) {
        self.there = None;
        if let Some(far) = self.far.take() {
            while !far.is_finished() {
                self.back.rx_burst(&mut self.home, BURST);
                self.home.clear();
            }
            let _ = far.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_home_with_their_tags_and_the_far_end_ends() {
        let cpus = warpdrive_pipeline::cores::allowed().unwrap();
        let pool = pool(2 * SLOTS, 2048, &Domain::new(DmaMode::Sva)).unwrap();
        let _slot = warpdrive_mempool::WorkerSlot::claim().unwrap();
        let mut rings = Rings::new(&pool, *cpus.last().unwrap()).unwrap();
        let mut tags = Vec::new();
        for tag in 0..200 {
            while !rings.send(tag) {
                rings.receive(&mut |tag| tags.push(tag)).unwrap();
            }
        }
        while rings.in_flight() > 0 {
            rings.receive(&mut |tag| tags.push(tag)).unwrap();
        }
        assert_eq!(tags, (0..200).collect::<Vec<_>>());
        rings.send(7);
        drop(rings);
        assert_eq!(pool.stats().in_use, 0, "also what was under way");
    }
}
