//! A queue whose engine runs in its owner's `recv`.

use std::collections::VecDeque;

use arrayvec::ArrayVec;

use super::{Engine, Executor, MAX_BATCH, stamp};
use crate::device::{Completion, Queue, Request};

pub(super) struct InlineQueue<E: Engine> {
    executor: Executor<E>,
    /// Both with room for `depth` from the start: no allocation later.
    waiting: VecDeque<Request>,
    done: VecDeque<Completion>,
    depth: usize,
}

impl<E: Engine> InlineQueue<E> {
    pub(super) fn new(executor: Executor<E>, depth: usize) -> Self {
        Self {
            executor,
            waiting: VecDeque::with_capacity(depth),
            done: VecDeque::with_capacity(depth.min(MAX_BATCH)),
            depth,
        }
    }

    /// Executes one batch, so that the owner's poll loop is not kept longer than that.
    fn work(&mut self) {
        let n = self.waiting.len().min(E::BATCH);
        if n == 0 {
            return;
        }
        let mut batch: ArrayVec<Request, MAX_BATCH> = self.waiting.drain(..n).collect();
        let done = &mut self.done;
        self.executor.execute(&mut batch, |completion| done.push_back(completion));
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
        if self.done.is_empty() {
            self.work();
        }
        let n = self.done.len().min(max).min(out.capacity() - out.len());
        out.extend(self.done.drain(..n));
        n
    }

    fn flush(&mut self) {}

    fn room(&self) -> usize {
        self.depth - self.in_flight()
    }

    fn in_flight(&self) -> usize {
        self.waiting.len() + self.done.len()
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
        if self.done.is_empty() {
            self.work();
        }
        self.done.pop_front()
    }
}
