//! Streams side by side through one queue: each has one piece with the device, and the next is sent when that is back.

use std::collections::VecDeque;

use warpdrive_mempool::{DmaMode, Domain, Packet};
use warpdrive_pmd::device::{
    Completion, Device, Flush, Queue, Request, SessionId, SessionSpec, Status, Stream,
};
use warpdrive_pmd::engine::zip::{ZipEngine, ZipSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};

use super::rig::{Packets, bytes_of};
use crate::BenchError;

/// Bytes of a piece, and of the room for its output: a chain of four buffers.
pub const PIECE: usize = 240 << 10;

/// A device with one queue and some streams.
pub struct Lanes {
    queue: Box<dyn Queue>,
    session: SessionId,
    lanes: Vec<Lane>,
    /// Lanes whose next piece is to be sent.
    ready: VecDeque<usize>,
    back: Vec<Completion>,
    /// Streams of this pass that have not ended.
    left: usize,
    _device: SoftDevice<ZipEngine>,
    /// Last: all its packets are back by then.
    _packets: Packets,
}

struct Lane {
    stream: Option<Stream>,
    pieces: Vec<Option<Packet>>,
    output: Option<Packet>,
    /// The piece that is next, and how much of it is done.
    at: usize,
    done: usize,
}

impl Lanes {
    /// With a stream for each of `inputs`.
    ///
    /// # Errors
    /// [`BenchError`] when there is no memory, or no engine there.
    pub fn open(placement: Placement, session: ZipSession, inputs: &[&[u8]]) -> Result<Self, BenchError> {
        let domain = Domain::new(DmaMode::Sva);
        let count: usize = inputs.iter().map(|input| input.len().div_ceil(PIECE) + 1).sum();
        let packets = Packets::new(&domain, count, PIECE)?;
        let device = SoftDevice::<ZipEngine>::open("zip", placement, &domain)?;
        let session = device.create_session(SessionSpec::Zip(session))?;
        let lanes: Result<Vec<_>, BenchError> = inputs
            .iter()
            .map(|input| {
                let pieces: Result<_, _> = input.chunks(PIECE).map(|b| packets.filled(b).map(Some)).collect();
                let (stream, output) = (device.create_stream(session)?, packets.packet(PIECE)?);
                Ok(Lane { stream: Some(stream), pieces: pieces?, output: Some(output), at: 0, done: 0 })
            })
            .collect();
        Ok(Self {
            queue: device.request_queue(inputs.len())?,
            session,
            lanes: lanes?,
            ready: VecDeque::with_capacity(inputs.len()),
            back: Vec::with_capacity(inputs.len()),
            left: 0,
            _device: device,
            _packets: packets,
        })
    }

    /// Begins all streams anew.
    pub fn begin(&mut self) {
        self.left = self.lanes.len();
        self.ready.extend(0..self.lanes.len());
        self.lanes.iter_mut().for_each(|lane| (lane.at, lane.done) = (0, 0));
    }

    /// Whether all streams have ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// All streams once. Returns bytes read and bytes written.
    ///
    /// # Errors
    /// [`BenchError::Bug`] when one failed.
    pub fn pass(&mut self) -> Result<(u64, u64), BenchError> {
        self.pass_with(&mut |_, _, _| {})
    }

    /// As [`pass`](Self::pass), and what came out of each stream.
    ///
    /// # Errors
    /// As [`pass`](Self::pass).
    pub fn keep(&mut self) -> Result<Vec<Vec<u8>>, BenchError> {
        let mut all = vec![Vec::new(); self.lanes.len()];
        self.pass_with(&mut |lane, output, len| all[lane].extend(bytes_of(output, len)))?;
        Ok(all)
    }

    fn pass_with(&mut self, seen: &mut dyn FnMut(usize, &Packet, usize)) -> Result<(u64, u64), BenchError> {
        let (mut read, mut written) = (0, 0);
        self.begin();
        while !self.is_done() {
            let (more_read, more_written) = self.poll(seen)?;
            (read, written) = (read + more_read, written + more_written);
        }
        Ok((read, written))
    }

    /// Sends what can be sent and takes what has come. Returns bytes read and bytes written.
    ///
    /// # Errors
    /// As [`pass`](Self::pass).
    pub fn go_on(&mut self) -> Result<(u64, u64), BenchError> {
        self.poll(&mut |_, _, _| {})
    }

    fn poll(&mut self, seen: &mut dyn FnMut(usize, &Packet, usize)) -> Result<(u64, u64), BenchError> {
        while let Some(lane) = self.ready.pop_front() {
            let request = self.lanes[lane].next(self.session, lane)?;
            self.queue.send(request).map_err(|_| failed("a queue that is full"))?;
        }
        self.queue.flush();
        let (mut read, mut written) = (0, 0);
        let mut back = std::mem::take(&mut self.back);
        self.queue.recv_burst(&mut back, self.lanes.len());
        for completion in back.drain(..) {
            (read, written) =
                (read + u64::from(completion.consumed), written + u64::from(completion.produced));
            let lane = completion.request.tag as usize;
            if self.lanes[lane].take(completion, |output, len| seen(lane, output, len))? {
                self.left -= 1;
            } else {
                self.ready.push_back(lane);
            }
        }
        self.back = back;
        Ok((read, written))
    }
}

impl Lane {
    /// The request for the next piece, or for what is left of it.
    fn next(&mut self, session: SessionId, tag: usize) -> Result<Request, BenchError> {
        let packet = self.pieces.get_mut(self.at).and_then(Option::take).ok_or_else(gone)?;
        let (output, stream) = self.output.take().zip(self.stream.take()).ok_or_else(gone)?;
        let (from, to) = (self.done, packet.total_len());
        let mut request = Request::new(session, packet).with_tag(tag as u64);
        request
            .set_src(from..to)
            .and_then(|()| request.set_output(output, 0..PIECE))
            .map_err(|e| failed(&e.to_string()))?;
        let is_last = self.at + 1 == self.pieces.len();
        request.set_stream(stream, if is_last { Flush::Finish } else { Flush::None });
        Ok(request)
    }

    /// Whether the stream has ended.
    fn take(
        &mut self,
        mut completion: Completion,
        seen: impl FnOnce(&Packet, usize),
    ) -> Result<bool, BenchError> {
        self.stream = completion.request.take_stream();
        let (packet, output) = completion.request.into_packets();
        if let Some(output) = &output {
            seen(output, completion.produced as usize);
        }
        (self.pieces[self.at], self.output) = (packet, output);
        match completion.status {
            Status::Ok => (self.at, self.done) = (self.at + 1, 0),
            Status::OutputFull => self.done += completion.consumed as usize,
            other => return Err(failed(other.name())),
        }
        if self.at == self.pieces.len() && !completion.ended {
            return Err(failed("no end of the stream"));
        }
        Ok(completion.ended)
    }
}

fn gone() -> BenchError {
    failed("a packet or the stream that did not come back")
}

fn failed(what: &str) -> BenchError {
    BenchError::Bug(format!("a stream: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use warpdrive_pmd::engine::zip::{ZipFormat, ZipOp};

    #[test]
    fn streams_side_by_side_come_out_right_every_time() {
        let text = include_bytes!("lanes.rs").repeat(40);
        let inputs: Vec<&[u8]> = text.chunks(text.len() / 5 + 1).collect();
        let session = ZipSession::new(ZipOp::Compress, ZipFormat::Gzip, 1).unwrap();
        let mut lanes = Lanes::open(Placement::Inline, session, &inputs).unwrap();
        for _ in 0..3 {
            let out = lanes.keep().unwrap();
            assert_eq!(lanes.pass().unwrap(), (text.len() as u64, out.iter().map(|o| o.len() as u64).sum()));
            for (stream, input) in out.iter().zip(&inputs) {
                let mut back = vec![0; input.len()];
                let mut decompressor = libdeflater::Decompressor::new();
                assert_eq!(decompressor.gzip_decompress(stream, &mut back), Ok(input.len()));
                assert!(back == *input);
            }
        }
    }
}
