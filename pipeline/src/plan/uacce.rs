//! Devices behind queue files: where they are looked for, and what for.

use std::ops::Range;
use std::path::{Path, PathBuf};

use warpdrive_pmd::uacce::abi::{DEV, SYSFS};

use super::planner::Planner;
use super::{Placed, Plan};
use crate::config::{DeviceDriver, DeviceTable, Name, Named};
use crate::diag::{ConfigError, Diagnostic};

/// What a device is to do. One behind queue files does one or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UacceDoes {
    /// RSA.
    Rsa,
    /// DEFLATE.
    Zip,
}

impl UacceDoes {
    /// As devices call it.
    #[must_use]
    pub fn algorithm(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Zip => "deflate",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Zip => "ZIP",
        }
    }
}

/// Which device, and where it is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UaccePlan {
    /// Its name; absent: the nearest that does what it is to do.
    pub device: Option<String>,
    /// What it is to do; absent: nobody asks for anything.
    pub does: Option<UacceDoes>,
    /// Where devices have their attributes.
    pub sysfs: PathBuf,
    /// Where queue files are.
    pub dev: PathBuf,
    /// What of it is written, with its place, for what turns out at start.
    pub placed: Placed,
    /// Where it is written how memory is addressed, if it is.
    pub dma: Option<Range<usize>>,
}

impl UaccePlan {
    /// The name of the device, or what makes it one of those that will do.
    #[must_use]
    pub fn wanted(&self) -> String {
        match (&self.device, self.does) {
            (Some(name), _) => name.clone(),
            (None, does) => {
                format!("the nearest that does {}", does.map_or("anything", UacceDoes::algorithm))
            }
        }
    }
}

impl Planner<'_> {
    /// Notes what a device is named for. One and the same cannot do both.
    pub(super) fn uacce_for(&mut self, index: usize, name: &Name, wanted: DeviceDriver) -> bool {
        let does = if wanted == DeviceDriver::SoftRsa { UacceDoes::Rsa } else { UacceDoes::Zip };
        let first = *self.uacce_does.entry(index).or_insert(does);
        if first != does {
            let message = format!(
                "device {:?} does {} already, and {} is needed here",
                name.get_ref(),
                first.name(),
                does.name()
            );
            self.error(name.span(), message, "another [device.NAME] with driver = \"uacce\"");
        }
        first == does
    }

    pub(super) fn uacce(&mut self, device: &Named<DeviceTable>) -> UaccePlan {
        let keys = &device.value.uacce;
        let all =
            [("device", &keys.device), ("sysfs", &keys.sysfs), ("dev", &keys.dev), ("expose", &keys.expose)];
        for (key, name) in all.iter().filter_map(|(key, name)| Some((key, name.as_ref()?))) {
            if name.get_ref().is_empty() {
                let help = if *key == "device" { "device = \"hisi_zip-0\"" } else { "the path of a folder" };
                self.error(name.span(), format!("{key} cannot be empty"), help);
            } else if *key == "device" && name.get_ref().contains('/') {
                let message = format!("{:?} is not the name of a device", name.get_ref());
                self.error(
                    name.span(),
                    message,
                    "a name such as \"hisi_zip-0\"; folders are sysfs and dev, or expose",
                );
            } else if keys.expose.is_some() && matches!(*key, "sysfs" | "dev") {
                let message = format!("{key} beside expose, which says already where that is");
                self.error(name.span(), message, format!("leave {key} out, or leave expose out"));
            }
        }
        let path = |name: &Option<Name>, usual: &str| {
            PathBuf::from(name.as_ref().map_or(usual, |name| name.get_ref().as_str()))
        };
        let (sysfs, dev) = match &keys.expose {
            Some(expose) => {
                let expose = Path::new(expose.get_ref());
                (expose.join("class/uacce"), expose.join("dev"))
            }
            None => (path(&keys.sysfs, SYSFS), path(&keys.dev, DEV)),
        };
        let index = self.config.devices.iter().position(|d| d.name.get_ref() == device.name.get_ref());
        UaccePlan {
            device: keys.device.as_ref().map(|name| name.get_ref().clone()),
            does: index.and_then(|index| self.uacce_does.get(&index).copied()),
            sysfs,
            dev,
            placed: Placed::from(keys.device.as_ref().or(keys.expose.as_ref()).unwrap_or(&device.name)),
            dma: Some(self.config.eal.dma.span()).filter(|span| !span.is_empty()),
        }
    }
}

impl Plan {
    /// An error about a device behind queue files that turned out at start, at its place.
    #[must_use]
    pub fn uacce_error(&self, uacce: &UaccePlan, message: &str) -> ConfigError {
        self.error(Diagnostic::of_error(uacce.placed.span.clone(), message))
    }
}
