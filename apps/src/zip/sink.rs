//! Where output goes: a file, standard output, or nowhere.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;

use super::chain::Chain;
use super::failure::Failure;

/// Output that is counted.
pub(super) struct Sink {
    /// `None` for tests and lists, which need no output.
    file: Option<File>,
    name: String,
    written: u64,
}

impl Sink {
    pub(super) fn new(file: File, name: impl Into<String>) -> Self {
        Self { file: Some(file), name: name.into(), written: 0 }
    }

    pub(super) fn nowhere() -> Self {
        Self { file: None, name: String::new(), written: 0 }
    }

    /// Bytes so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The file, when all is written.
    pub(super) fn into_file(self) -> Option<File> {
        self.file
    }

    /// Writes `before` and a range of a chain.
    pub(super) fn write(&mut self, before: &[u8], chain: &Chain, range: Range<usize>) -> Result<(), Failure> {
        self.with((before.len() + range.len()) as u64, |file| chain.write(before, range, file))
    }

    pub(super) fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.with(bytes.len() as u64, |file| file.write_all(bytes))
    }

    fn with(&mut self, len: u64, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Failure> {
        if let Some(file) = &mut self.file {
            write(file).map_err(|cause| Failure::Write { name: self.name.clone(), cause })?;
        }
        self.written += len;
        Ok(())
    }
}
