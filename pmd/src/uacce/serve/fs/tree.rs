//! The tree of files, and their numbers.
//!
//! A number has two parts: which file it is, and how often that was looked up before. Only queue files have the second: each time somebody looks one up
//! it is another node, because the kernel puts one memory in the place of a node, and each open has a memory of its own. So nothing
//! is kept of a look-up, and nothing has to be forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use fuser::{FileAttr, FileType, INodeNo};
use rustix::io::Errno;

use super::FsError;
use crate::uacce::serve::Accelerator;

/// Bits of a number that say which file it is.
const INDEX_BITS: u32 = 16;
/// Files of a tree.
pub(super) const MAX_NODES: usize = 1 << INDEX_BITS;
/// What stat says of the size of an attribute, as of those of sysfs on most machines.
const ATTRIBUTE_BYTES: u64 = 4096;
/// The longest name of a file.
const MAX_NAME: usize = 255;

/// What a file is.
pub(super) enum Kind {
    /// With the numbers of what is in it.
    Directory(Vec<u64>),
    /// Of a device.
    Queue(Arc<dyn Accelerator>),
    /// Of a device.
    Attribute(Attribute),
}

/// An attribute of a device.
pub(super) struct Attribute {
    pub(super) device: Arc<dyn Accelerator>,
    pub(super) path: &'static str,
    pub(super) writable: bool,
}

/// A file.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) parent: u64,
    pub(super) kind: Kind,
}

impl Node {
    /// As a list of a directory shows it.
    pub(super) fn file_type(&self) -> FileType {
        match self.kind {
            Kind::Directory(_) => FileType::Directory,
            // Not a character device: the kernel would look for a driver of its number.
            Kind::Queue(_) | Kind::Attribute(_) => FileType::RegularFile,
        }
    }
}

/// All files.
pub(super) struct Tree {
    /// The number of a node is its place here, plus 1.
    nodes: Vec<Node>,
    made: SystemTime,
    looked_up: AtomicU64,
}

impl Tree {
    /// With a queue file and the attributes of each device.
    pub(super) fn new(devices: Vec<Arc<dyn Accelerator>>) -> Result<Self, FsError> {
        let root = Node { name: String::new(), parent: INodeNo::ROOT.0, kind: Kind::Directory(Vec::new()) };
        let mut tree = Self { nodes: vec![root], made: SystemTime::now(), looked_up: AtomicU64::new(1) };
        let dev = tree.directory(INodeNo::ROOT.0, "dev").ok_or(FsError::TooMany)?;
        let class = tree.directory(INodeNo::ROOT.0, "class").ok_or(FsError::TooMany)?;
        let uacce = tree.directory(class, "uacce").ok_or(FsError::TooMany)?;
        for device in devices {
            tree.add_device(dev, uacce, &device)?;
        }
        if tree.nodes.len() >= MAX_NODES { Err(FsError::TooMany) } else { Ok(tree) }
    }

    fn add_device(&mut self, dev: u64, uacce: u64, device: &Arc<dyn Accelerator>) -> Result<(), FsError> {
        let of = |name: &str| FsError::Name { device: device.name().to_owned(), name: name.to_owned() };
        let name = device.name();
        self.add(dev, name, Kind::Queue(Arc::clone(device))).ok_or_else(|| of(name))?;
        let folder = self.directory(uacce, name).ok_or_else(|| of(name))?;
        for &path in device.attributes() {
            let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
            let parent = folders.split('/').filter(|_| !folders.is_empty());
            let parent = parent.into_iter().try_fold(folder, |at, name| self.directory(at, name));
            // What it is now is always a value that it may have.
            let same =
                device.attribute(path).map(|value| device.set_attribute(path, value.trim_end_matches('\n')));
            let writable = !matches!(same, Err(_) | Ok(Err(Errno::ACCESS)));
            let attribute = Attribute { device: Arc::clone(device), path, writable };
            parent.and_then(|at| self.add(at, file, Kind::Attribute(attribute))).ok_or_else(|| of(path))?;
        }
        Ok(())
    }

    /// The directory of this name, which is made if it is not there.
    fn directory(&mut self, parent: u64, name: &str) -> Option<u64> {
        match self.child(parent, name) {
            Some(there) => matches!(self.node(there)?.kind, Kind::Directory(_)).then_some(there),
            None => self.add(parent, name, Kind::Directory(Vec::new())),
        }
    }

    fn add(&mut self, parent: u64, name: &str, kind: Kind) -> Option<u64> {
        let wrong = name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']);
        if wrong || name.len() > MAX_NAME || self.child(parent, name).is_some() {
            return None;
        }
        self.nodes.push(Node { name: name.to_owned(), parent, kind });
        let new = self.nodes.len() as u64;
        match &mut self.nodes.get_mut(index(parent)?)?.kind {
            Kind::Directory(children) => children.push(new),
            _ => return None,
        }
        Some(new)
    }

    /// The file that has this number.
    pub(super) fn node(&self, number: u64) -> Option<&Node> {
        self.nodes.get(index(number)?)
    }

    fn child(&self, parent: u64, name: &str) -> Option<u64> {
        let Kind::Directory(children) = &self.node(parent)?.kind else { return None };
        children.iter().copied().find(|&child| self.node(child).is_some_and(|node| node.name == name))
    }

    /// The number of the file `name` in a directory, a new one each time if it is a queue file.
    pub(super) fn look_up(&self, parent: u64, name: &str) -> Option<u64> {
        let child = self.child(parent, name)?;
        match self.node(child)?.kind {
            Kind::Queue(_) => Some(child | self.looked_up.fetch_add(1, Ordering::Relaxed) << INDEX_BITS),
            Kind::Directory(_) | Kind::Attribute(_) => Some(child),
        }
    }

    /// What stat says of a file, of which so many bytes are known if it is a queue file that is open.
    pub(super) fn stat(&self, number: u64, bytes: Option<u64>) -> Option<FileAttr> {
        let node = self.node(number)?;
        let (perm, uid, gid) = match &node.kind {
            Kind::Directory(_) => (0o755, 0, 0),
            Kind::Attribute(attribute) => (if attribute.writable { 0o644 } else { 0o444 }, 0, 0),
            Kind::Queue(device) => {
                let of = device.permissions();
                (of.mode & 0o777, of.uid, of.gid)
            }
        };
        let size = match node.kind {
            Kind::Attribute(_) => ATTRIBUTE_BYTES,
            Kind::Directory(_) | Kind::Queue(_) => bytes.unwrap_or(0),
        };
        Some(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: 0,
            atime: self.made,
            mtime: self.made,
            ctime: self.made,
            crtime: self.made,
            kind: node.file_type(),
            perm,
            nlink: if matches!(node.kind, Kind::Directory(_)) { 2 } else { 1 },
            uid,
            gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

fn index(number: u64) -> Option<usize> {
    ((number % MAX_NODES as u64) as usize).checked_sub(1)
}
