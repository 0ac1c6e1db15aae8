//! Why a file could not be done.

use std::io;

use warpdrive_pmd::device::{OutOfPacket, Status};
use warpdrive_pmd::engine::zip::ZipFormat;

use super::engines::Refused;

/// Offsets count bytes of the compressed side from 0.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("cannot read: {0}")]
    Read(io::Error),
    #[error("cannot write {name}: {cause}")]
    Write { name: String, cause: io::Error },
    #[error("unexpected end of file at byte {at}: the {what} is not complete")]
    Truncated { at: u64, what: &'static str },
    #[error("not in {} format: it begins with {first:02x?}{hint}", .wanted.map_or("gzip or zlib", name))]
    NotThis { wanted: Option<ZipFormat>, first: Vec<u8>, hint: &'static str },
    #[error("the header at byte {at} is not possible: {what}")]
    Header { at: u64, what: &'static str },
    #[error("invalid compressed data between byte {from} and byte {to}")]
    Corrupt { from: u64, to: u64 },
    #[error(
        "invalid compressed data before byte {at}: its checksum should be {stored:08x} and is {computed:08x}"
    )]
    Checksum { at: u64, stored: u32, computed: u32 },
    #[error(
        "invalid compressed data before byte {at}: its length modulo 2^32 should be {stored} and is {computed}"
    )]
    Length { at: u64, stored: u32, computed: u32 },
    #[error("device failed ({}) at byte {at}", .status.name())]
    Device { status: Status, at: u64 },
    #[error("{0}")]
    Refused(#[from] Refused),
    #[error("{0}")]
    Request(#[from] OutOfPacket),
}

/// The name of a format for people.
pub(super) fn name(format: ZipFormat) -> &'static str {
    match format {
        ZipFormat::Deflate => "raw DEFLATE",
        ZipFormat::Zlib => "zlib",
        ZipFormat::Gzip => "gzip",
    }
}
