//! The kinds of things that are counted apart.

use std::fmt;
use std::marker::PhantomData;

use warpdrive_pmd::stats::Counter;

/// One of a few kinds, with a name for each.
pub trait Label: Copy + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// Its place in [`ALL`](Self::ALL).
    fn index(self) -> usize;

    /// Its name in metrics.
    fn name(self) -> &'static str;
}

macro_rules! labels {
    ($($(#[$doc:meta])* enum $kind:ident { $($(#[$what:meta])* $name:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $kind { $($(#[$what])* $name,)* }

        impl Label for $kind {
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            fn index(self) -> usize {
                self as usize
            }

            fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    )*};
}

labels! {
    /// A handshake that was completed.
    enum Handshake {
        /// TLS 1.3, with a signature.
        Full13 = "1.3",
        /// TLS 1.3, by a ticket.
        Resumed13 = "1.3 resumed",
        /// TLS 1.2, with a signature.
        Full12 = "1.2",
        /// TLS 1.2, by a ticket.
        Resumed12 = "1.2 resumed",
    }

    /// Why a handshake failed.
    enum HandshakeFailure {
        /// It took too long.
        Timeout = "timeout",
        /// The client closed the connection.
        Closed = "closed",
        /// The client sent an alert: as a rule it does not trust the certificate.
        Alert = "alert",
        /// No version, cipher suite or signature scheme that both have.
        NothingInCommon = "nothing_in_common",
        /// No certificate for the name that the client asks for.
        UnknownName = "unknown_name",
        /// What the client sent is no TLS.
        NotTls = "not_tls",
        /// The client broke the rules of the protocol.
        Protocol = "protocol",
        /// There was no signature.
        Signature = "signature",
        /// No memory, or a bug.
        Internal = "internal",
    }

    /// Who computed a signature; if it is the library, why not the device.
    enum SignedBy {
        /// The device.
        Device = "device",
        /// The library: the certificate's key is not one of RSA, or the proxy has no device.
        NoDevice = "no_device",
        /// The library: the pool had no buffer.
        PoolEmpty = "pool_empty",
        /// The library: the device's queue was full.
        QueueFull = "queue_full",
        /// The library: the device took too long.
        Deadline = "deadline",
        /// The library: the device reported an error.
        EngineFailed = "engine_failed",
        /// The library: the device has failed too often, and is left alone for a while.
        BreakerOpen = "breaker_open",
    }

    /// Whether the device is used.
    enum Breaker {
        /// It is.
        Closed = "closed",
        /// It is tried, one request at a time.
        HalfOpen = "half_open",
        /// It is not, after too many failures.
        Open = "open",
    }

    /// What took too long.
    enum Timeout {
        /// A handshake.
        Handshake = "handshake",
        /// The head of a request.
        Head = "head",
        /// The next request of a connection.
        Idle = "idle",
        /// The next piece of a body.
        Body = "body",
        /// A connection to a server.
        Connect = "connect",
        /// The head of a response.
        Response = "response",
        /// The next piece of a connection that was upgraded.
        Upgrade = "upgrade",
    }
}

/// A counter for each kind.
pub struct Counters<L> {
    counters: Box<[Counter]>,
    kinds: PhantomData<fn(L)>,
}

impl<L: Label> Default for Counters<L> {
    fn default() -> Self {
        Self { counters: L::ALL.iter().map(|_| Counter::default()).collect(), kinds: PhantomData }
    }
}

impl<L: Label> Counters<L> {
    /// Counts one.
    #[inline]
    pub fn count(&self, kind: L) {
        self.counters[kind.index()].add(1);
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self, kind: L) -> u64 {
        self.counters[kind.index()].get()
    }

    /// All, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (L, u64)> {
        L::ALL.iter().zip(&self.counters).map(|(kind, counter)| (*kind, counter.get()))
    }
}

impl<L: Label> fmt::Debug for Counters<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(kind, n)| (kind.name(), n))).finish()
    }
}
