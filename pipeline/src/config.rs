//! TOML to typed configuration, and nothing else: names are not resolved and the machine is not asked.
//!
//! Every table refuses unknown keys, and every error says where.

use std::ops::Range;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use warpdrive_mempool::{DmaMode, PageChoice, PageSize};
use warpdrive_pmd::engine::rsa::{RsaOp, RsaScheme};
use warpdrive_pmd::engine::zip::{ZipFormat, ZipOp};
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::port::{self, PortConfig};

use crate::diag::toml::{from_syntax, from_toml};
use crate::diag::{ConfigError, Diagnostic, known_names};

/// A name as it was written, with its place.
pub type Name = Spanned<String>;

/// A whole configuration file.
#[derive(Debug)]
pub struct Config {
    /// The file's name, for messages.
    pub file: String,
    /// The file's text, for messages.
    pub text: String,
    /// The `[eal]` table.
    pub eal: Eal,
    /// The `[mempool.*]` tables, in order.
    pub mempools: Vec<Named<MempoolTable>>,
    /// The `[port.*]` tables, in order.
    pub ports: Vec<Named<PortTable>>,
    /// The `[device.*]` tables, in order.
    pub devices: Vec<Named<DeviceTable>>,
    /// The `[[pipeline]]` tables, in order.
    pub pipelines: Vec<PipelineTable>,
}

/// A table with its name.
#[derive(Debug)]
pub struct Named<T> {
    /// The name, and where it is.
    pub name: Name,
    /// What it says.
    pub value: T,
}

/// `[eal]`: what concerns the whole process (DPDK's name for it).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Eal {
    /// Cores to use, as `"0-1"`; a command-line option overrides it. Absent: all the process may use.
    pub cores: Option<Name>,
    /// Page size of the pools.
    pub pages: Pages,
    /// How devices address memory.
    pub dma: Dma,
    /// What must be got, or the program does not start.
    pub require: Vec<Spanned<Require>>,
    /// What worker cores do when there is nothing to do.
    pub idle: IdlePolicy,
    /// Whether stages and pipelines keep latency histograms.
    pub latency: bool,
    /// How long requests and packets in flight may take when the program stops, in milliseconds.
    pub drain_ms: u64,
}

impl Default for Eal {
    fn default() -> Self {
        Self {
            cores: None,
            pages: Pages::Auto,
            dma: Dma::Sva,
            require: Vec::new(),
            idle: IdlePolicy::default(),
            latency: true,
            drain_ms: 5_000,
        }
    }
}

/// A page size, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Pages {
    /// The best there are.
    #[serde(rename = "auto")]
    Auto,
    /// 4 KiB.
    #[serde(rename = "4K")]
    K4,
    /// 2 MiB.
    #[serde(rename = "2M")]
    M2,
    /// 1 GiB.
    #[serde(rename = "1G")]
    G1,
}

impl From<Pages> for PageChoice {
    fn from(p: Pages) -> Self {
        match p {
            Pages::Auto => Self::Auto,
            Pages::K4 => Self::Exactly(PageSize::Size4K),
            Pages::M2 => Self::Exactly(PageSize::Size2M),
            Pages::G1 => Self::Exactly(PageSize::Size1G),
        }
    }
}

/// A DMA mode, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dma {
    /// Shared virtual addressing.
    Sva,
    /// One IOMMU domain.
    ShareDomain,
    /// Physical addresses.
    #[serde(rename = "noiommu")]
    NoIommu,
}

impl From<Dma> for DmaMode {
    fn from(d: Dma) -> Self {
        match d {
            Dma::Sva => Self::Sva,
            Dma::ShareDomain => Self::ShareDomain,
            Dma::NoIommu => Self::NoIommu,
        }
    }
}

/// Something the program can be told to insist on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Require {
    /// Every pool in pages of 2 MiB or more.
    Hugepages,
    /// Every pool in memory that cannot be swapped.
    Locked,
    /// Every port moves packets without a copy.
    ZeroCopy,
    /// Every port is driven without system calls.
    NoSyscalls,
    /// Every device is hardware.
    Hardware,
    /// Every engine with `core = "auto"` gets a core of its own.
    EngineCores,
}

/// `[mempool.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MempoolTable {
    /// Number of buffers.
    pub buffers: Spanned<usize>,
    /// Bytes of each.
    pub size: Spanned<usize>,
    /// Bytes in front of a packet.
    pub headroom: Spanned<usize>,
    /// Page size, if not that of `[eal]`.
    pub pages: Option<Pages>,
    /// NUMA node.
    pub numa_node: Option<u32>,
}

impl Default for MempoolTable {
    fn default() -> Self {
        let number = |n| Spanned::new(0..0, n);
        Self {
            buffers: number(8192),
            size: number(2048),
            headroom: number(128),
            pages: None,
            numa_node: None,
        }
    }
}

/// `[port.NAME]`: the keys that all drivers share, and the driver's own.
#[derive(Debug)]
pub struct PortTable {
    /// Which pool received packets come from; absent: the first.
    pub mempool: Option<Name>,
    /// The driver's part.
    pub driver: PortConfig,
}

/// `[device.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceTable {
    /// Which driver.
    pub driver: Spanned<DeviceDriver>,
    /// Where the engine runs; absent: inline.
    pub core: Option<Spanned<EngineCoreChoice>>,
    /// What an engine core does when there is nothing to do; absent: as `[eal]` says.
    pub idle: Option<IdlePolicy>,
}

/// A device driver, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceDriver {
    /// RSA in software.
    SoftRsa,
    /// DEFLATE in software.
    SoftZip,
}

/// `core = 1` or `core = "auto"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a core number or \"auto\"")]
pub enum EngineCoreChoice {
    /// This lcore.
    Lcore(usize),
    /// A core that no pipeline uses if there is one, else inline.
    Word(AutoWord),
}

/// The word `"auto"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AutoWord {
    /// Chosen by the program.
    Auto,
}

/// `[[pipeline]]`.
#[derive(Debug)]
pub struct PipelineTable {
    /// For people, statistics and other pipelines.
    pub name: Name,
    /// The lcore it runs on; absent: chosen by the program.
    pub core: Option<Spanned<usize>>,
    /// What happens to a packet, in order.
    pub stages: Vec<Spanned<StageTable>>,
}

/// Names of the device drivers, for messages.
pub const DEVICE_DRIVERS: &[&str] = &["soft-rsa", "soft-zip"];

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
    Tee(TeeTable),
    Handoff(HandoffTable),
    Fanout(FanoutTable),
    Merge(MergeTable),
}

/// The keys that name a stage.
pub const STAGES: &[&str] = &[
    "rx", "tx", "rsa", "zip", "match", "mac-swap", "echo", "count", "drop", "tee", "handoff", "fanout",
    "merge",
];

/// What a stage looks like, for messages.
fn example(kind: &str) -> &'static str {
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
        /// A key file (PEM or DER), or `"demo:rsa2048"`.
        key: Name,
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
        /// 0 (stored) to 12 (smallest).
        #[serde(default = "default_level")]
        level: Spanned<u8>,
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

type Value<'a> = Spanned<DeValue<'a>>;

impl Config {
    /// Reads a configuration. `file` is its name for messages.
    ///
    /// # Errors
    /// [`ConfigError`] with every table that is wrong.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let mut reader = Reader::default();
        let mut config = Self {
            file: file.to_owned(),
            text: text.to_owned(),
            eal: Eal::default(),
            mempools: Vec::new(),
            ports: Vec::new(),
            devices: Vec::new(),
            pipelines: Vec::new(),
        };
        match DeTable::parse(text) {
            Ok(table) => reader.root(table, &mut config),
            Err(e) => reader.errors.push(from_syntax(&e, text)),
        }
        if reader.errors.is_empty() { Ok(config) } else { Err(config.error(reader.errors)) }
    }

    /// An error about this configuration.
    #[must_use]
    pub fn error(&self, diagnostics: Vec<Diagnostic>) -> ConfigError {
        ConfigError { file: self.file.clone(), text: self.text.clone(), diagnostics }
    }
}

/// Walks the parsed text and collects what is wrong with it.
#[derive(Default)]
struct Reader {
    errors: Vec<Diagnostic>,
}

const TOP: &[&str] = &["version", "eal", "mempool", "port", "device", "pipeline"];

impl Reader {
    fn root(&mut self, table: Spanned<DeTable<'_>>, config: &mut Config) {
        let mut version = None;
        for (key, value) in table.into_inner() {
            match key.get_ref().as_ref() {
                "version" => {
                    let span = value.span();
                    version = self.value::<u32>(value).map(|v| (v, span));
                }
                "eal" if !matches!(value.get_ref(), DeValue::Table(_)) => drop(self.table(value, "[eal]")),
                "eal" => {
                    config.eal = self.value_like(value, "[eal]").unwrap_or_default();
                }
                "mempool" => {
                    config.mempools = self.named(value, "mempool", |reader, value, _| reader.value(value))
                }
                "port" => config.ports = self.named(value, "port", Self::port),
                "device" => config.devices = self.named(value, "device", Self::device),
                "pipeline" => config.pipelines = self.pipelines(value),
                unknown => self.errors.push(
                    Diagnostic::new(key.span(), format!("unknown table or key {unknown:?}"))
                        .help(known_names(unknown, "at this level there are", TOP.iter().copied())),
                ),
            }
        }
        match version {
            Some((1, _)) => {}
            Some((other, span)) => self.errors.push(
                Diagnostic::new(span, format!("version {other} is not known"))
                    .help("this program reads version = 1"),
            ),
            None if self.errors.is_empty() => {
                self.errors.push(Diagnostic::new(0..0, "the version is missing").help("version = 1"));
            }
            None => {}
        }
    }

    fn value<T: DeserializeOwned>(&mut self, value: Value<'_>) -> Option<T> {
        let span = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(v) => Some(v),
            Err(e) => {
                self.errors.push(from_toml(&e, span));
                None
            }
        }
    }

    /// As [`value`](Self::value), with an example as help where there is no other.
    fn value_like<T: DeserializeOwned>(&mut self, value: Value<'_>, example: &str) -> Option<T> {
        let before = self.errors.len();
        let read = self.value(value);
        for d in &mut self.errors[before..] {
            d.help.get_or_insert_with(|| example.to_owned());
        }
        read
    }

    /// The tables of `[kind.NAME]`.
    fn named<T>(
        &mut self,
        value: Value<'_>,
        kind: &str,
        read: fn(&mut Self, Value<'_>, &str) -> Option<T>,
    ) -> Vec<Named<T>> {
        let example = format!("[{kind}.NAME]");
        let span = value.span();
        let DeValue::Table(table) = value.into_inner() else {
            self.errors.push(Diagnostic::new(span, "a table is expected here").help(example));
            return Vec::new();
        };
        table
            .into_iter()
            .filter_map(|(key, value)| {
                let name = Spanned::new(key.span(), key.get_ref().to_string());
                if name.get_ref().is_empty() {
                    self.errors
                        .push(Diagnostic::new(name.span(), "a name cannot be empty").help(example.clone()));
                    return None;
                }
                if !matches!(value.get_ref(), DeValue::Table(_)) {
                    let message = format!("{:?} is not a {kind}: a table is expected here", name.get_ref());
                    self.errors.push(Diagnostic::new(value.span(), message).help(example.clone()));
                    return None;
                }
                let value = read(self, value, name.get_ref())?;
                Some(Named { name, value })
            })
            .collect()
    }

    fn table<'a>(&mut self, value: Value<'a>, example: &str) -> Option<(Range<usize>, DeTable<'a>)> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some((span, table)),
            other => {
                let message = format!("a table is expected here, not a value of type {}", other.type_str());
                self.errors.push(Diagnostic::new(span, message).help(example));
                None
            }
        }
    }

    /// Takes a key out of a table.
    fn take<T: DeserializeOwned>(&mut self, table: &mut DeTable<'_>, key: &str) -> Option<T> {
        let value = table.remove(key)?;
        self.value(value)
    }

    /// Reads the `driver` of a port or device, which is looked at first because other keys depend on it.
    fn driver(
        &mut self,
        table: &mut DeTable<'_>,
        span: Range<usize>,
        (kind, name): (&str, &str),
        drivers: &[&str],
    ) -> Option<Name> {
        if !table.contains_key("driver") {
            self.errors.push(
                Diagnostic::new(span, format!("{kind} {name:?} has no driver"))
                    .help(format!("driver = one of {}", drivers.join(", "))),
            );
            return None;
        }
        let driver: Name = self.take(table, "driver")?;
        if !drivers.contains(&driver.get_ref().as_str()) {
            let message = format!("there is no {kind} driver {:?}", driver.get_ref());
            let help = known_names(driver.get_ref(), "drivers", drivers.iter().copied());
            self.errors.push(Diagnostic::new(driver.span(), message).help(help));
            return None;
        }
        Some(driver)
    }

    fn device(&mut self, value: Value<'_>, name: &str) -> Option<DeviceTable> {
        let (span, mut table) = self.table(value, "[device.NAME]")?;
        let driver = self.driver(&mut table, span.clone(), ("device", name), DEVICE_DRIVERS)?;
        let text = Spanned::new(driver.span(), std::borrow::Cow::Owned(driver.into_inner()));
        let driver = Spanned::new(text.span(), DeValue::String(text.into_inner()));
        table.insert(Spanned::new(span.clone(), "driver".into()), driver);
        self.value(Spanned::new(span, DeValue::Table(table)))
    }

    fn port(&mut self, value: Value<'_>, name: &str) -> Option<PortTable> {
        let (span, mut table) = self.table(value, "[port.NAME]")?;
        let mempool = self.take(&mut table, "mempool");
        let driver = self.driver(&mut table, span.clone(), ("port", name), port::DRIVERS)?;
        let rest = Spanned::new(span.clone(), DeValue::Table(table));
        match PortConfig::deserialize(driver.get_ref(), ValueDeserializer::from(rest)) {
            Some(Ok(config)) => Some(PortTable { mempool, driver: config }),
            Some(Err(e)) => {
                self.errors.push(from_toml(&e, span));
                None
            }
            None => None, // cannot be: it is one of the drivers
        }
    }

    fn pipelines(&mut self, value: Value<'_>) -> Vec<PipelineTable> {
        let span = value.span();
        let DeValue::Array(array) = value.into_inner() else {
            self.errors.push(
                Diagnostic::new(span, "pipelines are an array of tables")
                    .help("write [[pipeline]] with two brackets"),
            );
            return Vec::new();
        };
        array.into_iter().filter_map(|value| self.pipeline(value)).collect()
    }

    fn pipeline(&mut self, value: Value<'_>) -> Option<PipelineTable> {
        const KEYS: &[&str] = &["name", "core", "stages"];
        let (span, mut table) = self.table(value, "[[pipeline]]")?;
        let before = self.errors.len();
        let name: Option<Name> = self.take(&mut table, "name");
        let core = self.take(&mut table, "core");
        let stages = table.remove("stages");
        for (key, _) in &table {
            self.errors.push(
                Diagnostic::new(key.span(), format!("unknown key {:?} in a pipeline", key.get_ref()))
                    .help(known_names(key.get_ref(), "keys", KEYS.iter().copied())),
            );
        }
        if self.errors.len() > before {
            return None;
        }
        let Some(name) = name else {
            self.errors.push(Diagnostic::new(span, "the pipeline has no name").help("name = \"…\""));
            return None;
        };
        if name.get_ref().is_empty() {
            self.errors.push(Diagnostic::new(name.span(), "a name cannot be empty").help("name = \"…\""));
            return None;
        }
        let Some(stages) = stages else {
            self.errors.push(
                Diagnostic::new(span, format!("pipeline {:?} has no stages", name.get_ref()))
                    .help("stages = [ { rx = \"PORT\" }, { tx = \"PORT\" } ]"),
            );
            return None;
        };
        let span = stages.span();
        let DeValue::Array(array) = stages.into_inner() else {
            self.errors
                .push(Diagnostic::new(span, "stages are an array").help("stages = [ { rx = \"PORT\" }, … ]"));
            return None;
        };
        let stages = array.into_iter().filter_map(|stage| self.stage(stage)).collect();
        Some(PipelineTable { name, core, stages })
    }

    fn stage(&mut self, value: Value<'_>) -> Option<Spanned<StageTable>> {
        let (span, table) = self.table(value, "{ rx = \"PORT\" }, for example")?;
        let Some(kind) = STAGES.iter().find(|k| table.contains_key(**k)) else {
            let first = table.iter().next().map(|(k, _)| (k.span(), k.get_ref().to_string()));
            let d = match first {
                Some((at, key)) => Diagnostic::new(at, format!("{key:?} is not the name of a stage"))
                    .help(known_names(&key, "stages", STAGES.iter().copied())),
                None => {
                    Diagnostic::new(span, "an empty stage").help(format!("stages: {}", STAGES.join(", ")))
                }
            };
            self.errors.push(d);
            return None;
        };
        let value = Spanned::new(span.clone(), DeValue::Table(table));
        let like = example(kind);
        let stage = match *kind {
            "rx" => StageTable::Rx(self.value_like(value, like)?),
            "tx" => StageTable::Tx(self.value_like(value, like)?),
            "rsa" => StageTable::Rsa(self.value_like(value, like)?),
            "zip" => StageTable::Zip(self.value_like(value, like)?),
            "match" => StageTable::Match(self.value_like(value, like)?),
            "mac-swap" => StageTable::MacSwap(self.value_like(value, like)?),
            "echo" => StageTable::Echo(self.value_like(value, like)?),
            "count" => StageTable::Count(self.value_like(value, like)?),
            "drop" => StageTable::Drop(self.value_like(value, like)?),
            "tee" => StageTable::Tee(self.value_like(value, like)?),
            "handoff" => StageTable::Handoff(self.value_like(value, like)?),
            "fanout" => StageTable::Fanout(self.value_like(value, like)?),
            _ => StageTable::Merge(self.value_like(value, like)?),
        };
        Some(Spanned::new(span, stage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse("t.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn a_full_example_is_understood() {
        let text = r#"
            version = 1
            [eal]
            cores = "0-1"
            require = ["hugepages"]
            [mempool.pkt]
            buffers = 1024
            [port.a]
            driver = "null"
            size = 128
            [device.z]
            driver = "soft-zip"
            core = "auto"
            [[pipeline]]
            name = "p"
            core = 0
            stages = [ { rx = "a" }, { zip = "z", op = "compress", level = 6 }, { tx = "a" } ]
        "#;
        let c = Config::parse("t.toml", text).unwrap();
        assert_eq!(c.eal.require[0].get_ref(), &Require::Hugepages);
        assert_eq!(c.pipelines[0].stages.len(), 3);
        assert!(matches!(c.ports[0].value.driver, PortConfig::Null(ref n) if n.size == 128));
    }

    #[test]
    fn errors_point_at_the_word_and_suggest() {
        let e = error("version = 1\n[port.a]\ndriver = \"nul\"\n");
        assert!(e.contains("t.toml:3:10: error: there is no port driver \"nul\""), "{e}");
        assert!(e.contains("did you mean \"null\"?"), "{e}");
        let e = error("version = 1\n[port.a]\ndriver = \"null\"\nsiz = 64\n");
        assert!(e.contains("t.toml:4:1: error: unknown key \"siz\""), "{e}");
        assert!(e.contains("did you mean \"size\"?"), "{e}");
        let e = error("version = 1\n[[pipeline]]\nname = \"p\"\nstages = [ { rx = \"a\", brst = 3 } ]\n");
        assert!(e.contains("t.toml:4:24: error: unknown key \"brst\""), "{e}");
        let e = error("version = 1\n[[pipeline]]\nname = \"p\"\nstages = [ { rxx = \"a\" } ]\n");
        assert!(e.contains("did you mean \"rx\"?"), "{e}");
        let e = error("version = 1\n[mempool.m]\nbuffers = \"many\"\n");
        assert!(e.contains("t.toml:3:11: error: a whole number is expected here"), "{e}");
    }

    #[test]
    fn all_wrong_tables_are_reported_at_once() {
        let e = error("version = 1\n[prot.a]\n[mempool.m]\nbufers = 1\n[device.d]\ndriver = \"soft-rs\"\n");
        assert_eq!(e.matches("error:").count(), 3, "{e}");
    }
}
