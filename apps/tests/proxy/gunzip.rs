//! Undoing gzip as it comes.

use zlib_rs::{Inflate, InflateFlush, Status};

/// A stream that is being read.
pub struct Gunzip {
    inflate: Inflate,
    /// Bytes of its header that are still to come: the proxy sends no optional fields.
    header: usize,
    /// Whether the end was seen, with what follows it.
    end: Option<Vec<u8>>,
    length: u32,
}

impl Gunzip {
    pub fn new() -> Self {
        Self { inflate: Inflate::new(false, 15), header: 10, end: None, length: 0 }
    }

    /// What these bytes add.
    pub fn more(&mut self, bytes: &[u8]) -> Vec<u8> {
        let skipped = self.header.min(bytes.len());
        self.header -= skipped;
        let (mut rest, mut plain) = (&bytes[skipped..], Vec::new());
        while self.end.is_none() && !rest.is_empty() {
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let mut room = vec![0; 64 << 10];
            let status = self.inflate.decompress(rest, &mut room, InflateFlush::SyncFlush).expect("deflate");
            rest = &rest[(self.inflate.total_in() - before_in) as usize..];
            plain.extend_from_slice(&room[..(self.inflate.total_out() - before_out) as usize]);
            if matches!(status, Status::StreamEnd) {
                self.end = Some(Vec::new());
            }
        }
        if let Some(end) = &mut self.end {
            end.extend_from_slice(rest);
        }
        self.length = self.length.wrapping_add(plain.len() as u32);
        plain
    }

    /// Insists that the stream is whole: deflate's end, and the length at the end of gzip.
    #[track_caller]
    pub fn is_whole(&self) {
        let end = self.end.as_deref().expect("deflate has an end");
        assert_eq!(end.len(), 8, "checksum and length");
        assert_eq!(end[4..], self.length.to_le_bytes());
    }
}
