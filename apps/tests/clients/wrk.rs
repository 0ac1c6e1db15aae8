//! wrk: twenty connections for a second, by IPv4 and by IPv6.

use super::{Place, run};

/// Thousands of responses without an error.
pub fn all(place: &Place<'_>) {
    for host in &place.hosts {
        let url = format!("https://{host}/large?bytes=1000");
        let mut command = place.program("wrk");
        command.args(["-t1", "-c20", "-d1s", "--timeout", "30s", "-H", "Accept-Encoding: gzip", &url]);
        let said = run(&mut command);
        assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
        let count = said.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
        let count: u64 = count.unwrap_or_else(|| panic!("{said}"));
        assert!(count > 100, "{count} responses: {said}");
    }
}
