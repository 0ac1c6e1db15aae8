//! Devices as files: what programs see of them, and what the devices are told of the programs.
//!
//! Needs root and FUSE with passthrough; each test says so and is skipped where they are missing. Each mounts in a mount
//! namespace of its own, which goes with it.

#[path = "uacce_fs/attributes.rs"]
mod attributes;
#[path = "uacce_fs/calls.rs"]
mod calls;
#[path = "uacce_fs/client.rs"]
mod client;
#[path = "uacce_fs/life.rs"]
mod life;
#[path = "uacce_fs/memory.rs"]
mod memory;
#[path = "uacce_fs/place.rs"]
mod place;
mod space;
#[path = "uacce_fs/stub.rs"]
mod stub;
#[path = "uacce_fs/waiting.rs"]
mod waiting;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use warpdrive_pmd::uacce::serve::Accelerator;
use warpdrive_pmd::uacce::serve::fs::Mounted;

use space::space;
use stub::Stub;

/// The name of the first device.
const NAME: &str = "stub_zip-0";

/// Devices that are presented in a folder.
struct Lab {
    mounted: Option<Mounted>,
    stub: Arc<Stub>,
    folder: tempfile::TempDir,
}

impl Lab {
    /// One device and another one that nobody uses, or says why not.
    fn new() -> Option<Self> {
        let folder = space()?;
        let stub = Arc::new(Stub::new(NAME));
        let mounted = present(folder.path(), &stub);
        Some(Self { mounted: Some(mounted), stub, folder })
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// The queue file.
    fn queue(&self) -> PathBuf {
        self.path("dev").join(NAME)
    }

    /// An attribute of its device.
    fn attribute(&self, name: &str) -> PathBuf {
        self.path("class/uacce").join(NAME).join(name)
    }
}

/// Presents `stub` and another device.
fn present(folder: &Path, stub: &Arc<Stub>) -> Mounted {
    let devices: Vec<Arc<dyn Accelerator>> = vec![Arc::clone(stub) as _, Arc::new(Stub::new("stub_hpre-1"))];
    Mounted::new(folder, devices).expect("it can be mounted")
}

/// Waits for what comes soon.
#[track_caller]
fn soon(what: &str, it: impl FnMut() -> bool) {
    assert!(comes(it), "{what} did not come");
}

/// Whether it comes soon.
fn comes(mut it: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !it() {
        if start.elapsed() > Duration::from_secs(20) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}
