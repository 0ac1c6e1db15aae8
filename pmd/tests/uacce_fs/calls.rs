//! Calls, and who makes them.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::process::Command;

use warpdrive_pmd::uacce::abi;
use warpdrive_pmd::uacce::serve::{Permissions, Process};

use crate::client::{Running, call, errno, in_child, open, shell, try_open};
use crate::stub::{PANIC, SLOW};
use crate::{Lab, comes, soon};

/// A user and a group that own nothing here.
const NOBODY: u32 = 65534;

fn me() -> Process {
    Process(std::process::id())
}

#[test]
fn calls_bring_their_arguments_and_take_the_answers() {
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    assert_eq!(call(&file, abi::START, &mut []).unwrap(), 0);
    let mut context = [1, 0, 2, 0];
    assert_eq!(call(&file, abi::QM_SET_QP_CTX, &mut context).unwrap(), 0);
    assert_eq!(context, [!1, !0, !2, !0]);
    let mut info = [0x55; 16];
    call(&file, abi::QM_SET_QP_INFO, &mut info).unwrap();
    assert_eq!(info, [0xaa; 16]);
    let mut address = [0; 8];
    call(&file, abi::GET_SS_DMA, &mut address).unwrap();
    assert_eq!(u64::from_le_bytes(address), 0x1122_3344_5566_7788);
    let mut share = std::array::from_fn::<u8, 32, _>(|i| i as u8);
    call(&file, abi::SHARE, &mut share).unwrap();
    let seen = lab.stub.newest().calls.lock().unwrap().clone();
    let expected = [
        (abi::START, vec![]),
        (abi::QM_SET_QP_CTX, vec![1, 0, 2, 0]),
        (abi::QM_SET_QP_INFO, vec![0x55; 16]),
        (abi::GET_SS_DMA, vec![]),
        (abi::SHARE, (0..32).collect()),
    ];
    assert_eq!(seen, expected.map(|(command, argument)| (me(), command, argument)));
}

#[test]
fn calls_that_nobody_knows_are_refused() {
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    let tcgets = 0x5401;
    for command in [tcgets, 0x5702, 0xc004_5799] {
        assert_eq!(errno(call(&file, command, &mut [0; 64])), Some(libc::ENOTTY), "{command:#x}");
    }
    let attribute = std::fs::File::open(lab.attribute("api")).unwrap();
    assert_eq!(errno(call(&attribute, abi::START, &mut [])), Some(libc::ENOTTY));
    assert_eq!(lab.stub.newest().calls.lock().unwrap().len(), 3);
}

#[test]
fn any_mode_of_opening_is_good() {
    let Some(lab) = Lab::new() else { return };
    for options in [
        OpenOptions::new().read(true),
        OpenOptions::new().write(true),
        OpenOptions::new().read(true).write(true).truncate(true),
        OpenOptions::new().append(true),
    ] {
        let file = options.open(lab.queue()).unwrap();
        assert_eq!(call(&file, abi::START, &mut []).unwrap(), 0);
    }
}

#[test]
fn modes_and_owners_decide_who_opens() {
    let Some(lab) = Lab::new() else { return };
    let may = |uid, gid| shell(&lab.queue(), uid, gid, "exit 0").status().unwrap().success();
    let set = |mode, uid, gid| *lab.stub.permissions.lock().unwrap() = Permissions { mode, uid, gid };
    assert_eq!([may(0, 0), may(NOBODY, NOBODY), may(NOBODY, 0)], [true, false, true], "0660 root:root");
    set(0o600, NOBODY, 0);
    assert_eq!([may(0, 0), may(NOBODY, NOBODY), may(NOBODY - 1, 0)], [true, true, false]);
    set(0o666, 0, 0);
    assert_eq!([may(0, 0), may(NOBODY, NOBODY)], [true, true]);
    set(0o664, 0, 0);
    assert_eq!([may(0, 0), may(NOBODY, NOBODY)], [true, false], "who may only read it");
    soon("all releases", || lab.stub.open_queues() == 0);
}

#[test]
fn callers_are_known_by_their_process_not_their_thread() {
    let Some(lab) = Lab::new() else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| call(&open(&lab.queue()), abi::START, &mut []).unwrap());
    });
    assert_eq!(*lab.stub.openers.lock().unwrap(), [me()]);
}

#[test]
fn a_forked_child_is_told_apart() {
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    // SAFETY: START takes no argument.
    let (child, code) =
        in_child(|| unsafe { libc::ioctl(file.as_raw_fd(), abi::START.into()) }.unsigned_abs() as u8);
    assert_eq!(code, 0);
    assert_ne!(child, std::process::id());
    assert_eq!(lab.stub.newest().calls.lock().unwrap()[0].0, Process(child));
}

#[test]
fn a_killed_process_gives_its_queue_back() {
    let Some(lab) = Lab::new() else { return };
    let mut holder = Running::start(&mut shell(&lab.queue(), 0, 0, "echo open; exec sleep 1000"), "open");
    assert_eq!(lab.stub.open_queues(), 1);
    assert_eq!(*lab.stub.openers.lock().unwrap(), [Process(holder.0.id())]);
    holder.kill();
    soon("the release", || lab.stub.open_queues() == 0);
}

#[test]
fn who_has_a_namespace_of_process_numbers_is_known_by_ours() {
    let Some(lab) = Lab::new() else { return };
    let inside = shell(&lab.queue(), 0, 0, "exit 0");
    let mut command = Command::new("unshare");
    let status = command.args(["-pf"]).arg(inside.get_program()).args(inside.get_args()).status();
    assert!(status.unwrap().success());
    let openers = lab.stub.openers.lock().unwrap();
    assert!(matches!(**openers, [Process(n)] if n > 1), "{openers:?}");
}

#[test]
fn slow_calls_hold_up_nobody() {
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    let queue = lab.stub.newest();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| call(&file, SLOW, &mut []).unwrap());
        }
        let at_once = comes(|| queue.slow_calls() == 3);
        // This would wait for them where too few threads answer.
        let beside = at_once.then(|| call(&open(&lab.queue()), abi::START, &mut []).unwrap());
        let still = queue.slow_calls();
        queue.end_slow();
        assert_eq!((beside, still), (Some(0), 3), "an open and a call beside three slow ones");
    });
}

#[test]
fn a_device_that_panics_harms_nobody_else() {
    let Some(lab) = Lab::new() else { return };
    let file = open(&lab.queue());
    // More than there are threads that answer.
    for _ in 0..10 {
        assert_eq!(errno(call(&file, PANIC, &mut [])), Some(libc::EIO));
    }
    assert_eq!(call(&file, abi::START, &mut []).unwrap(), 0);
    open(&lab.queue());
}

#[test]
fn what_is_no_name_of_a_device_is_not_there() {
    let Some(lab) = Lab::new() else { return };
    for wrong in ["dev/stub_zip-1", "dev/\u{fffd}", "class/uacce/other", "other"] {
        assert_eq!(errno(try_open(&lab.path(wrong))), Some(libc::ENOENT), "{wrong}");
    }
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = lab.path("dev").join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    assert_eq!(errno(try_open(&bytes)), Some(libc::ENOENT));
}
