//! `warpdrive`: the command. Data goes to standard output, words for people to standard error.
//!
//! Exit codes: 0 done, 1 it did not work, 2 wrong usage, 78 wrong configuration (EX_CONFIG of sysexits.h). What runs another
//! command has the exit code of that one, or 125 to 127, as env(1) has.

mod bench;
mod cli;
mod devices;
mod doctor;
mod found;
mod reload;
mod run;
mod serve;
mod show;
mod signals;
mod zip;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use warpdrive_pipeline::cores;

/// Exit code of a wrong configuration.
pub(crate) const EX_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    log_to_stderr(cli.log_level);
    // Once, before any thread is pinned: a pinned thread would see its own cpu only.
    let allowed = match cores::allowed() {
        Ok(allowed) => allowed,
        Err(e) => {
            eprintln!("error: {e}");
            return ExitCode::FAILURE;
        }
    };
    match cli.command {
        cli::Command::Run(args) => run::run(&args, &allowed),
        cli::Command::Serve(args) => serve::command::serve(&args, &allowed),
        cli::Command::Check(args) => run::check(&args, &allowed),
        cli::Command::Reload(args) => reload::reload(&args, &allowed),
        cli::Command::Bench(args) => bench::bench(&args, &allowed),
        cli::Command::Devices { json, simd } => devices::devices(json, simd.force_simd),
        cli::Command::Zip(args) => zip::zip(&args, &allowed),
        cli::Command::RunWithDevices(args) => serve::with_devices::run(&args),
        cli::Command::Doctor { fix, json } => examine(fix, json),
        cli::Command::Completions { shell } => {
            clap_complete::generate(shell, &mut cli::Cli::command(), "warpdrive", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

fn log_to_stderr(level: cli::LogLevel) {
    tracing_subscriber::fmt()
        .with_max_level(level.filter())
        .with_writer(std::io::stderr)
        .with_ansi(show::colour(&std::io::stderr()))
        .init();
}

/// `warpdrive doctor`: the facts, after mending them if asked to.
fn examine(fix: bool, json: bool) -> ExitCode {
    use std::io::Write as _;
    let roots = doctor::Roots::default();
    let mut facts = doctor::facts(&roots, doctor::SPIN);
    let fixes = fix.then(|| doctor::fix(&facts));
    if fixes.is_some() {
        facts = doctor::facts(&roots, doctor::SPIN);
    }
    let printed = if json {
        writeln!(std::io::stdout(), "{:#}", doctor::to_json(&facts, fixes.as_deref()))
    } else {
        doctor::print(&facts)
    };
    for fix in fixes.iter().flatten().filter(|_| !json) {
        eprintln!("{}: {}: {}", if fix.done { "mended" } else { "NOT mended" }, fix.name, fix.message);
    }
    if printed.is_err() { ExitCode::FAILURE } else { ExitCode::from(doctor::exit_code(&facts)) }
}
