//! `warpdrive run` and `warpdrive check`.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use warpdrive_pipeline::launch::{self, LaunchError, Options};
use warpdrive_pipeline::plan::Plan;
use warpdrive_pipeline::running::Running;
use warpdrive_pipeline::service::ServiceError;
use warpdrive_pmd::port::Link;
use warpdrive_proxy::Proxies;
use warpdrive_proxy::metrics::ProxyMetrics;

use crate::cli::{CheckArgs, RunArgs};
use crate::found::{Found, Source, plan, plan_of};
use crate::reload::Reloader;
use crate::serve;
use crate::show;
use crate::show::Moment;
use crate::signals::stop_by_signal;

/// `warpdrive check`.
pub fn check(args: &CheckArgs, allowed: &[usize]) -> ExitCode {
    let source = match Source::read(args.config.as_deref()) {
        Ok(source) if source.is_server() => return serve::command::check(source, args, allowed),
        Ok(source) => source,
        Err(refused) => return refused.exit(),
    };
    match plan_of(source, args, allowed) {
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
    let stop = match stop_by_signal() {
        Ok(stop) => stop,
        Err(e) => {
            eprintln!("error: {e}");
            return ExitCode::FAILURE;
        }
    };
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
