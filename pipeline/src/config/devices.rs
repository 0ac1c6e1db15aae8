//! The devices' tables: which keys each driver has and what those left out mean.

use serde::Deserialize;
use toml::Spanned;
use warpdrive_pmd::engine::rsa::{Passes, Simd};
use warpdrive_pmd::idle::IdlePolicy;

use super::Config;

/// Names of the device drivers, for messages.
pub const DEVICE_DRIVERS: &[&str] = &["soft-rsa", "soft-zip"];

/// Keys that `soft-rsa` has besides those of all drivers.
pub(super) const SOFT_RSA_KEYS: &[&str] = &["simd", "passes", "deadline_us", "blinding"];

/// `[device.NAME]`.
#[derive(Debug)]
pub struct DeviceTable {
    /// Which driver.
    pub driver: Spanned<DeviceDriver>,
    /// Where the engine runs; absent: inline.
    pub core: Option<Spanned<EngineCoreChoice>>,
    /// What an engine core does when there is nothing to do; absent: as `[eal]` says.
    pub idle: Option<IdlePolicy>,
    /// What `soft-rsa` has besides; of no account with another driver.
    pub rsa: RsaEngineKeys,
}

impl Config {
    /// Makes every `soft-rsa` device compute with `simd`, whatever is written.
    pub fn force_simd(&mut self, simd: Simd) {
        for DeviceTable { driver, rsa, .. } in self.devices.iter_mut().map(|d| &mut d.value) {
            if *driver.get_ref() == DeviceDriver::SoftRsa {
                rsa.simd = Some(Spanned::new(driver.span(), simd));
            }
        }
    }
}

/// How an RSA engine is to work.
#[derive(Debug, Default)]
pub struct RsaEngineKeys {
    /// Which code computes private operations.
    pub simd: Option<Spanned<Simd>>,
    /// How many are done together.
    pub passes: Option<Spanned<Passes>>,
    /// How long the oldest request may wait for eight to come together, in microseconds; absent: not at all.
    pub deadline_us: Option<Spanned<u64>>,
    /// Whether inputs of passes are blinded.
    pub blinding: bool,
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

/// `[device.NAME]` with `driver = "soft-rsa"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SoftRsaTable {
    driver: Spanned<DeviceDriver>,
    core: Option<Spanned<EngineCoreChoice>>,
    idle: Option<IdlePolicy>,
    simd: Option<Spanned<Simd>>,
    passes: Option<Spanned<Passes>>,
    deadline_us: Option<Spanned<u64>>,
    #[serde(default)]
    blinding: bool,
}

impl From<SoftRsaTable> for DeviceTable {
    fn from(t: SoftRsaTable) -> Self {
        let SoftRsaTable { driver, core, idle, simd, passes, deadline_us, blinding } = t;
        Self { driver, core, idle, rsa: RsaEngineKeys { simd, passes, deadline_us, blinding } }
    }
}

/// `[device.NAME]` with `driver = "soft-zip"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SoftZipTable {
    driver: Spanned<DeviceDriver>,
    core: Option<Spanned<EngineCoreChoice>>,
    idle: Option<IdlePolicy>,
}

impl From<SoftZipTable> for DeviceTable {
    fn from(t: SoftZipTable) -> Self {
        Self { driver: t.driver, core: t.core, idle: t.idle, rsa: RsaEngineKeys::default() }
    }
}
