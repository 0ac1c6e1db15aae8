//! What the kernel asks, and what it is answered: as drivers and sysfs of the kernel would.

use std::ffi::OsStr;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyOpen,
    ReplyPoll, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::io::Errno;

use super::caller::process_of;
use super::opened::{Handles, Queue, Reading, Table};
use super::tree::{Attribute, Kind, Tree};
use crate::uacce::serve::{Accelerator, Waker};

/// What [`Filesystem::init`] says where the kernel has no passthrough.
pub(super) const NO_PASSTHROUGH: i32 = Errno::OPNOTSUPP.raw_os_error();
/// How long the kernel may believe an answer: not at all.
const TTL: Duration = Duration::ZERO;
/// The most that is written to an attribute at once, as in sysfs: a page.
const MAX_WRITE: u32 = 4096;

/// Answers requests of the kernel.
pub(super) struct Requests {
    tree: Tree,
    queues: Table<Queue>,
    readings: Table<Reading>,
    handles: Handles,
}

impl Requests {
    pub(super) fn new(tree: Tree) -> Self {
        Self { tree, queues: Table::default(), readings: Table::default(), handles: Handles::default() }
    }

    fn stat(&self, number: u64) -> Result<fuser::FileAttr, Errno> {
        let open = |queue: &Queue| (queue.node == number).then_some(queue.bytes);
        guarded(|| self.tree.stat(number, self.queues.find(open)).ok_or(Errno::NOENT))
    }

    fn attribute(&self, node: INodeNo) -> Result<&Attribute, Errno> {
        match self.tree.node(node.0).map(|node| &node.kind) {
            Some(Kind::Attribute(attribute)) => Ok(attribute),
            Some(Kind::Directory(_)) => Err(Errno::ISDIR),
            Some(Kind::Queue(_)) => Err(Errno::INVAL),
            None => Err(Errno::NOENT),
        }
    }

    /// Opens a queue. It is entered before the kernel has the answer, because the first call may come to another thread at once.
    fn open_queue(
        &self,
        device: &dyn Accelerator,
        thread: u32,
        node: INodeNo,
        reply: &ReplyOpen,
    ) -> Result<(FileHandle, Arc<Queue>), Errno> {
        let opener = process_of(thread)?;
        let file = guarded(|| device.open(opener))?;
        let bytes = rustix::fs::fstat(file.memory())?.st_size.unsigned_abs();
        let backing = reply.open_backing(file.memory()).map_err(|cause| {
            tracing::warn!(
                "{}: its memory cannot be a queue file: {cause}. Remedy: a memfd, and root (CAP_SYS_ADMIN) for the server",
                device.name()
            );
            Errno::IO
        })?;
        let (handle, queue) = (self.handles.next(), Arc::new(Queue { node: node.0, bytes, file, backing }));
        self.queues.insert(handle, Arc::clone(&queue));
        Ok((handle, queue))
    }

    fn open_attribute(&self, attribute: &Attribute, flags: OpenFlags) -> Result<FileHandle, Errno> {
        // Of root too, whom modes do not stop.
        if flags.acc_mode() != OpenAccMode::O_RDONLY && !attribute.writable {
            return Err(Errno::ACCESS);
        }
        let handle = self.handles.next();
        self.readings.insert(handle, Arc::default());
        Ok(handle)
    }

    fn read_attribute(&self, node: INodeNo, handle: FileHandle, offset: u64) -> Result<Arc<str>, Errno> {
        let attribute = self.attribute(node)?;
        let reading = self.readings.get(handle).ok_or(Errno::BADF)?;
        reading.value(offset, || guarded(|| attribute.device.attribute(attribute.path)))
    }

    fn write_attribute(&self, node: INodeNo, data: &[u8]) -> Result<(), Errno> {
        let attribute = self.attribute(node)?;
        let value = std::str::from_utf8(data).map_err(|_| Errno::INVAL)?;
        let value = value.strip_suffix('\n').unwrap_or(value);
        guarded(|| attribute.device.set_attribute(attribute.path, value))
    }

    fn list(&self, node: INodeNo, offset: u64, reply: &mut ReplyDirectory) -> Result<(), Errno> {
        let directory = self.tree.node(node.0).ok_or(Errno::NOENT)?;
        let Kind::Directory(children) = &directory.kind else { return Err(Errno::NOTDIR) };
        let dots =
            [(node.0, FileType::Directory, "."), (directory.parent, FileType::Directory, "..")].into_iter();
        let children = children.iter().filter_map(|&number| {
            self.tree.node(number).map(|node| (number, node.file_type(), node.name.as_str()))
        });
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (next, (number, kind, name)) in (1..).zip(dots.chain(children)).skip(from) {
            if reply.add(INodeNo(number), next, kind, name) {
                break;
            }
        }
        Ok(())
    }
}

/// What a device says, or `EIO` if it panics: the thread goes on and answers others.
fn guarded<T>(call: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(Errno::IO))
}

fn fuse(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

/// The way back to who polls.
struct Notify(PollNotifier);

impl Waker for Notify {
    fn wake(self: Box<Self>) {
        // It fails only when nobody is there any more.
        let _ = self.0.notify();
    }
}

/// Answers with what the method of the reply is given, or with the error.
macro_rules! answer {
    ($reply:ident, $result:expr, |$value:pat_param| $method:ident($($argument:expr),*)) => {
        match $result {
            Ok($value) => $reply.$method($($argument),*),
            Err(errno) => $reply.error(fuse(errno)),
        }
    };
}

impl Filesystem for Requests {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // O_TRUNC comes with the open, where devices and sysfs overlook it, and not as a change of the size.
        let needed = InitFlags::FUSE_PASSTHROUGH | InitFlags::FUSE_ATOMIC_O_TRUNC;
        let set = config.add_capabilities(needed).is_ok()
            && config.set_max_stack_depth(1).is_ok()
            && config.set_max_write(MAX_WRITE).is_ok();
        if set { Ok(()) } else { Err(io::Error::from_raw_os_error(NO_PASSTHROUGH)) }
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = name.to_str().and_then(|name| self.tree.look_up(parent.0, name)).ok_or(Errno::NOENT);
        answer!(reply, found.and_then(|number| self.stat(number)), |stat| entry(&TTL, &stat, Generation(0)));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.stat(node.0), |stat| attr(&TTL, &stat));
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let fixed = mode.or(uid).or(gid).is_some() || size.is_none();
        // An attribute has no size that could change; a device cannot be truncated.
        let allowed = if fixed { Err(Errno::PERM) } else { self.attribute(node).map(|_| ()) };
        answer!(reply, allowed.and_then(|()| self.stat(node.0)), |stat| attr(&TTL, &stat));
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        // Whoever polls, maps and reads needs no word when it closes one of several descriptors.
        let open = FopenFlags::FOPEN_NOFLUSH;
        match self.tree.node(node.0).map(|node| &node.kind) {
            Some(Kind::Queue(device)) => {
                let opened = self.open_queue(&**device, request.pid(), node, &reply);
                answer!(reply, opened, |(handle, queue)| opened_passthrough(handle, open, &queue.backing));
            }
            Some(Kind::Attribute(attribute)) => {
                let opened = self.open_attribute(attribute, flags);
                answer!(reply, opened, |handle| opened(handle, open | FopenFlags::FOPEN_DIRECT_IO));
            }
            Some(Kind::Directory(_)) => reply.error(fuser::Errno::EISDIR),
            None => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        drop(self.readings.remove(handle));
        let queue = self.queues.remove(handle);
        // Nobody hears the answer.
        let _ = guarded(|| {
            drop(queue);
            Ok(())
        });
        reply.ok();
    }

    fn ioctl(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: IoctlFlags,
        command: u32,
        argument: &[u8],
        room: u32,
        reply: ReplyIoctl,
    ) {
        let queue = self.queues.get(handle).ok_or(Errno::NOTTY);
        let called = queue.and_then(|queue| Ok((queue, process_of(request.pid())?)));
        let (queue, caller) = match called {
            Ok(called) => called,
            Err(errno) => return reply.error(fuse(errno)),
        };
        let answer = move |argument: &[u8], queue: &Queue, reply: ReplyIoctl| {
            let result = guarded(|| queue.file.ioctl(caller, command, argument));
            answer!(reply, result, |result| ioctl(0, result.get(..room as usize).unwrap_or(&result)));
        };
        if !queue.file.may_wait(command) {
            return answer(argument, &queue, reply);
        }
        // It takes a thread of its own, and not one of the few that answer everybody.
        let argument = argument.to_vec();
        let call = move || answer(&argument, &queue, reply);
        if let Err(cause) = std::thread::Builder::new().name("call".to_owned()).spawn(call) {
            // The reply is gone with it, which is an error to the caller.
            tracing::warn!("a call of process {}: {cause}", caller.0);
        }
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        notifier: PollNotifier,
        _: PollEvents,
        flags: PollFlags,
        reply: ReplyPoll,
    ) {
        let Some(queue) = self.queues.get(handle) else {
            return reply.poll(PollEvents::POLLIN | PollEvents::POLLOUT);
        };
        let waits = flags.contains(PollFlags::FUSE_POLL_SCHEDULE_NOTIFY);
        let waker = waits.then(|| Box::new(Notify(notifier)) as Box<dyn Waker>);
        reply.poll(match guarded(|| queue.file.poll(waker)) {
            Ok(true) => PollEvents::POLLIN,
            Ok(false) => PollEvents::empty(),
            Err(_) => PollEvents::POLLIN | PollEvents::POLLERR,
        });
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer!(reply, self.read_attribute(node, handle, offset), |value| data(part(&value, offset, size)));
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        _: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // Wherever it is written to, it is the whole value, as in sysfs. The kernel gives at most MAX_WRITE bytes.
        answer!(reply, self.write_attribute(node, data), |()| written(data.len() as u32));
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        answer!(reply, self.list(node, offset, &mut reply), |()| ok());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.attribute(node), |_| ok());
    }

    fn fallocate(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        let of_attribute = self.attribute(node).is_ok();
        reply.error(if of_attribute { fuser::Errno::EOPNOTSUPP } else { fuser::Errno::ENODEV });
    }

    // Nothing is made, renamed or removed here, as nowhere in sysfs.

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        reply.error(fuser::Errno::EACCES);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(fuser::Errno::EPERM);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(fuser::Errno::EPERM);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(fuser::Errno::EPERM);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(fuser::Errno::EPERM);
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(fuser::Errno::EPERM);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(fuser::Errno::EPERM);
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: INodeNo,
        _: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(fuser::Errno::EPERM);
    }
}

/// The bytes from `offset` on that fit into `size`.
fn part(value: &str, offset: u64, size: u32) -> &[u8] {
    let rest = usize::try_from(offset).ok().and_then(|from| value.as_bytes().get(from..)).unwrap_or(&[]);
    rest.get(..size as usize).unwrap_or(rest)
}
