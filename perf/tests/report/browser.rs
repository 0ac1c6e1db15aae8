//! A browser without a screen, one process for each look, each for a bounded time.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Names that it has.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

pub struct Browser {
    program: PathBuf,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
}

impl Browser {
    /// The first of its names that is in the path.
    pub fn find() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let candidates = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        candidates.into_iter().find(|program| program.is_file()).map(|program| Self { program })
    }

    /// What a script has left in the element `measured` of a page.
    pub fn measured(&self, page: &Path, look: Look) -> String {
        let dom = self.run(page, look, &["--dump-dom"]);
        let (_, rest) =
            dom.split_once("<pre id=\"measured\">").unwrap_or_else(|| panic!("nothing measured: {dom}"));
        let (json, _) = rest.split_once("</pre>").unwrap();
        json.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&")
    }

    /// A picture of the upper part of a page.
    pub fn screenshot(&self, page: &Path, look: Look, to: &Path) {
        let _ = std::fs::remove_file(to);
        self.run(page, look, &[&format!("--screenshot={}", to.display()), "--hide-scrollbars"]);
        assert!(to.is_file(), "no screenshot");
    }

    /// What it writes.
    fn run(&self, page: &Path, look: Look, what: &[&str]) -> String {
        let profile = tempfile::tempdir().unwrap();
        let scheme = if look.dark { 0 } else { 1 };
        let mut child = Command::new(&self.program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--window-size={},{}", look.width, look.height))
            .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
            .args(what)
            .arg(format!("file://{}", page.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        wait(&mut child);
        reader.join().unwrap().unwrap()
    }
}

/// For its end, which is brought about if it takes too long.
fn wait(child: &mut Child) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // It has processes of its own, in its group.
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
    let _ = child.wait();
    panic!("the browser was not done after {PATIENCE:?}");
}
