//! nginx: static files, with TLS or without.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Place, Plan, Served, Server, Site, file, program, version};
use crate::BenchError;
use crate::peers::NoPeer;
use crate::web::options::{Protocol, WebKind};

const NAME: &str = "nginx";
const PACKAGE: &str = "nginx-light";

/// Starts it.
///
/// # Errors
/// [`BenchError`] when it does not run; inside, [`NoPeer`] when it is not installed.
pub fn start(site: &Site, cpu: usize) -> Result<Result<Server, NoPeer>, BenchError> {
    let Some(program) = program(NAME) else {
        return Ok(Err(NoPeer::absent(NAME, PACKAGE)));
    };
    let title = format!("{NAME} {}", version(&program, "-v", "nginx/").unwrap_or_default());
    let command = |place: &Place<'_>| command(&program, place);
    Plan { title, site, cpu, command: &command, tells: true }.start().map(Ok)
}

fn command(program: &Path, place: &Place<'_>) -> io::Result<Command> {
    std::fs::create_dir(place.folder.join("www"))?;
    file(place, "www/index.html", place.body)?;
    let config = file(place, "nginx.conf", config(place).as_bytes())?;
    let mut command = Command::new(program);
    command.args(["-e", "stderr", "-p"]).arg(place.folder).arg("-c").arg(config);
    Ok(command)
}

/// One process without a master: ending it by its id ends all of it.
fn config(place: &Place<'_>) -> String {
    let Place { folder, certificate, address, status, site, .. } = place;
    let folder = folder.display();
    let access = if site.log { format!("{folder}/access.log of_tests") } else { "off".to_owned() };
    let level = if site.log { "info" } else { "warn" };
    let (listen, tls) = match site.protocol {
        Protocol::Plain => ("", String::new()),
        protocol => (
            " ssl",
            format!(
                "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols {}; {}",
                certificate.certificate_file().display(),
                certificate.key_file().display(),
                if protocol == Protocol::Tls12 { "TLSv1.2" } else { "TLSv1.3" },
                if site.kind == WebKind::Resumed {
                    "ssl_session_tickets on; ssl_session_cache shared:tls:4m; ssl_session_timeout 1h;"
                } else {
                    "ssl_session_tickets off; ssl_session_cache off;"
                }
            ),
        ),
    };
    let gzip = if site.gzip { "on" } else { "off" };
    let connections = site.connections;
    let (upstream, content) = match site.behind {
        None => (String::new(), format!("root {folder}/www;")),
        Some(behind) => (
            format!("upstream behind {{ server {behind}; keepalive 256; keepalive_requests 1000000000; }}"),
            "location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection \"\"; }".to_owned(),
        ),
    };
    format!(
        "daemon off; master_process off; worker_processes 1;
error_log stderr {level}; pid {folder}/nginx.pid;
events {{ worker_connections {connections}; }}
http {{
  log_format of_tests '$ssl_protocol $ssl_session_reused $status $connection_requests';
  access_log {access};
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  default_type text/html; sendfile on; tcp_nopush on; tcp_nodelay on;
  open_file_cache max=16 inactive=1h; open_file_cache_valid 1h;
  keepalive_timeout 1h; keepalive_requests 1000000000; reset_timedout_connection on;
  gzip {gzip}; gzip_comp_level 1; gzip_min_length 256;
  {upstream}
  server {{
    listen {address}{listen} backlog=4096; {tls}
    {content}
  }}
  server {{
    listen {status}; access_log off;
    location / {{ stub_status; }}
  }}
}}
"
    )
}

/// What its page of counts says; the question itself is taken off.
pub(super) fn counts(page: &str) -> Option<Served> {
    let after = page.split_once("requests")?.1;
    let mut numbers = after.split_whitespace().map_while(|word| word.parse::<u64>().ok());
    let (accepts, _handled, requests) = (numbers.next()?, numbers.next()?, numbers.next()?);
    Some(Served { accepts: accepts.checked_sub(1)?, requests: requests.checked_sub(1)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_counts_are_read() {
        let page =
            "Active connections: 2 \nserver accepts handled requests\n 17 17 31 \nReading: 0 Writing: 1 \n";
        assert_eq!(counts(page), Some(Served { accepts: 16, requests: 30 }));
        for other in ["", "server accepts handled requests\n", "server accepts handled requests\n 0 0 0"] {
            assert_eq!(counts(other), None, "{other:?}");
        }
    }
}
