//! Bodies that are compressed by the queue of a device, as they come.
//!
//! A body has one pair of buffers, what goes in and what comes out, and one request at a time under way. It takes both or
//! none: so bodies that wait for buffers hold none that others wait for.

use std::sync::Arc;

use warpdrive_mempool::{Mempool, Packet};
use warpdrive_pmd::device::{
    Completion, Device, DeviceError, Flush, Queue, Request, SessionId, SessionSpec, Status, Stream,
};
use warpdrive_pmd::engine::zip::{ZipFormat, ZipOp, ZipSession};

/// Completions taken at once.
const BURST: usize = 64;
/// Streams kept for later.
const SPARE_STREAMS: usize = 64;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZipCounts {
    /// Bytes before compression.
    pub bytes_in: u64,
    /// Bytes after it.
    pub bytes_out: u64,
    /// Bodies that were begun.
    pub bodies: u64,
    /// Bodies that could not be, or broke off.
    pub failed: u64,
    /// Times that a body had to wait for buffers or for the queue.
    pub waits: u64,
}

/// The queue that compresses.
pub struct Zip {
    device: Arc<dyn Device>,
    session: SessionId,
    queue: Box<dyn Queue>,
    pool: Mempool,
    /// Pairs of buffers that may still be taken.
    pairs: usize,
    streams: Vec<Stream>,
    completions: Vec<Completion>,
    counts: ZipCounts,
}

/// What is computed for one body.
#[derive(Default)]
pub struct Body {
    /// `None` while the device has it.
    stream: Option<Stream>,
    /// The input, which is being filled, and the output. `None` while the device has them, and when there is nothing to do.
    pair: Option<(Packet, Packet)>,
    under_way: bool,
    flush: Flush,
    /// Whether the whole input is there.
    finish: bool,
    done: bool,
    bytes_in: u64,
    bytes_out: u64,
}

/// A request has ended.
pub struct Done {
    /// As given to [`Body::send`].
    pub tag: u64,
    completion: Completion,
}

impl Zip {
    /// Compresses in gzip format (RFC 1952) by a queue of `device`, with up to `pairs` pairs of buffers of `pool`.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn new(
        device: &Arc<dyn Device>,
        session: SessionId,
        pool: Mempool,
        depth: usize,
        pairs: usize,
    ) -> Result<Self, DeviceError> {
        Ok(Self {
            device: Arc::clone(device),
            session,
            queue: device.request_queue(depth)?,
            pool,
            pairs,
            streams: Vec::with_capacity(SPARE_STREAMS),
            completions: Vec::with_capacity(BURST),
            counts: ZipCounts::default(),
        })
    }

    /// The session of the workers of one proxy.
    ///
    /// # Errors
    /// What the device says, for a message.
    pub fn session(device: &Arc<dyn Device>, level: u8) -> Result<SessionId, String> {
        let session = ZipSession::new(ZipOp::Compress, ZipFormat::Gzip, level).map_err(|e| e.to_string())?;
        device.create_session(SessionSpec::Zip(session)).map_err(|e| e.to_string())
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> ZipCounts {
        self.counts
    }

    /// Begins a body. `None` if the device cannot: it is to be sent as it is.
    pub fn begin(&mut self) -> Option<Body> {
        if self.queue.is_gone() {
            self.counts.failed += 1;
            return None;
        }
        let stream = match self.streams.pop() {
            Some(stream) => stream,
            None => match self.device.create_stream(self.session) {
                Ok(stream) => stream,
                Err(e) => {
                    tracing::warn!("a body is not compressed: {e}");
                    self.counts.failed += 1;
                    return None;
                }
            },
        };
        self.counts.bodies += 1;
        Some(Body { stream: Some(stream), ..Body::default() })
    }

    /// Takes what the device has done. An engine that runs inline does one batch in here.
    pub fn poll(&mut self, done: &mut Vec<Done>) {
        if self.queue.in_flight() == 0 {
            return;
        }
        let mut completions = std::mem::take(&mut self.completions);
        self.queue.recv_burst(&mut completions, BURST);
        done.extend(completions.drain(..).map(|completion| Done { tag: completion.request.tag, completion }));
        self.completions = completions;
    }

    /// Whose it was is gone.
    pub fn discard(&mut self, mut done: Done) {
        self.pairs += 1;
        self.keep(done.completion.request.take_stream());
    }

    fn keep(&mut self, stream: Option<Stream>) {
        if let Some(mut stream) = stream
            && self.streams.len() < SPARE_STREAMS
        {
            stream.restart();
            self.streams.push(stream);
        }
    }

    /// A body has ended, or is given up. What the device has of it comes back later.
    pub fn end(&mut self, body: Body) {
        if let Some(pair) = body.pair {
            self.put(pair);
        }
        self.keep(body.stream);
    }

    fn pair(&mut self) -> Option<(Packet, Packet)> {
        if self.pairs == 0 {
            return None;
        }
        let (input, mut output) = (self.pool.alloc()?, self.pool.alloc()?);
        output.append(output.tailroom()).ok()?;
        self.pairs -= 1;
        Some((input, output))
    }

    fn put(&mut self, pair: (Packet, Packet)) {
        drop(pair);
        self.pairs += 1;
    }

    fn request(
        &mut self,
        stream: Stream,
        (input, output): (Packet, Packet),
        flush: Flush,
        tag: u64,
    ) -> Request {
        let (input_len, output_len) = (input.len(), output.len());
        let mut request = Request::new(self.session, input).with_tag(tag);
        let ranges = request.set_src(0..input_len).and(request.set_output(output, 0..output_len));
        debug_assert!(ranges.is_ok());
        request.set_stream(stream, flush);
        request
    }
}

/// A body cannot be compressed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

impl Body {
    /// How many bytes it takes now. 0 while the device works, and while there are no buffers (then it is to be asked again).
    pub fn room(&mut self, zip: &mut Zip) -> usize {
        if self.under_way || self.finish {
            return 0;
        }
        if self.pair.is_none() {
            self.pair = zip.pair();
        }
        let room = self.pair.as_ref().map_or(0, |(input, _)| input.tailroom());
        zip.counts.waits += u64::from(room == 0);
        room
    }

    /// Whether it waits for nothing but buffers.
    #[must_use]
    pub fn wants_buffers(&self) -> bool {
        !self.under_way && !self.done && self.pair.is_none()
    }

    /// Takes bytes, as many as there is [`room`](Self::room) for at most.
    pub fn push(&mut self, bytes: &[u8], zip: &mut Zip) {
        if let Some((input, _)) = &mut self.pair {
            let fits = input.extend_from_slice(bytes);
            debug_assert!(fits.is_ok());
            zip.counts.bytes_in += bytes.len() as u64;
            self.bytes_in += bytes.len() as u64;
        }
    }

    /// No more will come.
    pub fn finish(&mut self) {
        self.finish = true;
    }

    /// Sends what is there: when the buffer is full, when that was all, or when somebody waits for it (`flush`). Says whether
    /// it is to be called again because there was no room.
    pub fn send(&mut self, zip: &mut Zip, flush: bool, tag: u64) -> bool {
        if self.under_way || self.done {
            return false;
        }
        if self.finish && self.pair.is_none() {
            self.pair = zip.pair();
        }
        let Some((input, _)) = &self.pair else { return self.finish };
        let wanted = self.finish || input.tailroom() == 0 || (flush && !input.is_empty());
        if !wanted {
            return false;
        }
        if zip.queue.room() == 0 {
            zip.counts.waits += 1;
            return true;
        }
        let (Some(stream), Some(pair)) = (self.stream.take(), self.pair.take()) else { return false };
        self.flush = match () {
            () if self.finish => Flush::Finish,
            () if flush => Flush::Sync,
            () => Flush::None,
        };
        self.go(zip, stream, pair, tag);
        false
    }

    fn go(&mut self, zip: &mut Zip, stream: Stream, pair: (Packet, Packet), tag: u64) {
        let request = zip.request(stream, pair, self.flush, tag);
        // There is room: whoever calls has seen to it, or has just got a completion.
        if zip.queue.send(request).is_ok() {
            self.under_way = true;
        } else {
            zip.pairs += 1;
        }
    }

    /// Takes what the device has done, and gives the bytes to `out`.
    ///
    /// # Errors
    /// [`Broken`]: the device failed.
    pub fn take(&mut self, done: Done, zip: &mut Zip, out: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        self.under_way = false;
        let (tag, mut completion) = (done.tag, done.completion);
        let stream = completion.request.take_stream();
        let (status, ended) = (completion.status, completion.ended);
        let (consumed, produced) = (completion.consumed as usize, completion.produced as usize);
        let (Some(mut input), Some(output)) = completion.request.into_packets() else {
            zip.pairs += 1;
            return Err(Broken);
        };
        let (Some(stream), Some(bytes), Status::Ok | Status::OutputFull, Ok(())) =
            (stream, output.data().get(..produced), status, input.trim_front(consumed))
        else {
            zip.counts.failed += 1;
            zip.put((input, output));
            return Err(Broken);
        };
        zip.counts.bytes_out += produced as u64;
        self.bytes_out += produced as u64;
        out(bytes);
        if status == Status::OutputFull {
            self.go(zip, stream, (input, output), tag);
            return if self.under_way { Ok(()) } else { Err(Broken) };
        }
        self.done = ended;
        self.stream = Some(stream);
        input.reset();
        self.pair = Some((input, output));
        if self.done
            && let Some(pair) = self.pair.take()
        {
            zip.put(pair);
        }
        Ok(())
    }

    /// Bytes before and after.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_in, self.bytes_out)
    }

    /// Whether all has come out.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Gives back the buffers as long as nothing is in them: a body that comes slowly keeps them from others.
    pub fn rest(&mut self, zip: &mut Zip) {
        if let Some(pair) = self.pair.take_if(|(input, _)| input.is_empty()) {
            zip.put(pair);
        }
    }
}
