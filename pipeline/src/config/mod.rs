//! TOML to typed configuration, and nothing else: names are not resolved and the machine is not asked.
//!
//! Every table refuses unknown keys, and every error says where.

mod check;
mod devices;
mod errors;
mod proxy;
mod reader;
mod serve;
mod stages;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;
use warpdrive_mempool::{DmaMode, PageChoice, PageSize};
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::port::PortConfig;

use self::errors::from_syntax;
use crate::diag::{ConfigError, Diagnostic};

pub use check::{CheckTable, Statuses};
pub use devices::{
    AutoWord, DEVICE_DRIVERS, DeviceDriver, DeviceTable, EngineCoreChoice, RsaEngineKeys, UacceKeys,
};
pub use proxy::{
    Balance, CompressTable, LimitsTable, LogTable, Number, ProxyCertificate, ProxyTable, RouteTable,
    TimeoutsTable, TlsTable, TlsVersion, Transport, UnknownName, UpstreamTable,
};
use reader::Reader;
pub use serve::{ServeConfig, ServeTable, ServedTable};
pub use stages::{
    Conditions, CountTable, DropTable, EchoTable, FanoutTable, Full, HandoffTable, MacSwapTable, MatchTable,
    MergeTable, NameOrNumber, Otherwise, RsaTable, RxTable, STAGES, StageTable, StallTable, TeeTable,
    TxTable, ZipTable,
};

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
    /// The `[[proxy]]` tables, in order.
    pub proxies: Vec<ProxyTable>,
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
    pub dma: Spanned<Dma>,
    /// What must be got, or the program does not start.
    pub require: Vec<Spanned<Require>>,
    /// What worker cores do when there is nothing to do.
    pub idle: IdlePolicy,
    /// Whether stages and pipelines keep latency histograms.
    pub latency: bool,
    /// How long requests and packets in flight may take when the program stops, in milliseconds.
    pub drain_ms: u64,
    /// What happens when a worker calls the kernel while it moves packets.
    pub strict: Spanned<Strict>,
    /// System calls that are no breach of `strict`, by name.
    pub strict_allow: Vec<Name>,
}

impl Default for Eal {
    fn default() -> Self {
        Self {
            cores: None,
            pages: Pages::Auto,
            dma: Spanned::new(0..0, Dma::Sva),
            require: Vec::new(),
            idle: IdlePolicy::default(),
            latency: true,
            drain_ms: 5_000,
            strict: Spanned::new(0..0, Strict::Off),
            strict_allow: Vec::new(),
        }
    }
}

/// What happens when a worker, or the thread of an engine core, makes a system call in its steady state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strict {
    /// Nothing; nobody looks.
    #[default]
    Off,
    /// It is counted, and the first of each kind is logged.
    Log,
    /// The program ends, before the call is executed.
    Kill,
}

impl Strict {
    /// The name in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Log => "log",
            Self::Kill => "kill",
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
            proxies: Vec::new(),
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
