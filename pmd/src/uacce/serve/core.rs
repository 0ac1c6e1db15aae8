//! The work of a core of the server: it polls the queues it was given, and computes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;

use super::engines::Engines;
use super::flight::{Errand, Flight};
use super::order::{Counts, Order};
use super::served::{Parts, Served, Work};
use super::space::Space;
use super::tenant::Tenant;
use super::turns::Turns;
use super::work::{Context, Engine, Next};
use super::{hpre, zip};
use crate::clock::{self, Clock};
use crate::device::{Completion, Queue};
use crate::idle::{Idle, IdlePolicy};

/// How long an entry without a doorbell is looked at before it counts (see [`Ring`](super::ring::Ring)).
const PATIENCE: Duration = Duration::from_millis(2);
/// How often it says that it lives.
const BEAT: Duration = Duration::from_millis(20);
/// How long an end waits for agents.
const FAREWELL: Duration = Duration::from_secs(5);
/// Entries that are taken from a queue before the others are looked at.
const AT_ONCE: usize = 16;
/// Completions that are received at once.
const BURST: usize = 64;

/// A core's work, which one thread does.
pub(super) struct Core {
    inbox: Receiver<Order>,
    engines: Arc<Engines>,
    queues: Vec<Option<Served>>,
    tenants: Vec<Option<Tenant>>,
    /// The queue that is asked first next time.
    first: usize,
    /// To RSA and to ZIP.
    to: [Way; 2],
    /// Requests that are with an engine, by their tags.
    aloft: Vec<Option<Box<Flight>>>,
    tags: Vec<usize>,
    done: Vec<Completion>,
    counts: Arc<Counts>,
}

/// The way to an engine.
struct Way {
    queue: Box<dyn Queue>,
    turns: Turns,
}

impl Way {
    fn is_idle(&self) -> bool {
        self.queue.in_flight() == 0 && self.turns.is_empty()
    }
}

impl Core {
    pub(super) fn new(
        inbox: Receiver<Order>,
        engines: Arc<Engines>,
        queues: [Box<dyn Queue>; 2],
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            inbox,
            engines,
            queues: Vec::new(),
            tenants: Vec::new(),
            first: 0,
            to: queues.map(|queue| Way { queue, turns: Turns::new() }),
            aloft: Vec::new(),
            tags: Vec::new(),
            done: Vec::with_capacity(BURST),
            counts,
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self, idle: IdlePolicy) {
        let mut idle = Idle::new(idle);
        let ticks = |time| Clock::get().ticks_of(time);
        let (patience, beat) = (ticks(PATIENCE), ticks(BEAT));
        let (mut beaten, mut count) = (clock::ticks(), 0_u32);
        loop {
            while let Ok(order) = self.inbox.try_recv() {
                if !self.obey(order) {
                    return;
                }
            }
            let now = clock::ticks();
            if now.wrapping_sub(beaten) > beat {
                (beaten, count) = (now, count.wrapping_add(1));
                self.queues.iter().flatten().for_each(|queue| queue.beat(count));
                self.bury();
            }
            let moved = self.welcome() | self.serve(now, patience) | self.compute();
            self.wake();
            if moved {
                idle.busy();
            } else if self.tenants.iter().flatten().any(|tenant| tenant.agent.away() > 0) {
                // It may want this cpu.
                std::thread::yield_now();
            } else if self.queues.is_empty() && self.tenants.is_empty() {
                // Nothing costs anything until somebody opens a queue.
                let Ok(order) = self.inbox.recv() else { return };
                if !self.obey(order) {
                    return;
                }
            } else if self.to.iter().all(Way::is_idle) {
                idle.wait();
            }
        }
    }

    /// Whether to go on.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Add(parts, space, tenant) => self.add(*parts, &space, tenant),
            Order::Remove(id) => {
                if let Some(queue) = self.queues.iter_mut().flatten().find(|queue| queue.id == id) {
                    // Its user hears no more: it is gone.
                    (queue.over, queue.closing) = (true, true);
                }
                self.bury();
            }
            Order::End(space) => {
                if let Some(place) = self.tenant_of(&space)
                    && let Some(tenant) = &mut self.tenants[place]
                {
                    tenant.over = true;
                }
                self.bury();
            }
            Order::Stop => {
                self.end();
                return false;
            }
        }
        true
    }

    /// Fails all queues. Each process hears of it, and takes its memory back, when its agent does not write there any more; one that
    /// keeps its agent waiting has itself to blame.
    fn end(&mut self) {
        let begun = Instant::now();
        loop {
            // Queues that somebody was about to start fail as well.
            while let Ok(order) = self.inbox.try_recv() {
                if let Order::Add(parts, space, tenant) = order {
                    self.add(*parts, &space, tenant);
                }
            }
            let is_late = begun.elapsed() > FAREWELL;
            let mut waits = false;
            for queue in self.queues.iter_mut().flatten().filter(|queue| !queue.has_failed()) {
                if let Some(tenant) = &mut self.tenants[queue.tenant] {
                    while tenant.agent.recv().is_some() {}
                    if tenant.agent.away() > 0 && !is_late {
                        waits = true;
                        continue;
                    }
                }
                queue.fail();
            }
            if !waits {
                return;
            }
            std::thread::yield_now();
        }
    }

    fn tenant_of(&self, space: &Arc<Space>) -> Option<usize> {
        self.tenants
            .iter()
            .position(|tenant| tenant.as_ref().is_some_and(|tenant| Arc::ptr_eq(&tenant.space, space)))
    }

    fn add(&mut self, parts: Parts, space: &Arc<Space>, tenant: Option<Box<Tenant>>) {
        if let Some(tenant) = tenant {
            let place = place(&mut self.tenants);
            self.tenants[place] = Some(*tenant);
            // For as many requests as there can be now.
            let most = self.tenants.iter().flatten().map(Tenant::limit).sum();
            for tag in self.aloft.len()..most {
                self.aloft.push(None);
                self.tags.push(tag);
            }
            self.to.iter_mut().for_each(|way| way.turns.reserve(most));
        }
        let Some(tenant) = self.tenant_of(space) else { return };
        let mut queue = Served::new(parts);
        queue.tenant = tenant;
        let place = place(&mut self.queues);
        self.queues[place] = Some(queue);
    }

    /// Queues and processes that are over, and have nothing under way, go; and what they had.
    fn bury(&mut self) {
        for place in &mut self.queues {
            if place.as_ref().is_some_and(|queue| queue.closing && queue.in_flight == 0) {
                *place = None;
            }
        }
        for (i, place) in self.tenants.iter_mut().enumerate() {
            let has_queues = self.queues.iter().flatten().any(|queue| queue.tenant == i);
            if !has_queues
                && let Some(tenant) = place
                && tenant.over
                && tenant.is_home()
            {
                tenant.keys.clear(&self.engines);
                *place = None;
            }
        }
        shrink(&mut self.queues);
        shrink(&mut self.tenants);
        // Engines without work let go of memory as well, so that it does not stay until there is some.
        self.to.iter_mut().for_each(|way| way.queue.flush());
    }

    /// Goes on with what agents have done.
    fn welcome(&mut self) -> bool {
        let mut moved = false;
        for place in 0..self.tenants.len() {
            if let Some(tenant) = &mut self.tenants[place] {
                tenant.refresh();
            }
            while let Some(flight) = self.tenants[place].as_mut().and_then(|tenant| tenant.agent.recv()) {
                moved = true;
                self.go(flight);
            }
            if let Some(flight) = self.tenants[place].as_mut().and_then(Tenant::let_go) {
                moved = true;
                self.go(flight);
            }
        }
        moved
    }

    /// Takes what queues have, some of each, so that those of one process have their parts of what it may have under way. When the
    /// engines do it is a matter of turns.
    fn serve(&mut self, now: u64, patience: u64) -> bool {
        let n = self.queues.len();
        let mut next = None;
        for place in (self.first..n).chain(0..self.first.min(n)) {
            let Some(queue) = &mut self.queues[place] else { continue };
            let ready = queue.ready(now, patience);
            if ready == 0 {
                continue;
            }
            let tenant = queue.tenant;
            let Some(host) = &mut self.tenants[tenant] else { continue };
            // What was given before the doorbell that was just seen counts for what was rung for.
            host.refresh();
            let take = ready.min(AT_ONCE).min(host.free.len()).min(host.slots.free() / 2);
            for _ in 0..take {
                self.begin(place, tenant);
            }
            if take > 0 {
                next.get_or_insert((place + 1) % n);
            }
        }
        self.first = next.unwrap_or(if n == 0 { 0 } else { self.first % n });
        next.is_some()
    }

    fn begin(&mut self, place: usize, tenant: usize) {
        let Some(mut flight) = self.tenants[tenant].as_mut().and_then(|tenant| tenant.free.pop()) else {
            return;
        };
        if let Some(queue) = &mut self.queues[place] {
            let (index, words) = queue.take();
            flight.take_off(place, index, words);
            self.go(flight);
        }
    }

    /// Goes on with a request.
    #[inline]
    fn go(&mut self, mut flight: Box<Flight>) {
        let next = match context(&mut self.queues, &mut self.tenants, &self.engines, flight.queue) {
            Some((Work::Hpre, mut context)) => hpre::go(&mut flight, &mut context),
            Some((_, mut context)) => zip::go(&mut flight, &mut context),
            None => Next::Done,
        };
        self.follow(flight, next);
    }

    fn follow(&mut self, mut flight: Box<Flight>, next: Next) {
        match next {
            Next::Errand => {
                let tenant = self.queues[flight.queue].as_ref().map(|queue| queue.tenant);
                if let Some(tenant) = tenant.and_then(|tenant| self.tenants[tenant].as_mut()) {
                    tenant.news = true;
                    tenant.agent.send(flight);
                }
            }
            Next::Engine(engine, request) => {
                // There are as many tags as there can be requests.
                let Some(tag) = self.tags.pop() else { return };
                let (place, cost) = (flight.queue, flight.cost);
                self.aloft[tag] = Some(flight);
                let Some(queue) = &mut self.queues[place] else { return };
                let turns = &mut self.to[match engine {
                    Engine::Rsa => 0,
                    Engine::Zip => 1,
                }]
                .turns;
                turns.push(request.with_tag(tag as u64), cost, &mut queue.spent, queue.weight);
            }
            Next::Crowded => {
                self.make_room();
                flight.errand = Errand::Key;
                self.follow(flight, Next::Errand);
            }
            Next::Held => {
                let tenant = self.queues[flight.queue].as_ref().map(|queue| queue.tenant);
                if let Some(tenant) = tenant.and_then(|tenant| self.tenants[tenant].as_mut()) {
                    tenant.held.push_back(flight);
                }
            }
            Next::Done => {
                let Some(queue) = &mut self.queues[flight.queue] else { return };
                queue.give(flight.index, &flight.words);
                self.counts.entries.fetch_add(1, Ordering::Relaxed);
                if let Some(tenant) = &mut self.tenants[queue.tenant] {
                    flight.land(&mut tenant.slots);
                    tenant.free.push(flight);
                }
            }
        }
    }

    /// Lets the engines work, and goes on with what they have done.
    fn compute(&mut self) -> bool {
        let mut moved = false;
        for engine in 0..self.to.len() {
            while self.to[engine].queue.room() > 0
                && let Some(request) = self.to[engine].turns.pop()
            {
                if self.is_over(request.tag as usize) {
                    self.give_up(engine, request.tag as usize);
                    moved = true;
                } else {
                    // There is room.
                    let _ = self.to[engine].queue.send(request);
                }
            }
            let way = &mut self.to[engine];
            if way.queue.in_flight() == 0 {
                continue;
            }
            way.queue.recv_burst(&mut self.done, BURST);
            moved |= !self.done.is_empty();
            let mut done = std::mem::take(&mut self.done);
            for completion in done.drain(..) {
                self.computed(engine, completion);
            }
            self.done = done;
        }
        moved
    }

    /// Whether nobody waits for a request any more.
    fn is_over(&self, tag: usize) -> bool {
        let queue = self.aloft[tag].as_ref().and_then(|flight| self.queues[flight.queue].as_ref());
        queue.is_none_or(|queue| queue.over)
    }

    /// A request that was not begun is not done any more.
    #[cold]
    fn give_up(&mut self, engine: usize, tag: usize) {
        let Some(mut flight) = self.aloft[tag].take() else { return };
        self.to[engine].turns.done(flight.cost);
        self.tags.push(tag);
        let tenant = self.queues[flight.queue].as_ref().map(|queue| queue.tenant);
        if let Some(key) = flight.key_place.take()
            && let Some(tenant) = tenant.and_then(|tenant| self.tenants[tenant].as_mut())
        {
            tenant.keys.done(key);
        }
        self.follow(flight, Next::Done);
    }

    fn computed(&mut self, engine: usize, mut completion: Completion) {
        let tag = completion.request.tag as usize;
        let Some(mut flight) = self.aloft.get_mut(tag).and_then(Option::take) else { return };
        self.to[engine].turns.done(flight.cost);
        self.tags.push(tag);
        let next = match context(&mut self.queues, &mut self.tenants, &self.engines, flight.queue) {
            Some((Work::Hpre, mut context)) => hpre::computed(&mut flight, &completion, &mut context),
            Some((_, mut context)) => zip::computed(&mut flight, &mut completion, &mut context),
            None => Next::Done,
        };
        self.follow(flight, next);
    }

    /// Lets go of a key, of a process that has the most that it does not use.
    #[cold]
    fn make_room(&mut self) {
        let keys = self.tenants.iter_mut().flatten().map(|tenant| &mut tenant.keys);
        if let Some(keys) = keys.max_by_key(|keys| keys.unused()) {
            keys.drop_oldest(&self.engines);
        }
    }

    /// Wakes agents that have something to do.
    fn wake(&mut self) {
        for tenant in self.tenants.iter_mut().flatten().filter(|tenant| tenant.news) {
            tenant.news = false;
            tenant.agent.wake();
        }
    }
}

/// What a request of a queue can use.
fn context<'a>(
    queues: &'a mut [Option<Served>],
    tenants: &'a mut [Option<Tenant>],
    engines: &'a Engines,
    queue: usize,
) -> Option<(Work, Context<'a>)> {
    let queue = queues[queue].as_mut()?;
    let tenant = tenants[queue.tenant].as_mut()?;
    let (compress, level) = match queue.work {
        Work::Compress(level) => (true, level),
        _ => (false, 0),
    };
    let context = Context {
        table: &tenant.table,
        far: queue.far,
        slots: &mut tenant.slots,
        keys: &mut tenant.keys,
        engines,
        streams: &mut queue.streams,
        compress,
        level,
        in_place: queue.in_place,
        over: queue.over,
    };
    Some((queue.work, context))
}

/// A place that nobody has.
fn place<T>(list: &mut Vec<Option<T>>) -> usize {
    match list.iter().position(Option::is_none) {
        Some(place) => place,
        None => {
            list.push(None);
            list.len() - 1
        }
    }
}

/// Forgets places at the end that nobody has.
fn shrink<T>(list: &mut Vec<Option<T>>) {
    while list.last().is_some_and(Option::is_none) {
        list.pop();
    }
}
