//! A browser without a screen, spoken to by its DevTools protocol over a pair of pipes. For tests: what goes wrong panics.

mod picture;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

pub use picture::Picture;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Names that it has.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Of the window, in pixels.
    pub width: u32,
    /// Of the window, in pixels.
    pub height: u32,
    /// Whether pages are asked for their dark colours.
    pub dark: bool,
}

/// A page in a browser, which ends when this is dropped.
pub struct Page {
    child: Child,
    to: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    id: u64,
    /// What went wrong in the page.
    errors: Vec<String>,
    _profile: tempfile::TempDir,
}

/// Whether there is a browser; says so if not.
#[must_use]
pub fn is_there() -> bool {
    find().is_some()
}

/// The first of its names that is in the path.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut candidates = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = candidates.find(|program| program.is_file());
    if found.is_none() {
        println!("skipped: no chromium, chromium-browser or google-chrome (Debian: chromium)");
    }
    found
}

impl Page {
    /// Starts a browser with an empty page, and with `more` options. `None`, said aloud, if there is none.
    #[must_use]
    pub fn open(more: &[&str]) -> Option<Self> {
        Self::open_in(Command::new("sh"), more)
    }

    /// The same with a command that runs a shell, in another network namespace for instance.
    #[must_use]
    pub fn open_in(mut shell: Command, more: &[&str]) -> Option<Self> {
        let program = find()?;
        let profile = tempfile::tempdir().unwrap();
        // The protocol is spoken at descriptors 3 and 4.
        let mut child = shell
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--remote-debugging-pipe", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let (to, mut from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            while from.read_until(0, &mut bytes).is_ok_and(|n| n > 0) {
                bytes.pop();
                if serde_json::from_slice(&bytes).is_ok_and(|message| sender.send(message).is_err()) {
                    return;
                }
                bytes.clear();
            }
        });
        let mut page =
            Self { child, to, messages, session: None, id: 0, errors: Vec::new(), _profile: profile };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = page.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        page.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        Some(page)
    }

    /// Calls a method, and waits for its result.
    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.id += 1;
        let mut message = json!({ "id": self.id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(message.to_string().as_bytes()).and_then(|()| self.to.write_all(&[0])).unwrap();
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let message = self.messages.recv_timeout(left);
            let mut message =
                message.unwrap_or_else(|e| panic!("{method}: the browser does not answer: {e}"));
            if message["id"] == self.id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.hear(&message);
        }
    }

    fn hear(&mut self, event: &Value) {
        let params = &event["params"];
        let wrong = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => {
                ["error", "warning", "assert"].iter().any(|t| params["type"] == *t)
            }
            Some("Log.entryAdded") => {
                ["error", "warning"].iter().any(|level| params["entry"]["level"] == *level)
            }
            _ => false,
        };
        if wrong {
            self.errors.push(params.to_string());
        }
    }

    /// Goes to an address.
    #[track_caller]
    pub fn go(&mut self, url: &str) {
        self.try_to_go(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Goes to an address.
    ///
    /// # Errors
    /// What the browser says, such as `net::ERR_CERT_AUTHORITY_INVALID`.
    pub fn try_to_go(&mut self, url: &str) -> Result<(), String> {
        let gone = self.call("Page.navigate", json!({ "url": url }));
        gone["errorText"].as_str().map_or(Ok(()), |error| Err(error.to_owned()))
    }

    /// What an expression is, in the page. Promises are waited for.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{}", result["exceptionDetails"]);
        result["result"]["value"].take()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait_for(&mut self, expression: &str) {
        let start = Instant::now();
        while self.evaluate(expression) != true {
            assert!(start.elapsed() < PATIENCE, "in vain: {expression}: {:?}", self.errors);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Looks at the page otherwise.
    pub fn look(&mut self, Look { width, height, dark }: Look) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [scheme] }));
        // What depends on it is laid out in the next picture, and drawn anew in the one after.
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))");
    }

    /// A picture of all of the page, which is kept as a PNG.
    pub fn picture(&mut self, to: &Path) -> Picture {
        self.capture(to, true)
    }

    /// A picture of what is in the window, which is kept as a PNG.
    pub fn window(&mut self, to: &Path) -> Picture {
        self.capture(to, false)
    }

    #[track_caller]
    fn capture(&mut self, to: &Path, beyond: bool) -> Picture {
        let shot = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": beyond }));
        std::fs::write(to, BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
        Picture::read(to)
    }

    /// What went wrong so far: exceptions, and errors and warnings of the console.
    pub fn errors(&mut self) -> Vec<String> {
        // So that what is on its way has come.
        self.evaluate("0");
        std::mem::take(&mut self.errors)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // It has processes of its own, in its group.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}
