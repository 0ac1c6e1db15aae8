//! `warpdrive serve`: the engines of this machine as uacce devices of other programs.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use signal_hook::consts::SIGHUP;
use thiserror::Error;
use warpdrive_pmd::device::DeviceError;
use warpdrive_pmd::uacce::serve::Server;
use warpdrive_pmd::uacce::serve::fs::{FsError, Mounted};

use crate::cli::{CheckArgs, ServeArgs};
use crate::found::{self, FoundServer, Refused, Source};
use crate::show::serve as show;
use crate::signals::stop_by_signal;

/// What statfs says of a folder that some FUSE file system presents (Linux `include/uapi/linux/magic.h`).
const FUSE_SUPER_MAGIC: rustix::fs::FsWord = 0x6573_5546;
/// How often signals are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why nothing is served, or no longer.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{path}: the folder for devices: {cause}. Remedy: {remedy}", path = path.display())]
    Folder { path: PathBuf, cause: io::Error, remedy: &'static str },
    #[error("{path}: the folder is not empty, and what is in it would be hidden. Remedy: --expose with a folder of its own", path = path.display())]
    NotEmpty { path: PathBuf },
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error("{0}")]
    Signal(String),
    #[error("{path}: somebody has unmounted it, so that nobody finds the devices any more. Remedy: start the server again", path = path.display())]
    Unmounted { path: PathBuf },
    #[error("the thread of core {lcore} has ended: this is a bug")]
    Broken { lcore: usize },
}

impl Failure {
    fn exit(&self) -> ExitCode {
        if let Self::Refused(refused) = self {
            return refused.exit();
        }
        eprintln!("error: {self}");
        ExitCode::FAILURE
    }
}

/// `warpdrive check` of the configuration of a server.
pub fn check(source: Source, args: &CheckArgs, allowed: &[usize]) -> ExitCode {
    match found::server(source, &args.cores, args.simd.force_simd, allowed) {
        Ok(FoundServer { plan, lcores, name }) => {
            if args.json {
                println!("{}", show::plan_json(&plan, &lcores, &name));
            } else {
                show::plan(&plan, &lcores, &name);
            }
            ExitCode::SUCCESS
        }
        Err(refused) => refused.exit(),
    }
}

/// `warpdrive serve`.
pub fn serve(args: &ServeArgs, allowed: &[usize]) -> ExitCode {
    match try_to_serve(args, allowed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

fn try_to_serve(args: &ServeArgs, allowed: &[usize]) -> Result<(), Failure> {
    let source = Source::read(Some(&args.config))?;
    let mut found = found::server(source, &args.cores, args.simd.force_simd, allowed)?;
    if let Some(expose) = &args.expose {
        found.plan.expose.clone_from(expose);
    }
    let stop = stop_by_signal().map_err(Failure::Signal)?;
    let hung_up = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGHUP, Arc::clone(&hung_up))
        .map_err(|e| Failure::Signal(format!("cannot handle SIGHUP: {e}")))?;
    let plan = &found.plan;
    prepare(&plan.expose)?;
    let mut server = Server::start(&plan.server)?;
    let mounted = Mounted::new(&plan.expose, server.devices().to_vec())?;
    show::start(&found, &server);
    let started = Instant::now();
    let ended = observe(&found, &server, &mounted, args.json, &stop, &hung_up);
    // Those who have queues learn of it before the files go.
    server.stop();
    drop(mounted);
    let now = show::Moment::new(plan, &server, started.elapsed());
    if args.json {
        println!("{}", show::moment_json("end", None, &now));
    } else {
        show::ended(&now);
    }
    ended
}

/// A folder that devices can appear in: made if it is not there, and empty. What another server has there is for who mounts.
fn prepare(path: &Path) -> Result<(), Failure> {
    let failed = |cause: io::Error| {
        let remedy = match cause.kind() {
            io::ErrorKind::PermissionDenied => "root (CAP_SYS_ADMIN), as with sudo",
            _ => "--expose with a folder that can be made, or is there and empty",
        };
        Failure::Folder { path: path.to_owned(), cause, remedy }
    };
    match rustix::fs::statfs(path) {
        Err(Errno::NOTCONN) => return Ok(()),
        Ok(found) if found.f_type == FUSE_SUPER_MAGIC => return Ok(()),
        Ok(_) => {}
        Err(Errno::NOENT) => std::fs::create_dir_all(path).map_err(failed)?,
        Err(cause) => return Err(failed(cause.into())),
    }
    match std::fs::read_dir(path).map_err(failed)?.next() {
        None => Ok(()),
        Some(_) => Err(Failure::NotEmpty { path: path.to_owned() }),
    }
}

/// Watches until somebody asks for the end, or the end has come by itself.
fn observe(
    found: &FoundServer,
    server: &Server,
    mounted: &Mounted,
    json: bool,
    stop: &AtomicBool,
    hung_up: &AtomicBool,
) -> Result<(), Failure> {
    let plan = &found.plan;
    let started = Instant::now();
    let mut next_second = started + Duration::from_secs(1);
    let mut before = show::Moment::new(plan, server, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY);
        if hung_up.swap(false, Ordering::Relaxed) {
            eprintln!(
                "SIGHUP: nothing is loaded anew, all goes on as before. Remedy: end the server and start it again; programs \
                 open their queues anew"
            );
        }
        if mounted.ended() {
            return Err(Failure::Unmounted { path: plan.expose.clone() });
        }
        if let Some((lcore, _)) = server.broken().and_then(|place| plan.cores.get(place)) {
            return Err(Failure::Broken { lcore: *lcore });
        }
        if json && Instant::now() >= next_second {
            next_second += Duration::from_secs(1);
            let now = show::Moment::new(plan, server, started.elapsed());
            // Who reads no further needs no more of them.
            let mut out = io::stdout().lock();
            let line = show::moment_json("second", Some(&before), &now);
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
            before = now;
        }
    }
    Ok(())
}
