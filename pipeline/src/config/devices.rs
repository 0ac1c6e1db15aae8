//! The devices' tables: which keys each driver has and what those left out mean.

use serde::Deserialize;
use toml::Spanned;
use warpdrive_pmd::engine::rsa::{Passes, Simd};
use warpdrive_pmd::idle::IdlePolicy;

use super::{Config, Name};

/// Names of the device drivers, for messages.
pub const DEVICE_DRIVERS: &[&str] = &["soft-rsa", "soft-zip", "uacce"];

/// Keys that `soft-rsa` has besides those of all drivers.
pub(super) const SOFT_RSA_KEYS: &[&str] = &["simd", "passes", "deadline_us", "blinding"];

/// Keys of drivers whose engine is in this process.
pub(super) const ENGINE_KEYS: &[&str] = &["core", "idle"];

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
    /// What `uacce` has; of no account with another driver.
    pub uacce: UacceKeys,
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

/// Which device of another process or of the kernel, and where it is looked for.
#[derive(Debug, Default)]
pub struct UacceKeys {
    /// Its name; absent: the nearest that can do what is asked of it.
    pub device: Option<Name>,
    /// The folder where devices have their attributes; absent: that of the kernel.
    pub sysfs: Option<Name>,
    /// The folder of the queue files; absent: `/dev`.
    pub dev: Option<Name>,
    /// The folder where a server presents its devices: in place of the other two.
    pub expose: Option<Name>,
}

/// A device driver, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceDriver {
    /// RSA in software.
    SoftRsa,
    /// DEFLATE in software.
    SoftZip,
    /// A queue file: of the kernel's driver of an accelerator, or of `warpdrive serve`.
    Uacce,
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
        let rsa = RsaEngineKeys { simd, passes, deadline_us, blinding };
        Self { driver, core, idle, rsa, uacce: UacceKeys::default() }
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
        let (rsa, uacce) = (RsaEngineKeys::default(), UacceKeys::default());
        Self { driver: t.driver, core: t.core, idle: t.idle, rsa, uacce }
    }
}

/// `[device.NAME]` with `driver = "uacce"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UacceTable {
    driver: Spanned<DeviceDriver>,
    device: Option<Name>,
    sysfs: Option<Name>,
    dev: Option<Name>,
    expose: Option<Name>,
}

impl From<UacceTable> for DeviceTable {
    fn from(t: UacceTable) -> Self {
        let UacceTable { driver, device, sysfs, dev, expose } = t;
        let uacce = UacceKeys { device, sysfs, dev, expose };
        Self { driver, core: None, idle: None, rsa: RsaEngineKeys::default(), uacce }
    }
}
