//! In the place of `ifma`, for other cpus: there are no passes.

use std::io;

use super::RsaOptions;
use super::padding::random::Random;
use super::parts::PrivateParts;

/// Operations of a full pass.
pub(super) const FULL: usize = 8;
/// Operations of a half pass.
pub(super) const HALF: usize = 4;

/// Nothing is one.
pub(super) enum IfmaKey {}

impl IfmaKey {
    /// No key.
    pub(super) fn new(_parts: &PrivateParts) -> io::Result<Option<Self>> {
        Ok(None)
    }
}

/// One private operation of a pass.
pub(super) struct Operation<'a> {
    /// The key.
    pub(super) key: &'a IfmaKey,
    /// The input.
    pub(super) input: &'a [u8],
    /// The output.
    pub(super) output: &'a mut [u8],
    /// Whether it was done.
    pub(super) done: bool,
}

/// Nothing is one.
pub(super) enum Ifma {}

impl Ifma {
    /// No.
    pub(super) fn available() -> bool {
        false
    }

    /// None.
    pub(super) fn new(_options: &RsaOptions) -> Option<Self> {
        None
    }

    /// None.
    pub(super) fn describe(_options: &RsaOptions) -> Option<String> {
        None
    }

    /// Cannot be called.
    pub(super) fn private(&mut self, _operations: &mut [Operation<'_>], _random: Option<&mut Random>) {
        match *self {}
    }

    /// None.
    pub(super) fn multiply_adds(_options: &RsaOptions, _bits: usize) -> Option<u64> {
        None
    }
}
