//! Compression: blocks go to all devices in turn, and what comes back is written in order.
//!
//! Blocks are raw DEFLATE that ends at a byte and refers to nothing before it, so that one behind the other they are one
//! stream. Header, checksum of the whole and trailer are made here.

use std::collections::VecDeque;
use std::fs::File;

use warpdrive_mempool::Mempool;
use warpdrive_pmd::device::{Completion, Flush, Request, SessionId, Status};
use warpdrive_pmd::engine::zip::{Checksum, ZipFormat, ZipOp};

use super::chain::{self, Chain, MIN_BLOCK};
use super::engines::{self, Choice, Lane, Refused};
use super::failure::Failure;
use super::header::{self, LAST_BLOCK, Origin};
use super::nap::Nap;
use super::progress::Progress;
use super::sink::Sink;

/// Blocks that a device has at most: one that it does and others that wait, so that it never does.
const DEPTH: usize = 3;
/// Room for output beyond the length of the input: enough for stored blocks.
const MORE: usize = 4 << 10;

/// A block on its way.
struct Block {
    input: Chain,
    output: Chain,
    /// What became of it.
    done: Option<Done>,
}

struct Done {
    status: Status,
    produced: usize,
    checksum: u32,
}

/// Compresses one file after the other with the same settings.
pub(super) struct Compressor {
    free: Vec<Block>,
    /// Blocks that devices have or had, in the order of the input.
    order: VecDeque<Block>,
    /// The tag of the first of them.
    first: u64,
    lanes: Vec<Lane>,
    sessions: Vec<SessionId>,
    format: ZipFormat,
    level: u8,
    checksum: Checksum,
    // After all that has its packets.
    _pool: Mempool,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    /// Bytes on the uncompressed side.
    pub(super) plain: u64,
    /// Bytes on the compressed side.
    pub(super) packed: u64,
    /// How many of them are the header.
    pub(super) header: u64,
}

impl Compressor {
    /// For files of `largest` bytes at most, where that is known: small ones need neither all cores nor much memory.
    pub(super) fn new(
        choice: &Choice,
        format: ZipFormat,
        level: u8,
        block: usize,
        largest: Option<u64>,
    ) -> Result<Self, Refused> {
        // One more byte: where a block is not full, the input ends in it.
        let largest =
            largest.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX)).saturating_add(1);
        let block = block.min(largest.max(MIN_BLOCK));
        let needed = largest.div_ceil(block);
        let lanes = choice.cpus.len().min(needed);
        let blocks = (lanes * (DEPTH + 1)).min(needed) + 1;
        let buffers = blocks * (chain::buffers(block) + chain::buffers(block + MORE));
        let (lanes, pool) = engines::open(choice, lanes, DEPTH, buffers)?;
        let checksum = engines::checksum(format);
        let sessions = lanes
            .iter()
            .map(|lane| lane.session(ZipOp::Compress, level, checksum))
            .collect::<Result<_, _>>()?;
        let free = (0..blocks).map_while(|_| {
            let (input, output) = (Chain::new(&pool, block)?, Chain::new(&pool, block + MORE)?);
            Some(Block { input, output, done: None })
        });
        let (free, order) = (free.collect(), VecDeque::with_capacity(blocks));
        Ok(Self { free, order, first: 0, lanes, sessions, format, level, checksum, _pool: pool })
    }

    /// Compresses all of `input`.
    pub(super) fn run(
        &mut self,
        input: &File,
        output: &mut Sink,
        origin: &Origin,
        progress: &mut Progress,
    ) -> Result<Sizes, Failure> {
        let done = self.pump(input, output, origin, progress);
        self.drain();
        done
    }

    fn pump(
        &mut self,
        mut input: &File,
        output: &mut Sink,
        origin: &Origin,
        progress: &mut Progress,
    ) -> Result<Sizes, Failure> {
        let mut before = header::write(self.format, self.level, origin);
        let header = before.len() as u64;
        let (mut plain, mut sum) = (0, self.checksum.start());
        let (mut end, mut ended) = (false, false);
        let mut nap = Nap::new(super::LONGEST_NAP);
        loop {
            let mut busy = self.collect();
            if !end && let Some(lane) = self.roomiest() {
                // The block that is being filled is the last free one.
                if let Some(block) = self.free.last_mut() {
                    end = block.input.read(&mut input).map_err(Failure::Read)? == 0;
                    let full = block.input.is_full();
                    if full || end && block.input.len() > 0 {
                        ended = !full;
                        self.send(lane, if full { Flush::Full } else { Flush::Finish })?;
                    }
                    busy = true;
                }
            }
            if let Some(done) = self.order.front_mut().and_then(|block| block.done.take())
                && let Some(mut block) = self.order.pop_front()
            {
                self.first += 1;
                if done.status != Status::Ok {
                    self.free.push(block);
                    return Err(Failure::Device { status: done.status, at: plain });
                }
                let len = block.input.len() as u64;
                sum = self.checksum.combine(sum, done.checksum, len);
                plain += len;
                let written = output.write(&before, &block.output, 0..done.produced);
                before.clear();
                block.input.clear();
                // The one being filled stays the last.
                self.free.insert(0, block);
                written?;
                progress.at(plain);
                busy = true;
            }
            if end && self.order.is_empty() {
                break;
            }
            if busy {
                nap.reset();
            } else if self.in_flight() == 0 {
                return Err(Failure::Device { status: Status::Cancelled, at: plain });
            } else {
                nap.wait();
            }
        }
        if !ended {
            before.extend(LAST_BLOCK);
        }
        before.extend(header::trailer(self.format, sum, plain));
        output.write_bytes(&before)?;
        Ok(Sizes { plain, packed: output.written(), header })
    }

    /// The device with the most room.
    fn roomiest(&self) -> Option<usize> {
        let rooms = self.lanes.iter().map(|lane| lane.queue.room()).enumerate();
        rooms.filter(|(_, room)| *room > 0).max_by_key(|(_, room)| *room).map(|(lane, _)| lane)
    }

    /// Sends the block that was filled.
    fn send(&mut self, lane: usize, flush: Flush) -> Result<(), Failure> {
        let Some(mut block) = self.free.pop() else { return Ok(()) };
        let (len, room, at) = (block.input.len(), block.output.capacity(), self.first);
        let lent = block.input.lend().zip(block.output.lend());
        let tag = at + self.order.len() as u64;
        self.order.push_back(block);
        let gone = Failure::Device { status: Status::Cancelled, at };
        let Some((packet, output)) = lent else { return Err(gone) };
        let mut request = Request::new(self.sessions[lane], packet).with_tag(tag);
        request.set_src(0..len)?;
        request.set_output(output, 0..room)?;
        request.flush = flush;
        self.lanes[lane].queue.send(request).map_err(|_| gone)
    }

    /// Takes back what devices are done with. Whether there was anything.
    fn collect(&mut self) -> bool {
        let mut any = false;
        for lane in 0..self.lanes.len() {
            while let Some(completion) = self.lanes[lane].queue.recv() {
                self.settle(completion);
                any = true;
            }
        }
        any
    }

    fn settle(&mut self, completion: Completion) {
        let Completion { status, produced, checksum, request, .. } = completion;
        let place = request.tag.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        let Some(block) = place.and_then(|place| self.order.get_mut(place)) else { return };
        if let (Some(input), Some(output)) = request.into_packets() {
            block.input.give_back(input);
            block.output.give_back(output);
        }
        block.done = Some(Done { status, produced: produced as usize, checksum });
    }

    fn in_flight(&self) -> usize {
        self.lanes.iter().map(|lane| lane.queue.in_flight()).sum()
    }

    /// Waits for what is still out after a failure.
    fn drain(&mut self) {
        let mut nap = Nap::new(super::LONGEST_NAP);
        while self.in_flight() > 0 {
            if !self.collect() {
                nap.wait();
            }
        }
        self.first += self.order.len() as u64;
        self.free.extend(self.order.drain(..));
        for block in &mut self.free {
            block.input.clear();
            block.done = None;
        }
    }
}
