//! A request on its way: from the entry that was taken to the entry that is given back.

use arrayvec::ArrayVec;
use rustix::io::Errno;
use warpdrive_mempool::Iova;
use zeroize::Zeroizing;

use super::bounce::{Bounce, Slots};
use super::ring::Words;
use super::space::{Busy, Miss, Table};
use crate::device::{SessionId, Stream};
use crate::uacce::abi::{ACCESS_READ, ACCESS_WRITE};

/// Bytes that the process has somewhere and the request needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Piece {
    /// Where the process has them.
    pub(super) address: u64,
    pub(super) bytes: u32,
    /// Where they go in the source.
    pub(super) at: usize,
    /// Where the server sees them, if it does.
    pub(super) seen: Option<Iova>,
}

/// What somebody other than the core has to do, because it may take long.
#[derive(Debug, Default)]
pub(super) enum Errand {
    #[default]
    None,
    /// Memory is to be found for source and output, and the pieces are to be brought.
    Stage,
    /// A session is to be made of the key in the source.
    Key,
    /// A stream is to be made of a session.
    Stream(SessionId),
    /// So many bytes of the result are to be taken to the process.
    Deliver {
        /// From the output; else from the source.
        output: bool,
        /// Where they begin in it.
        at: usize,
        bytes: usize,
    },
}

/// Where the result goes.
#[derive(Debug, Default)]
pub(super) enum Destination {
    /// There is none.
    #[default]
    None,
    /// To memory that the server sees.
    Seen(Iova),
    /// To memory that the server has to copy to.
    Far(u64),
}

/// What the process is to learn if it cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// An address is not there or not for this.
    Address,
    /// It asks for what makes no sense, or is not known here.
    Parameter,
}

/// A request.
#[derive(Default)]
pub(super) struct Flight {
    /// The queue, by its place in the core's list.
    pub(super) queue: usize,
    /// The place in the ring.
    pub(super) index: u16,
    pub(super) words: Words,
    /// About the time that the engine takes for it, in nanoseconds.
    pub(super) cost: u64,
    /// How often its key was prepared in vain.
    pub(super) tries: u16,
    /// How often it has gone on: what is next is known by the kind of queue.
    pub(super) step: u8,
    pub(super) pieces: ArrayVec<Piece, 2>,
    /// Bytes that the source needs, and the output if the server has it.
    pub(super) source_bytes: usize,
    pub(super) output_bytes: usize,
    pub(super) source: Option<Bounce>,
    pub(super) output: Option<Bounce>,
    pub(super) destination: Destination,
    /// What keeps resolved addresses where they are.
    held: ArrayVec<Busy, 3>,
    pub(super) errand: Errand,
    /// What came of the errand.
    pub(super) outcome: Option<Errno>,
    /// A session that an errand has made, with its key.
    pub(super) key: Option<(Zeroizing<Vec<u8>>, SessionId)>,
    /// A stream that an errand has made.
    pub(super) stream: Option<Stream>,
    /// Which of the process's keys is in use.
    pub(super) key_place: Option<usize>,
}

impl Flight {
    /// Prepares it for an entry.
    pub(super) fn take_off(&mut self, queue: usize, index: u16, words: Words) {
        (self.queue, self.index, self.words) = (queue, index, words);
        (self.step, self.tries, self.source_bytes, self.output_bytes) = (0, 0, 0, 0);
    }

    /// Finds out where the pieces are. Those that the server does not see are far, if that is permitted.
    ///
    /// # Errors
    /// [`Failure::Address`].
    pub(super) fn find_pieces(&mut self, table: &Table, far: bool) -> Result<(), Failure> {
        for piece in &mut self.pieces {
            match table.resolve(piece.address, piece.bytes, ACCESS_READ) {
                _ if piece.bytes == 0 => {}
                Ok((iova, busy)) => {
                    piece.seen = Some(iova);
                    self.held.push(busy);
                }
                Err(Miss::Unmapped) if far => {}
                Err(_) => return Err(Failure::Address),
            }
        }
        Ok(())
    }

    /// Finds out where the result goes.
    ///
    /// # Errors
    /// [`Failure::Address`].
    pub(super) fn find_destination(
        &mut self,
        table: &Table,
        far: bool,
        address: u64,
        bytes: u32,
    ) -> Result<(), Failure> {
        self.destination = match table.resolve(address, bytes, ACCESS_WRITE) {
            Ok((iova, busy)) => {
                self.held.push(busy);
                Destination::Seen(iova)
            }
            Err(Miss::Unmapped) if far => Destination::Far(address),
            Err(_) => return Err(Failure::Address),
        };
        Ok(())
    }

    /// Brings the pieces into a slot, if that can be done here and now. If not, it is an errand.
    ///
    /// Returns whether it was done. `None`: there is no slot free just now.
    pub(super) fn stage(&mut self, slots: &mut Slots) -> Option<bool> {
        let near = self.pieces.iter().all(|piece| piece.seen.is_some() || piece.bytes == 0);
        let small = self.source_bytes <= super::bounce::SLOT && self.output_bytes <= super::bounce::SLOT;
        let needed = usize::from(self.source_bytes > 0) + usize::from(self.output_bytes > 0);
        if small && slots.free() < needed {
            return None;
        }
        if small && self.source_bytes > 0 {
            self.source = slots.take(self.source_bytes);
        }
        if small && self.output_bytes > 0 {
            self.output = slots.take(self.output_bytes);
        }
        if !(near && small) {
            self.errand = Errand::Stage;
            return Some(false);
        }
        self.bring();
        Some(true)
    }

    /// Copies the pieces that the server sees into the source.
    pub(super) fn bring(&mut self) {
        if let Some(source) = &mut self.source {
            for piece in &self.pieces {
                if let Some(from) = piece.seen {
                    // SAFETY: resolved for reading so many bytes by `find_pieces`, and `held` keeps them.
                    unsafe { source.copy_in(piece.at, from, piece.bytes as usize) };
                }
            }
        }
    }

    /// Takes so many bytes of the result to where they go. Returns whether that is done, or an errand now.
    pub(super) fn deliver(&mut self, output: bool, at: usize, bytes: usize) -> bool {
        match self.destination {
            Destination::Seen(to) => {
                let from = if output { &mut self.output } else { &mut self.source };
                if let Some(from) = from {
                    // SAFETY: resolved for writing at least so many bytes by `find_destination`, and `held` keeps them.
                    unsafe { from.copy_out(at, to, bytes) };
                }
                true
            }
            Destination::Far(_) if bytes > 0 => {
                self.errand = Errand::Deliver { output, at, bytes };
                false
            }
            _ => true,
        }
    }

    /// Lets go of all that it has.
    pub(super) fn land(&mut self, slots: &mut Slots) {
        for bounce in [self.source.take(), self.output.take()].into_iter().flatten() {
            slots.put(bounce);
        }
        self.pieces.clear();
        self.held.clear();
        self.destination = Destination::None;
        self.errand = Errand::None;
        (self.outcome, self.key, self.stream, self.key_place) = (None, None, None, None);
    }
}
