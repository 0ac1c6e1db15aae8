//! Finds devices: what the kernel, or who serves devices in its place, says of them in sysfs.
//!
//! The attributes are foreign text. Each is read once, but for those that change.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use warpdrive_mempool::DmaMode;

use super::abi::qm::Version;
use super::abi::{DEV, FLAG_SVA, NO_IOMMU, SYSFS, attribute, extension};

mod error;
mod nearness;

pub use self::error::DiscoverError;

/// Where devices are listed, and where their queue files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// A folder for each device, with its attributes.
    pub sysfs: PathBuf,
    /// The queue files.
    pub dev: PathBuf,
}

impl Default for Roots {
    /// Those of the kernel.
    fn default() -> Self {
        Self { sysfs: SYSFS.into(), dev: DEV.into() }
    }
}

impl Roots {
    /// Those below a folder in which devices are presented: `class/uacce` and `dev`.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        Self { sysfs: folder.join("class/uacce"), dev: folder.join("dev") }
    }
}

/// What a device of `warpdrive serve` does beyond what the kernel's do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Memory can be given to it, so that nothing is copied.
    pub share: bool,
    /// It takes levels of compression.
    pub level: bool,
    /// It shows that its server lives.
    pub heartbeat: bool,
    /// It has an operation that does nothing.
    pub null: bool,
}

/// What is known of a device. Queues refer to it.
#[derive(Clone, Debug)]
pub struct UacceInfo {
    /// Its name, such as `hisi_zip-0`.
    pub name: String,
    /// Its queue file.
    pub path: PathBuf,
    /// What its queues look like, such as `hisi_qm_v2`.
    pub api: String,
    /// The version of its queues, if they are those of a Kunpeng device.
    pub version: Option<Version>,
    /// Bits of `flags`.
    pub flags: u32,
    /// What it computes.
    pub algorithms: Vec<String>,
    /// Bytes of its registers.
    pub mmio_bytes: usize,
    /// Bytes of the memory of a queue.
    pub dus_bytes: usize,
    /// The node of memory next to it.
    pub numa_node: Option<u32>,
    /// It is left alone after too many errors.
    pub isolated: bool,
    /// What its queues count against others, if it says so.
    pub priority: Option<i64>,
    /// What it does beyond the kernel's; `None`: it is not one of `warpdrive serve`.
    pub extensions: Option<Extensions>,
    /// The folder of its attributes.
    folder: PathBuf,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Listed {
    /// The devices, by name.
    pub devices: Vec<Arc<UacceInfo>>,
    /// What was in the list and could not be understood.
    pub skipped: Vec<DiscoverError>,
}

/// The longest attribute that is read. Those of sysfs have a page.
const MOST: u64 = 4096;
/// The largest region that is believed.
const MOST_REGION: u64 = 1 << 30;

impl UacceInfo {
    /// What is said of the device of this name.
    ///
    /// # Errors
    /// [`DiscoverError::Unreadable`], [`DiscoverError::Malformed`].
    pub fn read(roots: &Roots, name: &str) -> Result<Self, DiscoverError> {
        let folder = roots.sysfs.join(name);
        let read = |attribute: &str| read_attribute(&folder.join(attribute));
        Self::of(name, roots, read)
    }

    /// What the attributes that `read` gives say of the device of this name. Those that are not there end as
    /// [`io::ErrorKind::NotFound`].
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of(
        name: &str,
        roots: &Roots,
        read: impl Fn(&str) -> io::Result<String>,
    ) -> Result<Self, DiscoverError> {
        let folder = roots.sysfs.join(name);
        let attributes = Attributes { folder: &folder, read };
        let api = attributes.text(attribute::API)?;
        let words = attributes.optional(attribute::WARPDRIVE)?;
        let words: Option<Vec<&str>> = words.as_ref().map(|words| words.split_whitespace().collect());
        let mut algorithms: Vec<String> =
            attributes.text(attribute::ALGORITHMS)?.split_whitespace().map(str::to_owned).collect();
        for also in [extension::ZLIB, extension::GZIP] {
            if words.as_ref().is_some_and(|words| words.contains(&also))
                && !algorithms.iter().any(|a| a == also)
            {
                algorithms.push(also.to_owned());
            }
        }
        let has = |word: &str| words.as_ref().is_some_and(|words| words.contains(&word));
        let extensions = words.as_ref().map(|_| Extensions {
            share: has(extension::SHARE),
            level: has(extension::LEVEL),
            heartbeat: has(extension::HEARTBEAT),
            null: has(extension::NULL),
        });
        Ok(Self {
            name: name.to_owned(),
            path: roots.dev.join(name),
            version: Version::of(&api),
            flags: attributes.number(attribute::FLAGS, "bits as a number", |n| u32::try_from(n).ok())?,
            algorithms,
            mmio_bytes: attributes.bytes(attribute::REGION_MMIO_SIZE)?,
            dus_bytes: attributes.bytes(attribute::REGION_DUS_SIZE)?,
            numa_node: attributes
                .number(attribute::NUMA_NODE, "a node's number, or -1", |n| i32::try_from(n).ok())?
                .try_into()
                .ok(),
            isolated: attributes
                .optional_number(attribute::ISOLATE, "0 or 1", |n| (0..=1).contains(&n).then_some(n))?
                .is_some_and(|n| n == 1),
            priority: attributes.optional_number(attribute::PRIORITY, "a number", Some)?,
            extensions,
            api,
            folder,
        })
    }

    /// What is said of it now.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn read_again(&self) -> Result<Self, DiscoverError> {
        let parent = |path: &Path| path.parent().unwrap_or(path).to_owned();
        let roots = Roots { sysfs: parent(&self.folder), dev: parent(&self.path) };
        Self::read(&roots, &self.name)
    }

    /// What of it, as it is now, would be a surprise to who has used it before.
    pub(super) fn difference(&self, now: &Self) -> Option<String> {
        let differs = |what: &str, before: String, after: String| {
            (before != after).then(|| format!("{what}: {before} before, {after} now"))
        };
        differs("api", self.api.clone(), now.api.clone())
            .or_else(|| differs("flags", self.flags.to_string(), now.flags.to_string()))
            .or_else(|| differs("algorithms", self.algorithms.join(", "), now.algorithms.join(", ")))
            .or_else(|| differs("region_mmio_size", self.mmio_bytes.to_string(), now.mmio_bytes.to_string()))
            .or_else(|| differs("region_dus_size", self.dus_bytes.to_string(), now.dus_bytes.to_string()))
            .or_else(|| {
                differs("extensions", format!("{:?}", self.extensions), format!("{:?}", now.extensions))
            })
            .or_else(|| now.isolated.then(|| "it has been isolated".to_owned()))
    }

    /// Queues that can still be had, as it is now. `None`: not known.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn available_instances(&self) -> Result<Option<u32>, DiscoverError> {
        let read = |attribute: &str| read_attribute(&self.folder.join(attribute));
        let attributes = Attributes { folder: &self.folder, read };
        let number = attributes
            .number(attribute::AVAILABLE_INSTANCES, "a number of queues", |n| i32::try_from(n).ok())?;
        Ok(u32::try_from(number).ok())
    }

    /// Whether it works on the addresses of the process.
    #[must_use]
    pub fn sva(&self) -> bool {
        self.flags & FLAG_SVA != 0
    }

    /// Which addresses it takes.
    #[must_use]
    pub fn mode(&self) -> DmaMode {
        match () {
            () if self.sva() => DmaMode::Sva,
            () if self.api.ends_with(NO_IOMMU) => DmaMode::NoIommu,
            () => DmaMode::ShareDomain,
        }
    }

    /// Whether it computes this.
    #[must_use]
    pub fn does(&self, algorithm: &str) -> bool {
        self.algorithms.iter().any(|a| a == algorithm)
    }

    /// What it does beyond the kernel's.
    #[must_use]
    pub fn extensions(&self) -> Extensions {
        self.extensions.unwrap_or_default()
    }
}

/// All devices.
///
/// # Errors
/// [`DiscoverError::NoList`].
pub fn list(roots: &Roots) -> Result<Listed, DiscoverError> {
    let no_list = |cause| DiscoverError::NoList { path: roots.sysfs.clone(), cause };
    let mut names = Vec::new();
    for entry in fs::read_dir(&roots.sysfs).map_err(no_list)? {
        names.extend(entry.map_err(no_list)?.file_name().into_string().ok());
    }
    names.sort_unstable();
    let mut listed = Listed::default();
    for name in names {
        match UacceInfo::read(roots, &name) {
            Ok(info) => listed.devices.push(Arc::new(info)),
            Err(error) => listed.skipped.push(error),
        }
    }
    Ok(listed)
}

/// The device of a name; or, of those that compute something and have queues left, the nearest one, and of these the one
/// with most queues left.
///
/// # Errors
/// [`DiscoverError`].
pub fn find(roots: &Roots, wanted: &str) -> Result<Arc<UacceInfo>, DiscoverError> {
    let Listed { devices, mut skipped } = list(roots)?;
    if let Some(named) = devices.iter().find(|info| info.name == wanted) {
        return Ok(Arc::clone(named));
    }
    let folder = roots.sysfs.join(wanted);
    let is_of = |error: &DiscoverError| match error {
        DiscoverError::Unreadable { path, .. } | DiscoverError::Malformed { path, .. } => {
            path.starts_with(&folder)
        }
        _ => false,
    };
    if let Some(at) = skipped.iter().position(is_of) {
        return Err(skipped.swap_remove(at));
    }
    let able: Vec<_> = devices.iter().filter(|info| info.does(wanted)).collect();
    if able.is_empty() {
        let offered = devices.iter().map(|info| format!("{} ({})", info.name, info.algorithms.join(", ")));
        let offered = offered.collect();
        return Err(DiscoverError::NotFound {
            path: roots.sysfs.clone(),
            wanted: wanted.to_owned(),
            offered,
        });
    }
    let here = nearness::node_of_this_cpu();
    let best = able.iter().filter(|info| !info.isolated).filter_map(|info| {
        // Not known is as good as one.
        let left = info.available_instances().ok()?.unwrap_or(1);
        let near = std::cmp::Reverse(nearness::distance(here, info.numa_node));
        (left > 0).then_some(((near, left), info))
    });
    // The first of equals, as they are listed.
    let best = best.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, info)| Arc::clone(info)).ok_or_else(|| DiscoverError::Exhausted {
        wanted: wanted.to_owned(),
        devices: able.iter().map(|info| info.name.clone()).collect(),
    })
}

/// Attributes of one device, and how they are read.
struct Attributes<'a, R> {
    folder: &'a Path,
    read: R,
}

impl<R: Fn(&str) -> io::Result<String>> Attributes<'_, R> {
    fn optional(&self, attribute: &str) -> Result<Option<String>, DiscoverError> {
        match (self.read)(attribute) {
            Ok(text) => {
                Ok(Some(text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0').to_owned()))
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(DiscoverError::Unreadable { path: self.folder.join(attribute), cause }),
        }
    }

    fn text(&self, attribute: &str) -> Result<String, DiscoverError> {
        let text = self.optional(attribute)?.ok_or_else(|| DiscoverError::Unreadable {
            path: self.folder.join(attribute),
            cause: io::ErrorKind::NotFound.into(),
        })?;
        if text.is_empty() { Err(self.malformed(attribute, &text, "some text")) } else { Ok(text) }
    }

    fn malformed(&self, attribute: &str, found: &str, expected: &'static str) -> DiscoverError {
        let found = found.chars().take(40).collect();
        DiscoverError::Malformed { path: self.folder.join(attribute), found, expected }
    }

    fn parse<T>(
        &self,
        attribute: &str,
        text: &str,
        expected: &'static str,
        check: impl FnOnce(i64) -> Option<T>,
    ) -> Result<T, DiscoverError> {
        text.parse().ok().and_then(check).ok_or_else(|| self.malformed(attribute, text, expected))
    }

    fn number<T>(
        &self,
        attribute: &str,
        expected: &'static str,
        check: impl FnOnce(i64) -> Option<T>,
    ) -> Result<T, DiscoverError> {
        self.parse(attribute, &self.text(attribute)?, expected, check)
    }

    fn optional_number<T>(
        &self,
        attribute: &str,
        expected: &'static str,
        check: impl FnOnce(i64) -> Option<T>,
    ) -> Result<Option<T>, DiscoverError> {
        let text = self.optional(attribute)?;
        text.map(|text| self.parse(attribute, &text, expected, check)).transpose()
    }

    fn bytes(&self, attribute: &str) -> Result<usize, DiscoverError> {
        let check =
            |n: i64| u64::try_from(n).ok().filter(|n| (1..=MOST_REGION).contains(n)).map(|n| n as usize);
        self.number(attribute, "bytes of a region, 1 to 2^30", check)
    }
}

fn read_attribute(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
