//! What an operation costs at least.

use super::ifma::Ifma;
use super::{RsaEngine, RsaOptions};

impl RsaEngine {
    /// How many multiply-adds on 512 bits (`vpmadd52`) a full pass of eight private operations takes, with keys of
    /// `bits` bits, whose public exponent is 65,537, and with the kernels, the check and the blinding that the options
    /// say. With [`Simd::Avx512IfmaPlain`](super::Simd) that is what schoolbook multiplication takes.
    /// `None` where operations are not computed in passes.
    ///
    /// The quotient by what the cpu can do in a second, which is one or two in each cycle, is the least time of a pass.
    #[must_use]
    pub fn multiply_adds(options: &RsaOptions, bits: usize) -> Option<u64> {
        Ifma::multiply_adds(options, bits)
    }
}
