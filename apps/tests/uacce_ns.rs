//! `warpdrive run-with-devices`: what a command sees that it starts, and what others see of that.
//!
//! Folders and files stand for what a server presents. Needs root and mount namespaces; each test says so and is skipped where they are
//! missing. Each runs in a mount namespace of its own whose mounts are shared, so that it would see what leaks.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};

use common::{Ran, skipped};

/// The names of the devices.
const NAMES: [&str; 2] = ["stub_zip-0", "stub_hpre-1"];

struct Tree {
    folder: tempfile::TempDir,
}

impl Tree {
    /// What a server presents.
    fn new() -> Option<Self> {
        // SAFETY: geteuid has no preconditions.
        if unsafe { libc::geteuid() } != 0 {
            skipped("it needs root");
            return None;
        }
        if let Err(e) = unshare(CloneFlags::CLONE_NEWNS) {
            skipped(&format!("it needs mount namespaces: {e}"));
            return None;
        }
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::SHARED).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let tree = Self { folder };
        NAMES.iter().for_each(|name| tree.add(name));
        Some(tree)
    }

    fn add(&self, name: &str) {
        let class = self.path("class/uacce").join(name);
        fs::create_dir_all(class.join("device")).unwrap();
        fs::create_dir_all(self.path("dev")).unwrap();
        fs::write(class.join("api"), format!("api of {name}\n")).unwrap();
        fs::write(self.path("dev").join(name), format!("queue of {name}\n")).unwrap();
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// `warpdrive run-with-devices` with these arguments.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warpdrive"));
        command.arg("run-with-devices").arg("--expose").arg(self.folder.path()).args(args);
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// What a shell prints in there.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let ran = self.run(&["--", "sh", "-ec", script]).well();
        assert_eq!(ran.stderr, "", "{script}");
        ran.stdout
    }
}

fn mounts() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

#[test]
fn devices_are_where_drivers_put_theirs() {
    let Some(tree) = Tree::new() else { return };
    assert_eq!(tree.sh("ls /sys/class/uacce"), "stub_hpre-1\nstub_zip-0\n");
    let [name, _] = NAMES;
    assert_eq!(tree.sh(&format!("cat /sys/class/uacce/{name}/api")), format!("api of {name}\n"));
    assert_eq!(tree.sh(&format!("cat /dev/{name}")), format!("queue of {name}\n"));
    let real = tree.path("dev").canonicalize().unwrap().join(name);
    assert_eq!(tree.sh(&format!("realpath /dev/{name}")), format!("{}\n", real.display()));
    // Links, and no mounts of single files: those could be opened only once at a time.
    assert_eq!(tree.sh("grep -c ' /dev/stub' /proc/self/mountinfo || true"), "0\n");
}

#[test]
fn all_else_is_as_it_was() {
    let Some(tree) = Tree::new() else { return };
    // Each with its kind, mode, owner, number of a device, and the target of a link.
    let list = "for f in $(ls -A /dev /sys/class); do for d in /dev /sys/class; do \
                test -e $d/$f -o -L $d/$f && stat -c '%N %f %u %g %t:%T' $d/$f; done; done | sort -u";
    let outside = Command::new("sh").args(["-c", list]).output().unwrap();
    let outside = String::from_utf8(outside.stdout).unwrap();
    assert!(outside.contains("'/dev/null'") && outside.contains("'/sys/class/net'"), "{outside}");
    let inside = tree.sh(list);
    let new: Vec<&str> = inside.lines().filter(|line| !outside.lines().any(|other| other == *line)).collect();
    let gone: Vec<&str> =
        outside.lines().filter(|line| !inside.lines().any(|other| other == *line)).collect();
    assert!(gone.is_empty(), "{gone:?}");
    assert!(
        new.iter().all(|line| line.contains("/dev/stub_") || line.contains("/sys/class/uacce")),
        "{new:?}"
    );
    assert!(!new.is_empty());
}

#[test]
fn all_else_works_as_before() {
    let Some(tree) = Tree::new() else { return };
    assert_eq!(tree.sh("echo lost > /dev/null; head -c 3 /dev/zero | od -An -tx1"), " 00 00 00\n");
    assert_eq!(tree.sh("echo through | cat /dev/stdin; echo fd > /dev/fd/1"), "through\nfd\n");
    if common::has("script") {
        // A pseudoterminal of either end.
        let name = tree.sh("script -qec tty /dev/null");
        assert!(name.starts_with("/dev/pts/"), "{name}");
    }
    assert_eq!(
        tree.sh("cat /sys/class/net/lo/address"),
        fs::read_to_string("/sys/class/net/lo/address").unwrap()
    );
    let shared = format!("/dev/shm/warpdrive-test-{}", std::process::id());
    tree.sh(&format!("echo shared > {shared}"));
    let seen = fs::read_to_string(&shared);
    let _ = fs::remove_file(&shared);
    assert_eq!(seen.unwrap(), "shared\n");
    // What is mounted further below is there, too.
    let nested = tempfile::tempdir_in("/dev/shm").unwrap();
    rustix::mount::mount("nested", nested.path(), "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    fs::write(nested.path().join("word"), "below\n").unwrap();
    let seen = tree.run(&["cat", nested.path().join("word").to_str().unwrap()]);
    rustix::mount::unmount(nested.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(seen.well().stdout, "below\n");
    if Path::new("/dev/fuse").exists() {
        assert_eq!(tree.sh("exec 3<>/dev/fuse; echo fuse"), "fuse\n");
    }
}

#[test]
fn nobody_else_sees_the_devices() {
    let Some(tree) = Tree::new() else { return };
    let before = (mounts(), fs::read_dir("/dev").unwrap().count(), Path::new("/sys/class/uacce").exists());
    let mut child = tree.command(&["--", "sh", "-c", "echo started; read line"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut started = [0; 8];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut started).unwrap();
    let during = (mounts(), fs::read_dir("/dev").unwrap().count(), Path::new("/sys/class/uacce").exists());
    assert_eq!(during, before);
    assert!(!Path::new("/dev").join(NAMES[0]).exists());
    assert!(!child.wait().unwrap().success(), "its input ended");
    assert_eq!(mounts(), before.0);
}

#[test]
fn mounts_of_others_come_in() {
    let Some(tree) = Tree::new() else { return };
    let (inner, word) = (tree.path("inner"), tree.path("inner/word"));
    fs::create_dir(&inner).unwrap();
    let script = format!("echo started; read line; cat {}", word.display());
    let mut child = tree.command(&["--", "sh", "-c", &script]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut started = [0; 8];
    std::io::Read::read_exact(&mut out, &mut started).unwrap();
    // As a server does that is started anew.
    rustix::mount::mount("new", &inner, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    fs::write(&word, "seen").unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"\n").unwrap();
    let rest = std::io::read_to_string(&mut out).unwrap();
    rustix::mount::unmount(&inner, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!((rest.as_str(), child.wait().unwrap().success()), ("seen", true));
}

#[test]
fn devices_that_were_there_stay() {
    let Some(tree) = Tree::new() else { return };
    let Some(second) = Tree::new() else { return };
    let mine = "mine-7";
    second.add(mine);
    fs::write(second.path("class/uacce").join(NAMES[0]).join("api"), "of the second\n").unwrap();
    fs::remove_dir_all(second.path("class/uacce").join(NAMES[1])).unwrap();
    let warpdrive = env!("CARGO_BIN_EXE_warpdrive");
    let script = format!(
        "{warpdrive} run-with-devices --expose {} ls /sys/class/uacce; \
         {warpdrive} run-with-devices --expose {} cat /sys/class/uacce/{}/api /dev/{}",
        second.folder.path().display(),
        second.folder.path().display(),
        NAMES[0],
        NAMES[1],
    );
    let both = format!("mine-7\n{}\n{}\nof the second\nqueue of {}\n", NAMES[1], NAMES[0], NAMES[1]);
    assert_eq!(tree.sh(&script), both);
}

#[test]
fn the_command_takes_its_place() {
    let Some(tree) = Tree::new() else { return };
    for code in [0, 1, 7, 255] {
        assert_eq!(tree.run(&["--", "sh", "-c", &format!("exit {code}")]).code, Some(code));
    }
    assert_eq!(tree.run(&["--", "sh", "-c", "kill -TERM $$"]).signal, Some(libc::SIGTERM));
    let mut child = tree.command(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, format!("{}\n", child.id()));
    // SAFETY: no memory; the process is a child that was not waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
}

#[test]
fn the_command_has_what_it_was_given() {
    let Some(tree) = Tree::new() else { return };
    let folder = common::folder();
    let script = r#"pwd; echo "$WORD"; echo "$0|$1|$2|$#"; id -u; umask; ls /proc/self/fd | wc -l; cat"#;
    let mut command = tree.command(&["--", "sh", "-c", script, "a b", "--user", ""]);
    command.current_dir(folder.path()).env("WORD", "to  the wise").stdin(Stdio::piped());
    command.stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"from stdin").unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap()).well();
    let cwd = folder.path().canonicalize().unwrap();
    // With the mask and the descriptors of whoever starts it, and none of ours.
    let plain = Command::new("sh").args(["-c", "umask; ls /proc/self/fd | wc -l"]).output().unwrap();
    let plain = String::from_utf8(plain.stdout).unwrap();
    let expected = format!("{}\nto  the wise\na b|--user||2\n0\n{plain}from stdin", cwd.display());
    assert_eq!(ran.stdout, expected);
}

#[test]
fn a_user_runs_it_with_its_groups_and_no_way_back() {
    let Some(tree) = Tree::new() else { return };
    let ids = "id -u; id -g; id -G; grep -E 'Cap(Eff|Prm)' /proc/self/status | sort -u";
    let none = "CapEff:\t0000000000000000\nCapPrm:\t0000000000000000\n";
    if !common::has("setpriv") {
        return;
    }
    // As a caller that is in groups of its own.
    let run = |user: &str| {
        let inner = tree.command(&["--user", user, "--", "sh", "-ec", ids]);
        let mut outer = Command::new("setpriv");
        outer.args(["--groups", "4,5"]).arg(inner.get_program()).args(inner.get_args());
        Ran::from(outer.output().unwrap()).well().stdout
    };
    let of =
        |args: &[&str]| String::from_utf8(Command::new("id").args(args).output().unwrap().stdout).unwrap();
    let nobody = of(&["-u", "nobody"]);
    let expected = format!("{nobody}{}{}{none}", of(&["-g", "nobody"]), of(&["-G", "nobody"]));
    assert_eq!(run("nobody"), expected);
    assert_eq!(run(nobody.trim()), expected, "by its number");
    assert_eq!(run("987654"), format!("987654\n987654\n987654\n{none}"));
    let opens = tree.run(&["--user", "nobody", "cat", "/dev/stub_zip-0"]).well();
    assert_eq!(opens.stdout, "queue of stub_zip-0\n");
    let unknown = tree.run(&["--user", "no such user", "true"]);
    assert_eq!(unknown.code, Some(125));
    assert!(
        unknown.stderr.contains("no such user") && unknown.stderr.contains("Remedy"),
        "{}",
        unknown.stderr
    );
    assert_eq!(tree.run(&["--user", "4294967295", "true"]).code, Some(125), "-1 would mean: stay root");
}

#[test]
fn a_strict_mask_hides_nothing() {
    let Some(tree) = Tree::new() else { return };
    let inner = tree.command(&["--user", "nobody", "ls", "/sys/class/uacce", "/dev/ptmx", "/dev/null"]);
    let mut masked = Command::new("sh");
    masked.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    let ran = Ran::from(masked.output().unwrap()).well();
    assert_eq!(ran.stdout, "/dev/null\n/dev/ptmx\n\n/sys/class/uacce:\nstub_hpre-1\nstub_zip-0\n");
}

#[test]
fn what_is_wrong_is_said() {
    let Some(tree) = Tree::new() else { return };
    let says = |ran: Ran, code: i32, words: &[&str]| {
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{}", ran.stderr);
        for word in words {
            assert!(ran.stderr.contains(word), "{word:?} is not in {}", ran.stderr);
        }
    };
    says(tree.run(&["--", "no-such-command"]), 127, &["no-such-command"]);
    let plain = tree.path("plain");
    fs::write(&plain, "").unwrap();
    says(tree.run(&[plain.to_str().unwrap()]), 126, &["plain", "denied"]);
    says(tree.run(&[]), 2, &["CMD"]);
    let none = tree.path("none");
    let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_warpdrive"));
    let elsewhere = elsewhere.args(["run-with-devices", "--expose"]).arg(&none).args(["echo", "no"]);
    says(elsewhere.output().unwrap().into(), 125, &[none.to_str().unwrap(), "Remedy: warpdrive serve"]);
    fs::create_dir_all(none.join("class/uacce")).unwrap();
    says(elsewhere.output().unwrap().into(), 125, &[none.to_str().unwrap(), "no devices", "Remedy"]);
}

#[test]
fn root_is_needed_and_that_is_said() {
    let Some(tree) = Tree::new() else { return };
    // Where anybody may read it.
    let program = tree.path("warpdrive");
    fs::copy(env!("CARGO_BIN_EXE_warpdrive"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&program);
    command.args(["run-with-devices", "--expose"]).arg(tree.folder.path()).args(["echo", "no"]);
    let ran = Ran::from(command.uid(65534).gid(65534).current_dir("/").output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(125), ""));
    assert!(ran.stderr.contains("namespace") && ran.stderr.contains("Remedy: as root"), "{}", ran.stderr);
}

#[test]
fn the_folder_may_be_a_link() {
    let Some(tree) = Tree::new() else { return };
    let link = tree.path("link");
    symlink(".", &link).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_warpdrive"));
    let command = command.current_dir(tree.folder.path()).args(["run-with-devices", "--expose", "link"]);
    let ran = Ran::from(command.args(["cat", "/dev/stub_zip-0"]).output().unwrap()).well();
    assert_eq!(ran.stdout, "queue of stub_zip-0\n");
    assert_eq!(fs::metadata("/dev/null").unwrap().rdev(), 0x103, "and here nothing is changed");
}
