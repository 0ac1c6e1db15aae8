//! What programs in C have of the library: its header, its names, and a sample that works.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::Served;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Where the library is.
fn libraries() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    assert!(folder.join("libwarpdrive.so").exists(), "{}", folder.display());
    folder
}

fn ran(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    output
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: it needs {program}");
    }
    found
}

/// The header as the sources have it.
fn generated() -> String {
    let config = cbindgen::Config::from_file(here("cbindgen.toml")).unwrap();
    let sources = ["types", "calls", "share", "smm"].map(|name| here(&format!("src/{name}.rs")));
    let builder = sources.into_iter().fold(cbindgen::Builder::new(), cbindgen::Builder::with_src);
    let mut header = Vec::new();
    builder.with_config(config).generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_header_is_what_the_library_has() {
    let (path, expected) = (here("include/warpdrive.h"), generated());
    if std::env::var_os("WARPDRIVE_WRITE_HEADER").is_some() {
        // Other tests read it meanwhile.
        let new = path.with_extension("new");
        std::fs::write(&new, &expected).unwrap();
        std::fs::rename(&new, &path).unwrap();
    }
    let header = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = header.lines().zip(expected.lines()).find(|(is, should)| is != should);
    assert!(
        header == expected,
        "{} is old, first at {differs:?}. Remedy: WARPDRIVE_WRITE_HEADER=1 cargo test -p warpdrive-capi header",
        path.display()
    );
}

#[test]
fn the_header_is_c_and_cpp() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("only.c");
    std::fs::write(&source, "#include \"warpdrive.h\"\n#include \"warpdrive.h\"\n").unwrap();
    let warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"];
    for (compiler, dialect) in [("gcc", "-std=c99"), ("gcc", "-std=c17"), ("g++", "-std=c++11")] {
        if has(compiler) {
            let language = if compiler == "g++" { ["-x", "c++"] } else { ["-x", "c"] };
            ran(Command::new(compiler)
                .args(warnings)
                .arg(dialect)
                .args(language)
                .arg("-I")
                .arg(here("include"))
                .arg(&source));
        }
    }
}

#[test]
fn the_library_has_the_names_of_the_header_and_no_others() {
    if !has("nm") {
        return;
    }
    let symbols =
        ran(Command::new("nm").args(["-D", "--defined-only"]).arg(libraries().join("libwarpdrive.so")));
    let symbols = String::from_utf8(symbols.stdout).unwrap();
    let symbols: BTreeSet<_> = symbols.lines().filter_map(|line| line.split(' ').next_back()).collect();
    let header = generated();
    let declared: BTreeSet<_> = header
        .lines()
        .filter(|line| !line.starts_with([' ', '/', '#', '*']))
        .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
        .collect();
    assert_eq!(symbols, declared);
    assert_eq!(declared.len(), 16);
}

/// Builds the sample.
fn sample(folder: &Path) -> PathBuf {
    let (program, libraries) = (folder.join("sign_and_zip"), libraries());
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
    gcc.arg("-I").arg(here("include")).arg(here("examples/sign_and_zip.c"));
    gcc.arg("-L").arg(&libraries).arg("-lwarpdrive").arg(format!("-Wl,-rpath,{}", libraries.display()));
    ran(&mut gcc);
    program
}

#[test]
fn the_sample_works() {
    let Some(served) = Served::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = sample(folder.path());
    let output = ran(Command::new(&program).arg(served.path()));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("zip: 65536 bytes, "), "{text}");
    assert_eq!(lines[1..], ["rsa: 2^65539 mod 2^2048-1 = 8"]);
    for device in ["hisi_zip-0", "hisi_hpre-0"] {
        assert_eq!(served.attribute(device, "available_instances"), "256");
    }
    // Without devices it says what is missing, and where.
    let output = Command::new(&program).arg(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("request: ") && text.contains("class/uacce") && text.contains("Remedy"), "{text}");
}

#[test]
fn the_sample_leaks_nothing() {
    let Some(served) = Served::new() else { return };
    if !has("valgrind") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect"]);
    ran(valgrind.arg(sample(folder.path())).arg(served.path()));
}
