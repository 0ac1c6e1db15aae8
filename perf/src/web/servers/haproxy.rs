//! haproxy: TLS in front of an answer that it has itself.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Place, Plan, Server, Site, file, program, version};
use crate::BenchError;
use crate::peers::NoPeer;
use crate::web::options::{Protocol, WebKind};

const NAME: &str = "haproxy";

/// Starts it.
///
/// # Errors
/// [`BenchError`] when it does not run; inside, [`NoPeer`] when it is not installed.
pub fn start(site: &Site, cpu: usize) -> Result<Result<Server, NoPeer>, BenchError> {
    let Some(program) = program(NAME) else {
        return Ok(Err(NoPeer::absent(NAME, NAME)));
    };
    let title = format!("{NAME} {}", version(&program, "-v", "version ").unwrap_or_default());
    let command = |place: &Place<'_>| command(&program, place);
    Plan { title, site, cpu, command: &command, tells: false }.start().map(Ok)
}

/// What it cannot do as it is set up here.
#[must_use]
pub fn lacks(server: &Server, gzip: bool) -> Option<NoPeer> {
    let why =
        "compresses what comes from a server behind it, and here it answers by itself. Remedy: no --gzip";
    (gzip && !server.is_proxy && server.title.starts_with(NAME))
        .then(|| NoPeer { peer: NAME, why: why.to_owned() })
}

/// `-db`: one process, in the foreground.
fn command(program: &Path, place: &Place<'_>) -> io::Result<Command> {
    file(place, "index.html", place.body)?;
    let config = file(place, "haproxy.cfg", config(place).as_bytes())?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(config);
    Ok(command)
}

fn config(place: &Place<'_>) -> String {
    let Place { folder, certificate, address, site, body, .. } = place;
    let folder = folder.display();
    let tls = match site.protocol {
        Protocol::Plain => String::new(),
        protocol => {
            let version = if protocol == Protocol::Tls12 { "TLSv1.2" } else { "TLSv1.3" };
            let tickets = if site.kind == WebKind::Resumed { "" } else { " no-tls-tickets" };
            format!(
                " ssl crt {} ssl-min-ver {version} ssl-max-ver {version}{tickets}",
                certificate.certificate_file().display()
            )
        }
    };
    let cache = if site.kind == WebKind::Resumed { 20_000 } else { 0 };
    let content = match site.behind {
        None => format!("http-request return status 200 content-type text/html file {folder}/index.html"),
        Some(behind) => format!(
            "filter compression
  compression algo gzip
  compression type text/html
  default_backend behind
backend behind
  http-reuse always
  timeout server 1h
  timeout connect 10s
  server behind {behind}"
        ),
    };
    // An answer must fit into a buffer, with its head and a reserve for rewriting.
    let connections = site.connections;
    let buffer = (body.len() + 16 * 1024).next_multiple_of(4096);
    format!(
        "global
  nbthread 1
  maxconn {connections}
  tune.ssl.cachesize {cache}
  tune.ssl.lifetime 3600
  tune.bufsize {buffer}
defaults
  mode http
  option http-ignore-probes
  timeout client 1h
  timeout http-keep-alive 1h
  timeout http-request 1h
frontend tested
  bind {address}{tls} backlog 4096
  {content}
"
    )
}
