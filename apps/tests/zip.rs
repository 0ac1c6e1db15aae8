//! `warpdrive zip` as people run it, against gzip, pigz and Python's zlib.

mod common;
#[path = "zip/damage.rs"]
mod damage;
#[path = "zip/files.rs"]
mod files;
#[path = "zip/formats.rs"]
mod formats;
#[path = "zip/large.rs"]
mod large;
#[path = "zip/lists.rs"]
mod lists;

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What a command has left.
struct Done {
    code: Option<i32>,
    signal: Option<i32>,
    out: Vec<u8>,
    err: String,
}

impl Done {
    /// Insists on exit code 0 and no word on standard error; standard output.
    #[track_caller]
    fn well(self) -> Vec<u8> {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""));
        self.out
    }

    /// Insists on an exit code and on parts of the message.
    #[track_caller]
    fn fails(self, code: i32, parts: &[&str]) {
        assert_eq!((self.code, self.signal), (Some(code), None), "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is missing: {}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), signal: output.status.signal(), out: output.stdout, err }
    }
}

/// Runs `warpdrive zip` in `folder`, with `input` on its standard input.
#[track_caller]
fn zip(folder: &Path, args: &[&str], input: &[u8]) -> Done {
    let args: Vec<&str> = ["zip"].iter().chain(args).copied().collect();
    feed(common::command(folder, args), input)
}

/// Runs any command so.
#[track_caller]
fn feed(mut command: Command, input: &[u8]) -> Done {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // A command that ends early does not read all.
        scope.spawn(move || drop(pipe.write_all(input)));
        child.wait_with_output().expect("it ends").into()
    })
}

/// Runs another program, its arguments separated by blanks.
#[track_caller]
fn other(line: &str, input: &[u8]) -> Vec<u8> {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words);
    let done = feed(command, input);
    assert_eq!(done.code, Some(0), "{line}: {}", done.err);
    done.out
}

/// Bytes that are in part like text, in part like a program, in part noise.
fn sample(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words: Vec<Vec<u8>> = (0..500)
        .map(|_| (0..random() % 9 + 2).map(|_| b'a' + (random() % 26) as u8).chain([b' ']).collect())
        .collect();
    let mut bytes = Vec::with_capacity(len + 64);
    while bytes.len() < len {
        match bytes.len() / 300_000 % 3 {
            0 => bytes.extend(&words[(random() % 500 * (random() % 500) / 500) as usize]),
            1 => bytes.extend([0x48, 0x8b, (random() % 8) as u8, 0, 0, (random() % 3) as u8]),
            _ => bytes.extend(random().to_le_bytes()),
        }
    }
    bytes.truncate(len);
    bytes
}
