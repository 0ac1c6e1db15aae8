//! `openssl s_server -www`: one connection at a time, and a page that tells how many handshakes there were. For counts.

use std::process::Command;

use super::{Place, Plan, Server, Site};
use crate::BenchError;
use crate::peers::{NoPeer, which};
use crate::web::options::Protocol;

const NAME: &str = "openssl";

/// Starts it.
///
/// # Errors
/// [`BenchError`] when it does not run; inside, [`NoPeer`] when it is not installed.
pub fn start(site: &Site, cpu: usize) -> Result<Result<Server, NoPeer>, BenchError> {
    let Some(program) = which(NAME) else { return Ok(Err(NoPeer::absent(NAME, NAME))) };
    let title = format!("{NAME} {}", super::version(&program, "version", "OpenSSL ").unwrap_or_default());
    let command = |place: &Place<'_>| {
        let mut command = Command::new(&program);
        let version = if place.site.protocol == Protocol::Tls12 { "-tls1_2" } else { "-tls1_3" };
        command
            .args(["s_server", "-www", version, "-accept", &place.address.to_string(), "-cert"])
            .arg(place.certificate.certificate_file())
            .arg("-key")
            .arg(place.certificate.key_file());
        Ok(command)
    };
    Plan { title, site, cpu, command: &command, tells: false }.start().map(Ok)
}

/// Handshakes that were completed, by its page: the one for the page itself among them.
#[must_use]
pub fn accepts(page: &str) -> Option<u64> {
    count(page, "server accepts that finished")
}

/// Sessions that were resumed, by its page.
#[must_use]
pub fn cache_hits(page: &str) -> Option<u64> {
    count(page, "session cache hits")
}

fn count(page: &str, of: &str) -> Option<u64> {
    page.lines().find(|line| line.contains(of))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_page_is_read() {
        let page = "   9 server accepts (SSL_accept())\n   0 server renegotiates (SSL_accept())\n   \
            7 server accepts that finished\n   0 session cache hits";
        assert_eq!((accepts(page), cache_hits(page)), (Some(7), Some(0)));
        assert_eq!(accepts("no such thing"), None);
    }
}
