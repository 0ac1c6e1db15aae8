//! `warpdrive reload`, and what becomes of it in the program that runs.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::SIGHUP;
use warpdrive_proxy::{Outcome, Proxies, first_fixed};

use crate::cli::CheckArgs;
use crate::found;

/// How long the program that runs may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that it may answer.
const ANSWER: u64 = 1 << 20;

/// Loads the configuration of a program that runs when it is asked to.
pub struct Reloader<'a> {
    args: &'a CheckArgs,
    allowed: &'a [usize],
    /// The configuration as it was when the program was started.
    text: String,
    asked: Arc<AtomicBool>,
}

impl<'a> Reloader<'a> {
    /// Of a program that has `text`.
    ///
    /// # Errors
    /// The signal cannot be handled.
    pub fn new(args: &'a CheckArgs, allowed: &'a [usize], text: String) -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, Arc::clone(&asked))?;
        Ok(Self { args, allowed, text, asked })
    }

    /// Does it, if somebody has asked: by SIGHUP, or at an admin address. Says on standard error what was done.
    pub fn look(&self, proxies: &mut Proxies) {
        while let Some(ask) = proxies.asked() {
            ask.answer(self.load(proxies));
        }
        if self.asked.swap(false, Ordering::Relaxed) {
            let _ = self.load(proxies);
        }
    }

    fn load(&self, proxies: &mut Proxies) -> Outcome {
        let outcome = self.try_to_load(proxies);
        match &outcome {
            Ok(done) => eprintln!("{done}"),
            Err(why) => eprintln!("not reloaded, all goes on as before: {why}"),
        }
        outcome
    }

    fn try_to_load(&self, proxies: &mut Proxies) -> Outcome {
        if self.args.config.is_none() {
            return Err("the configuration is the one built in. Remedy: one in a file".to_owned());
        }
        let found = found::plan(self.args, self.allowed).map_err(|refused| refused.to_string())?;
        if let Some(key) = first_fixed(&self.text, &found.text) {
            return Err(format!(
                "{}: {key} cannot change while the program runs. Remedy: start it anew",
                found.name
            ));
        }
        proxies.load(&found.plan).map_err(|e| e.to_string())?;
        let names: Vec<&str> = found.plan.proxies.iter().map(|proxy| &*proxy.name).collect();
        let mut done = format!("reloaded {}: {}", found.name, names.join(", "));
        for note in &found.plan.notes {
            done.push_str(&format!("\nnote: {note}"));
        }
        Ok(done)
    }
}

/// `warpdrive reload`.
pub fn reload(args: &CheckArgs, allowed: &[usize]) -> ExitCode {
    let found = match found::plan(args, allowed) {
        Ok(found) => found,
        Err(refused) => return refused.exit(),
    };
    let Some(at) = found.plan.proxies.iter().find_map(|proxy| proxy.admin.as_ref()) else {
        eprintln!(
            "error: {}: no proxy has an admin address to ask at. Remedy: admin = \"./warpdrive.sock\" in [[proxy]], or \
             kill -HUP with the process id",
            found.name
        );
        return ExitCode::FAILURE;
    };
    match ask(&at.name) {
        Ok((200, text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok((_, text)) => {
            eprint!("error: {text}");
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("error: nobody answers at {:?}: {e}. Remedy: warpdrive run, by this user", at.name);
            ExitCode::FAILURE
        }
    }
}

/// Asks at an admin address: the status, and what is said.
fn ask(at: &str) -> io::Result<(u16, String)> {
    if at.contains('/') {
        let stream = UnixStream::connect(at)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        return answer(stream);
    }
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    answer(stream)
}

fn answer(mut stream: impl Read + Write) -> io::Result<(u16, String)> {
    stream.write_all(
        b"POST /reload HTTP/1.1\r\nHost: localhost\r\nWarpdrive: reload\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.take(ANSWER).read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    match (status, answer.split_once("\r\n\r\n")) {
        (Some(status), Some((_, text))) => Ok((status, text.to_owned())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "what is answered is not HTTP")),
    }
}
