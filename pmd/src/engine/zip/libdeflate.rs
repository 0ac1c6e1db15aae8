//! libdeflate: whole buffers.

use std::ffi::c_void;
use std::ptr::NonNull;

use libdeflate_sys::{
    libdeflate_alloc_decompressor, libdeflate_decompressor, libdeflate_deflate_decompress_ex,
    libdeflate_free_decompressor, libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE,
    libdeflate_result_LIBDEFLATE_SUCCESS,
};
use libdeflater::{CompressionLvl, Compressor};

use super::session::MAX_LEVEL;
use crate::device::Status;

/// Compressors of all levels.
pub(super) struct Compressors {
    /// Each made when its level is first used: they have tables of their own, up to 1 MiB and more.
    levels: [Option<Compressor>; MAX_LEVEL as usize + 1],
}

impl Compressors {
    pub(super) fn new() -> Self {
        Self { levels: [const { None }; MAX_LEVEL as usize + 1] }
    }

    fn level(&mut self, level: u8) -> &mut Compressor {
        self.levels[usize::from(level)].get_or_insert_with(|| {
            // Cannot fail: the session checked the level.
            Compressor::new(CompressionLvl::new(i32::from(level)).unwrap_or_default())
        })
    }

    /// Raw DEFLATE, complete. `None` if it does not fit.
    pub(super) fn compress(&mut self, level: u8, input: &[u8], output: &mut [u8]) -> Option<usize> {
        self.level(level).deflate_compress(input, output).ok()
    }

    /// Bytes that suffice for any input of this length.
    pub(super) fn bound(&mut self, level: u8, len: usize) -> usize {
        self.level(level).deflate_compress_bound(len)
    }
}

/// A decompressor that says how much of its input the stream was.
pub(super) struct Decompressor(NonNull<libdeflate_decompressor>);

// SAFETY: plain memory, used through &mut only.
unsafe impl Send for Decompressor {}

impl Decompressor {
    pub(super) fn new() -> Self {
        // SAFETY: allocates; null is checked.
        let made = NonNull::new(unsafe { libdeflate_alloc_decompressor() });
        Self(made.expect("memory for a decompressor"))
    }

    /// One raw DEFLATE stream from the start of `input`: bytes read, bytes written.
    pub(super) fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), Status> {
        let (mut read, mut written) = (0, 0);
        // SAFETY: the decompressor lives; both buffers are valid for their lengths, and apart.
        let result = unsafe {
            libdeflate_deflate_decompress_ex(
                self.0.as_ptr(),
                input.as_ptr().cast::<c_void>(),
                input.len(),
                output.as_mut_ptr().cast::<c_void>(),
                output.len(),
                &mut read,
                &mut written,
            )
        };
        match result {
            #[expect(non_upper_case_globals, reason = "libdeflate's name")]
            libdeflate_result_LIBDEFLATE_SUCCESS => Ok((read, written)),
            #[expect(non_upper_case_globals, reason = "libdeflate's name")]
            libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE => Err(Status::NoSpace { needed: 0 }),
            _ => Err(Status::BadInput),
        }
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: made by alloc, freed once.
        unsafe { libdeflate_free_decompressor(self.0.as_ptr()) }
    }
}
