//! How the engine is to work.

use std::time::Duration;

use serde::Deserialize;

/// Which code computes private operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Simd {
    /// The fastest that this cpu has.
    #[default]
    Auto,
    /// Eight at a time on AVX-512 IFMA, with the kernels that are faster here for each size of key.
    Avx512Ifma,
    /// The same, and Karatsuba's kernels.
    Avx512IfmaKaratsuba,
    /// The same, and kernels without Karatsuba's method.
    Avx512IfmaPlain,
    /// aws-lc, one at a time.
    Library,
}

impl Simd {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Auto, Self::Avx512Ifma, Self::Avx512IfmaKaratsuba, Self::Avx512IfmaPlain, Self::Library];

    /// The name used in configuration files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Avx512Ifma => "avx512-ifma",
            Self::Avx512IfmaKaratsuba => "avx512-ifma-karatsuba",
            Self::Avx512IfmaPlain => "avx512-ifma-plain",
            Self::Library => "library",
        }
    }
}

/// How many private operations are done together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passes {
    /// Eight or more of one size waiting: a full pass of eight; two to seven: a half pass of up to four; one: alone. The
    /// shortest mean time at every load.
    #[default]
    Adaptive,
    /// As many of one size as there are, up to eight: the least work.
    Largest,
    /// Each alone.
    Single,
}

/// Options of the RSA engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaOptions {
    /// Which code computes private operations.
    pub simd: Simd,
    /// How many are done together.
    pub passes: Passes,
    /// How long the oldest request may wait for eight to come together. Zero is not to wait.
    pub deadline: Duration,
    /// Whether inputs of passes are blinded with a random factor. The kernels take the same time for all inputs
    /// anyway; blinding guards against who measures more than time. aws-lc blinds always.
    pub blinding: bool,
    /// Whether results of passes are compared with their inputs, by way of the public exponent, before they are given
    /// out. Without it a fault of the machine can give away the key; it is an option for measurements alone. aws-lc
    /// compares always.
    pub check: bool,
}

impl Default for RsaOptions {
    fn default() -> Self {
        Self {
            simd: Simd::Auto,
            passes: Passes::Adaptive,
            deadline: Duration::ZERO,
            blinding: false,
            check: true,
        }
    }
}
