//! The poll loop of one core: the heart of the dataplane. Everything else prepares for it or reports on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rtrb::{Consumer, Producer};
use warpdrive_mempool::{BURST, Burst, Mempool};
use warpdrive_pmd::clock::{Clock, ticks};
use warpdrive_pmd::idle::{Idle, IdlePolicy};

use crate::service::{Seed, Service};
use crate::stage::{Context, Stage};
use crate::stats::{LONGEST_NS, PipelineLatency, Reason, SharedStage, StageCounters};
use crate::strict::Watched;

/// Rounds between two looks at the control plane.
const CONTROL_EVERY: u32 = 256;
/// The longest time between two looks: an engine that runs inline makes rounds long.
const CONTROL_WITHIN: Duration = Duration::from_millis(10);

/// What one core does: its pipelines, and how it waits and stops.
pub struct Worker {
    /// The pipelines, each polled once a round.
    pub pipelines: Vec<Pipeline>,
    /// The services, each polled once a round. They are made when the loop begins.
    pub services: Vec<Seed>,
    /// What to do in a round without work.
    pub idle: IdlePolicy,
    /// Set by the control plane: sources give no more, what is in flight is brought to its end.
    pub stop: Arc<AtomicBool>,
    /// How long that may take.
    pub drain: Duration,
    /// The pools whose caches are emptied at the end.
    pub pools: Vec<Mempool>,
    /// How often the pools were exhausted when last looked at.
    pub failures: u64,
    /// How latency histograms are handed to an observer while the worker runs.
    pub mailbox: Mailbox,
    /// Who sees to it that it calls the kernel only before and after its loop, if anybody does.
    pub watched: Watched,
}

/// Histograms change hands by exchange: an observer sends empty ones, the worker sends full ones back.
pub struct Mailbox {
    /// Empty sets, one histogram set for each pipeline of the worker.
    pub empty: Consumer<Vec<PipelineLatency>>,
    /// Full sets.
    pub full: Producer<Vec<PipelineLatency>>,
}

/// What a worker leaves behind.
#[derive(Debug, Default)]
pub struct WorkerReport {
    /// The histograms of each pipeline since the last exchange; empty when they were not wanted.
    pub latency: Vec<PipelineLatency>,
    /// Rounds of the loop.
    pub rounds: u64,
    /// Rounds that moved packets.
    pub busy_rounds: u64,
    /// Packets, and connections of services, given up because draining took too long.
    pub abandoned: usize,
}

impl Worker {
    /// Polls until all sources are finished or the program stops, and everything in flight has come out.
    #[must_use]
    pub fn run(mut self) -> WorkerReport {
        let mut report = WorkerReport::default();
        let seeds = std::mem::take(&mut self.services);
        let mut services: Vec<Box<dyn Service>> = seeds.into_iter().map(|seed| seed()).collect();
        let mut idle = Idle::new(self.idle);
        let mut deadline: Option<u64> = None;
        let mut until_control = CONTROL_EVERY;
        let control_within = Clock::get().ticks_of(CONTROL_WITHIN);
        let mut control_at = ticks() + control_within;
        self.watched.steady(true);
        loop {
            let now = ticks();
            let stopping = deadline.is_some();
            let mut moved = 0;
            for pipeline in &mut self.pipelines {
                moved += pipeline.round(now, stopping);
            }
            for service in &mut services {
                moved += service.round(now, stopping);
            }
            report.rounds += 1;
            until_control -= 1;
            if moved > 0 {
                report.busy_rounds += 1;
                idle.busy();
            } else {
                idle.wait();
            }
            let control = until_control == 0 || now >= control_at;
            if (moved == 0 || control)
                && self.close_what_is_done(stopping)
                && (services.is_empty() || (stopping && services.iter().all(|s| s.is_done())))
            {
                break;
            }
            if control {
                until_control = CONTROL_EVERY;
                control_at = now + control_within;
                self.publish();
                services.iter_mut().for_each(|service| service.control(now));
                // An engine that runs inline may have panicked and recovered: the panic was told, and that is over.
                self.watched.steady(true);
                if deadline.is_none() && self.stop.load(Ordering::Relaxed) {
                    deadline = Some(now + Clock::get().ticks_of(self.drain));
                }
                if deadline.is_some_and(|d| now > d) {
                    break;
                }
            }
        }
        self.finish(report, services)
    }

    /// Releases the queues of each pipeline that has ended, which those behind it wait for. True when all have.
    fn close_what_is_done(&mut self, stopping: bool) -> bool {
        let mut all = true;
        for pipeline in &mut self.pipelines {
            if !pipeline.is_closed() {
                if pipeline.is_done(stopping) {
                    self.watched.steady(false);
                    pipeline.close();
                    self.watched.steady(true);
                } else {
                    all = false;
                }
            }
        }
        all
    }

    /// Gauges for observers, and the exchange of histograms.
    fn publish(&mut self) {
        let failures: u64 = self.pools.iter().map(Mempool::failures).sum();
        let exhausted = std::mem::replace(&mut self.failures, failures) != failures;
        for pipeline in &self.pipelines {
            pipeline.publish(exhausted);
        }
        if let Ok(mut set) = self.mailbox.empty.pop() {
            for (pipeline, fresh) in self.pipelines.iter_mut().zip(&mut set) {
                if let Some(used) = &mut pipeline.latency {
                    std::mem::swap(used, fresh);
                }
            }
            // Room for it: the observer has one set, which it sends and gets back.
            let _ = self.mailbox.full.push(set);
        }
    }

    /// Gives up what could not be drained, releases every queue and returns every cached buffer.
    fn finish(mut self, mut report: WorkerReport, services: Vec<Box<dyn Service>>) -> WorkerReport {
        self.watched.steady(false);
        report.abandoned += services.into_iter().map(Service::close).sum::<usize>();
        for pipeline in &mut self.pipelines {
            report.abandoned += pipeline.stages.iter_mut().map(|s| s.abandon()).sum::<usize>();
            if !pipeline.is_closed() {
                pipeline.close();
            }
            report.latency.extend(pipeline.latency.take());
        }
        self.pipelines.clear();
        self.pools.iter().for_each(Mempool::flush_local_cache);
        report
    }
}

/// A chain of stages. Packets move along it in bursts.
pub struct Pipeline {
    stages: Vec<Box<dyn Stage>>,
    counters: Vec<SharedStage>,
    /// Stages that are polled, last first: what is nearest the end makes room for what is behind it.
    pollers: Vec<usize>,
    maintained: Vec<usize>,
    latency: Option<PipelineLatency>,
    clock: Clock,
}

impl Pipeline {
    /// Puts stages in a row. The first must be a source.
    #[must_use]
    pub fn new(mut stages: Vec<Box<dyn Stage>>, with_latency: bool) -> Self {
        let counters: Vec<SharedStage> = stages.iter().map(|_| SharedStage::default()).collect();
        for (stage, counters) in stages.iter_mut().zip(&counters) {
            stage.attach(Arc::clone(counters));
        }
        let where_ = |f: fn(&dyn Stage) -> bool| -> Vec<usize> {
            stages.iter().enumerate().filter(|(_, s)| f(s.as_ref())).map(|(i, _)| i).collect()
        };
        let mut pollers = where_(|s| s.polls());
        pollers.reverse();
        let maintained = where_(|s| s.needs_maintenance());
        let latency = with_latency.then(|| PipelineLatency::new(stages.len()));
        Self { stages, counters, pollers, maintained, latency, clock: Clock::get() }
    }

    /// The counters of each stage.
    #[must_use]
    pub fn counters(&self) -> &[SharedStage] {
        &self.counters
    }

    /// What was recorded so far; `None` when it was not wanted.
    #[must_use]
    pub fn latency(&self) -> Option<&PipelineLatency> {
        self.latency.as_ref()
    }

    /// One round: poll what gives packets, push them on as far as they go. Returns how many moved.
    #[inline]
    pub fn round(&mut self, now: u64, stopping: bool) -> usize {
        let mut moved = 0;
        let mut burst = Burst::new();
        for p in 0..self.pollers.len() {
            let i = self.pollers[p];
            // Ports give nothing more when stopping; a merge goes on until those before it have ended.
            if i == 0 && stopping && self.stages[0].kind() == "rx" {
                continue;
            }
            let room = self.room_behind(i).min(BURST);
            if room == 0 {
                self.counters[i].stalls.add(1);
                continue;
            }
            let latency = self.latency.as_mut().map(|l| &mut l.stages[i]);
            let mut cx = Context { now, latency };
            self.stages[i].poll(&mut burst, room, &mut cx);
            let n = burst.len();
            if n > 0 {
                self.counters[i].packets_out.add(n as u64);
                moved += n;
                self.push(i + 1, &mut burst);
            }
        }
        for m in 0..self.maintained.len() {
            self.stages[self.maintained[m]].maintain();
        }
        moved
    }

    /// How many packets the stages behind `i` take, up to the next one that keeps them.
    #[inline]
    fn room_behind(&self, i: usize) -> usize {
        let mut room = usize::MAX;
        for stage in &self.stages[i + 1..] {
            room = room.min(stage.room());
            if stage.polls() {
                break;
            }
        }
        room
    }

    /// Sends a burst through the stages from `first` on, until one keeps it or it is used up.
    #[inline]
    fn push(&mut self, first: usize, burst: &mut Burst) {
        let mut before = if self.latency.is_some() { ticks() } else { 0 };
        for i in first..self.stages.len() {
            let n = burst.len() as u64;
            if n == 0 {
                return;
            }
            let stage = &mut self.stages[i];
            let counters = &self.counters[i];
            counters.packets_in.add(n);
            let received = (self.latency.is_some() && stage.is_sink()).then(|| Received::of(burst, counters));
            let mut cx = Context { now: before, latency: None };
            stage.process(burst, &mut cx);
            if let (Some(received), Some(latency)) = (received, &mut self.latency) {
                received.record(latency, before, self.clock, counters);
            }
            if let Some(latency) = &mut self.latency
                && !stage.polls()
            {
                let after = ticks();
                latency.stages[i].saturating_record_n(self.clock.ns(after - before), n);
                before = after;
            }
            if !stage.polls() {
                counters.packets_out.add(burst.len() as u64);
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.stages.is_empty()
    }

    /// Ends the pipeline: releases its queues. Its counters stay.
    fn close(&mut self) {
        self.publish(false);
        self.pollers.clear();
        self.maintained.clear();
        self.stages.clear();
    }

    /// Whether nothing is left to do: no packet will come and none is held.
    fn is_done(&self, stopping: bool) -> bool {
        let Some(source) = self.stages.first() else {
            return true;
        };
        (source.is_finished() || (stopping && source.kind() == "rx"))
            && self.stages.iter().all(|s| s.held() == 0)
    }

    /// Writes the gauges; when a pool was exhausted, also who has its buffers.
    fn publish(&self, exhausted: bool) {
        for (stage, counters) in self.stages.iter().zip(&self.counters) {
            counters.held.set(stage.held() as u64);
            if exhausted {
                counters.held_at_exhaustion.set(stage.buffers() as u64);
            }
        }
    }
}

/// When the packets of a burst were received: noted before a port takes them, recorded when it is known how many it took.
struct Received {
    ticks: [u64; BURST],
    len: usize,
    /// Packets the port had refused until then.
    refused: u64,
}

impl Received {
    #[inline]
    fn of(burst: &Burst, counters: &StageCounters) -> Self {
        let mut ticks = [0; BURST];
        for (place, packet) in ticks.iter_mut().zip(burst) {
            *place = packet.timestamp();
        }
        Self { ticks, len: burst.len(), refused: counters.drops_for(Reason::Full) }
    }

    /// Records the time until `now`, once for each run of packets that were received together. A port takes from the
    /// front; those it refused were dropped and do not count.
    #[inline]
    fn record(&self, latency: &mut PipelineLatency, now: u64, clock: Clock, counters: &StageCounters) {
        let refused = counters.drops_for(Reason::Full) - self.refused;
        let sent = self.len.saturating_sub(refused as usize);
        for run in self.ticks[..sent].chunk_by(|a, b| a == b) {
            let ns = clock.ns(now.saturating_sub(run[0])).min(LONGEST_NS);
            latency.end_to_end.saturating_record_n(ns, run.len() as u64);
        }
    }
}
