//! A queue whose engine runs in its owner's `recv`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use warpdrive_mempool::DomainView;

use super::exec::{End, Executor};
use super::sessions::Sessions;
use super::{Engine, MAX_BATCH, stamp};
use crate::device::{Completion, Queue, Request};

pub(super) struct InlineQueue<E: Engine> {
    executor: Executor<E>,
    sessions: Arc<Sessions<E::Session>>,
    /// Sent, not in the engine's window yet. Has room for `depth` from the start: no allocation later.
    waiting: VecDeque<Request>,
    end: InlineEnd,
    depth: usize,
}

struct InlineEnd {
    view: DomainView,
    /// Has room for all that one turn can give.
    done: VecDeque<Completion>,
}

impl End for InlineEnd {
    fn view(&mut self) -> &mut DomainView {
        &mut self.view
    }

    fn complete(&mut self, completion: Completion) {
        self.done.push_back(completion);
    }
}

impl<E: Engine> InlineQueue<E> {
    pub(super) fn new(
        executor: Executor<E>,
        view: DomainView,
        sessions: Arc<Sessions<E::Session>>,
        depth: usize,
    ) -> Self {
        // A turn answers what it cannot take into the window, and what it takes out of it.
        let done = VecDeque::with_capacity(depth.min(2 * MAX_BATCH));
        let waiting = VecDeque::with_capacity(depth);
        Self { executor, sessions, waiting, end: InlineEnd { view, done }, depth }
    }

    fn work(&mut self) {
        // Whatever comes in between, each request is in one place: waiting, in the window, or done.
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| self.turn())) {
            self.executor.fail(&*cause);
            self.turn();
        }
    }

    /// Executes one batch, so that the owner's poll loop is not kept longer than that.
    fn turn(&mut self) {
        if self.in_flight() == 0 {
            return;
        }
        let sessions = self.sessions.now();
        let ends = std::slice::from_mut(&mut self.end);
        for _ in 0..self.executor.room() {
            let Some(request) = self.waiting.pop_front() else { break };
            self.executor.admit(0, request);
        }
        self.executor.turn(ends, &sessions, false);
    }
}

impl<E: Engine> Queue for InlineQueue<E> {
    fn send_burst(&mut self, requests: &mut Vec<Request>) -> usize {
        let n = requests.len().min(self.room());
        stamp(&mut requests[..n]);
        self.waiting.extend(requests.drain(..n));
        n
    }

    fn recv_burst(&mut self, out: &mut Vec<Completion>, max: usize) -> usize {
        if self.end.done.is_empty() {
            self.work();
        }
        let n = self.end.done.len().min(max).min(out.capacity() - out.len());
        out.extend(self.end.done.drain(..n));
        n
    }

    fn flush(&mut self) {
        // Whoever does nothing keeps no memory that was taken back.
        if self.in_flight() == 0 {
            self.end.view.refresh();
        }
    }

    fn room(&self) -> usize {
        self.depth - self.in_flight()
    }

    fn in_flight(&self) -> usize {
        self.waiting.len() + self.executor.held() + self.end.done.len()
    }

    fn send(&mut self, mut request: Request) -> Result<(), Request> {
        if self.room() == 0 {
            return Err(request);
        }
        stamp(std::slice::from_mut(&mut request));
        self.waiting.push_back(request);
        Ok(())
    }

    fn recv(&mut self) -> Option<Completion> {
        if self.end.done.is_empty() {
            self.work();
        }
        self.end.done.pop_front()
    }
}
