//! One connection: TCP, TLS if there is any, and one request at a time.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::TcpStream;

use rustls::{ClientConnection, HandshakeKind};

use super::content::{Content, Expected};
use super::failure::{Failure, Stage};
use super::framing::{Coding, Response};
use super::options::WebKind;
use super::socket;

/// What all connections of a client share.
pub struct Desk {
    /// What one operation is.
    pub kind: WebKind,
    /// Where bytes are read to. Larger than a window of responses under way: few reads.
    pub buffer: Vec<u8>,
    /// A request, as it is sent.
    pub request: Vec<u8>,
    /// What a response should have.
    pub expected: Expected,
    /// Whether handshakes must resume a session.
    pub must_resume: bool,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The server closed its side; with TLS by a close_notify.
    Clean,
    /// The server closed its side of TCP without a close_notify.
    Bare,
    /// The server reset it after all was done.
    Reset,
}

/// What has changed when a connection was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    /// Its operation is done.
    pub done: bool,
    /// Its handshake is done, or with plain TCP it is connected.
    pub established: bool,
    /// Bytes of the content of its response, as it was coded, when that is done.
    pub content: usize,
    /// It has ended.
    pub closed: Option<Ending>,
}

/// What has changed, also when it then turned out to be broken, or the server did what it should not.
pub type Looked = (Step, Result<(), Failure>);

/// What is called with the tag of an operation that is done.
pub type Done<'a> = &'a mut dyn FnMut(u64);

/// A connection.
pub struct Connection {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    stage: Stage,
    /// Of the operation that it is used for.
    tag: Option<u64>,
    response: Response,
    content: Content,
    /// Bytes of the request that the socket has not taken yet, without TLS.
    unsent: usize,
    /// We have said that we close.
    notified: bool,
    /// The server has said that it closes.
    peer_closed: bool,
}

impl Connection {
    /// One whose socket was opened. With a `tag` it is used for an operation as soon as it stands.
    #[must_use]
    pub fn new(socket: TcpStream, tls: Option<ClientConnection>, tag: Option<u64>) -> Self {
        Self {
            socket,
            tls,
            tag,
            stage: Stage::Connecting,
            response: Response::default(),
            content: Content::default(),
            unsent: 0,
            notified: false,
            peer_closed: false,
        }
    }

    /// What it is doing.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether it has an operation.
    #[must_use]
    pub fn has_operation(&self) -> bool {
        self.tag.is_some()
    }

    /// Its TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&ClientConnection> {
        self.tls.as_ref()
    }

    /// Sends a request over an idle one.
    pub fn request(&mut self, tag: u64, desk: &mut Desk, done: Done<'_>) -> Looked {
        self.tag = Some(tag);
        self.ask(desk);
        // A socket that does not take it is broken, and reading tells how.
        if self.flush(desk) { self.advance(desk, true, done) } else { (Step::default(), Ok(())) }
    }

    /// Closes an idle one. With TLS what follows is waiting for the server to do the same: true. Without, a connection
    /// over which nothing is under way needs no goodbye.
    pub fn close(&mut self, desk: &Desk) -> bool {
        self.stage = Stage::Closing;
        self.say_goodbye(desk);
        self.tls.is_some()
    }

    /// Does what can be done without waiting. With `hangup` it is read up to its end.
    pub fn advance(&mut self, desk: &mut Desk, hangup: bool, done: Done<'_>) -> Looked {
        let mut step = Step::default();
        let result = self.go_on(desk, hangup, &mut step, done);
        (step, result)
    }

    fn go_on(
        &mut self,
        desk: &mut Desk,
        hangup: bool,
        step: &mut Step,
        done: Done<'_>,
    ) -> Result<(), Failure> {
        if self.stage == Stage::Connecting {
            if !socket::is_connected(&self.socket).map_err(Failure::Connect)? {
                return Ok(());
            }
            self.stage = Stage::Handshake;
        }
        let broken = self.flush(desk);
        self.settle(desk, step, done)?;
        self.read(desk, hangup || broken, step, done)
    }

    fn read(
        &mut self,
        desk: &mut Desk,
        to_the_end: bool,
        step: &mut Step,
        done: Done<'_>,
    ) -> Result<(), Failure> {
        loop {
            match self.socket.read(&mut desk.buffer) {
                Ok(0) => return self.at_end(desk, step, done),
                Ok(n) => {
                    self.take(desk, n, step, done)?;
                    // Less than there was room for was all there is, and more is reported as it comes.
                    if n < desk.buffer.len() && !to_the_end {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                Err(_) if self.stage == Stage::Closing => {
                    step.closed = Some(Ending::Reset);
                    return Ok(());
                }
                Err(_) => return Err(Failure::Reset(self.stage)),
            }
        }
    }

    /// Takes the first `n` bytes of the buffer.
    fn take(&mut self, desk: &mut Desk, n: usize, step: &mut Step, done: Done<'_>) -> Result<(), Failure> {
        if self.tls.is_none() {
            let Desk { buffer, expected, .. } = desk;
            self.take_plain(&buffer[..n], expected)?;
            return self.settle(desk, step, done);
        }
        let mut at = 0;
        while at < n {
            let Desk { buffer, expected, .. } = &mut *desk;
            let taken = self.take_tls(&buffer[at..n], expected)?;
            self.settle(desk, step, done)?;
            if taken == 0 {
                break;
            }
            at += taken;
        }
        // What a handshake has to say in the middle. A socket that does not take it is reported.
        self.flush(desk);
        Ok(())
    }

    /// Has TLS take bytes; returns how many. It takes none after a close_notify.
    fn take_tls(&mut self, bytes: &[u8], expected: &mut Expected) -> Result<usize, Failure> {
        let Self { tls: Some(tls), stage, response, content, .. } = self else { return Ok(0) };
        let mut rest = bytes;
        tls.read_tls(&mut rest).map_err(|_| Failure::Surplus(*stage))?;
        let state = match tls.process_new_packets() {
            Ok(state) => state,
            Err(e) => {
                // The server may like to know what was wrong.
                let _ = tls.write_tls(&mut self.socket);
                return Err(match e {
                    rustls::Error::AlertReceived(alert) => Failure::Alert(*stage, alert),
                    e => Failure::Tls(*stage, e),
                });
            }
        };
        let mut left = state.plaintext_bytes_to_read();
        while left > 0 {
            let mut reader = tls.reader();
            let Ok(chunk) = reader.fill_buf() else { break };
            // With the server's Finished its first bytes may have come: of no use before we asked.
            let n = chunk.len();
            if *stage != Stage::Response {
                return Err(Failure::Surplus(*stage));
            }
            feed(response, content, expected, chunk)?;
            reader.consume(n);
            left = left.saturating_sub(n);
        }
        self.peer_closed |= state.peer_has_closed();
        Ok(bytes.len() - rest.len())
    }

    fn take_plain(&mut self, bytes: &[u8], expected: &mut Expected) -> Result<(), Failure> {
        if self.stage != Stage::Response {
            return Err(Failure::Surplus(self.stage));
        }
        feed(&mut self.response, &mut self.content, expected, bytes)
    }

    /// Goes on to the next stage, if this one has come to its end.
    fn settle(&mut self, desk: &mut Desk, step: &mut Step, done: Done<'_>) -> Result<(), Failure> {
        if self.stage == Stage::Handshake && self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking()) {
            self.stands(desk, step, done)?;
        }
        if self.stage == Stage::Response {
            if self.peer_closed && !self.response.is_done() {
                self.response.end().map_err(|_| Failure::Closed(Stage::Response))?;
            }
            if self.response.is_done() {
                self.answered(desk, step, done)?;
            }
        }
        if self.peer_closed && self.stage != Stage::Closing {
            if self.stage == Stage::Handshake {
                return Err(Failure::Closed(self.stage));
            }
            self.stage = Stage::Closing;
        }
        if self.peer_closed && !self.notified {
            self.say_goodbye(desk);
        }
        Ok(())
    }

    /// The handshake is done on our side.
    fn stands(&mut self, desk: &mut Desk, step: &mut Step, done: Done<'_>) -> Result<(), Failure> {
        let resumed =
            self.tls.as_ref().is_some_and(|tls| tls.handshake_kind() == Some(HandshakeKind::Resumed));
        if desk.must_resume && !resumed {
            return Err(Failure::NotResumed);
        }
        if desk.kind.has_request() {
            step.established = true;
            if self.tag.is_some() {
                // Goes with our Finished.
                self.ask(desk);
            } else {
                self.stage = Stage::Idle;
            }
            self.flush(desk);
            return Ok(());
        }
        self.flush(desk);
        if self.tls.as_ref().is_some_and(|tls| tls.wants_write()) {
            return Ok(()); // when our Finished is on its way
        }
        step.established = true;
        self.complete(step, done);
        self.stage = Stage::Closing;
        self.say_goodbye(desk);
        Ok(())
    }

    /// A response is there as a whole.
    fn answered(&mut self, desk: &mut Desk, step: &mut Step, done: Done<'_>) -> Result<(), Failure> {
        let head = self.response.head();
        self.content.finish(head.map_or(Coding::Identity, |h| h.coding), &mut desk.expected)?;
        step.content = self.content.len();
        self.complete(step, done);
        let stays = head.is_some_and(|h| h.keep_alive);
        if desk.kind == WebKind::Request && stays {
            self.stage = Stage::Idle;
            return Ok(());
        }
        self.stage = Stage::Closing;
        if stays {
            // It was asked to close and says that it will not.
            self.say_goodbye(desk);
            step.closed = self.tls.is_none().then_some(Ending::Clean);
        }
        Ok(())
    }

    fn complete(&mut self, step: &mut Step, done: Done<'_>) {
        if let Some(tag) = self.tag.take() {
            done(tag);
            step.done = true;
        }
    }

    /// The server has closed its side of TCP.
    fn at_end(&mut self, desk: &mut Desk, step: &mut Step, done: Done<'_>) -> Result<(), Failure> {
        if self.tls.is_none() {
            self.peer_closed = true;
            self.settle(desk, step, done)?;
        }
        match self.stage {
            Stage::Closing | Stage::Idle => {
                step.closed = Some(if self.peer_closed { Ending::Clean } else { Ending::Bare });
                Ok(())
            }
            stage => Err(Failure::Closed(stage)),
        }
    }

    /// Writes the request.
    fn ask(&mut self, desk: &Desk) {
        self.stage = Stage::Response;
        self.response.reset();
        self.content.reset();
        match &mut self.tls {
            // Into memory: there is room for more than a request.
            Some(tls) => drop(tls.writer().write_all(&desk.request)),
            None => self.unsent = desk.request.len(),
        }
    }

    /// Says that we are done, as TLS has it. TCP is not told before the server has closed its side: see the client.
    fn say_goodbye(&mut self, desk: &Desk) {
        if let Some(tls) = &mut self.tls
            && !std::mem::replace(&mut self.notified, true)
        {
            tls.send_close_notify();
            self.flush(desk);
        }
    }

    /// Sends what there is to send, as far as the socket takes it. True: the socket is broken.
    fn flush(&mut self, desk: &Desk) -> bool {
        loop {
            let sent = match &mut self.tls {
                Some(tls) if tls.wants_write() => tls.write_tls(&mut self.socket),
                None if self.unsent > 0 => {
                    let sent = self.socket.write(&desk.request[desk.request.len() - self.unsent..]);
                    sent.inspect(|n| self.unsent -= n)
                }
                _ => return false,
            };
            match sent {
                Ok(0) => return true,
                Ok(_) => (),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                Err(e) => return e.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }
}

/// Has a response take bytes, and looks at its content.
fn feed(
    response: &mut Response,
    content: &mut Content,
    expected: &mut Expected,
    bytes: &[u8],
) -> Result<(), Failure> {
    if response.is_done() {
        return Err(Failure::Surplus(Stage::Response));
    }
    let mut wrong = None;
    let taken = response.feed(bytes, &mut |part| {
        if wrong.is_none() {
            wrong = content.take(part, expected).err();
        }
    })?;
    match response.head() {
        Some(head) if head.status != 200 => return Err(Failure::Status(head.status)),
        _ => (),
    }
    match wrong {
        Some(wrong) => Err(wrong.into()),
        None if taken < bytes.len() => Err(Failure::Surplus(Stage::Response)),
        None => Ok(()),
    }
}
