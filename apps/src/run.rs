//! `warpdrive run` and `warpdrive check`.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use warpdrive_pipeline::config::{Config, Pages};
use warpdrive_pipeline::cores::{self, CoreError, LcoreMap};
use warpdrive_pipeline::diag::{ConfigError, Diagnostic};
use warpdrive_pipeline::launch::{self, LaunchError, Options};
use warpdrive_pipeline::plan::Plan;
use warpdrive_pipeline::running::Running;
use warpdrive_pipeline::service::ServiceError;
use warpdrive_pmd::engine::Engine as _;
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaOptions};
use warpdrive_pmd::port::Link;
use warpdrive_proxy::Proxies;
use warpdrive_proxy::metrics::ProxyMetrics;

use crate::cli::{CheckArgs, RunArgs};
use crate::reload::Reloader;
use crate::show::Moment;
use crate::{EX_CONFIG, show};

/// The demonstration that runs without a file.
const BUILT_IN: &str = include_str!("../../configs/sign-zip.toml");
/// Its name in messages.
const BUILT_IN_NAME: &str = "configs/sign-zip.toml (built in)";

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("cannot read {path}: {cause}. Remedy: {remedy}")]
    Read { path: String, cause: String, remedy: &'static str },
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Core(#[from] CoreError),
    #[error("--force-simd: {0}")]
    Simd(String),
}

impl Refused {
    /// Says why, and with what the program exits.
    pub fn exit(&self) -> ExitCode {
        eprintln!("{}{self}", if matches!(self, Self::Config(_)) { "" } else { "error: " });
        match self {
            Self::Config(_) => ExitCode::from(EX_CONFIG),
            Self::Read { .. } | Self::Simd(_) => ExitCode::FAILURE,
            Self::Core(_) => ExitCode::from(2),
        }
    }
}

/// The text of a configuration file, or why there is none and the remedy.
fn read(path: &Path) -> Result<String, (String, &'static str)> {
    use std::io::ErrorKind;
    let bytes = std::fs::read(path).map_err(|e| {
        let remedy = match e.kind() {
            ErrorKind::NotFound => "the path of a configuration; examples are in configs/",
            ErrorKind::IsADirectory => "a TOML file in it; examples are in configs/",
            ErrorKind::PermissionDenied => "a file that this user may read",
            _ => "a file that can be read",
        };
        (e.to_string(), remedy)
    })?;
    String::from_utf8(bytes).map_err(|e| {
        let before = String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        (format!("it is not UTF-8 at line {line}, column {column}"), "save it as UTF-8")
    })
}

/// A configuration that was found sound.
pub struct Found {
    /// What is to be done.
    pub plan: Plan,
    /// On which cpus.
    pub lcores: LcoreMap,
    /// The name of the configuration in messages.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// Reads a configuration.
///
/// # Errors
/// [`Refused`].
pub fn plan(args: &CheckArgs, allowed: &[usize]) -> Result<Found, Refused> {
    let (name, text) = match &args.config {
        None => (BUILT_IN_NAME.to_owned(), BUILT_IN.to_owned()),
        Some(path) => {
            let name = path.display().to_string();
            let text =
                read(path).map_err(|(cause, remedy)| Refused::Read { path: name.clone(), cause, remedy })?;
            (name, text)
        }
    };
    let mut config = Config::parse(&name, &text)?;
    if args.no_huge {
        config.eal.pages = Pages::K4;
        config.mempools.iter_mut().for_each(|m| m.value.pages = None);
    }
    if let Some(simd) = args.simd.force_simd {
        RsaEngine::supports(&RsaOptions { simd, ..RsaOptions::default() }).map_err(Refused::Simd)?;
        config.force_simd(simd);
    }
    let c = &args.cores;
    let chosen = cores::choose(c.mask.as_deref(), c.list.as_deref(), c.lcores.as_deref())?;
    let lcores = match (chosen, &config.eal.cores) {
        (Some(map), _) => map,
        (None, Some(list)) => {
            let refuse = |e: CoreError| {
                let message = match &e {
                    CoreError::Syntax(s) => {
                        format!("{:?}: {} (character {})", list.get_ref(), s.what(), s.character())
                    }
                    other => other.to_string(),
                };
                config
                    .error(vec![Diagnostic::new(list.span(), message).help("for example cores = \"0,2-3\"")])
            };
            let map = cores::parse_list(list.get_ref()).map_err(refuse)?;
            map.validate(allowed).map_err(refuse)?;
            map
        }
        (None, None) => cores::auto(allowed)?,
    };
    lcores.validate(allowed)?;
    let mut plan = Plan::new(&config, &lcores)?;
    let notes = warpdrive_proxy::check(&plan).map_err(|e| *e)?;
    plan.notes.extend(notes);
    Ok(Found { plan, lcores, name, text })
}

/// `warpdrive check`.
pub fn check(args: &CheckArgs, allowed: &[usize]) -> ExitCode {
    match plan(args, allowed) {
        Ok(Found { plan, lcores, name, .. }) => {
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

/// `warpdrive run`.
pub fn run(args: &RunArgs, allowed: &[usize]) -> ExitCode {
    let Found { plan, lcores, name, text } = match plan(&args.check, allowed) {
        Ok(found) => found,
        Err(refused) => return refused.exit(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second signal ends the program at once, as people expect who press Ctrl-C twice.
        let again = signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop));
        let first = signal_hook::flag::register(signal, Arc::clone(&stop));
        if let Err(e) = again.and(first) {
            eprintln!("error: cannot handle signal {signal}: {e}");
            return ExitCode::FAILURE;
        }
    }
    let reloader = match reloader(&plan, &args.check, allowed, text) {
        Ok(reloader) => reloader,
        Err(e) => {
            eprintln!("error: cannot handle SIGHUP: {e}");
            return ExitCode::FAILURE;
        }
    };
    let options = Options { packets: args.packets, demo_folder: None };
    // It has what proxies have beside their workers, and is to outlive them.
    let mut proxies = Proxies::default();
    let mut running = match launch::launch_with(&plan, &options, &mut proxies) {
        Ok(running) => running,
        Err(e) => {
            // What has a place in the configuration says "error" behind it.
            let placed = matches!(e, LaunchError::File(_) | LaunchError::Service(ServiceError::Config(_)));
            let prefix = if placed { "" } else { "error: " };
            eprintln!("{prefix}{e}");
            return ExitCode::FAILURE;
        }
    };
    if args.check.config.is_none() {
        running.report.without.extend(demonstration_goes_without());
    }
    show::start(&running.report, &plan, &lcores, &name);
    let metrics = proxies.metrics().to_vec();
    let mut often = || {
        if let Some(reloader) = &reloader {
            reloader.look(&mut proxies);
        }
    };
    let asked = observe(&mut running, &metrics, args, &stop, &mut often);
    let ended = running.join();
    drop(proxies);
    if args.check.json {
        println!("{}", show::ended_json(&ended, &metrics));
    } else {
        show::ended(&ended, &metrics, asked);
    }
    for (pool, missing) in &ended.leaks {
        eprintln!("error: mempool {pool:?}: {missing} buffers did not come back");
    }
    if ended.panicked {
        eprintln!("error: a worker thread panicked: this is a bug");
    }
    if ended.abandoned > 0 {
        let what = if plan.proxies.is_empty() { "packets" } else { "packets or connections" };
        eprintln!(
            "warning: {} {what} were given up because draining took longer than eal.drain_ms",
            ended.abandoned
        );
    }
    for (port, what) in &ended.failures {
        eprintln!("error: port {port:?}: {what}");
    }
    if ended.leaks.is_empty() && ended.failures.is_empty() && !ended.panicked {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Only proxies can be loaded anew: without, SIGHUP ends the program as it ends others.
fn reloader<'a>(
    plan: &Plan,
    args: &'a CheckArgs,
    allowed: &'a [usize],
    text: String,
) -> std::io::Result<Option<Reloader<'a>>> {
    if plan.proxies.is_empty() {
        return Ok(None);
    }
    Reloader::new(args, allowed, text).map(Some)
}

/// What the built-in demonstration has in place of the real thing.
fn demonstration_goes_without() -> Vec<String> {
    let mut without = vec![
        "network ports: input and output are capture files. Remedy: a configuration with af_xdp, af_packet or tap ports, \
         such as configs/sign-zip-af_xdp.toml"
            .to_owned(),
    ];
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        without.push(
            "privileges: not root, so no network ports, hugepage reservations or physical addresses. Remedy: sudo".to_owned(),
        );
    }
    without
}

/// Watches until the workers have ended. Returns why they were asked to, if they were.
fn observe(
    running: &mut Running,
    proxies: &[ProxyMetrics],
    args: &RunArgs,
    stop: &AtomicBool,
    often: &mut dyn FnMut(),
) -> Option<&'static str> {
    const LOOK_EVERY: Duration = Duration::from_millis(20);
    let started = Instant::now();
    let mut asked = None;
    let mut next_second = started + Duration::from_secs(1);
    let mut before = Moment::new(running.snapshot(), proxies);
    while !running.is_finished() {
        std::thread::sleep(LOOK_EVERY);
        often();
        if asked.is_none() {
            asked = if stop.load(Ordering::Relaxed) {
                Some("signal")
            } else if args.duration.is_some_and(|d| started.elapsed() >= d) {
                Some("duration")
            } else {
                None
            };
            if asked.is_some() {
                running.stop();
            }
        }
        if Instant::now() >= next_second {
            next_second += Duration::from_secs(1);
            running.collect_latency();
            let now = Moment::new(running.snapshot(), proxies);
            for (old, new) in before.all.ports.iter().zip(&now.all.ports) {
                match &new.link {
                    link if *link == old.link => {}
                    Link::Up => eprintln!("port {:?}: link up", new.name),
                    Link::Down(why) => eprintln!("port {:?}: link down: {why}", new.name),
                }
            }
            if args.stats && args.check.json {
                // The numbers at the end are the last line. Who reads no further needs no more of them.
                let mut out = std::io::stdout().lock();
                let _ = writeln!(out, "{}", show::second_json(&now, proxies)).and_then(|()| out.flush());
            } else if args.stats {
                show::second(&before, &now, proxies);
            }
            before = now;
        }
    }
    asked
}
