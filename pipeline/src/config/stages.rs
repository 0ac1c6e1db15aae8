//! The stages' tables: which keys each has and what those left out mean.

use serde::Deserialize;
use toml::Spanned;
use warpdrive_pmd::engine::rsa::{RsaOp, RsaScheme};
use warpdrive_pmd::engine::zip::{BackEnd, ZipFormat, ZipOp};

use super::Name;

/// What to do when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Full {
    /// Take no more from what is in front, as far back as the receive queue.
    #[default]
    Hold,
    /// Drop, and count.
    Drop,
}

/// What to do with a packet that cannot be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// Let it through unchanged, and count.
    Pass,
    /// Drop it, and count.
    Drop,
}

/// One stage of a pipeline, named by the first of its keys that is a stage's name.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is documented at its table")]
pub enum StageTable {
    Rx(RxTable),
    Tx(TxTable),
    Rsa(RsaTable),
    Zip(ZipTable),
    Match(MatchTable),
    MacSwap(MacSwapTable),
    Echo(EchoTable),
    Count(CountTable),
    Drop(DropTable),
    Stall(StallTable),
    Tee(TeeTable),
    Handoff(HandoffTable),
    Fanout(FanoutTable),
    Merge(MergeTable),
}

/// The keys that name a stage.
pub const STAGES: &[&str] = &[
    "rx", "tx", "rsa", "zip", "match", "mac-swap", "echo", "count", "drop", "stall", "tee", "handoff",
    "fanout", "merge",
];

/// What a stage looks like, for messages.
pub(super) fn example(kind: &str) -> &'static str {
    match kind {
        "rx" => "{ rx = \"PORT\" }",
        "tx" => "{ tx = \"PORT\" }",
        "rsa" => "{ rsa = \"DEVICE\", op = \"sign\", scheme = \"pkcs1-sha256\", key = \"FILE.pem\" }",
        "zip" => "{ zip = \"DEVICE\", op = \"compress\" }",
        "match" => "{ match = { protocol = \"udp\" } }",
        "mac-swap" => "{ mac-swap = true }",
        "echo" => "{ echo = \"192.0.2.1\" }",
        "count" => "{ count = \"NAME\" }",
        "drop" => "{ drop = true }",
        "stall" => "{ stall = 100, every-ms = 1000 }",
        "tee" => "{ tee = \"PORT\" }",
        "handoff" => "{ handoff = \"PIPELINE\" }",
        "fanout" => "{ fanout = [\"PIPELINE\", \"PIPELINE\"] }",
        _ => "{ merge = true }",
    }
}

macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty $(= $default:expr)?,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
    };
}

table! {
    /// `{ rx = PORT }`: packets come in. First in a pipeline.
    RxTable {
        /// The port.
        rx: Name,
        /// Its receive queue.
        #[serde(default)]
        queue: u16,
        /// The most packets taken at once, 1 to 64.
        #[serde(default = "default_burst")]
        burst: Spanned<usize>,
    }
}
fn default_burst() -> Spanned<usize> {
    Spanned::new(0..0, 32)
}

table! {
    /// `{ tx = PORT }`: packets go out. Last in a pipeline.
    TxTable {
        /// The port.
        tx: Name,
        /// Its transmit queue.
        #[serde(default)]
        queue: u16,
        /// When the port takes no more.
        #[serde(default)]
        full: Full,
    }
}

table! {
    /// `{ rsa = DEVICE, … }`: works on the UDP payload.
    RsaTable {
        /// The device.
        rsa: Name,
        /// What to do.
        op: Spanned<RsaOp>,
        /// The padding and hash.
        scheme: Spanned<RsaScheme>,
        /// A key file (PEM or DER), or `"demo:rsa2048"`. To verify, a public key or a certificate will do.
        key: Name,
        /// A certificate file (PEM or DER) that must be for the key: checked at start.
        #[serde(default)]
        certificate: Option<Name>,
        /// Takes a key of 1024 bits too: for old peers and old captures.
        #[serde(default)]
        allow_1024: bool,
        /// The most requests in flight.
        #[serde(default)]
        depth: Option<Spanned<usize>>,
        /// When that many are.
        #[serde(default)]
        full: Full,
        /// When the result would exceed the MTU.
        #[serde(default = "otherwise_drop")]
        oversize: Otherwise,
        /// For `verify`: packets that carry no signature.
        #[serde(default = "otherwise_drop")]
        plain: Otherwise,
    }
}
fn otherwise_drop() -> Otherwise {
    Otherwise::Drop
}

table! {
    /// `{ zip = DEVICE, … }`: works on the UDP payload.
    ZipTable {
        /// The device.
        zip: Name,
        /// What to do.
        op: Spanned<ZipOp>,
        /// The wrapping of the stream.
        #[serde(default = "default_format")]
        format: ZipFormat,
        /// 0 (stored) to 12 (smallest); 9 for streams.
        #[serde(default = "default_level")]
        level: Spanned<u8>,
        /// How many flows are compressed as streams across their packets at a time; 0: each packet stands alone.
        #[serde(default)]
        streams: Option<Spanned<usize>>,
        /// After how many packets a flow's stream begins anew, so that a receiver who missed one can go on.
        #[serde(default)]
        refresh: Option<Spanned<u32>>,
        /// log2 of the window in bytes, 9 to 15.
        #[serde(default)]
        window_bits: Option<Spanned<u8>>,
        /// A file of up to 32 KiB that both ends have: what payloads are likely to contain, the likeliest last.
        #[serde(default)]
        dictionary: Option<Name>,
        /// Who computes.
        #[serde(default)]
        back_end: Option<Spanned<BackEnd>>,
        /// The most requests in flight.
        #[serde(default)]
        depth: Option<Spanned<usize>>,
        /// When that many are.
        #[serde(default)]
        full: Full,
        /// When the result would exceed the MTU.
        #[serde(default = "otherwise_drop")]
        oversize: Otherwise,
        /// For `decompress`: packets that are not compressed.
        #[serde(default = "otherwise_drop")]
        plain: Otherwise,
    }
}
fn default_format() -> ZipFormat {
    ZipFormat::Deflate
}
fn default_level() -> Spanned<u8> {
    Spanned::new(0..0, 1)
}

table! {
    /// `{ match = { … }, else = … }`: packets to which everything said applies go on.
    MatchTable {
        /// The conditions.
        r#match: Spanned<Conditions>,
        /// Where the others go: `"drop"` (the default) or the name of a pipeline.
        #[serde(default)]
        r#else: Option<Name>,
    }
}

/// Conditions on a packet; all that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// EtherType behind VLAN tags: `"ipv4"`, `"ipv6"`, `"arp"` or a number.
    pub ethertype: Option<Spanned<NameOrNumber>>,
    /// VLAN identifier.
    pub vlan: Option<Spanned<u16>>,
    /// IP protocol: `"icmp"`, `"tcp"`, `"udp"`, `"icmpv6"` or a number.
    pub protocol: Option<Spanned<NameOrNumber>>,
    /// Source network, as `"192.0.2.0/24"`.
    pub src: Option<Name>,
    /// Destination network.
    pub dst: Option<Name>,
    /// Source port, `53`, or an inclusive range, `"1024-2047"`.
    pub sport: Option<Spanned<NameOrNumber>>,
    /// Destination port or range.
    pub dport: Option<Spanned<NameOrNumber>>,
}

/// A value that has names for some numbers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a name or a number")]
pub enum NameOrNumber {
    /// The number.
    Number(u32),
    /// The name.
    Name(String),
}

table! {
    /// `{ mac-swap = true }`: exchanges source and destination address.
    MacSwapTable {
        /// Must be true.
        mac_swap: Spanned<bool>,
    }
}

table! {
    /// `{ echo = "ADDRESS" }`: answers ARP and ICMP echo for an address, and lets everything else through.
    EchoTable {
        /// The IPv4 address it answers for.
        echo: Name,
        /// The Ethernet address it answers with; absent: that of the pipeline's receiving port.
        #[serde(default)]
        mac: Option<Name>,
        /// Packets that are none of its business.
        #[serde(default = "otherwise_pass")]
        others: Otherwise,
    }
}
fn otherwise_pass() -> Otherwise {
    Otherwise::Pass
}

table! {
    /// `{ count = NAME }`: counts packets and bytes under a name of its own.
    CountTable {
        /// The name in the statistics.
        count: Name,
    }
}

table! {
    /// `{ drop = true }`: the end of all packets that come here.
    DropTable {
        /// Must be true.
        drop: Spanned<bool>,
    }
}

table! {
    /// `{ stall = MS }`: holds the worker up, for tests of what is behind it.
    StallTable {
        /// How long each time, in milliseconds.
        stall: Spanned<u32>,
        /// From the first packet to the first time.
        #[serde(default = "default_after_ms")]
        after_ms: u32,
        /// From one time to the next; 0: once only.
        #[serde(default)]
        every_ms: Option<Spanned<u32>>,
    }
}
fn default_after_ms() -> u32 {
    1000
}

table! {
    /// `{ tee = PORT }`: sends a copy to a port (a pcap file, say) and goes on.
    TeeTable {
        /// The port.
        tee: Name,
        /// Its transmit queue.
        #[serde(default)]
        queue: u16,
    }
}

table! {
    /// `{ handoff = PIPELINE }`: gives packets to another pipeline, maybe on another core. Last in a pipeline.
    HandoffTable {
        /// The pipeline, whose first stage is a `merge`.
        handoff: Name,
        /// Packets the ring between them holds.
        #[serde(default = "default_slots")]
        slots: Spanned<usize>,
        /// When it is full.
        #[serde(default)]
        full: Full,
    }
}
fn default_slots() -> Spanned<usize> {
    Spanned::new(0..0, 512)
}

table! {
    /// `{ fanout = [PIPELINE, …] }`: as `handoff`, to one of several by flow: both directions of a flow go to the same.
    FanoutTable {
        /// The pipelines.
        fanout: Spanned<Vec<Name>>,
        /// Packets each ring holds.
        #[serde(default = "default_slots")]
        slots: Spanned<usize>,
        /// When one is full.
        #[serde(default)]
        full: Full,
    }
}

table! {
    /// `{ merge = true }`: packets come in from all pipelines that name this one. First in a pipeline.
    MergeTable {
        /// Must be true.
        merge: Spanned<bool>,
        /// The most packets taken at once, 1 to 64.
        #[serde(default = "default_burst")]
        burst: Spanned<usize>,
    }
}
