//! Walks the parsed TOML by hand where serde would stop at the first mistake or lose its place.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use warpdrive_pmd::port::{self, PortConfig};

use super::devices::{ENGINE_KEYS, SOFT_RSA_KEYS, SoftRsaTable, SoftZipTable, UacceTable};
use super::errors::from_toml;
use super::stages::example;
use super::{
    Config, DEVICE_DRIVERS, DeviceTable, Name, Named, PipelineTable, PortTable, ProxyTable, STAGES,
    StageTable,
};
use crate::diag::{Diagnostic, known_names};

pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// Walks the parsed text and collects what is wrong with it.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) errors: Vec<Diagnostic>,
}

const TOP: &[&str] = &["version", "eal", "mempool", "port", "device", "pipeline", "proxy", "serve"];

impl Reader {
    pub(super) fn root(&mut self, table: Spanned<DeTable<'_>>, config: &mut Config) {
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
                "proxy" => config.proxies = self.proxies(value),
                "serve" => self.errors.push(
                    Diagnostic::new(key.span(), "a file with a [serve] table is for warpdrive serve")
                        .help("warpdrive serve FILE; what is to be run is a file of its own"),
                ),
                unknown => self.errors.push(
                    Diagnostic::new(key.span(), format!("unknown table or key {unknown:?}"))
                        .help(known_names(unknown, "at this level there are", TOP.iter().copied())),
                ),
            }
        }
        self.version(version);
    }

    /// What was written as the version, and where.
    pub(super) fn version(&mut self, version: Option<(u32, Range<usize>)>) {
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

    pub(super) fn value<T: DeserializeOwned>(&mut self, value: Value<'_>) -> Option<T> {
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
    pub(super) fn value_like<T: DeserializeOwned>(&mut self, value: Value<'_>, example: &str) -> Option<T> {
        let before = self.errors.len();
        let read = self.value(value);
        for d in &mut self.errors[before..] {
            d.help.get_or_insert_with(|| example.to_owned());
        }
        read
    }

    /// The tables of `[kind.NAME]`.
    pub(super) fn named<T>(
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

    pub(super) fn table<'a>(
        &mut self,
        value: Value<'a>,
        example: &str,
    ) -> Option<(Range<usize>, DeTable<'a>)> {
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
        let kind = driver.get_ref().clone();
        match kind.as_str() {
            "soft-rsa" => {}
            "uacce" => self.keys_of_engines(&mut table),
            _ => self.keys_of_rsa(&mut table, &kind),
        }
        let text = Spanned::new(driver.span(), std::borrow::Cow::Owned(driver.into_inner()));
        let driver = Spanned::new(text.span(), DeValue::String(text.into_inner()));
        table.insert(Spanned::new(span.clone(), "driver".into()), driver);
        let rest = Spanned::new(span, DeValue::Table(table));
        match kind.as_str() {
            "soft-rsa" => self.value::<SoftRsaTable>(rest).map(DeviceTable::from),
            "uacce" => self.value::<UacceTable>(rest).map(DeviceTable::from),
            _ => self.value::<SoftZipTable>(rest).map(DeviceTable::from),
        }
    }

    /// Takes out keys that belong to a device of another driver, and says whose they are.
    fn keys_of_rsa(&mut self, table: &mut DeTable<'_>, driver: &str) {
        for key in SOFT_RSA_KEYS {
            let Some((written, _)) = table.remove_entry(*key) else { continue };
            let message = format!("{key:?} is a key of soft-rsa devices, and this one is {driver}");
            let help = "leave it out, or move it to the soft-rsa device";
            self.errors.push(Diagnostic::new(written.span(), message).help(help));
        }
    }

    /// Takes out keys that are about an engine of this process, of a device whose engine is elsewhere.
    fn keys_of_engines(&mut self, table: &mut DeTable<'_>) {
        for key in ENGINE_KEYS.iter().chain(SOFT_RSA_KEYS) {
            let Some((written, _)) = table.remove_entry(*key) else { continue };
            let message = format!("{key:?} is a key of engines in this process, and this device is uacce");
            let help =
                "leave it out; for a device of warpdrive serve, say it in [serve] of the server's file";
            self.errors.push(Diagnostic::new(written.span(), message).help(help));
        }
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
        let tables = self.tables(value, "pipeline");
        tables.into_iter().filter_map(|value| self.pipeline(value)).collect()
    }

    fn proxies(&mut self, value: Value<'_>) -> Vec<ProxyTable> {
        let tables = self.tables(value, "proxy");
        tables.into_iter().filter_map(|value| self.value_like(value, "[[proxy]]")).collect()
    }

    /// The tables of `[[kind]]`.
    fn tables<'a>(&mut self, value: Value<'a>, kind: &str) -> Vec<Value<'a>> {
        let span = value.span();
        let DeValue::Array(array) = value.into_inner() else {
            let help = format!("write [[{kind}]] with two brackets");
            self.errors.push(Diagnostic::new(span, format!("{kind} is an array of tables")).help(help));
            return Vec::new();
        };
        array.into_iter().collect()
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
            "stall" => StageTable::Stall(self.value_like(value, like)?),
            "tee" => StageTable::Tee(self.value_like(value, like)?),
            "handoff" => StageTable::Handoff(self.value_like(value, like)?),
            "fanout" => StageTable::Fanout(self.value_like(value, like)?),
            _ => StageTable::Merge(self.value_like(value, like)?),
        };
        Some(Spanned::new(span, stage))
    }
}
