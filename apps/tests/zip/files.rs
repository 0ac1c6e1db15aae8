//! What happens to files: names, modes, times, and what is left alone.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::common::{folder, has};
use super::{other, sample, zip};

/// A file with an unusual mode and an old time.
fn make(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("write");
    let file = fs::File::options().write(true).open(path).expect("open");
    file.set_permissions(fs::Permissions::from_mode(0o640)).expect("mode");
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_007)).expect("time");
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_and_comes_back_with_mode_and_time() {
    for (format, suffix) in [("-g", "gz"), ("-z", "zlib"), ("-r", "deflate")] {
        let (folder, plain) = (folder(), sample(100_000));
        let dir = folder.path();
        make(&dir.join("a"), &plain);
        let packed_name = format!("a.{suffix}");
        zip(dir, &[format, "a"], &[]).well();
        assert_eq!(names(dir), [packed_name.as_str()]);
        let data = fs::metadata(dir.join(&packed_name)).expect("there");
        assert_eq!((data.mode() & 0o777, data.mtime()), (0o640, 1_000_000_007));
        zip(dir, &["-d", format, &packed_name], &[]).well();
        assert_eq!(names(dir), ["a"]);
        let data = fs::metadata(dir.join("a")).expect("there");
        assert_eq!((data.mode() & 0o777, data.mtime()), (0o640, 1_000_000_007));
        assert!(fs::read(dir.join("a")).expect("read") == plain);
    }
}

#[test]
fn keep_and_stdout_leave_the_input() {
    let (folder, plain) = (folder(), sample(10_000));
    let dir = folder.path();
    make(&dir.join("a"), &plain);
    let packed = zip(dir, &["-c", "a"], &[]).well();
    assert_eq!(names(dir), ["a"]);
    assert!(zip(dir, &["-d"], &packed).well() == plain);
    zip(dir, &["-k", "a"], &[]).well();
    assert_eq!(names(dir), ["a", "a.gz"]);
    assert!(fs::read(dir.join("a.gz")).expect("read") == packed);
    assert!(zip(dir, &["-dc", "a.gz"], &[]).well() == plain);
    assert_eq!(names(dir), ["a", "a.gz"]);
}

#[test]
fn nothing_is_overwritten_without_force() {
    let folder = folder();
    let dir = folder.path();
    make(&dir.join("a"), b"new");
    fs::write(dir.join("a.gz"), b"old").expect("write");
    zip(dir, &["a"], &[]).fails(2, &["warning: a.gz already exists; not overwritten"]);
    assert_eq!(fs::read(dir.join("a.gz")).expect("read"), b"old");
    assert_eq!(names(dir), ["a", "a.gz"]);
    zip(dir, &["-kf", "a"], &[]).well();
    assert_eq!(zip(dir, &["-dc", "a.gz"], &[]).well(), b"new");
    fs::write(dir.join("a"), b"other").expect("write");
    zip(dir, &["-d", "a.gz"], &[]).fails(2, &["a already exists"]);
    assert_eq!(fs::read(dir.join("a")).expect("read"), b"other");
    zip(dir, &["-df", "a.gz"], &[]).well();
    assert_eq!((fs::read(dir.join("a")).expect("read"), names(dir)), (b"new".to_vec(), vec!["a".to_owned()]));
}

#[test]
fn what_is_no_file_of_its_own_is_left_alone() {
    let folder = folder();
    let dir = folder.path();
    fs::create_dir(dir.join("d")).expect("a folder");
    make(&dir.join("a"), b"text");
    symlink("a", dir.join("s")).expect("a link");
    make(&dir.join("h"), b"twice");
    fs::hard_link(dir.join("h"), dir.join("i")).expect("a link");
    make(&dir.join("b.gz"), b"no");
    make(&dir.join("c"), b"no");
    let before = names(dir);
    zip(dir, &["d"], &[]).fails(2, &["d is a directory -- ignored"]);
    zip(dir, &["s"], &[]).fails(2, &["s is a symbolic link -- ignored"]);
    zip(dir, &["h"], &[]).fails(2, &["h has 1 other link -- ignored"]);
    zip(dir, &["b.gz"], &[]).fails(2, &["b.gz has a suffix", "unchanged"]);
    zip(dir, &["-d", "c"], &[]).fails(2, &["c: unknown suffix -- ignored"]);
    zip(dir, &["none"], &[]).fails(1, &["error: none: No such file"]);
    // An error counts more than warnings, before or behind it.
    zip(dir, &["none", "d"], &[]).fails(1, &["none", "directory"]);
    zip(dir, &["d", "none", "d"], &[]).fails(1, &["none", "directory"]);
    let quiet = zip(dir, &["-q", "d"], &[]);
    assert_eq!((quiet.code, quiet.err.as_str()), (Some(2), ""));
    assert_eq!(names(dir), before);
    zip(dir, &["-f", "s", "h", "b.gz"], &[]).well();
    assert_eq!(names(dir), ["a", "b.gz.gz", "c", "d", "h.gz", "i", "s.gz"]);
}

#[test]
fn names_and_times_are_stored_and_restored_when_asked_for() {
    let folder = folder();
    let dir = folder.path();
    make(&dir.join("first"), b"text");
    zip(dir, &["first"], &[]).well();
    let packed = fs::read(dir.join("first.gz")).expect("read");
    assert_eq!(packed[3], 8, "a name");
    assert_eq!(packed[4..8], 1_000_000_007_u32.to_le_bytes());
    assert_eq!(&packed[10..16], b"first\0");
    fs::rename(dir.join("first.gz"), dir.join("second.gz")).expect("rename");
    let now = fs::File::options().write(true).open(dir.join("second.gz")).expect("open");
    now.set_modified(UNIX_EPOCH + Duration::from_secs(1_500_000_000)).expect("time");
    zip(dir, &["-dkN", "second.gz"], &[]).well();
    assert_eq!(fs::metadata(dir.join("first")).expect("there").mtime(), 1_000_000_007);
    zip(dir, &["-d", "second.gz"], &[]).well();
    assert_eq!(fs::metadata(dir.join("second")).expect("there").mtime(), 1_500_000_000);
    zip(dir, &["-n", "second"], &[]).well();
    let packed = fs::read(dir.join("second.gz")).expect("read");
    assert_eq!(packed[3..8], [0; 5], "neither name nor time");
}

#[test]
fn a_stored_name_does_not_lead_out_of_the_folder() {
    let folder = folder();
    let dir = folder.path().join("inner");
    fs::create_dir(&dir).expect("a folder");
    let packed = zip(&dir, &["-n"], b"text").well();
    for name in [&b"../evil"[..], b"/tmp/../evil", b"..", b""] {
        let header = [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3], name, &[0]].concat();
        fs::write(dir.join("x.gz"), [&header, &packed[10..]].concat()).expect("write");
        zip(&dir, &["-dN", "x.gz"], &[]).well();
        let expected = if name.ends_with(b"evil") { "evil" } else { "x" };
        assert_eq!(names(&dir), [expected]);
        fs::remove_file(dir.join(expected)).expect("remove");
    }
    assert_eq!(names(folder.path()), ["inner"]);
}

#[test]
fn a_stored_name_that_is_the_files_own_does_not_destroy_it() {
    let folder = folder();
    make(&folder.path().join("x.gz"), b"text");
    zip(folder.path(), &["-S", ".zz", "-f", "x.gz"], &[]).well();
    fs::rename(folder.path().join("x.gz.zz"), folder.path().join("x.gz")).expect("rename");
    zip(folder.path(), &["-dN", "x.gz"], &[]).fails(2, &["already exists"]);
    zip(folder.path(), &["-dNf", "x.gz"], &[]).fails(2, &["input and output at once"]);
    assert_eq!(zip(folder.path(), &["-dc", "x.gz"], &[]).well(), b"text");
}

#[test]
fn suffixes_can_be_chosen_and_are_tried() {
    let folder = folder();
    let dir = folder.path();
    make(&dir.join("a"), b"text");
    zip(dir, &["-S", ".own", "a"], &[]).well();
    assert_eq!(names(dir), ["a.own"]);
    zip(dir, &["-d", "a.own"], &[]).fails(2, &["unknown suffix"]);
    zip(dir, &["-d", "-S", ".own", "a"], &[]).well();
    assert_eq!(names(dir), ["a"]);
    zip(dir, &["-z", "a"], &[]).well();
    fs::rename(dir.join("a.zlib"), dir.join("a.zz")).expect("rename");
    zip(dir, &["-d", "a"], &[]).well();
    assert_eq!(names(dir), ["a"]);
}

#[test]
fn force_passes_on_what_is_not_compressed() {
    let (folder, plain) = (folder(), sample(700_000));
    let dir = folder.path();
    fs::write(dir.join("a"), &plain).expect("write");
    assert!(zip(dir, &["-dcf", "a"], &[]).well() == plain);
    for len in [0, 1, 2, 3] {
        let done = zip(dir, &["-dcf"], &plain[..len]);
        assert_eq!(done.code, Some(i32::from(len == 0)), "{len}: {}", done.err);
        assert_eq!(done.out, &plain[..len]);
    }
}

#[test]
fn it_tells_as_gzip_does_what_was_done() {
    let folder = folder();
    let dir = folder.path();
    make(&dir.join("a"), &vec![b'x'; 100_000]);
    let said = zip(dir, &["-vk", "a"], &[]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), "a:\t 99.9% -- created a.gz\n"));
    assert_eq!(zip(dir, &["-vt", "a.gz"], &[]).err, "a.gz:\t OK\n");
    fs::remove_file(dir.join("a")).expect("remove");
    assert_eq!(zip(dir, &["-dv", "a.gz"], &[]).err, "a.gz:\t 99.9% -- replaced with a\n");
}

#[test]
fn wrong_usage_is_told_with_a_remedy() {
    let folder = folder();
    zip(folder.path(), &["--device", "soft-zop"], &[])
        .fails(1, &["no device \"soft-zop\"", "soft-zip", "warpdrive devices"]);
    zip(folder.path(), &["--cores", "4000"], &[]).fails(1, &["--cores", "4000"]);
    zip(folder.path(), &["--block", "1"], &[]).fails(2, &["--block"]);
    zip(folder.path(), &["--level", "13"], &[]).fails(2, &["--level"]);
    zip(folder.path(), &["-zg"], &[]).fails(2, &["cannot be used with"]);
    let packed = zip(folder.path(), &["--cores", "0", "--device", "soft-zip"], b"text").well();
    if has("gzip") {
        assert_eq!(other("gzip -d", &packed), b"text");
    }
}
