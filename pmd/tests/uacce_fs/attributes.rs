//! Attributes, and the tree that they are in.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::client::{errno, open, shell, try_open};
use crate::{Lab, NAME};

#[test]
fn attributes_are_read_as_those_of_sysfs() {
    let Some(lab) = Lab::new() else { return };
    assert_eq!(fs::read_to_string(lab.attribute("api")).unwrap(), "hisi_qm_v1\n");
    assert_eq!(fs::read_to_string(lab.attribute("device/numa_node")).unwrap(), "0\n");
    assert_eq!(fs::read_to_string(lab.attribute("device/empty")).unwrap(), "");
    let file = File::open(lab.attribute("api")).unwrap();
    let mut bytes = [0; 16];
    let cases: [(u64, &[u8]); 5] =
        [(0, b"hisi_qm_v1\n"), (5, b"qm_v1\n"), (10, b"\n"), (11, b""), (5000, b"")];
    for (offset, expected) in cases {
        let read = file.read_at(&mut bytes, offset).unwrap();
        assert_eq!(&bytes[..read], expected, "from {offset}");
    }
    assert_eq!(file.read_at(&mut bytes[..4], 5).unwrap(), 4);
    assert_eq!(&bytes[..4], b"qm_v");
    let found = file.metadata().unwrap();
    assert_eq!((found.size(), found.mode(), found.uid()), (4096, 0o100_444, 0));
}

#[test]
fn attributes_are_as_they_are_now() {
    let Some(lab) = Lab::new() else { return };
    let now = || fs::read_to_string(lab.attribute("available_instances")).unwrap();
    assert_eq!(now(), "1000\n");
    let held = open(&lab.queue());
    assert_eq!(now(), "999\n");
    // Who reads it in pieces has pieces of one value, until it starts anew.
    let mut file = File::open(lab.attribute("available_instances")).unwrap();
    let mut piece = [0; 2];
    file.read_exact(&mut piece).unwrap();
    drop(held);
    crate::soon("the release", || now() == "1000\n");
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!((piece, rest.as_str()), (*b"99", "9\n"));
    let mut whole = [0; 8];
    let read = file.read_at(&mut whole, 0).unwrap();
    assert_eq!(&whole[..read], b"1000\n");
}

#[test]
fn attributes_are_written_whole() {
    let Some(lab) = Lab::new() else { return };
    let (path, priority) = (lab.attribute("priority"), || *lab.stub.priority.lock().unwrap());
    assert_eq!(fs::metadata(&path).unwrap().mode(), 0o100_644);
    assert_eq!(priority(), 3, "finding out that it can be written to has changed nothing");
    fs::write(&path, "12\n").unwrap();
    assert_eq!(priority(), 12);
    assert_eq!(fs::read_to_string(&path).unwrap(), "12\n");
    let mut appended = OpenOptions::new().append(true).open(&path).unwrap();
    appended.write_all(b"4\n").unwrap();
    appended.write_all(b"5").unwrap();
    assert_eq!(priority(), 5, "wherever it is written to");
    for wrong in [&b"x\n"[..], b"\xff\n", b"7\n\n", &[b'1'; 5000]] {
        assert_eq!(errno(fs::write(&path, wrong)), Some(libc::EINVAL), "{wrong:?}");
    }
    assert_eq!(priority(), 5);
    let of_nobody = shell(&path, 65534, 65534, "exit 0").status().unwrap();
    assert!(!of_nobody.success(), "only root may");
}

#[test]
fn what_cannot_be_written_is_refused_at_once() {
    let Some(lab) = Lab::new() else { return };
    // Root may open any file for writing, whatever its mode, but not these.
    assert_eq!(errno(OpenOptions::new().write(true).open(lab.attribute("api"))), Some(libc::EACCES));
    assert_eq!(errno(try_open(&lab.attribute("device/numa_node"))), Some(libc::EACCES));
    assert_eq!(errno(try_open(&lab.path("dev"))), Some(libc::EISDIR));
    assert_eq!(errno(try_open(&lab.attribute("device"))), Some(libc::EISDIR));
}

#[test]
fn nothing_is_made_changed_or_removed() {
    let Some(lab) = Lab::new() else { return };
    let (queue, new) = (lab.queue(), lab.path("dev/new"));
    assert_eq!(errno(File::create(&new)), Some(libc::EACCES));
    assert_eq!(errno(fs::create_dir(&new)), Some(libc::EPERM));
    assert_eq!(errno(std::os::unix::fs::symlink("a", &new)), Some(libc::EPERM));
    assert_eq!(errno(fs::hard_link(&queue, &new)), Some(libc::EPERM));
    assert_eq!(errno(fs::rename(&queue, &new)), Some(libc::EPERM));
    assert_eq!(errno(fs::remove_file(&queue)), Some(libc::EPERM));
    assert_eq!(errno(fs::remove_dir(lab.attribute("device"))), Some(libc::EPERM));
    assert_eq!(errno(fs::set_permissions(&queue, fs::Permissions::from_mode(0o777))), Some(libc::EPERM));
    assert_eq!(errno(std::os::unix::fs::chown(lab.attribute("api"), Some(1), None)), Some(libc::EPERM));
    let file = open(&queue);
    assert_eq!(errno(file.set_len(0)), Some(libc::EINVAL));
    assert_eq!(errno(file.sync_all()), Some(libc::EINVAL));
    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    assert_eq!(rustix::fs::fallocate(&file, punch, 0, 4096), Err(rustix::io::Errno::NODEV));
    assert_eq!(fs::metadata(&queue).unwrap().mode(), 0o100_660);
}

#[test]
fn everything_is_listed() {
    let Some(lab) = Lab::new() else { return };
    fn list(folder: &Path, below: &str, all: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{below}{}", entry.file_name().to_str().unwrap());
            // What the list says of it is what it is.
            let (listed, found) = (entry.file_type().unwrap(), entry.metadata().unwrap());
            assert_eq!((listed.is_dir(), listed.is_file()), (found.is_dir(), found.is_file()), "{name}");
            if listed.is_dir() {
                assert_eq!(found.mode(), 0o40_755, "{name}");
                list(&entry.path(), &format!("{name}/"), all);
            }
            all.push(name);
        }
    }
    let mut all = Vec::new();
    list(lab.folder.path(), "", &mut all);
    let mut expected = vec!["class".to_owned(), "class/uacce".to_owned(), "dev".to_owned()];
    for device in [NAME, "stub_hpre-1"] {
        expected.extend([format!("dev/{device}"), format!("class/uacce/{device}")]);
        for attribute in
            ["api", "available_instances", "priority", "device", "device/numa_node", "device/empty"]
        {
            expected.push(format!("class/uacce/{device}/{attribute}"));
        }
    }
    all.sort();
    expected.sort();
    assert_eq!(all, expected);
}
