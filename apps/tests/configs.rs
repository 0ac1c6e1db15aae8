//! Wrong configurations: each is refused with exit code 78, at the right place, in words that help. And the examples in
//! configs/ are right.

#[path = "configs/certificates.rs"]
mod certificates;
mod common;
#[path = "configs/pipelines.rs"]
mod pipelines;
#[path = "configs/proxies.rs"]
mod proxies;
#[path = "configs/proxy_plans.rs"]
mod proxy_plans;
#[path = "configs/servers.rs"]
mod servers;
#[path = "configs/tables.rs"]
mod tables;

use std::path::Path;

use common::{examples, folder, run};

/// A wrong configuration.
pub struct Wrong {
    /// The text, with `»` in front of the place that the message must name.
    text: String,
    /// Part of the message.
    message: &'static str,
    /// Part of the help.
    help: &'static str,
}

/// A whole file.
fn file(text: &str, message: &'static str, help: &'static str) -> Wrong {
    Wrong { text: text.to_owned(), message, help }
}

/// A file whose one pipeline has these stages; there are null ports a and b, and devices r (RSA) and z (ZIP).
fn stages(stages: &str, message: &'static str, help: &'static str) -> Wrong {
    Wrong { text: format!("{HEAD}[[pipeline]]\nname = \"p\"\nstages = [\n{stages}\n]\n"), message, help }
}

/// A file with ports, devices, and these pipelines.
fn pipelines_of(pipelines: &str, message: &'static str, help: &'static str) -> Wrong {
    Wrong { text: format!("{HEAD}{pipelines}"), message, help }
}

/// A file with a pipeline that is right, and these tables.
fn tables_of(tables: &str, message: &'static str, help: &'static str) -> Wrong {
    Wrong { text: format!("{HEAD}{PIPELINE}{tables}\n"), message, help }
}

const HEAD: &str = r#"version = 1
[port.a]
driver = "null"
[port.b]
driver = "null"
[device.r]
driver = "soft-rsa"
[device.z]
driver = "soft-zip"
"#;
const PIPELINE: &str = r#"[[pipeline]]
name = "p"
stages = [ { rx = "a" }, { tx = "b" } ]
"#;

const MARK: char = '»';

/// The text without the mark, and where the mark was.
fn marked(text: &str) -> (String, usize, usize) {
    let at = text.find(MARK).unwrap_or_else(|| panic!("no mark in {text}"));
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().expect("always one").chars().count() + 1;
    (text.replacen(MARK, "", 1), line, column)
}

/// What no person should see.
const DEBRIS: &[&str] = &[
    "Some(", "None", "Error {", "Err(", "panicked", "usize", "u16", "u32", "u64", "untagged", "variant",
    "field `",
];

fn refused(folder: &Path, wrong: &Wrong) -> Result<(), String> {
    let (text, line, column) = marked(&wrong.text);
    std::fs::write(folder.join("wrong.toml"), &text).expect("write the configuration");
    let ran = run(folder, ["check", "-l", "0", "wrong.toml"]);
    let mut complaints = Vec::new();
    if ran.code != Some(78) {
        complaints.push(format!("exit code {:?}", ran.code));
    }
    let place = format!("wrong.toml:{line}:{column}: error: ");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    match lines.iter().position(|l| l.starts_with(&place)) {
        None => complaints.push(format!("no {place:?}")),
        Some(at) => {
            if !lines[at].contains(wrong.message) {
                complaints.push(format!("no {:?} in the message", wrong.message));
            }
            let help = lines[at + 1..]
                .iter()
                .take_while(|l| !l.contains(": error: "))
                .find(|l| l.contains("= help: "));
            if !help.is_some_and(|l| l.contains(wrong.help)) {
                complaints.push(format!("no {:?} in the help", wrong.help));
            }
        }
    }
    if ran.stderr.matches(": error: ").count() != 1 {
        complaints.push("not one error but several".to_owned());
    }
    complaints.extend(DEBRIS.iter().filter(|d| ran.stderr.contains(**d)).map(|d| format!("debris {d:?}")));
    if !ran.stdout.is_empty() {
        complaints.push("something on standard output".to_owned());
    }
    if complaints.is_empty() {
        return Ok(());
    }
    Err(format!("{}\nof {text}\nsaid (exit code {:?}):\n{}", complaints.join("; "), ran.code, ran.stderr))
}

fn all_are_refused(cases: &[Wrong]) {
    let folder = folder();
    let failures: Vec<String> = cases.iter().filter_map(|c| refused(folder.path(), c).err()).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n----\n"));
}

#[test]
fn wrong_toml_and_wrong_tables_are_refused_at_their_place_and_with_help() {
    all_are_refused(&tables::cases());
}

#[test]
fn wrong_pipelines_and_stages_are_refused_at_their_place_and_with_help() {
    all_are_refused(&pipelines::cases());
}

#[test]
fn wrong_proxies_are_refused_at_their_place_and_with_help() {
    all_are_refused(&proxies::cases());
}

#[test]
fn wrong_servers_and_their_clients_are_refused_at_their_place_and_with_help() {
    all_are_refused(&servers::cases());
}

#[test]
fn files_for_run_and_for_serve_are_told_apart() {
    let folder = folder();
    let serve = examples().join("serve.toml");
    for verb in ["run", "reload"] {
        let ran = run(folder.path(), [verb.as_ref(), serve.as_os_str()]);
        assert_eq!(ran.code, Some(78), "{}", ran.stderr);
        for part in
            [": error: a file with a [serve] table is for warpdrive serve", "help: warpdrive serve FILE"]
        {
            assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
        }
    }
    let ran = run(folder.path(), ["serve".as_ref(), examples().join("sign-zip.toml").as_os_str()]);
    assert_eq!(ran.code, Some(78), "{}", ran.stderr);
    for part in [":1:1: error: there is no [serve] table", "help: configs/serve.toml is one"] {
        assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
    }
    let ran = run(folder.path(), ["check".as_ref(), serve.as_os_str(), "--json".as_ref()]).well();
    let plan: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(plan["schema"], "warpdrive.check-serve.v1");
    let names: Vec<_> = plan["devices"].as_array().expect("devices").iter().map(|d| &d["name"]).collect();
    assert_eq!(names, ["hisi_hpre-0", "hisi_zip-0", "hisi_zip-1"]);
}

#[test]
fn at_least_a_hundred_mistakes_are_tried() {
    assert!(tables::cases().len() + pipelines::cases().len() >= 100);
}

#[test]
fn an_unknown_key_is_refused_in_every_kind_of_stage() {
    let kinds = [
        ("rx", r#"rx = "a""#),
        ("tx", r#"tx = "b""#),
        ("rsa", r#"rsa = "r", op = "sign", scheme = "pss-sha256", key = "demo:rsa2048""#),
        ("zip", r#"zip = "z", op = "compress""#),
        ("match", r#"match = { vlan = 1 }"#),
        ("mac-swap", "mac-swap = true"),
        ("echo", r#"echo = "192.0.2.1""#),
        ("count", r#"count = "c""#),
        ("drop", "drop = true"),
        ("stall", "stall = 100"),
        ("tee", r#"tee = "b""#),
        ("handoff", r#"handoff = "q""#),
        ("fanout", r#"fanout = ["q"]"#),
        ("merge", "merge = true"),
    ];
    let folder = folder();
    for (kind, keys) in kinds {
        let wrong = stages(&format!("  {{ {keys}, »wobble = 1 }},"), "unknown key \"wobble\"", kind);
        refused(folder.path(), &wrong).unwrap_or_else(|e| panic!("{kind}: {e}"));
    }
}

#[test]
fn a_wrong_choice_of_cores_in_the_file_is_refused_at_its_place() {
    let folder = folder();
    for (cores, message) in [
        ("0-", "\"0-\": "),
        ("", "\"\": "),
        ("0,4000", "4000"),
        ("0,999", "cpu 999, which is not usable here: this process may run on cpu"),
    ] {
        let text = format!("{HEAD}{PIPELINE}[eal]\ncores = {cores:?}\n");
        std::fs::write(folder.path().join("wrong.toml"), text).expect("write");
        let ran = run(folder.path(), ["check", "wrong.toml"]);
        assert_eq!(ran.code, Some(78), "{cores:?}: {}", ran.stderr);
        for part in ["wrong.toml:14:9: error: ", message, "= help: for example cores = "] {
            assert!(ran.stderr.contains(part), "{cores:?}: no {part:?} in {}", ran.stderr);
        }
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let folder = folder();
    let text = "version = 1\n[mempool.m]\nbufers = 1\n[port.a]\ndriver = \"nul\"\n[device.d]\ndriver = \"soft-rs\"\n";
    std::fs::write(folder.path().join("wrong.toml"), text).expect("write");
    let ran = run(folder.path(), ["check", "wrong.toml"]);
    assert_eq!(ran.code, Some(78));
    for place in ["wrong.toml:3:1:", "wrong.toml:5:10:", "wrong.toml:7:10:"] {
        assert!(ran.stderr.contains(place), "{}", ran.stderr);
    }
}

#[test]
fn run_refuses_what_check_refuses_and_starts_nothing() {
    let folder = folder();
    let text = "version = 1\n[port.out]\ndriver = \"pcap\"\nout = \"made.pcap\"\n[[pipeline]]\nname = \"p\"\nstages = []\n";
    std::fs::write(folder.path().join("wrong.toml"), text).expect("write");
    let ran = run(folder.path(), ["run", "wrong.toml"]);
    assert_eq!(ran.code, Some(78), "{}", ran.stderr);
    assert!(!folder.path().join("made.pcap").exists());
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_remedy() {
    let folder = folder();
    std::fs::write(folder.path().join("latin1.toml"), b"version = 1 # caf\xe9\n").expect("write");
    std::fs::create_dir(folder.path().join("some-folder")).expect("a folder");
    for (name, cause, remedy) in [
        ("absent.toml", "No such file", "examples are in configs/"),
        ("latin1.toml", "line 1, column 18", "UTF-8"),
        ("some-folder", "directory", "a TOML file"),
    ] {
        for verb in ["check", "run"] {
            let ran = run(folder.path(), [verb, name]);
            assert_eq!(ran.code, Some(1), "{name}: {}", ran.stderr);
            for part in [name, cause, "Remedy: ", remedy] {
                assert!(ran.stderr.contains(part), "{name}: no {part:?} in {}", ran.stderr);
            }
            assert_eq!(ran.stderr.matches(name).count(), 1, "named once: {}", ran.stderr);
        }
    }
}

#[test]
fn every_example_is_right_and_those_that_need_no_rights_run() {
    let folder = folder();
    let mut checked = 0;
    let mut files: Vec<_> = std::fs::read_dir(examples())
        .expect("configs/")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort(); // sign-zip before unzip-verify, which reads what the former writes
    for path in &files {
        let text = std::fs::read_to_string(path).expect("UTF-8");
        assert!(text.starts_with("# "), "{}: begins with what it is for", path.display());
        let ran = run(folder.path(), [std::ffi::OsStr::new("check"), path.as_os_str()]).well();
        assert!(ran.stdout.contains(": ok\n"), "{}", ran.stdout);
        checked += 1;
        if text.contains("\n[serve]\n") {
            continue; // tests/serve.rs serves it
        }
        if [
            "\"tap\"",
            "\"af_packet\"",
            "\"af_xdp\"",
            "\"memif\"",
            "\"vhost_user\"",
            "\"uacce\"",
            "\"virtio\"",
        ]
        .iter()
        .any(|driver| text.contains(&format!("driver = {driver}")))
        {
            common::skipped(&format!("running {}: it needs rights or an interface", path.display()));
            continue;
        }
        let ran = run(
            folder.path(),
            ["run", path.to_str().expect("UTF-8"), "--no-huge", "--json", "--duration", "300ms"],
        );
        if ran.stderr.contains("error: eal.strict: ") {
            common::skipped(&format!("running {}: {}", path.display(), ran.stderr));
            continue;
        }
        let ran = ran.well();
        ran.statistics();
    }
    assert!(checked >= 3, "only {checked} examples found");
}
