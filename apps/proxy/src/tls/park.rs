//! Handshakes that can be parked: a handshake runs on a stack of its own, and when it needs a signature that stack is left
//! as it is until the signature is there.
//!
//! The TLS library calls a signer and wants the signature back from that call. Here the call does not return before the
//! worker has brought the signature, and meanwhile the worker does something else.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use rustls::ServerConnection;
use warpdrive_pmd::device::SessionId;

/// Bytes of a handshake's stack. Besides, it has a guard page.
const STACK: usize = 64 << 10;

/// The longest message that is to be signed: TLS 1.3 has 98 bytes and a hash (RFC 8446, 4.4.3), TLS 1.2 two random numbers and the
/// parameters of a key exchange (RFC 8422, 5.4).
pub const LONGEST_MESSAGE: usize = 256;

/// What a parked handshake waits for.
pub struct Question {
    /// The session that signs.
    pub session: SessionId,
    /// Bytes of a signature.
    pub signature_len: usize,
    message: [u8; LONGEST_MESSAGE],
    len: usize,
}

impl Question {
    /// A message to be signed; `None` if it is longer than any that TLS has.
    #[must_use]
    pub fn new(session: SessionId, signature_len: usize, message: &[u8]) -> Option<Self> {
        let mut question = Self { session, signature_len, message: [0; LONGEST_MESSAGE], len: message.len() };
        question.message.get_mut(..message.len())?.copy_from_slice(message);
        Some(question)
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message[..self.len]
    }
}

/// What it is given.
pub enum Answer {
    /// The signature.
    Signature(Vec<u8>),
    /// There will be none from the device: the library is to sign.
    Library,
}

/// What is left of a handshake that has gone as far as it can.
pub struct Finished {
    /// The connection.
    pub connection: Box<ServerConnection>,
    /// What became of the records that it was given.
    pub result: Result<(), rustls::Error>,
}

type Handshake = Coroutine<Answer, Question, Finished, DefaultStack>;
type Waker = Yielder<Answer, Question>;

thread_local! {
    /// Of the handshake that runs now on this thread; null when none does.
    static RUNNING: Cell<*const Waker> = const { Cell::new(std::ptr::null()) };
}

/// A handshake that waits for an answer. Dropping it unwinds its stack.
pub struct Parked(Handshake);

/// How far a handshake got.
#[expect(
    clippy::large_enum_variant,
    reason = "it goes from one function to the next, and a box would be an allocation"
)]
pub enum Step {
    /// It needs an answer.
    Parked(Parked, Question),
    /// It has gone as far as it can with what has come from the client.
    Finished(Finished),
    /// It panicked, and the connection is gone. This is a bug, and costs no more than that.
    Panicked,
}

/// Stacks that are not in use.
#[derive(Default)]
pub struct Stacks {
    unused: Vec<DefaultStack>,
    in_use: usize,
}

impl Stacks {
    /// How many are in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// Lets a connection work on the records it has been given, on a stack of its own.
    ///
    /// # Errors
    /// There is no memory for a stack. The connection is given back.
    pub fn run(
        &mut self,
        connection: Box<ServerConnection>,
    ) -> Result<Step, (Box<ServerConnection>, io::Error)> {
        let stack = match self.unused.pop().map_or_else(|| DefaultStack::new(STACK), Ok) {
            Ok(stack) => stack,
            Err(cause) => return Err((connection, cause)),
        };
        self.in_use += 1;
        let handshake = Coroutine::with_stack(stack, move |waker: &Waker, _: Answer| {
            RUNNING.set(waker);
            let mut connection = connection;
            let result = connection.process_new_packets().map(drop);
            Finished { connection, result }
        });
        // A handshake's first answer is to no question.
        Ok(self.go_on(handshake, Answer::Library))
    }

    /// Lets a parked handshake go on.
    pub fn resume(&mut self, parked: Parked, answer: Answer) -> Step {
        self.go_on(parked.0, answer)
    }

    /// Gives up a parked handshake.
    pub fn abandon(&mut self, mut parked: Parked) {
        parked.0.force_unwind();
        self.take_back(parked.0);
    }

    fn go_on(&mut self, mut handshake: Handshake, answer: Answer) -> Step {
        // A coroutine that panicked has unwound its stack and is done.
        let result = catch_unwind(AssertUnwindSafe(|| handshake.resume(answer)));
        RUNNING.set(std::ptr::null());
        let step = match result {
            Ok(CoroutineResult::Yield(question)) => return Step::Parked(Parked(handshake), question),
            Ok(CoroutineResult::Return(finished)) => Step::Finished(finished),
            Err(_) => Step::Panicked,
        };
        self.take_back(handshake);
        step
    }

    fn take_back(&mut self, handshake: Handshake) {
        self.in_use -= 1;
        self.unused.push(handshake.into_stack());
    }
}

/// Asks a question from within a handshake, and waits for the answer. [`Answer::Library`] if no handshake runs on this thread.
#[must_use]
pub fn ask(question: Question) -> Answer {
    let waker = RUNNING.get();
    if waker.is_null() {
        return Answer::Library;
    }
    // SAFETY: `RUNNING` is not null only while a handshake runs on this thread, and we are called by it: it was set by that
    // handshake, at its start or below, and set to null when it was left. The yielder lives as long as its stack is in use.
    let answer = unsafe { &*waker }.suspend(question);
    // Others may have run in between.
    RUNNING.set(waker);
    answer
}
