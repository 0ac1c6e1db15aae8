//! Python's requests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Place, noise, original, run};

const LARGE: &str = "/large?bytes=20000000";

/// A Python that has it: the one that `WARPDRIVE_PYTHON` names, or the system's. `None`, said aloud, if there is none.
pub fn python() -> Option<PathBuf> {
    let named = std::env::var_os("WARPDRIVE_PYTHON").map(PathBuf::from);
    // The second is where a distribution puts its packages.
    let candidates = named.into_iter().chain(["python3", "/usr/bin/python3"].map(PathBuf::from));
    let found = candidates.into_iter().find(|python| {
        let mut command = Command::new(python);
        command.args(["-c", "import requests"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    });
    if found.is_none() {
        eprintln!(
            "skipped: no python3 with requests (Debian: python3-requests; or WARPDRIVE_PYTHON=VENV/bin/python)"
        );
    }
    found
}

/// A session, compressed and large bodies, uploads of both framings, events as they come, and a certificate that is not trusted.
pub fn all(place: &Place<'_>, python: &Path) {
    let (noise, _) = noise(place, 2_000_000);
    let large = place.file("large");
    std::fs::write(&large, original(LARGE)).expect("write");
    for host in &place.hosts {
        let mut command = (place.command)(python);
        command.args(["-c", include_str!("requests.py"), &format!("https://{host}"), place.trusted()]);
        let said = run(command.arg(LARGE).arg(&large).arg(&noise));
        assert_eq!(said, "right\n", "{host}");
    }
}
