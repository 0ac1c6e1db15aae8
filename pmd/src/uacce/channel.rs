//! The queue that a device hands out: requests to entries of one or more Kunpeng queues, and back.
//!
//! What only this process knows (a session that is not there, an address that is not mapped) is answered here, without the device.
//! The device answers by entries, of which nothing is believed that was not checked; and when it is gone, each request that it had
//! ends once, as [`Status::Cancelled`]. The same becomes of what is sent from then on, until the device is back and another queue of it is
//! open.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use warpdrive_mempool::DomainView;

use super::driver::{Ask, Begun, Carried, Driver, Parts};
use super::error::{Lost, UacceError};
use super::fork::{Kept, Lineage};
use super::memory::Replayed;
use super::queue::{Entry, QmQueue};
use crate::clock;
use crate::device::{Completion, Phase, Queue, Request, Status, Stream};
use crate::engine::meter::SharedMeter;
use crate::engine::sessions::Reader;
use crate::engine::{Outcome, Report, completion};

mod again;
mod end;

use self::again::Place;

/// How long a completion is waited for by polling memory, before a call waits.
const SPIN: Duration = Duration::from_micros(20);

/// A queue of the device, for one of the things it does.
struct Lane<D: Driver> {
    qm: QmQueue<D::Entry>,
    /// What the device has, by place.
    pending: Kept<Box<[Option<Pending<D>>]>>,
    memory: Option<Kept<Replayed>>,
}

/// A request that the device has.
struct Pending<D: Driver> {
    request: Request,
    session: Arc<D::Session>,
    note: D::Note,
}

/// A queue as its owner sees it.
pub(super) struct Channel<D: Driver> {
    lanes: Vec<Option<Lane<D>>>,
    kept: Kept<State<D>>,
    lineage: Lineage,
    depth: usize,
    in_flight: usize,
    /// Once the device is gone, if there is to be another queue: where that will be.
    next: Option<Place<D>>,
}

/// What a child must not touch.
struct State<D: Driver> {
    parts: Arc<Parts<D::Session>>,
    /// `None` once the device is gone and has nothing of it any more.
    driver: Option<D>,
    view: DomainView,
    sessions: Reader<D::Session>,
    /// What was done without the device, and what it will not do any more.
    done: VecDeque<Completion>,
    meter: SharedMeter,
    lost: Option<Lost>,
    /// Of a queue that has replaced another: when it came, and the pause before the attempt that succeeded.
    opened: Option<(Instant, Duration)>,
}

impl<D: Driver> Channel<D> {
    /// A queue of so many requests in flight, with the lanes that the sessions of the device need now.
    pub(super) fn open(
        parts: &Arc<Parts<D::Session>>,
        depth: usize,
        meter: SharedMeter,
    ) -> Result<Self, UacceError> {
        let lineage = parts.lineage;
        let driver = D::open(parts, depth).map_err(|cause| UacceError::Memory {
            device: parts.info.name.clone(),
            what: "cannot open a queue",
            cause,
        })?;
        let state = State {
            parts: Arc::clone(parts),
            driver: Some(driver),
            view: parts.domain.view(),
            sessions: parts.sessions.reader(),
            done: VecDeque::with_capacity(depth),
            meter,
            lost: None,
            opened: None,
        };
        let mut wanted: Vec<usize> = parts.sessions.now().all().map(D::lane).collect();
        if wanted.is_empty() {
            // So that who asks for a queue hears of what is wrong now.
            wanted.push(0);
        }
        let lanes = D::LANES.iter().map(|_| None).collect();
        let mut this =
            Self { lanes, kept: Kept::new(state, lineage), lineage, depth, in_flight: 0, next: None };
        for lane in wanted {
            if this.lanes[lane].is_none() {
                this.open_lane(lane)?;
            }
        }
        Ok(this)
    }

    #[cold]
    fn open_lane(&mut self, lane: usize) -> Result<(), UacceError> {
        let parts = &self.kept.parts;
        let mut memory = None;
        let qm = QmQueue::open_with(&*parts.opener, &parts.info, D::LANES[lane], self.depth, |file| {
            if !parts.info.extensions().share {
                return Ok(());
            }
            let domains = [parts.domain.clone(), parts.arena.domain().clone()];
            let replayed = memory.insert(Kept::new(Replayed::new(domains), self.lineage));
            replayed.renew(file).map_err(|refused| UacceError::Call {
                device: parts.info.name.clone(),
                call: refused.call,
                cause: refused.cause,
                remedy: "memory of packets in a memfd, as pools have it; fewer or larger pools",
            })
        })?;
        let pending = (0..qm.places()).map(|_| None).collect();
        self.lanes[lane] = Some(Lane { qm, pending: Kept::new(pending, self.lineage), memory });
        Ok(())
    }

    /// Sees what has changed since the last burst: sessions, mapped memory.
    #[inline]
    fn renew(&mut self) {
        if self.kept.lost.is_some() {
            self.become_next();
        }
        let state = &mut *self.kept;
        if state.lost.is_some() {
            return;
        }
        state.view.refresh();
        if state.sessions.is_old() {
            state.sessions.renew();
        }
        for lane in self.lanes.iter_mut().flatten() {
            if let Some(memory) = &mut lane.memory
                && memory.is_old()
            {
                renew_memory(&lane.qm, memory, &state.parts.name);
            }
        }
    }

    /// Takes a request, for which there is room.
    #[inline]
    fn admit(&mut self, mut request: Request) {
        self.in_flight += 1;
        let mut stream = request.take_stream();
        if self.kept.lost.is_some() {
            stream.iter_mut().for_each(|stream| stream.kept().phase = Phase::Broken);
            return self.answer(request, stream, Err(Status::Cancelled), Report::default());
        }
        let session = self.kept.sessions.table().get_kept(request.session).ok_or(Status::NoSession);
        let begun = session.and_then(|session| {
            let lane = D::lane(&session);
            if self.lanes[lane].is_none() {
                self.open_lane(lane).map_err(|error| {
                    tracing::warn!("device {:?}: requests are given back: {error}", self.kept.parts.name);
                    Status::Cancelled
                })?;
            }
            let state = &mut *self.kept;
            let stream = carried(stream.as_mut(), &request, state.sessions.table().device)?;
            let driver = state.driver.as_mut().ok_or(Status::Cancelled)?;
            let ask = Ask { session: &*session, request: &request, stream, view: &mut state.view };
            Ok((driver.begin(ask), session, lane))
        });
        let (begun, session, lane) = match begun {
            Ok((begun, session, lane)) => (begun, Some(session), lane),
            Err(status) => (Begun::failed(status), None, 0),
        };
        match (begun, session, self.lanes[lane].as_mut()) {
            (Begun::Send(entry, note), Some(session), Some(lane)) => {
                stream.into_iter().for_each(|stream| request.put_stream(stream));
                let place = lane.qm.push(&entry);
                lane.pending[usize::from(place)] = Some(Pending { request, session, note });
            }
            (Begun::Done(outcome, report), ..) => {
                if let Some(stream) = stream.as_mut().filter(|_| outcome.is_ok()) {
                    settle(stream, &outcome, &report);
                }
                self.answer(request, stream, outcome, report);
            }
            _ => self.answer(request, stream, Err(Status::EngineFailed), Report::default()),
        }
    }

    /// What is done without the device.
    fn answer(&mut self, mut request: Request, stream: Option<Stream>, outcome: Outcome, report: Report) {
        stream.into_iter().for_each(|stream| request.put_stream(stream));
        self.kept.count(&request, &outcome, &report);
        self.kept.done.push_back(completion(request, outcome, report));
    }

    /// Tells the devices of what was sent.
    fn ring(&mut self) {
        if self.kept.lost.is_some() {
            return;
        }
        for lane in self.lanes.iter_mut().flatten() {
            if let Err(lost) = lane.qm.ring() {
                return self.lose(lost);
            }
        }
    }

    /// Gives out what is done, up to `room` of it.
    fn collect(&mut self, room: usize, out: &mut impl FnMut(Completion)) -> usize {
        let mut n = self.kept.give(room, out);
        for lane in 0..self.lanes.len() {
            while n < room {
                match self.collect_one(lane) {
                    Ok(Some(completion)) => {
                        out(completion);
                        n += 1;
                    }
                    Ok(None) => break,
                    Err(lost) => {
                        self.lose(lost);
                        n += self.kept.give(room - n, out);
                        break;
                    }
                }
            }
            self.lanes[lane].iter_mut().for_each(|lane| lane.qm.acknowledge());
        }
        self.in_flight -= n;
        n
    }

    #[inline]
    fn collect_one(&mut self, lane: usize) -> Result<Option<Completion>, Lost> {
        let Some(lane) = &mut self.lanes[lane] else { return Ok(None) };
        if lane.qm.in_flight() == 0 {
            return Ok(None);
        }
        let Some((place, entry)) = lane.qm.take()? else { return Ok(None) };
        // What the queue says is in flight has a request, but for what another failed to take.
        let Some(Pending { mut request, session, note }) = lane.pending[usize::from(place)].take() else {
            return Err(Lost::Nonsense);
        };
        let state = &mut *self.kept;
        let Some(driver) = &mut state.driver else { return Err(Lost::Nonsense) };
        let mut stream = request.take_stream();
        let carried =
            stream.as_mut().map(|stream| Carried { state: &mut *stream.kept().state, restart: false });
        let ask = Ask { session: &*session, request: &request, stream: carried, view: &mut state.view };
        let (outcome, report) = driver.end(ask, note, &entry);
        if let Some(mut stream) = stream {
            settle(&mut stream, &outcome, &report);
            request.put_stream(stream);
        }
        state.count(&request, &outcome, &report);
        Ok(Some(completion(request, outcome, report)))
    }

    /// Waits until a completion may be there.
    fn wait(&mut self, timeout: Duration) {
        /// Of two queues one at a time, so not for long.
        const TURN: Duration = Duration::from_millis(1);
        let busy = self.lanes.iter().flatten().filter(|lane| lane.qm.in_flight() > 0).count();
        let timeout = if busy > 1 { timeout.min(TURN) } else { timeout };
        let mut lost = None;
        for lane in self.lanes.iter_mut().flatten().filter(|lane| lane.qm.in_flight() > 0) {
            lost = lost.or(lane.qm.wait(timeout).err());
        }
        lost.into_iter().for_each(|lost| self.lose(lost));
    }
}

impl<D: Driver> State<D> {
    fn count(&self, request: &Request, outcome: &Outcome, report: &Report) {
        self.meter.requests.add(1);
        match outcome {
            Ok(produced) => {
                self.meter.bytes_in.add(u64::from(report.consumed.unwrap_or(request.src_len())));
                self.meter.bytes_out.add(*produced as u64);
            }
            Err(_) => self.meter.errors.add(1),
        }
    }

    fn give(&mut self, room: usize, out: &mut impl FnMut(Completion)) -> usize {
        let n = room.min(self.done.len());
        self.done.drain(..n).for_each(out);
        n
    }
}

/// The stream that a request came with, if it can be continued by it.
fn carried<'a>(
    stream: Option<&'a mut Stream>,
    request: &Request,
    device: u64,
) -> Result<Option<Carried<'a>>, Status> {
    let Some(stream) = stream else { return Ok(None) };
    let stream = stream.kept();
    if (stream.device, stream.session) != (device, request.session) || stream.phase == Phase::Broken {
        return Err(Status::BadStream);
    }
    Ok(Some(Carried { restart: stream.phase == Phase::Fresh, state: &mut *stream.state }))
}

/// Where a stream is after a request of it.
fn settle(stream: &mut Stream, outcome: &Outcome, report: &Report) {
    stream.kept().phase = match outcome {
        Ok(_) if report.ended => Phase::Fresh,
        Ok(_) => Phase::Begun,
        Err(_) => Phase::Broken,
    };
}

#[cold]
fn renew_memory<E: Entry>(qm: &QmQueue<E>, memory: &mut Replayed, device: &str) {
    if let Err(refused) = memory.renew(qm.file()) {
        tracing::warn!(
            "device {device:?}: {} fails: {}. Requests about this memory will fault. Remedy: memory of packets in a \
             memfd, as pools have it; fewer or larger pools",
            refused.call,
            refused.cause
        );
    }
}

impl<D: Driver> Queue for Channel<D> {
    fn send_burst(&mut self, requests: &mut Vec<Request>) -> usize {
        let n = requests.len().min(self.room());
        if n == 0 {
            return 0;
        }
        self.renew();
        let now = clock::ticks();
        for mut request in requests.drain(..n) {
            request.sent = now;
            self.admit(request);
        }
        self.ring();
        n
    }

    fn recv_burst(&mut self, out: &mut Vec<Completion>, max: usize) -> usize {
        let room = max.min(out.capacity() - out.len());
        if room == 0 || self.in_flight() == 0 {
            return 0;
        }
        self.kept.view.refresh();
        self.collect(room, &mut |completion| out.push(completion))
    }

    fn flush(&mut self) {
        if !self.lineage.is_left() {
            self.ring();
        }
    }

    fn room(&self) -> usize {
        if self.lineage.is_left() {
            return 0;
        }
        if self.kept.lost.is_some() {
            return self.depth - self.in_flight;
        }
        let free = self.lanes.iter().flatten().map(|lane| lane.qm.room()).min();
        (self.depth - self.in_flight).min(free.unwrap_or(usize::MAX))
    }

    fn is_gone(&self) -> bool {
        self.lineage.is_left()
            || self.kept.lost.is_some() && self.next.as_ref().is_none_or(|next| next.is_empty())
    }

    fn in_flight(&self) -> usize {
        // To a child nothing will come.
        if self.lineage.is_left() { 0 } else { self.in_flight }
    }

    fn send(&mut self, mut request: Request) -> Result<(), Request> {
        if self.room() == 0 {
            return Err(request);
        }
        self.renew();
        request.sent = clock::ticks();
        self.admit(request);
        self.ring();
        Ok(())
    }

    fn recv(&mut self) -> Option<Completion> {
        if self.in_flight() == 0 {
            return None;
        }
        self.kept.view.refresh();
        let mut got = None;
        self.collect(1, &mut |completion| got = Some(completion));
        got
    }

    fn recv_sync(&mut self, timeout: Duration) -> Option<Completion> {
        let begun = Instant::now();
        self.flush();
        loop {
            if let Some(completion) = self.recv() {
                return Some(completion);
            }
            let waited = begun.elapsed();
            if self.in_flight() == 0 || waited >= timeout {
                return None;
            }
            if waited < SPIN {
                std::hint::spin_loop();
            } else {
                self.wait(timeout - waited);
            }
        }
    }
}
