//! What queues carry.

use crate::uacce::abi::{hpre, zip};

/// What a queue carries: words of 32 bits, as long as the device's.
pub trait Entry: Copy + Default + Send + 'static {
    /// Bytes of it, a multiple of 8.
    const BYTES: usize;

    /// Its words.
    fn words(&self) -> &[u32];

    /// Its words.
    fn words_mut(&mut self) -> &mut [u32];
}

impl Entry for hpre::Entry {
    const BYTES: usize = hpre::ENTRY;

    fn words(&self) -> &[u32] {
        &self.0
    }

    fn words_mut(&mut self) -> &mut [u32] {
        &mut self.0
    }
}

impl Entry for zip::Entry {
    const BYTES: usize = zip::ENTRY;

    fn words(&self) -> &[u32] {
        &self.0
    }

    fn words_mut(&mut self) -> &mut [u32] {
        &mut self.0
    }
}
