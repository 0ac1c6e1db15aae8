//! The engines of a core of the server, and what is prepared for them.

use rustix::io::Errno;
use warpdrive_mempool::Domain;

use super::flight::Failure;
use super::ring::Words;
use crate::device::{Device, DeviceError, Queue, SessionId, SessionSpec, Stream};
use crate::engine::rsa::{CrtNumbers, RawSession, RsaEngine, RsaOptions};
use crate::engine::zip::{Checksum, MAX_LEVEL, ZipConfig, ZipEngine, ZipFormat, ZipOp, ZipSession};
use crate::engine::{Placement, SoftDevice};
use crate::uacce::abi::hpre::{self, Algorithm};
use crate::uacce::abi::zip::Format;

/// Requests that an engine of a core takes at once: enough to choose from, few enough for queues to be served in turn.
const DEPTH: usize = 128;

/// The engines of one core.
pub(super) struct Engines {
    rsa: SoftDevice<RsaEngine>,
    zip: SoftDevice<ZipEngine>,
    /// By level and by checksum.
    compress: Vec<[SessionId; 3]>,
    decompress: [SessionId; 3],
}

/// Which checksum goes with a format.
fn checksum(format: Format) -> (usize, Checksum) {
    match format {
        Format::Deflate => (0, Checksum::None),
        Format::Zlib => (1, Checksum::Adler32),
        Format::Gzip => (2, Checksum::Crc32),
    }
}

impl Engines {
    /// Engines that run in the core's calls, on memory of `domain`.
    pub(super) fn new(name: &str, domain: &Domain, rsa: &RsaOptions) -> Result<Self, DeviceError> {
        let rsa = SoftDevice::open_with(name, Placement::Inline, domain, rsa.clone())?;
        let zip = SoftDevice::<ZipEngine>::open(name, Placement::Inline, domain)?;
        let session = |op: ZipOp, level: u8, format: Format| {
            let (_, checksum) = checksum(format);
            let config = ZipConfig { checksum, ..ZipConfig::new(op, ZipFormat::Deflate, level) };
            let session = ZipSession::with(config).map_err(|error| DeviceError::Unsupported {
                device: name.to_owned(),
                cause: error.to_string(),
            })?;
            zip.create_session(SessionSpec::Zip(session))
        };
        let of_all = |op: ZipOp, level: u8| -> Result<[SessionId; 3], DeviceError> {
            Ok([
                session(op, level, Format::Deflate)?,
                session(op, level, Format::Zlib)?,
                session(op, level, Format::Gzip)?,
            ])
        };
        let compress: Result<_, _> = (0..=MAX_LEVEL).map(|level| of_all(ZipOp::Compress, level)).collect();
        let (compress, decompress) = (compress?, of_all(ZipOp::Decompress, 0)?);
        Ok(Self { rsa, zip, compress, decompress })
    }

    /// A queue to each.
    pub(super) fn queues(&self) -> Result<[Box<dyn Queue>; 2], DeviceError> {
        Ok([self.rsa.request_queue(DEPTH)?, self.zip.request_queue(DEPTH)?])
    }

    /// The session of a ZIP request: of the blocks alone, with the format's checksum.
    pub(super) fn zip(&self, compress: bool, format: Format, level: u8) -> SessionId {
        let (place, _) = checksum(format);
        match compress {
            true => self.compress[usize::from(level.min(MAX_LEVEL))][place],
            false => self.decompress[place],
        }
    }

    /// A stream of a session of [`zip`](Self::zip).
    pub(super) fn stream(&self, session: SessionId) -> Result<Stream, Errno> {
        self.zip.create_stream(session).map_err(|_| Errno::NOMEM)
    }

    /// A session of the key in front of `source`, and the bytes of the key.
    ///
    /// # Errors
    /// `EINVAL`: that is no key; `ENOSPC`: there are too many.
    pub(super) fn key(&self, words: &Words, source: &[u8]) -> Result<(Vec<u8>, SessionId), Errno> {
        let (algorithm, operand) = asked(words).map_err(|_| Errno::INVAL)?;
        let bytes = source.get(..hpre::key_bytes(algorithm, operand)).ok_or(Errno::INVAL)?;
        let (half, whole) = (operand / 2, operand);
        let number = |at: usize, len: usize| &bytes[at..at + len];
        const ORIGIN: &str = "a process";
        let session = match algorithm {
            Algorithm::Crt => {
                let numbers = CrtNumbers {
                    dq: number(0, half),
                    dp: number(half, half),
                    q: number(2 * half, half),
                    p: number(3 * half, half),
                    qinv: number(4 * half, half),
                };
                RawSession::from_crt(&numbers, ORIGIN)
            }
            Algorithm::NoCrt => RawSession::from_exponent(number(0, whole), number(whole, whole), ORIGIN),
        };
        let session = session.map_err(|_| Errno::INVAL)?;
        let session = self.rsa.create_session(SessionSpec::RawRsa(session)).map_err(|error| match error {
            DeviceError::Sessions { .. } => Errno::NOSPC,
            _ => Errno::INVAL,
        })?;
        Ok((bytes.to_vec(), session))
    }

    /// Lets go of a key's session.
    pub(super) fn forget(&self, session: SessionId) {
        self.rsa.remove_session(session);
    }

    /// For statistics.
    pub(super) fn devices(&self) -> [&dyn Device; 2] {
        [&self.rsa, &self.zip]
    }
}

/// What an HPRE entry asks for, if it is known here.
pub(super) fn asked(words: &Words) -> Result<(Algorithm, usize), Failure> {
    let entry = super::hpre::entry(words);
    let algorithm = Algorithm::of(entry.algorithm()).ok_or(Failure::Parameter)?;
    let operand = entry.operand();
    matches!(operand, 128 | 256 | 384 | 512).then_some((algorithm, operand)).ok_or(Failure::Parameter)
}
