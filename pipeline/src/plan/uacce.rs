//! Devices behind queue files: where they are looked for, and what for.

use std::ops::Range;
use std::path::Path;

use warpdrive_pmd::uacce::Roots;

use super::Placed;
use super::planner::Planner;
use crate::config::{DeviceDriver, DeviceTable, Name, Named};

/// What a device is to do. One behind queue files does one or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UacceDoes {
    /// RSA.
    Rsa,
    /// DEFLATE.
    Zip,
}

impl UacceDoes {
    /// By which a device for it is looked for.
    #[must_use]
    pub fn algorithm(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Zip => "deflate",
        }
    }

    /// A device for it does one of these.
    #[must_use]
    pub fn algorithms(self) -> &'static [&'static str] {
        match self {
            Self::Rsa => &["rsa"],
            Self::Zip => &["deflate", "zlib", "gzip"],
        }
    }

    /// For messages.
    #[must_use]
    pub fn name(self) -> &'static str {
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
    /// Where it is looked for.
    pub roots: Roots,
    /// What of it is written, with its place, for what turns out at start.
    pub placed: Placed,
    /// Where it is written how memory is addressed, if it is.
    pub dma: Option<Range<usize>>,
}

impl UaccePlan {
    /// What is looked for: the name of the device, or what it is to do.
    #[must_use]
    pub fn wanted(&self) -> &str {
        match (&self.device, self.does) {
            (Some(name), _) => name,
            // There is one or the other, as was checked.
            (None, does) => does.map_or("", UacceDoes::algorithm),
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
        let path = |name: &Option<Name>| name.as_ref().map(|name| name.get_ref().into());
        let usual = Roots::default();
        let roots = match &keys.expose {
            Some(expose) => Roots::below(Path::new(expose.get_ref())),
            None => Roots {
                sysfs: path(&keys.sysfs).unwrap_or(usual.sysfs),
                dev: path(&keys.dev).unwrap_or(usual.dev),
            },
        };
        let index = self.config.devices.iter().position(|d| d.name.get_ref() == device.name.get_ref());
        let does = index.and_then(|index| self.uacce_does.get(&index).copied());
        if keys.device.is_none() && does.is_none() && self.errors.is_empty() {
            let name = device.name.get_ref();
            let message = format!("device {name:?} has no name to look for, and nothing uses it");
            self.error(device.name.span(), message, "device = \"hisi_zip-0\", or a stage that names it");
        }
        UaccePlan {
            device: keys.device.as_ref().map(|name| name.get_ref().clone()),
            does,
            roots,
            placed: Placed::from(keys.device.as_ref().or(keys.expose.as_ref()).unwrap_or(&device.name)),
            dma: Some(self.config.eal.dma.span()).filter(|span| !span.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::cores;
    use crate::plan::{EnginePlan, Plan};

    fn uacce(device: &str, stage: &str) -> Result<UaccePlan, String> {
        let text = format!(
            "version = 1\n[port.a]\ndriver = \"null\"\n[device.u]\ndriver = \"uacce\"\n{device}\n\
             [[pipeline]]\nname = \"p\"\nstages = [ {{ rx = \"a\" }}, {stage} {{ tx = \"a\" }} ]\n"
        );
        let config = Config::parse("t.toml", &text).map_err(|e| e.to_string())?;
        let plan = Plan::new(&config, &cores::parse_list("0").unwrap()).map_err(|e| e.to_string())?;
        match &plan.devices[0].engine {
            EnginePlan::Uacce(uacce) => Ok(uacce.clone()),
            other => panic!("{other:?}"),
        }
    }

    const SIGN: &str = "{ rsa = \"u\", op = \"sign\", scheme = \"pss-sha256\", key = \"demo:rsa2048\" },";
    const COMPRESS: &str = "{ zip = \"u\", op = \"compress\" },";

    #[test]
    fn what_is_looked_for_is_a_name_or_what_stages_ask_for() {
        let wanted = |device: &str, stage: &str| uacce(device, stage).unwrap().wanted().to_owned();
        assert_eq!(wanted("", SIGN), "rsa");
        assert_eq!(wanted("", COMPRESS), "deflate");
        assert_eq!(wanted("device = \"hisi_zip-3\"", COMPRESS), "hisi_zip-3");
        assert_eq!(uacce("device = \"hisi_zip-3\"", "").unwrap().does, None);
        let e = uacce("", "").unwrap_err();
        assert!(e.contains("t.toml:4:9: error: device \"u\" has no name to look for"), "{e}");
    }

    #[test]
    fn it_is_looked_for_where_the_keys_say() {
        let roots = |device: &str| uacce(device, COMPRESS).unwrap().roots;
        assert_eq!(roots(""), Roots::default());
        let of = |sysfs: &str, dev: &str| Roots { sysfs: sysfs.into(), dev: dev.into() };
        assert_eq!(roots("expose = \"/x\""), of("/x/class/uacce", "/x/dev"));
        assert_eq!(roots("sysfs = \"/s\""), of("/s", "/dev"));
        assert_eq!(roots("dev = \"/d\""), of("/sys/class/uacce", "/d"));
    }
}
