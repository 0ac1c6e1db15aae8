//! Capture files: whatever the bytes, an index whose frames lie inside the file, or an error with a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warpdrive_pmd::port::pcap::{MAX_FRAME, parse};

fuzz_target!(|bytes: &[u8]| {
    match parse(bytes) {
        Ok(capture) => {
            let mut at = 0;
            for record in &capture.records {
                assert!(record.offset >= at && record.len as usize <= MAX_FRAME);
                at = record.offset + record.len as usize;
                assert!(at <= bytes.len());
            }
        }
        Err(e) => assert!(!e.to_string().is_empty()),
    }
});
