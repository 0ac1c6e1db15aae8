//! Attributes of a device, each a piece of the bytes: what is taken holds, what is not names the attribute and a remedy.
#![no_main]

use std::io;

use libfuzzer_sys::fuzz_target;
use warpdrive_pmd::uacce::abi::attribute;
use warpdrive_pmd::uacce::{Roots, UacceInfo};

const NAMES: [&str; 9] = [
    attribute::API,
    attribute::FLAGS,
    attribute::ALGORITHMS,
    attribute::REGION_MMIO_SIZE,
    attribute::REGION_DUS_SIZE,
    attribute::NUMA_NODE,
    attribute::ISOLATE,
    attribute::PRIORITY,
    attribute::WARPDRIVE,
];
/// What a good device has, for pieces that are left out.
const GOOD: [&str; 9] = ["hisi_qm_v1", "1", "rsa\ndh", "4096", "86016", "-1", "0", "7", "share level"];

fuzz_target!(|data: &[u8]| {
    // The first two bytes say which attributes are good, the others come from the pieces.
    let Some((first, rest)) = data.split_at_checked(2) else { return };
    let good = u16::from_le_bytes([first[0], first[1]]);
    let pieces: Vec<&[u8]> = rest.split(|byte| *byte == 0).collect();
    let read = |name: &str| {
        let at = NAMES.iter().position(|known| *known == name).ok_or(io::ErrorKind::NotFound)?;
        if good >> at & 1 == 1 {
            return Ok(GOOD[at].to_owned());
        }
        match pieces.get(at) {
            Some(piece) => String::from_utf8(piece.to_vec()).map_err(|_| io::ErrorKind::InvalidData.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    };
    match UacceInfo::of("fuzz-0", &Roots::default(), read) {
        Ok(info) => {
            assert!(info.mmio_bytes > 0 && info.dus_bytes > 0 && !info.algorithms.is_empty());
            assert!(info.numa_node.is_none_or(|node| node <= i32::MAX as u32));
            assert_eq!(info.sva(), info.flags & 1 == 1);
            assert!(info.algorithms.iter().all(|name| info.does(name)));
        }
        Err(e) => {
            let message = e.to_string();
            assert!(message.contains("Remedy: ") && message.contains("fuzz-0/"), "{message}");
        }
    }
});
