//! The core choice of the command line: a map that survives its own text, or an error with a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warpdrive_pipeline::cores::{MAX_CPUS, parse_lcores, parse_list, parse_mask};

fuzz_target!(|text: &str| {
    for parse in [parse_mask, parse_list, parse_lcores] {
        match parse(text) {
            Ok(map) => {
                assert!(map.len() > 0);
                assert!(map.iter().all(|(_, cpus)| !cpus.is_empty() && cpus.iter().all(|c| c < MAX_CPUS)));
                assert_eq!(parse_lcores(&map.to_string()).expect("what is displayed parses"), map);
                let _ = (map.contended(), map.validate(&[0, 1]).map_err(|e| e.to_string()));
            }
            Err(e) => assert!(!e.to_string().is_empty()),
        }
    }
});
