//! What goes to a device and comes back.

use std::ops::Range;

use warpdrive_mempool::{Fault, Iova, Packet};

use super::{SessionId, Stream};

/// The most segments of a chained packet that the input, or the output, of one request may lie in.
pub const MAX_SEGMENTS: usize = 64;

/// Bytes as a device sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// DMA address of the first byte.
    pub iova: Iova,
    /// Length in bytes.
    pub len: u32,
}

/// Bytes that begin in one segment and may go on in those chained behind it.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    first: Segment,
    /// Bytes in all segments.
    total: u32,
    /// Which segment of the packet the first is.
    place: u32,
}

impl Span {
    /// `range` of a packet's bytes, all segments counted.
    #[inline]
    fn of(packet: &Packet, range: Range<usize>) -> Result<Self, OutOfPacket> {
        if range.start <= range.end && range.end <= packet.len() {
            let first = Segment { iova: at(packet, range.start), len: range.len() as u32 };
            return Ok(Self { first, total: first.len, place: 0 });
        }
        Self::of_chain(packet, range)
    }

    fn of_chain(packet: &Packet, range: Range<usize>) -> Result<Self, OutOfPacket> {
        let len = packet.total_len();
        if range.start == range.end && range.end <= len {
            return Ok(Self::default()); // what is left of an input that was all read
        }
        let total = u32::try_from(range.len()).ok().filter(|_| range.start < range.end && range.end <= len);
        let mut start = range.start;
        for (place, segment) in packet.segments().enumerate() {
            if start < segment.len()
                && let Some(total) = total
            {
                let first = (segment.len() - start).min(range.len()) as u32;
                let first = Segment { iova: at(segment, start), len: first };
                return Ok(Self { first, total, place: place as u32 });
            }
            start = start.saturating_sub(segment.len());
        }
        Err(OutOfPacket { range, len })
    }

    /// What lies in the segments behind the first.
    #[inline]
    fn rest(self, packet: Option<&Packet>) -> impl Iterator<Item = Segment> {
        let mut left = self.total - self.first.len;
        let more = packet.filter(|_| left > 0).into_iter().flat_map(Packet::segments);
        more.skip(self.place as usize + 1).map_while(move |segment| {
            let len = left.min(segment.len() as u32);
            left -= len;
            (len > 0 || left > 0).then(|| Segment { iova: segment.iova(), len })
        })
    }
}

fn at(packet: &Packet, offset: usize) -> Iova {
    Iova(packet.iova().0 + offset as u64)
}

/// How far a request that belongs to a stream goes (zlib's names).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// More will come; output may be held back for it.
    None,
    /// Everything so far is in the output, which ends at a byte: an empty stored block.
    Sync,
    /// As [`Sync`](Self::Sync), and what follows refers to nothing before.
    Full,
    /// The stream ends here. When decompressing: there is no more input than this.
    #[default]
    Finish,
}

/// One operation for a device. What the segments mean is said by the session's operation:
///
/// | operation | `src` | `aux` | `dst` |
/// |---|---|---|---|
/// | RSA sign | message | – | signature: key-size bytes |
/// | RSA verify | message | signature | – |
/// | RSA encrypt, decrypt | input | – | output |
/// | ECDSA sign | message | – | signature: room for 72 bytes, `produced` says how many |
/// | ECDSA verify | message | signature | – |
/// | X25519 agree | the peer's public key | – | shared secret: 32 bytes |
/// | ZIP compress, decompress | input, also chained | – | output, also chained |
///
/// A ZIP request is **stateless**, a whole of its own, unless it [carries a stream](Self::set_stream): then it continues
/// what the requests before it have begun.
#[derive(Debug)]
pub struct Request {
    /// Which session of the device.
    pub session: SessionId,
    /// How far a ZIP request goes. Stateless ones: [`Flush::Finish`], or [`Flush::Full`] for blocks to which others are
    /// to be appended.
    pub flush: Flush,
    /// A checksum to be continued over the uncompressed bytes of a stateless ZIP request.
    pub checksum: Option<u32>,
    /// The sender's own number, given back unchanged.
    pub tag: u64,
    src: Span,
    aux: Segment,
    dst: Span,
    /// Whether that is of the second packet.
    dst_in_output: bool,
    /// Ticks when it was sent; set by the queue.
    pub(crate) sent: u64,
    packet: Option<Packet>,
    output: Option<Packet>,
    stream: Option<Stream>,
}

/// A byte range that is not inside the packet it is meant for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("range {range:?} is not within the packet's {len} bytes")]
pub struct OutOfPacket {
    /// The range.
    pub range: Range<usize>,
    /// The packet's length.
    pub len: usize,
}

impl Request {
    /// A request about `packet`. Say with the methods below which bytes.
    #[must_use]
    pub fn new(session: SessionId, packet: Packet) -> Self {
        Self { packet: Some(packet), ..Self::empty(session) }
    }

    fn empty(session: SessionId) -> Self {
        Self {
            session,
            flush: Flush::Finish,
            checksum: None,
            tag: 0,
            src: Span::default(),
            aux: Segment::default(),
            dst: Span::default(),
            dst_in_output: false,
            sent: 0,
            packet: None,
            output: None,
            stream: None,
        }
    }

    /// A request about memory that no packet stands for.
    ///
    /// # Safety
    /// Until the completion is back (or the queue is dropped), nobody else writes to the source segments and nobody
    /// accesses the destination, as far as the device's domain maps them. Addresses outside are harmless: they fault.
    #[must_use]
    pub unsafe fn raw(session: SessionId, src: Segment, aux: Segment, dst: Segment) -> Self {
        let alone = |first: Segment| Span { first, total: first.len, place: 0 };
        Self { src: alone(src), aux, dst: alone(dst), ..Self::empty(session) }
    }

    /// Sets the sender's own number.
    #[must_use]
    pub fn with_tag(mut self, tag: u64) -> Self {
        self.tag = tag;
        self
    }

    fn span(&self, range: Range<usize>) -> Result<Span, OutOfPacket> {
        match &self.packet {
            Some(packet) => Span::of(packet, range),
            None if range.is_empty() => Ok(Span::default()),
            None => Err(OutOfPacket { range, len: 0 }),
        }
    }

    /// The input: these bytes of the packet, all its segments counted.
    ///
    /// # Errors
    /// [`OutOfPacket`].
    pub fn set_src(&mut self, range: Range<usize>) -> Result<(), OutOfPacket> {
        self.src = self.span(range)?;
        Ok(())
    }

    /// The second input: these bytes of the packet, in one segment.
    ///
    /// # Errors
    /// [`OutOfPacket`].
    pub fn set_aux(&mut self, range: Range<usize>) -> Result<(), OutOfPacket> {
        let span = self.span(range.clone())?;
        if span.total != span.first.len {
            return Err(OutOfPacket { range, len: self.packet.as_ref().map_or(0, Packet::len) });
        }
        self.aux = span.first;
        Ok(())
    }

    /// The output: these bytes of the same packet, apart from the inputs.
    ///
    /// # Errors
    /// [`OutOfPacket`].
    pub fn set_dst(&mut self, range: Range<usize>) -> Result<(), OutOfPacket> {
        self.dst = self.span(range)?;
        self.dst_in_output = false;
        Ok(())
    }

    /// The output: these bytes of a second packet, all its segments counted. It comes back with the completion.
    ///
    /// # Errors
    /// [`OutOfPacket`].
    pub fn set_output(&mut self, packet: Packet, range: Range<usize>) -> Result<(), OutOfPacket> {
        self.dst = Span::of(&packet, range)?;
        self.dst_in_output = true;
        self.output = Some(packet);
        Ok(())
    }

    /// Makes the request the next one of a stream, which comes back with the completion.
    pub fn set_stream(&mut self, stream: Stream, flush: Flush) {
        self.stream = Some(stream);
        self.flush = flush;
    }

    /// Takes the stream out.
    #[must_use]
    pub fn take_stream(&mut self) -> Option<Stream> {
        self.stream.take()
    }

    pub(crate) fn put_stream(&mut self, stream: Stream) {
        self.stream = Some(stream);
    }

    /// The input's first segment: all of it unless the packet is chained.
    #[must_use]
    pub fn src(&self) -> Segment {
        self.src.first
    }

    /// The second input segment.
    #[must_use]
    pub fn aux(&self) -> Segment {
        self.aux
    }

    /// The output's first segment: all of it unless the packet is chained.
    #[must_use]
    pub fn dst(&self) -> Segment {
        self.dst.first
    }

    /// Bytes of the input, in all segments.
    #[must_use]
    pub fn src_len(&self) -> u32 {
        self.src.total
    }

    /// Room for output in bytes, in all segments.
    #[must_use]
    pub fn dst_len(&self) -> u32 {
        self.dst.total
    }

    /// Whether input or output lie in more than one segment.
    #[must_use]
    #[inline]
    pub fn is_chained(&self) -> bool {
        self.src.total != self.src.first.len || self.dst.total != self.dst.first.len
    }

    /// The segments of the input behind the first.
    pub(crate) fn src_rest(&self) -> impl Iterator<Item = Segment> {
        self.src.rest(self.packet.as_ref())
    }

    /// The segments of the output behind the first.
    pub(crate) fn dst_rest(&self) -> impl Iterator<Item = Segment> {
        self.dst.rest(if self.dst_in_output { self.output.as_ref() } else { self.packet.as_ref() })
    }

    /// The packets it owned: the one it is about, and the output.
    #[must_use]
    pub fn into_packets(self) -> (Option<Packet>, Option<Packet>) {
        (self.packet, self.output)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done; the completion says how many bytes were produced.
    Ok,
    /// A request of a stream ran out of room for its output. What it consumed and produced counts: the rest of the input
    /// is to be sent again, with new room.
    OutputFull,
    /// An address is not mapped or not permitted.
    Fault(Fault),
    /// Source and destination overlap.
    Overlap,
    /// No such session on this device.
    NoSession,
    /// The destination is too small. `needed` bytes would do, or 0 if that is not known.
    NoSpace {
        /// Bytes needed.
        needed: u32,
    },
    /// The input is not what the operation takes: a corrupt stream, a message of the wrong length.
    BadInput,
    /// The input ends before the stream in it does.
    Truncated,
    /// Decompressed, the input is larger than its session permits: a decompression bomb.
    LimitExceeded,
    /// The session cannot do it in this way: a stateless request for open blocks in a wrapping.
    Unsupported,
    /// Input or output lie in several segments, which the operation cannot do.
    NotContiguous,
    /// Input or output lie in more than [`MAX_SEGMENTS`] segments.
    TooManySegments,
    /// A stream of another session or device, or one that failed before and was not restarted; or the operation knows no streams.
    BadStream,
    /// A signature does not match.
    Mismatch,
    /// The engine failed on this request (a bug or a fault of the machine); nothing was released.
    EngineFailed,
    /// The device went away before the request was begun.
    Cancelled,
}

impl Status {
    /// A short name, for counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fault(_) => "fault",
            Self::Overlap => "overlap",
            Self::NoSession => "no_session",
            Self::NoSpace { .. } => "no_space",
            Self::BadInput => "bad_input",
            Self::OutputFull => "output_full",
            Self::Truncated => "truncated",
            Self::LimitExceeded => "limit_exceeded",
            Self::Unsupported => "unsupported",
            Self::NotContiguous => "not_contiguous",
            Self::TooManySegments => "too_many_segments",
            Self::BadStream => "bad_stream",
            Self::Mismatch => "mismatch",
            Self::EngineFailed => "engine_failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A request that the device is done with.
#[derive(Debug)]
pub struct Completion {
    /// How it ended.
    pub status: Status,
    /// Bytes read from the source. Less than all of them if a compressed stream ended before, or room did.
    pub consumed: u32,
    /// Bytes written to the destination.
    pub produced: u32,
    /// Whether a compressed stream ended: with its last byte produced, or consumed.
    pub ended: bool,
    /// Of the uncompressed bytes so far, if the session asks for one.
    pub checksum: u32,
    /// Ticks when it was sent.
    pub sent: u64,
    /// The request, with its packets.
    pub request: Request,
}
