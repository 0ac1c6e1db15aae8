//! The command `warpdrive`. For now: `warpdrive doctor [--fix] [--json]`.

mod doctor;

use std::io::{self, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| args.iter().any(|a| a == name);
    if args.first().map(String::as_str) != Some("doctor")
        || args.iter().skip(1).any(|a| a != "--fix" && a != "--json")
    {
        eprintln!("usage: warpdrive doctor [--fix] [--json]");
        return ExitCode::from(2);
    }
    let roots = doctor::Roots::default();
    let mut facts = doctor::facts(&roots, doctor::SPIN);
    let fixes = has("--fix").then(|| doctor::fix(&facts));
    if fixes.is_some() {
        facts = doctor::facts(&roots, doctor::SPIN);
    }
    if has("--json") {
        if writeln!(io::stdout(), "{:#}", doctor::to_json(&facts, fixes.as_deref())).is_err() {
            return ExitCode::FAILURE;
        }
    } else {
        if doctor::print(&facts).is_err() {
            return ExitCode::FAILURE;
        }
        for fix in fixes.iter().flatten() {
            eprintln!("{}: {}: {}", if fix.done { "mended" } else { "NOT mended" }, fix.name, fix.message);
        }
    }
    ExitCode::from(doctor::exit_code(&facts))
}
