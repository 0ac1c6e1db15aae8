//! Where the files are, and what was there before.

use std::path::Path;
use std::sync::Arc;

use warpdrive_pmd::uacce::serve::Accelerator;
use warpdrive_pmd::uacce::serve::fs::{FsError, Mounted};

use crate::client::{Running, another, errno, open, try_open};
use crate::stub::Stub;
use crate::{Lab, NAME, present, space};

/// Where the test below serves, when another test has it do so.
const SERVE: &str = "WARPDRIVE_TEST_SERVE";

/// Not a test, but a server of another test, in a process of its own.
#[test]
fn serves_for_another_test() {
    let Some(folder) = std::env::var_os(SERVE) else { return };
    let _mounted = present(Path::new(&folder), &Arc::new(Stub::new(NAME)));
    println!("presented");
    loop {
        std::thread::park();
    }
}

fn server(folder: &Path) -> Running {
    Running::start(&mut another("place::serves_for_another_test", SERVE, folder), "presented")
}

#[test]
fn what_killed_servers_left_is_taken_away() {
    let Some(folder) = space() else { return };
    let mut killed = server(folder.path());
    let held = open(&folder.path().join("dev").join(NAME));
    killed.kill();
    assert_eq!(errno(std::fs::read_dir(folder.path())), Some(libc::ENOTCONN), "this is what they leave");
    let stub = Arc::new(Stub::new(NAME));
    let mounted = present(folder.path(), &stub);
    open(&folder.path().join("dev").join(NAME));
    assert_eq!(stub.openers.lock().unwrap().len(), 1);
    drop(mounted);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left below either");
    drop(held);
}

#[test]
fn a_server_that_lives_is_left_alone() {
    let Some(lab) = Lab::new() else { return };
    let held = open(&lab.queue());
    let second = Mounted::new(lab.folder.path(), vec![Arc::new(Stub::new("other-0"))]);
    let error = second.expect_err("it is taken");
    assert!(matches!(error, FsError::Taken { .. }), "{error}");
    assert!(error.to_string().contains(lab.folder.path().to_str().unwrap()), "{error}");
    assert!(try_open(&lab.queue()).is_ok());
    // Below it there is no folder that could be mounted on by accident.
    assert!(matches!(Mounted::new(&lab.path("none"), vec![]), Err(FsError::Folder { .. })));
    drop(held);
}

#[test]
fn a_folder_is_needed() {
    let Some(folder) = space() else { return };
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for wrong in [folder.path().join("none"), file] {
        let error = Mounted::new(&wrong, vec![]).expect_err("there is no folder");
        assert!(matches!(error, FsError::Folder { .. }), "{error}");
    }
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(".", &link).unwrap();
    let mounted = Mounted::new(&link, vec![Arc::new(Stub::new(NAME))]).unwrap();
    open(&folder.path().join("dev").join(NAME));
    drop(mounted);
}

#[test]
fn names_that_files_cannot_have_are_refused() {
    let Some(folder) = space() else { return };
    let long = "n".repeat(256);
    for wrong in ["", ".", "..", "a/b", "a\0b", &long] {
        let error = Mounted::new(folder.path(), vec![Arc::new(Stub::new(wrong))]).expect_err(wrong);
        assert!(matches!(error, FsError::Name { .. }), "{error}");
    }
    let twice: Vec<Arc<dyn Accelerator>> = vec![Arc::new(Stub::new(NAME)), Arc::new(Stub::new(NAME))];
    assert!(matches!(Mounted::new(folder.path(), twice), Err(FsError::Name { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was mounted");
}

#[test]
fn who_has_no_number_here_is_refused() {
    let Some(folder) = space() else { return };
    let inside = another("place::serves_for_another_test", SERVE, folder.path());
    let mut unshared = std::process::Command::new("unshare");
    unshared.args(["-pf", "--kill-child", "--mount-proc", "--propagation", "unchanged"]);
    unshared.arg(inside.get_program()).args(inside.get_args()).env(SERVE, folder.path());
    // In a mount namespace of its own, as /proc has to be: its files are seen by its descriptor of them.
    let server = Running::start(&mut unshared, "presented");
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.0.id())).unwrap();
    let queue = format!("/proc/{}/root{}/dev/{NAME}", children.trim(), folder.path().display());
    assert_eq!(errno(try_open(Path::new(&queue))), Some(libc::EPERM));
}
