//! `[serve]`: a file of a server, which offers engines to other programs. Which keys it has, and what those left out mean.

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use warpdrive_pmd::engine::rsa::{Passes, Simd};
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::uacce::serve::{Function, Inputs};

use super::errors::from_syntax;
use super::reader::{Reader, Value};
use super::{Dma, Name, Named, Number, RsaEngineKeys};
use crate::diag::{ConfigError, Diagnostic, known_names};

/// Tables of a server's file.
const TOP: &[&str] = &["version", "serve"];
/// What a file for `warpdrive run` has besides.
const OF_RUN: &[&str] = &["eal", "mempool", "port", "device", "pipeline", "proxy"];
/// The least that a device needs.
const DEVICE_EXAMPLE: &str = "[serve.device.hisi_zip-0] function = \"zip\"";

/// A whole file of a server.
#[derive(Debug)]
pub struct ServeConfig {
    /// The file's name, for messages.
    pub file: String,
    /// The file's text, for messages.
    pub text: String,
    /// The `[serve]` table.
    pub serve: ServeTable,
    /// The `[serve.device.*]` tables, in order.
    pub devices: Vec<Named<ServedTable>>,
}

/// `[serve]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeTable {
    /// The folder in which devices appear; absent: the usual one.
    pub expose: Option<Name>,
    /// The lcores that poll queues and compute, a thread on each; absent: the last there is.
    pub cores: Option<Spanned<Vec<Spanned<usize>>>>,
    /// What they do when there is nothing to do.
    pub idle: IdlePolicy,
    /// How many requests of one process each core works on at once.
    pub in_flight: Option<Number>,
    simd: Option<Spanned<Simd>>,
    passes: Option<Spanned<Passes>>,
    deadline_us: Option<Spanned<u64>>,
    blinding: bool,
    /// Read apart; here so that its name is known where keys are suggested.
    #[serde(rename = "device")]
    _device: Option<IgnoredAny>,
}

/// `[serve.device.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServedTable {
    /// What it does.
    pub function: Function,
    /// What it says it computes.
    pub algorithms: Option<Spanned<Vec<Name>>>,
    /// The version of its queues.
    pub api: Option<Number>,
    /// How addresses in requests are to be understood.
    pub mode: Option<Spanned<Dma>>,
    /// The lcore that serves it, one of the server's; absent: the first.
    pub core: Option<Spanned<usize>>,
    /// Entries of a queue.
    pub depth: Option<Number>,
    /// Queues at once.
    pub queues: Option<Number>,
    /// Queues of one process at once.
    pub queues_per_process: Option<Number>,
    /// Memory that is reserved with each queue.
    pub reserve: Option<Name>,
    /// What a queue of it counts against one of another device.
    pub priority: Option<Number>,
    /// The level of compression.
    pub level: Option<Number>,
    /// Where engines read.
    #[serde(default)]
    pub inputs: Inputs,
    /// Who may open it, as bits of a file's mode.
    pub permissions: Option<Name>,
    /// Whose it is, a name or a number.
    pub user: Option<Name>,
    /// Of which group it is, a name or a number.
    pub group: Option<Name>,
    /// The node of memory that is next to it; -1: none.
    pub numa_node: Option<Spanned<i64>>,
}

impl ServeTable {
    /// How the RSA engines are to work.
    #[must_use]
    pub fn rsa(&self) -> RsaEngineKeys {
        RsaEngineKeys {
            simd: self.simd.clone(),
            passes: self.passes.clone(),
            deadline_us: self.deadline_us.clone(),
            blinding: self.blinding,
        }
    }

    /// Makes the RSA engines compute with `simd`, whatever is written.
    pub fn force_simd(&mut self, simd: Simd) {
        self.simd = Some(Spanned::new(0..0, simd));
    }
}

impl ServeConfig {
    /// Whether a text is of a server: whether it has a table `serve`.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        DeTable::parse(text).is_ok_and(|table| table.get_ref().contains_key("serve"))
    }

    /// Reads the file of a server. `file` is its name for messages.
    ///
    /// # Errors
    /// [`ConfigError`] with every table that is wrong.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let mut reader = Reader::default();
        let mut config = Self {
            file: file.to_owned(),
            text: text.to_owned(),
            serve: ServeTable::default(),
            devices: Vec::new(),
        };
        match DeTable::parse(text) {
            Ok(table) => reader.server(table.into_inner(), &mut config),
            Err(e) => reader.errors.push(from_syntax(&e, text)),
        }
        if reader.errors.is_empty() { Ok(config) } else { Err(config.error(reader.errors)) }
    }

    /// An error about this file.
    #[must_use]
    pub fn error(&self, diagnostics: Vec<Diagnostic>) -> ConfigError {
        ConfigError { file: self.file.clone(), text: self.text.clone(), diagnostics }
    }
}

impl Reader {
    fn server(&mut self, root: DeTable<'_>, config: &mut ServeConfig) {
        let mut version = None;
        if !root.contains_key("serve") {
            self.errors.push(
                Diagnostic::new(0..0, "there is no [serve] table, so this is no file for warpdrive serve")
                    .help(
                        "configs/serve.toml is one; files with pipelines and proxies are for warpdrive run",
                    ),
            );
            return;
        }
        for (key, value) in root {
            match key.get_ref().as_ref() {
                "version" => {
                    let span = value.span();
                    version = self.value::<u32>(value).map(|v| (v, span));
                }
                "serve" => self.serve(value, config),
                of_run if OF_RUN.contains(&of_run) => {
                    let message = format!("{of_run:?} has no place in a file with a [serve] table");
                    let help = match of_run {
                        "device" => "devices to be served are tables [serve.device.NAME]",
                        "eal" => "cores and idle are keys of [serve]",
                        _ => "what is to be run is a file of its own, for warpdrive run",
                    };
                    self.errors.push(Diagnostic::new(key.span(), message).help(help));
                }
                unknown => self.errors.push(
                    Diagnostic::new(key.span(), format!("unknown table or key {unknown:?}"))
                        .help(known_names(unknown, "at this level there are", TOP.iter().copied())),
                ),
            }
        }
        self.version(version);
    }

    fn serve(&mut self, value: Value<'_>, config: &mut ServeConfig) {
        let Some((span, mut table)) = self.table(value, "[serve]") else { return };
        if let Some(devices) = table.remove("device") {
            config.devices = self
                .named(devices, "serve.device", |reader, value, _| reader.value_like(value, DEVICE_EXAMPLE));
        }
        let rest = Spanned::new(span, DeValue::Table(table));
        config.serve = self.value_like(rest, "[serve]").unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        ServeConfig::parse("s.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn a_full_example_is_understood() {
        let text = r#"
            version = 1
            [serve]
            expose = "/tmp/here"
            cores = [0, 1]
            idle = "sleep"
            in_flight = 64
            passes = "largest"
            [serve.device.hisi_hpre-0]
            function = "hpre"
            permissions = "0600"
            [serve.device.hisi_zip-0]
            function = "zip"
            mode = "share-domain"
            inputs = "in-place"
            numa_node = -1
        "#;
        assert!(ServeConfig::is_one(text));
        let c = ServeConfig::parse("s.toml", text).unwrap();
        assert_eq!(c.serve.idle, IdlePolicy::Sleep);
        assert_eq!(*c.serve.rsa().passes.unwrap().get_ref(), Passes::Largest);
        let names: Vec<&str> = c.devices.iter().map(|d| d.name.get_ref().as_str()).collect();
        assert_eq!(names, ["hisi_hpre-0", "hisi_zip-0"]);
        let [hpre, zip] = &c.devices[..] else { panic!() };
        assert_eq!((hpre.value.function, zip.value.function), (Function::Hpre, Function::Zip));
        assert_eq!((hpre.value.inputs, zip.value.inputs), (Inputs::Copied, Inputs::InPlace));
        assert_eq!(zip.value.mode.as_ref().map(|m| *m.get_ref()), Some(Dma::ShareDomain));
    }

    #[test]
    fn files_are_told_apart() {
        assert!(ServeConfig::is_one("[serve.device.a]\nfunction = \"zip\""));
        assert!(ServeConfig::is_one("serve = 1"));
        assert!(!ServeConfig::is_one("[[pipeline]]\nname = \"p\""));
        assert!(
            !ServeConfig::is_one("[serve"),
            "what is wrong is told by whoever reads it as the other kind"
        );
        let e = error("version = 1\n[port.a]\ndriver = \"null\"\n");
        assert!(e.contains("s.toml:1:1: error: there is no [serve] table"), "{e}");
        let e = error("version = 1\n[serve]\n[[pipeline]]\nname = \"p\"\n");
        assert!(e.contains("s.toml:3:3: error: \"pipeline\" has no place"), "{e}");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let e = error(
            "version = 2\n[serv]\n[serve]\nexpos = \"/x\"\n[serve.device.a]\nfunction = \"zap\"\n[serve.device.b]\n",
        );
        for place in ["s.toml:1:11: ", "s.toml:2:2: ", "s.toml:4:1: ", "s.toml:6:12: ", "s.toml:7:1: "] {
            assert!(e.contains(place), "no {place:?} in {e}");
        }
        assert_eq!(e.matches("error:").count(), 5, "{e}");
    }
}
