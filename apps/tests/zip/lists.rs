//! `-l`: exact, for any number of members.

use std::fs;

use super::common::{folder, has};
use super::{sample, zip};

/// The lines behind the heading, as words.
fn lines(text: &[u8]) -> Vec<Vec<String>> {
    let text = String::from_utf8_lossy(text);
    text.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn a_list_is_that_of_gzip_where_gzip_is_right() {
    if !has("gzip") {
        return;
    }
    let folder = folder();
    fs::write(folder.path().join("a"), sample(300_000)).expect("write");
    zip(folder.path(), &["a"], &[]).well();
    for args in ["-l", "-lv", "-lN"] {
        let mut command = std::process::Command::new("gzip");
        command.current_dir(folder.path()).args([args, "a.gz"]);
        let theirs = super::feed(command, &[]).well();
        let ours = zip(folder.path(), &[args, "a.gz"], &[]).well();
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs), "{args}");
    }
}

#[test]
fn all_members_count_and_several_files_have_totals() {
    let (folder, plain) = (folder(), sample(300_000));
    let one = zip(folder.path(), &[], &plain).well();
    let two = [&one[..], &one].concat();
    fs::write(folder.path().join("one.gz"), &one).expect("write");
    fs::write(folder.path().join("two.gz"), &two).expect("write");
    let done = zip(folder.path(), &["-l", "one.gz", "two.gz"], &[]).well();
    let list = lines(&done);
    let row = |packed: usize, plain: usize| (packed.to_string(), plain.to_string());
    let found: Vec<_> = list.iter().map(|words| (words[0].clone(), words[1].clone())).collect();
    assert_eq!(
        found,
        [row(one.len(), 300_000), row(two.len(), 600_000), row(one.len() + two.len(), 900_000)]
    );
    assert_eq!([&list[0][3], &list[1][3], &list[2][3]], ["one", "two", "(totals)"]);
    let long = lines(&zip(folder.path(), &["-lv"], &two).well());
    assert_eq!(long[0][0], "defla");
    assert_eq!(long[0].last().map(String::as_str), Some("stdout"));
    // The checksum is that of all bytes: the same as of one member that has them all.
    let both = zip(folder.path(), &[], &[&plain[..], &plain].concat()).well();
    assert_eq!(lines(&zip(folder.path(), &["-lv"], &both).well())[0][1], long[0][1]);
    assert_ne!(lines(&zip(folder.path(), &["-lv"], &one).well())[0][1], long[0][1]);
    zip(folder.path(), &["-l"], &one[..one.len() - 1]).fails(1, &["unexpected end of file"]);
}
