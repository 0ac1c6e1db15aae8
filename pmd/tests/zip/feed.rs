//! Streams in pieces, as a program sends them: what did not fit is sent again.

use warpdrive_pmd::device::{Flush, SessionId, Status, Stream};

use crate::rig::{Call, Rig};

/// How a stream is sent.
pub struct Feed<'a> {
    pub session: SessionId,
    /// Rooms for output, one after the other and again.
    pub rooms: &'a [usize],
    /// Lengths of the pieces of every packet on its way there, and back.
    pub cuts: [&'a [usize]; 2],
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Fed {
    pub output: Vec<u8>,
    /// How much of it there was after each piece.
    pub marks: Vec<usize>,
    pub consumed: usize,
    pub ended: bool,
    pub checksum: u32,
    pub requests: usize,
    /// Which room is next.
    pub turn: usize,
}

impl<'a> Feed<'a> {
    pub fn new(session: SessionId, rooms: &'a [usize]) -> Self {
        Self { session, rooms, cuts: [&[], &[]] }
    }

    /// Sends pieces of `src`, each with its flush, until they end, the stream does, or something fails.
    pub fn run(
        &self,
        rig: &mut Rig,
        stream: Stream,
        src: &[u8],
        pieces: impl IntoIterator<Item = (usize, Flush)>,
    ) -> (Stream, Result<Fed, (Status, Fed)>) {
        let (mut stream, mut fed) = (stream, Fed::default());
        for (len, flush) in pieces {
            let piece = &src[fed.consumed..][..len];
            let (back, status) = self.piece(rig, stream, piece, flush, &mut fed);
            stream = back;
            if status != Status::Ok {
                return (stream, Err((status, fed)));
            }
            fed.marks.push(fed.output.len());
            if fed.ended {
                break;
            }
        }
        (stream, Ok(fed))
    }

    fn piece(
        &self,
        rig: &mut Rig,
        mut stream: Stream,
        mut piece: &[u8],
        flush: Flush,
        fed: &mut Fed,
    ) -> (Stream, Status) {
        let mut idle = 0;
        loop {
            let room = self.rooms[fed.turn % self.rooms.len()];
            fed.turn += 1;
            let [src_cuts, dst_cuts] = self.cuts;
            let done = rig.run(Call {
                src_cuts,
                dst_cuts,
                flush,
                stream: Some(stream),
                ..Call::new(self.session, piece, room)
            });
            stream = done.stream.unwrap();
            piece = &piece[done.consumed..];
            fed.consumed += done.consumed;
            fed.requests += 1;
            fed.output.extend(&done.output);
            (fed.ended, fed.checksum) = (done.ended, done.checksum);
            if done.status != Status::OutputFull {
                return (stream, done.status);
            }
            // With no room at all there need be no progress; with some there must.
            assert!(fed.turn < 150_000, "a flush that never comes to its end");
            idle = if done.output.is_empty() { idle + 1 } else { 0 };
            assert!(idle <= self.rooms.len(), "more and more room is asked for, and not used");
        }
    }
}

/// All of it in pieces of one length, the last with another flush.
pub fn even(len: usize, piece: usize, flush: Flush, last: Flush) -> Vec<(usize, Flush)> {
    let mut pieces: Vec<_> = (0..len).step_by(piece).map(|at| (piece.min(len - at), flush)).collect();
    match pieces.last_mut() {
        Some(end) => end.1 = last,
        None => pieces.push((0, last)),
    }
    pieces
}
