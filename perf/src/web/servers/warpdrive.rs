//! This program as a proxy: TLS in front of another server.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Place, Plan, Server, Site, file};
use crate::BenchError;
use crate::peers::NoPeer;
use crate::web::options::{Protocol, WebKind};

const NAME: &str = "warpdrive";
/// Buffers for frames, of those that it receives and sends.
const FRAMES: usize = 8192;

/// Starts it.
///
/// # Errors
/// [`BenchError`] when it does not run; inside, [`NoPeer`] when this is not the program that could.
pub fn start(site: &Site, cpu: usize) -> Result<Result<Server, NoPeer>, BenchError> {
    let program =
        std::env::current_exe().ok().filter(|path| path.file_name().is_some_and(|name| name == NAME));
    let Some(program) = program else {
        let why = "this is not the program \"warpdrive\". Remedy: warpdrive bench".to_owned();
        return Ok(Err(NoPeer { peer: NAME, why }));
    };
    let title = format!("{NAME} {}", env!("CARGO_PKG_VERSION"));
    let command = |place: &Place<'_>| command(&program, place);
    Plan { title, site, cpu, command: &command, tells: false }.start().map(Ok)
}

fn command(program: &Path, place: &Place<'_>) -> io::Result<Command> {
    let config = file(place, "proxy.toml", config(place).as_bytes())?;
    let mut command = Command::new(program);
    command.arg("run").arg(config);
    Ok(command)
}

fn config(place: &Place<'_>) -> String {
    let Place { certificate, address, site, .. } = place;
    let behind = site.behind.map_or(String::new(), |behind| behind.to_string());
    let (certificate, key) = (certificate.certificate_file(), certificate.key_file());
    let tickets = site.kind == WebKind::Resumed;
    let oldest = if site.protocol == Protocol::Tls12 { "1.2" } else { "1.3" };
    let connections = site.connections;
    let (port, transport) = match &site.home.wire {
        None => (String::new(), String::new()),
        Some(wire) => (
            format!(
                "[mempool.frames]
buffers = {FRAMES}
size = 2048
[port.wire]
driver = \"af_xdp\"
interface = \"{wire}\"
mempool = \"frames\"
"
            ),
            format!(
                "transport = \"userspace\"
port = \"wire\"
addresses = [\"{}/24\"]
",
                site.home.ip
            ),
        ),
    };
    format!(
        "version = 1
[eal]
idle = \"spin\"
[mempool.proxy]
buffers = 4096
size = 33024
{port}[device.rsa0]
driver = \"soft-rsa\"
[device.zip0]
driver = \"soft-zip\"
[[proxy]]
name = \"measured\"
{transport}mempool = \"proxy\"
listen = [\"{address}\"]
rsa = \"rsa0\"
zip = \"zip0\"
[proxy.tls]
certificates = [{{ certificate = {certificate:?}, key = {key:?} }}]
min_version = \"{oldest}\"
tickets = {tickets}
[proxy.timeouts]
idle_ms = 3600000
[proxy.limits]
requests = 1000000000
connections = {connections}
[[proxy.upstream]]
name = \"behind\"
servers = [\"{behind}\"]
keepalive = 256
"
    )
}
