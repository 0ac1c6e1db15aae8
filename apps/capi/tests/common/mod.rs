//! A server in this process, and queues of it by the calls of C.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::ffi::{CStr, CString, c_int, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

use warpdrive::{wd_last_error, wd_queue, wd_release_queue, wd_request_queue};
use warpdrive_mempool::DmaMode;
use warpdrive_pmd::engine::rsa::RsaOptions;
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::uacce::serve::fs::Mounted;
use warpdrive_pmd::uacce::serve::{CoreConfig, DeviceConfig, Function, Server, ServerConfig};

/// A server with its files.
pub struct Served {
    folder: tempfile::TempDir,
    mounted: Option<Mounted>,
    server: Option<Server>,
}

impl Served {
    /// One with the usual two devices; `None`, and a word about it, where this machine does not permit it.
    pub fn new() -> Option<Self> {
        Self::with(vec![
            DeviceConfig::new("hisi_hpre-0", Function::Hpre),
            DeviceConfig::new("hisi_zip-0", Function::Zip),
        ])
    }

    /// One with these devices.
    pub fn with(devices: Vec<DeviceConfig>) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
            eprintln!("skipped: queue files need root and /dev/fuse");
            return None;
        }
        let cores = vec![CoreConfig { cpu: 0, idle: IdlePolicy::Sleep }];
        let config = ServerConfig { cores, devices, in_flight: 128, rsa: RsaOptions::default() };
        let server = Server::start(&config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mounted = Mounted::new(folder.path(), server.devices().to_vec()).unwrap();
        Some(Self { folder, mounted: Some(mounted), server: Some(server) })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What is in an attribute of a device.
    pub fn attribute(&self, device: &str, name: &str) -> String {
        let path = self.path().join("class/uacce").join(device).join(name);
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// Ends the server; its files stay for those who have them open.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// What a queue of a device is asked for with.
    pub fn ask(&self, device: &str, kind: u32) -> Queue {
        Queue::ask(Some(self.path()), device, kind)
    }

    /// A queue.
    #[track_caller]
    pub fn queue(&self, device: &str, kind: u32) -> Queue {
        let mut queue = self.ask(device, kind);
        assert_eq!(queue.request(), 0, "{}", last_error());
        queue
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Nobody comes any more, and then there is nobody to come to.
        self.mounted = None;
    }
}

/// A `struct wd_queue` with the strings that it names.
pub struct Queue {
    q: Box<wd_queue>,
    _strings: [CString; 2],
}

impl Queue {
    pub fn ask(root: Option<&Path>, device: &str, kind: u32) -> Self {
        let device = CString::new(device).unwrap();
        let folder = root.map(|root| CString::new(root.to_str().unwrap()).unwrap());
        let q = Box::new(wd_queue {
            device: device.as_ptr(),
            root: folder.as_ref().map_or(null(), |root| root.as_ptr()),
            kind,
            ..zeroed()
        });
        Self { q, _strings: [device, folder.unwrap_or_default()] }
    }

    pub fn with_depth(mut self, depth: u32) -> Self {
        self.q.depth = depth;
        self
    }

    pub fn request(&mut self) -> c_int {
        // SAFETY: a wd_queue whose strings live as long.
        unsafe { wd_request_queue(self.as_ptr()) }
    }

    pub fn as_ptr(&mut self) -> *mut wd_queue {
        &raw mut *self.q
    }

    /// As C might copy it.
    pub fn copied(&self) -> wd_queue {
        // SAFETY: plain data.
        unsafe { (&raw const *self.q).read() }
    }

    pub fn get(&self) -> &wd_queue {
        &self.q
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: a wd_queue; if it was released, nothing happens.
        unsafe { wd_release_queue(self.as_ptr()) };
    }
}

/// As C has a structure that nothing was written to.
pub fn zeroed() -> wd_queue {
    // SAFETY: numbers and pointers, for which zeros are values.
    unsafe { std::mem::zeroed() }
}

pub fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

pub fn clear_errno() {
    // SAFETY: of this thread.
    unsafe { *libc::__errno_location() = 0 };
}

pub fn last_error() -> String {
    // SAFETY: a string of this thread, which calls nothing meanwhile.
    unsafe { CStr::from_ptr(wd_last_error()) }.to_str().unwrap().to_owned()
}

/// Sends a request.
#[track_caller]
pub fn send<T>(queue: &mut Queue, request: &mut T) -> c_int {
    // SAFETY: each test keeps its requests until they are received, or the queue is released.
    unsafe { warpdrive::wd_send(queue.as_ptr(), (&raw mut *request).cast()) }
}

/// Receives a request, or says why not.
pub fn recv(queue: &mut Queue) -> Result<*mut c_void, c_int> {
    let mut done = null_mut();
    // SAFETY: a place for a pointer.
    match unsafe { warpdrive::wd_recv_sync(queue.as_ptr(), &raw mut done, 20_000) } {
        0 => Ok(done),
        error => Err(error),
    }
}

/// Sends a request and waits for it.
#[track_caller]
pub fn run<T>(queue: &mut Queue, request: &mut T) {
    assert_eq!(send(queue, request), 0, "{}", last_error());
    assert_eq!(recv(queue), Ok((&raw mut *request).cast()), "{}", last_error());
}

/// Whether `what` holds in a child. It may do little: other threads are not there, nor are their locks ever released.
pub fn holds_in_a_child(what: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child does what it is given and ends, without unwinding into the harness.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what)).unwrap_or(false);
            libc::_exit(i32::from(!held));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }
}

/// A device that reaches nothing but what it reserves or is given: in this mode, with so many bytes for each queue.
pub fn far(name: &str, function: Function, mode: DmaMode, reserve: usize) -> DeviceConfig {
    // One page of a queue, so that there can be memory behind it.
    let depth = if function == Function::Hpre { 32 } else { 16 };
    DeviceConfig { mode, reserve, depth, ..DeviceConfig::new(name, function) }
}
