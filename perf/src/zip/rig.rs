//! Our queue: blocks in packets of a pool, which go round.

use std::collections::VecDeque;

use warpdrive_mempool::{DmaMode, Domain, Mempool, Packet, PageChoice, PageSize as Page, PoolConfig};
use warpdrive_pmd::device::{Completion, Device, Queue, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::zip::{ZipEngine, ZipSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};

use crate::BenchError;
use crate::peers::PageSize;

/// Requests sent, and completions taken, at once.
const BURST: usize = 16;
/// Requests in flight.
pub const DEPTH: usize = 2 * BURST;
/// Bytes of a segment: larger blocks are chains of them.
const SEGMENT: usize = 60 << 10;
/// What a pool keeps of a buffer for itself, and more.
const EXTRA: usize = 192;

/// A pool with packets for blocks of any size.
pub struct Packets {
    pool: Mempool,
    segment: usize,
}

impl Packets {
    /// For so many blocks of up to so many bytes.
    ///
    /// # Errors
    /// [`BenchError::Memory`].
    pub fn new(domain: &Domain, blocks: usize, bytes: usize) -> Result<Self, BenchError> {
        let segment = bytes.clamp(1, SEGMENT);
        let page = if PageSize::best() == PageSize::Huge { Page::Size2M } else { Page::Size4K };
        let config = PoolConfig {
            pages: PageChoice::Exactly(page),
            buffers: (blocks * bytes.div_ceil(segment).max(1) + 64).max(512),
            size: (segment + EXTRA).next_multiple_of(64),
            headroom: 64,
            ..PoolConfig::default()
        };
        Ok(Self { pool: Mempool::new(&config, domain)?, segment })
    }

    /// A packet of `len` bytes, chained if they are many.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when the pool was made too small.
    pub fn packet(&self, len: usize) -> Result<Packet, BenchError> {
        let mut head = self.segment(len.min(self.segment))?;
        let mut left = len - head.len();
        while left > 0 {
            let next = self.segment(left.min(self.segment))?;
            left -= next.len();
            head.chain(next);
        }
        Ok(head)
    }

    fn segment(&self, len: usize) -> Result<Packet, BenchError> {
        let mut packet = self.pool.alloc().ok_or_else(|| bug("the pool is empty"))?;
        packet.append(len).map_err(|e| bug(&e.to_string()))?;
        Ok(packet)
    }

    /// A packet with these bytes.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when the pool was made too small.
    pub fn filled(&self, bytes: &[u8]) -> Result<Packet, BenchError> {
        let mut head: Option<Packet> = None;
        for piece in bytes.chunks(self.segment) {
            let mut segment = self.segment(piece.len())?;
            segment.data_mut().copy_from_slice(piece);
            match &mut head {
                None => head = Some(segment),
                Some(head) => head.chain(segment),
            }
        }
        head.map_or_else(|| self.segment(0), Ok)
    }
}

/// The first bytes of a packet.
#[must_use]
pub fn bytes_of(packet: &Packet, len: usize) -> Vec<u8> {
    let mut all: Vec<u8> = packet.segments().flat_map(Packet::data).copied().collect();
    all.truncate(len);
    all
}

fn bug(what: &str) -> BenchError {
    BenchError::Bug(format!("a packet: {what}"))
}

/// Room for the output of `len` bytes that cannot be compressed.
#[must_use]
pub fn bound(len: usize) -> usize {
    len + len / 8 + 64
}

/// A device with one queue, and a request for each block.
pub struct Rig {
    queue: Box<dyn Queue>,
    session: SessionId,
    /// Number, input and room for the output of each block. Requests are made when they are sent, as a stage does.
    idle: VecDeque<(usize, Packet, Packet)>,
    burst: Vec<Request>,
    back: Vec<Completion>,
    /// Bytes that came out of each block, since the first pass.
    produced: Vec<Option<u32>>,
    lens: Vec<usize>,
    rooms: Vec<usize>,
    /// Blocks of this pass that are not back, and those of them that are not even sent.
    left: usize,
    unsent: usize,
    _device: SoftDevice<ZipEngine>,
    /// Last: all its packets are back by then.
    _packets: Packets,
}

impl Rig {
    /// With `blocks`, and the room that each gets for its output.
    ///
    /// # Errors
    /// [`BenchError`] when there is no memory, or no engine there.
    pub fn open(
        placement: Placement,
        session: ZipSession,
        blocks: &[&[u8]],
        rooms: &[usize],
    ) -> Result<Self, BenchError> {
        let domain = Domain::new(DmaMode::Sva);
        let largest = blocks.iter().map(|b| b.len()).chain(rooms.iter().copied()).max().unwrap_or(1);
        let packets = Packets::new(&domain, 2 * blocks.len(), largest)?;
        let device = SoftDevice::open("zip", placement, &domain)?;
        let session = device.create_session(SessionSpec::Zip(session))?;
        let mut rig = Self {
            queue: device.request_queue(DEPTH)?,
            session,
            idle: VecDeque::with_capacity(blocks.len()),
            burst: Vec::with_capacity(BURST),
            back: Vec::with_capacity(BURST),
            produced: vec![None; blocks.len()],
            lens: blocks.iter().map(|b| b.len()).collect(),
            rooms: rooms.to_vec(),
            left: 0,
            unsent: 0,
            _device: device,
            _packets: packets,
        };
        for (i, (block, room)) in blocks.iter().zip(rooms).enumerate() {
            let (packet, output) = (rig._packets.filled(block)?, rig._packets.packet(*room)?);
            rig.idle.push_back((i, packet, output));
        }
        Ok(rig)
    }

    fn request(&self, i: usize, packet: Packet, output: Packet) -> Result<Request, BenchError> {
        let mut request = Request::new(self.session, packet).with_tag(i as u64);
        request
            .set_src(0..self.lens[i])
            .and_then(|()| request.set_output(output, 0..self.rooms[i]))
            .map_err(|e| bug(&e.to_string()))?;
        Ok(request)
    }

    /// Sends and receives until each block was done once. Returns bytes read and bytes written.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when one failed, or gave another result than before.
    pub fn pass(&mut self) -> Result<(u64, u64), BenchError> {
        self.pass_with(|_, _, _| true)
    }

    fn pass_with(
        &mut self,
        mut seen: impl FnMut(usize, &Packet, usize) -> bool,
    ) -> Result<(u64, u64), BenchError> {
        let (mut read, mut written) = (0, 0);
        (self.left, self.unsent) = (self.lens.len(), self.lens.len());
        while self.left > 0 {
            let (more_read, more_written) = self.poll(&mut seen)?;
            (read, written) = (read + more_read, written + more_written);
        }
        Ok((read, written))
    }

    fn poll(
        &mut self,
        seen: &mut impl FnMut(usize, &Packet, usize) -> bool,
    ) -> Result<(u64, u64), BenchError> {
        while self.unsent > 0 && self.queue.room() > 0 {
            let n = self.unsent.min(self.queue.room()).min(BURST).saturating_sub(self.burst.len());
            for _ in 0..n {
                let Some((i, packet, output)) = self.idle.pop_front() else { break };
                let request = self.request(i, packet, output)?;
                self.burst.push(request);
            }
            self.unsent -= self.queue.send_burst(&mut self.burst);
        }
        self.queue.flush();
        let (mut read, mut written) = (0, 0);
        let mut back = std::mem::take(&mut self.back);
        self.queue.recv_burst(&mut back, BURST);
        for completion in back.drain(..) {
            let Completion { status, consumed, produced, request, .. } = completion;
            let i = request.tag as usize;
            let same = *self.produced[i].get_or_insert(produced) == produced;
            if status != Status::Ok || consumed as usize != self.lens[i] || !same {
                return Err(BenchError::Bug(format!(
                    "block {i} of {} bytes ended as {}: {consumed} bytes read, {produced} written",
                    self.lens[i],
                    status.name()
                )));
            }
            read += u64::from(consumed);
            written += u64::from(produced);
            self.left -= 1;
            let (Some(packet), Some(output)) = request.into_packets() else {
                return Err(bug("it did not come back"));
            };
            if !seen(i, &output, produced as usize) {
                return Err(BenchError::Bug(format!("block {i} came out wrong")));
            }
            self.idle.push_back((i, packet, output));
        }
        self.back = back;
        Ok((read, written))
    }

    /// A pass after which `check` sees what came out of each block.
    ///
    /// # Errors
    /// [`BenchError`] of the pass, or [`BenchError::Bug`] when `check` is not content.
    pub fn verify(&mut self, mut check: impl FnMut(usize, &[u8]) -> bool) -> Result<(u64, u64), BenchError> {
        self.pass_with(|i, output, len| check(i, &bytes_of(output, len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warpdrive_pmd::engine::zip::{ZipFormat, ZipOp};

    fn blocks() -> Vec<Vec<u8>> {
        let text = include_bytes!("rig.rs");
        (0..100).map(|i| text.iter().copied().cycle().skip(i).take(i * 997).collect()).collect()
    }

    #[test]
    fn what_went_in_comes_out_whatever_its_size() {
        let blocks = blocks();
        let plain: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
        let rooms: Vec<usize> = plain.iter().map(|b| bound(b.len())).collect();
        let session = ZipSession::new(ZipOp::Compress, ZipFormat::Deflate, 1).unwrap();
        let mut rig = Rig::open(Placement::Inline, session, &plain, &rooms).unwrap();
        let mut compressed = vec![Vec::new(); plain.len()];
        let total: usize = plain.iter().map(|b| b.len()).sum();
        let (read, written) = rig
            .verify(|i, out| {
                compressed[i] = out.to_vec();
                true
            })
            .unwrap();
        assert_eq!((read, written), (total as u64, compressed.iter().map(Vec::len).sum::<usize>() as u64));
        assert_eq!(rig.pass().unwrap(), (read, written));
        assert!(rig.verify(|i, out| i != 50 || out.is_empty()).is_err(), "a check that fails is an error");
        let inputs: Vec<&[u8]> = compressed.iter().map(Vec::as_slice).collect();
        let rooms: Vec<usize> = plain.iter().map(|b| b.len().max(1)).collect();
        let session = ZipSession::new(ZipOp::Decompress, ZipFormat::Deflate, 1).unwrap();
        let mut back = Rig::open(Placement::Inline, session, &inputs, &rooms).unwrap();
        assert_eq!(back.verify(|i, out| out == plain[i]).unwrap(), (written, read));
    }

    #[test]
    fn a_block_that_does_not_fit_is_an_error() {
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(3_000).collect();
        let session = ZipSession::new(ZipOp::Compress, ZipFormat::Deflate, 1).unwrap();
        let mut rig = Rig::open(Placement::Inline, session, &[&noise], &[2_000]).unwrap();
        assert!(rig.pass().unwrap_err().to_string().contains("block 0"));
    }
}
