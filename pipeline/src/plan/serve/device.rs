//! A device that is served: its queues, its memory, and what programs expect of its name.

use std::ops::Range;

use warpdrive_mempool::DmaMode;
use warpdrive_pmd::engine::zip::MAX_LEVEL;
use warpdrive_pmd::uacce::serve::{DeviceConfig, Function};

use super::ServePlanner;
use crate::config::{Name, Named, ServedTable};
use crate::diag::{Diagnostic, known_names};

/// Queues have numbers of ten bits, and 0 is nobody's.
const MOST_QUEUES: u64 = 1023;
/// The deepest queues that Kunpeng devices have.
const DEEPEST: u64 = 4096;
/// The longest name that UADK takes.
const LONGEST_NAME: usize = 63;
/// The most memory that a queue may reserve.
const MOST_RESERVED: usize = 1 << 30;
/// What memory is given out in.
const PAGE: usize = 4096;

impl ServePlanner<'_> {
    pub(super) fn device(&mut self, device: &Named<ServedTable>) -> DeviceConfig {
        let (name, table) = (&device.name, &device.value);
        self.name(name, table.function);
        let usual = DeviceConfig::new(name.get_ref(), table.function);
        let version = self.number("api", table.api.as_ref(), usual.version.into(), 1..=3) as u32;
        // The doorbell of later versions lies in the first entry: with two, it is never in the way of the other.
        let usual_depth = if version == 1 { usual.depth } else { 2 };
        let depth = self.number("depth", table.depth.as_ref(), usual_depth.into(), 2..=DEEPEST) as u16;
        let queues = self.number("queues", table.queues.as_ref(), usual.queues.into(), 1..=MOST_QUEUES);
        let each = u64::from(usual.queues_per_process).min(queues);
        let each = self.number("queues_per_process", table.queues_per_process.as_ref(), each, 1..=queues);
        let config = DeviceConfig {
            version,
            algorithms: self.algorithms(table, &usual),
            mode: table.mode.as_ref().map_or(usual.mode, |mode| (*mode.get_ref()).into()),
            core: self.core(table),
            depth,
            queues: queues as u32,
            queues_per_process: each as u32,
            reserve: table.reserve.as_ref().map_or(0, |reserve| self.bytes(reserve)),
            priority: self.number("priority", table.priority.as_ref(), usual.priority.into(), 1..=8) as u32,
            level: self.level(table, usual.level),
            inputs: table.inputs,
            permissions: self.permissions(table, usual.permissions),
            numa_node: self.node(table, usual.numa_node),
            ..usual
        };
        self.queue(device, &config);
        self.programs(&config);
        config
    }

    /// A name that can be that of a file, and that programs take.
    fn name(&mut self, name: &Name, function: Function) {
        let written = name.get_ref();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let help =
            format!("letters, digits, _, - and ., up to {LONGEST_NAME}: \"hisi_{}-0\"", word(function));
        if !written.chars().all(is_plain) || written.starts_with('.') || written.len() > LONGEST_NAME {
            self.error(name.span(), format!("{written:?} cannot be the name of a device"), help);
            return;
        }
        let family = format!("hisi_{}-", word(function));
        let number = written.strip_prefix(&family).filter(|rest| rest.parse::<u16>().is_ok());
        if number.is_none() {
            self.notes.push(format!(
                "device {written:?}: UADK knows what does {} by names such as {family}0 only",
                word(function)
            ));
        }
    }

    fn algorithms(&mut self, table: &ServedTable, usual: &DeviceConfig) -> Vec<String> {
        let Some(list) = &table.algorithms else { return usual.algorithms.clone() };
        let known: &[&str] = match table.function {
            Function::Hpre => &["rsa"],
            Function::Zip => &["deflate", "zlib", "gzip"],
        };
        if list.get_ref().is_empty() {
            self.error(
                list.span(),
                "a device that computes nothing",
                known_names("", "algorithms", known.iter().copied()),
            );
        }
        let mut names: Vec<String> = Vec::new();
        for name in list.get_ref() {
            let written = name.get_ref();
            if !known.contains(&written.as_str()) {
                let help = known_names(written, "algorithms", known.iter().copied());
                let message = format!("{written:?} is not what {} does here", word(table.function));
                self.error(name.span(), message, help);
            } else if names.contains(written) {
                self.error(name.span(), format!("{written:?} twice"), "each algorithm once");
            }
            names.push(written.clone());
        }
        names
    }

    /// The place of its core among those of the server.
    fn core(&mut self, table: &ServedTable) -> usize {
        let Some(core) = &table.core else { return 0 };
        let place = self.cores.iter().position(|(lcore, _)| lcore == core.get_ref());
        if place.is_none() {
            let cores: Vec<String> = self.cores.iter().map(|(lcore, _)| lcore.to_string()).collect();
            let message = format!("core {} is not one of the server's", core.get_ref());
            self.error(core.span(), message, format!("cores: {}, as serve.cores says", cores.join(", ")));
        }
        place.unwrap_or(0)
    }

    fn level(&mut self, table: &ServedTable, usual: u8) -> u8 {
        if let (Function::Hpre, Some(level)) = (table.function, &table.level) {
            let message = "\"level\" is a key of zip devices, and this one is hpre";
            self.error(level.span(), message, "leave it out, or move it to the zip device");
            return usual;
        }
        self.number("level", table.level.as_ref(), usual.into(), 0..=MAX_LEVEL.into()) as u8
    }

    fn node(&mut self, table: &ServedTable, usual: i32) -> i32 {
        let Some(node) = &table.numa_node else { return usual };
        match i32::try_from(*node.get_ref()) {
            Ok(n @ -1..=1023) => n,
            _ => {
                let message = format!("numa_node = {} is not possible", node.get_ref());
                self.error(node.span(), message, "0 to 1023; -1: no node in particular");
                usual
            }
        }
    }

    /// `"64 MiB"`, in whole pages.
    fn bytes(&mut self, written: &Name) -> usize {
        match size(written.get_ref()) {
            Some(bytes) if bytes > 0 && bytes <= MOST_RESERVED && bytes.is_multiple_of(PAGE) => bytes,
            Some(_) => {
                let message = format!("{:?} cannot be reserved with a queue", written.get_ref());
                self.error(written.span(), message, "\"4 KiB\" to \"1 GiB\", in whole pages of 4 KiB");
                0
            }
            None => {
                let message = format!("{:?} is not a size", written.get_ref());
                self.error(written.span(), message, "a number and KiB, MiB or GiB: \"64 MiB\"");
                0
            }
        }
    }

    /// What cannot be together in a queue file.
    fn queue(&mut self, device: &Named<ServedTable>, config: &DeviceConfig) {
        let (name, table) = (&device.name, &device.value);
        let depth_or = |other: Option<Range<usize>>| {
            table.depth.as_ref().map(toml::Spanned::span).or(other).unwrap_or(name.span())
        };
        if config.version != 1 && config.depth != 2 {
            let message = format!(
                "queues of api = {} have their doorbell in the first entry, and so no more than 2 entries",
                config.version
            );
            self.error(depth_or(None), message, "depth = 2, or api = 1");
        } else if config.reserve > 0 && usize::from(config.depth) > config.one_page_depth() {
            let message = format!(
                "memory is reserved behind the first page of a queue, and a queue of {} entries is longer",
                config.depth
            );
            let most = config.one_page_depth();
            let span = depth_or(table.reserve.as_ref().map(Name::span));
            self.errors
                .push(Diagnostic::new(span, message).help(format!("depth = {most} or less, for example 16")));
        }
    }

    /// What is possible, but not for all programs.
    fn programs(&mut self, config: &DeviceConfig) {
        let name = &config.name;
        let wrapped: Vec<&str> = config
            .algorithms
            .iter()
            .map(String::as_str)
            .filter(|name| matches!(*name, "zlib" | "gzip"))
            .collect();
        if config.version == 1 && !wrapped.is_empty() {
            self.notes.push(format!(
                "device {name:?}: unmodified UADK ends with a crash if it is to do {} with queues of api = 1. Remedy: a device \
                 with api = 3",
                wrapped.join(" or ")
            ));
        }
        if config.mode != DmaMode::Sva && config.reserve == 0 {
            self.notes.push(format!(
                "device {name:?}: it reaches only memory that a program shares with it, which UADK cannot. Remedy: reserve = \
                 \"64 MiB\" and depth = 16"
            ));
        }
    }
}

/// As configurations call it.
fn word(function: Function) -> &'static str {
    match function {
        Function::Hpre => "hpre",
        Function::Zip => "zip",
    }
}

/// A number with a unit, in bytes.
fn size(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(size("64 MiB"), Some(64 << 20));
        assert_eq!(size("4KiB"), Some(4096));
        assert_eq!(size("1 GiB"), Some(1 << 30));
        for wrong in ["", "64", "64 MB", "MiB", "-1 MiB", "1.5 GiB", "99999999999999 GiB", "1 GiBx"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
