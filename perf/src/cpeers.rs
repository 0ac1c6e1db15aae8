//! The C peers: small programs on the libraries of others, in perf/peers, built when they are wanted.

use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::BenchError;
use crate::measure::{cpu_time, in_ticks};
use crate::peers::{NoPeer, Process, START, which};

/// The sources of the C peers.
const SOURCES: &[(&str, &str)] = &[
    ("peer.h", include_str!("../peers/peer.h")),
    ("dpdk.h", include_str!("../peers/dpdk.h")),
    ("mempool_peer.c", include_str!("../peers/mempool_peer.c")),
    ("ring_peer.c", include_str!("../peers/ring_peer.c")),
    ("rsa_peer.c", include_str!("../peers/rsa_peer.c")),
    ("zip_peer.c", include_str!("../peers/zip_peer.c")),
];

/// A library that C peers are built on.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    /// Its name in lines.
    pub name: &'static str,
    /// Its name for pkg-config.
    pub module: &'static str,
    /// The Debian package with its headers.
    pub package: &'static str,
}

/// What `mempool_peer` and `ring_peer` use.
pub const DPDK: Library = Library { name: "DPDK", module: "libdpdk", package: "libdpdk-dev" };
/// What `rsa_peer` uses.
pub const OPENSSL: Library = Library { name: "OpenSSL", module: "libcrypto", package: "libssl-dev" };
/// What `zip_peer` uses.
pub const ZLIB: Library = Library { name: "zlib", module: "zlib", package: "zlib1g-dev" };

/// A folder with C peers that were built, gone with this.
pub struct CPeers {
    folder: TempDir,
    library: Library,
    version: String,
}

impl CPeers {
    /// Builds one program. Takes a few seconds.
    ///
    /// # Errors
    /// [`NoPeer`] when the library's headers or the compiler are missing or do not work.
    pub fn build(program: &str, library: Library) -> Result<Self, NoPeer> {
        let no = |why: String| NoPeer { peer: library.name, why };
        if which("gcc").is_none() || which("pkg-config").is_none() {
            return Err(NoPeer::absent(library.name, &format!("gcc pkg-config {}", library.package)));
        }
        let output = |arguments: &[&str]| {
            let output = Command::new("pkg-config").args(arguments).arg(library.module).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let (Some(version), Some(flags)) = (output(&["--modversion"]), output(&["--cflags", "--libs"]))
        else {
            return Err(NoPeer::absent(library.name, library.package));
        };
        let folder =
            TempDir::with_prefix("warpdrive-perf-").map_err(|e| no(format!("no folder to build in: {e}")))?;
        for (file, text) in SOURCES {
            std::fs::write(folder.path().join(file), text)
                .map_err(|e| no(format!("cannot write {file}: {e}")))?;
        }
        let built = Command::new("gcc")
            .current_dir(folder.path())
            .args(["-O3", "-march=native", "-o", program, &format!("{program}.c")])
            .args(flags.split_whitespace())
            .arg("-ldl")
            .output()
            .map_err(|e| no(format!("gcc does not start: {e}")))?;
        if !built.status.success() {
            let said = String::from_utf8_lossy(&built.stderr);
            return Err(no(format!("{program}.c does not compile: {}", said.lines().next().unwrap_or("?"))));
        }
        Ok(Self { folder, library, version })
    }

    /// Name and version.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.library.name, self.version)
    }

    /// Starts the program; it waits for its slices without using the cpu.
    ///
    /// # Errors
    /// [`NoPeer`] when it does not start.
    pub fn start(&self, program: &str, slice: Duration, arguments: &[String]) -> Result<CPeer, NoPeer> {
        let mut command = Command::new(self.folder.path().join(program));
        command.args(["--ms", &slice.as_millis().clamp(1, 60_000).to_string()]).args(arguments);
        let started = Process::start(command).and_then(|mut process| {
            process.read(START, "the line \"ready\"", |line| line.contains("\"ready\"").then_some(()))?;
            Ok(process)
        });
        started
            .map(|process| CPeer { process, limit: slice + START })
            .map_err(|e| NoPeer { peer: self.library.name, why: e.to_string() })
    }
}

/// A C peer that runs.
pub struct CPeer {
    process: Process,
    limit: Duration,
}

#[derive(Deserialize)]
struct PeerSlice {
    cycles_per_object: f64,
    objects: u64,
}

impl CPeer {
    /// Has it measure one slice; returns cycles an object, by the clock.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it breaks off.
    pub fn slice(&mut self) -> Result<f64, BenchError> {
        Ok(self.measure::<PeerSlice>()?.cycles_per_object)
    }

    /// The same by its cpu time: for a peer of one thread.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it breaks off.
    pub fn cpu_slice(&mut self) -> Result<f64, BenchError> {
        let before = cpu_time(self.process.id())?;
        let slice: PeerSlice = self.measure()?;
        let used = cpu_time(self.process.id())? - before;
        Ok(in_ticks(used) / slice.objects as f64)
    }

    /// Has it measure one slice; returns what it says of it.
    ///
    /// # Errors
    /// [`BenchError::Program`] when it breaks off.
    pub fn measure<T: DeserializeOwned>(&mut self) -> Result<T, BenchError> {
        self.process.send("go")?;
        self.process.read(self.limit, "a slice", |line| serde_json::from_str(line).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_a_c_peer_is_read() {
        let peer_slice = |line: &str| serde_json::from_str::<PeerSlice>(line).ok();
        let line = r#"{"name":"mempool-cache-32","bulk":32,"cycles_per_object":0.730,"objects":355923968}"#;
        let slice = peer_slice(line).unwrap();
        assert_eq!((slice.cycles_per_object, slice.objects), (0.73, 355_923_968));
        for other in ["", r#"{"ready":true}"#, "EAL: something", r#"{"cycles_per_object":"x"}"#] {
            assert!(peer_slice(other).is_none());
        }
    }
}
