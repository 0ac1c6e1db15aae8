//! `load-tls` and `load-https`: which loads servers are put under, and what is said about it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::certificate::{self, NAME};
use super::client::{Client, DEPTH_MAX, Settings};
use super::options::{Protocol, Target, WebKind};
use super::servers::{Server, Site, haproxy, nginx};
use crate::load::Subject as _;
use crate::load::modes::{About, drive};
use crate::measure::on_cpu;
use crate::peers::NoPeer;
use crate::record::{Curve, Mode, Record};
use crate::{Bench, BenchError, Emit, Kind, Options};

mod said;
mod usage;

use said::Ledger;

/// Handshakes.
pub const TLS: Bench = Bench {
    name: "load-tls",
    about: "TLS handshakes with an RSA-2048 certificate, full or resumed (--op), of a server on a cpu of its own",
    peer: SERVERS,
    package: PACKAGES,
    unit: "handshakes/s",
    seconds: 1.0,
    rounds: 3,
    quick: Some((0.2, 2)),
    run: Kind::Load(tls),
};

/// Requests.
pub const HTTPS: Bench = Bench {
    name: "load-https",
    about: "requests over connections that stay, or one for each (--op), with TLS or without, of 1 and 100 KiB",
    peer: SERVERS,
    package: PACKAGES,
    unit: "requests/s",
    seconds: 1.0,
    rounds: 3,
    quick: Some((0.2, 2)),
    run: Kind::Load(https),
};

const SERVERS: &str = "nginx and haproxy, one thread each";
const PACKAGES: &str = "nginx-light haproxy";
/// The most operations under way, unless the user wants more.
const DEPTH: usize = 256;
/// How long a client waits for a server that says nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of content.
const BODIES: [usize; 2] = [1024, 100 * 1024];

/// What is measured of one server.
#[derive(Clone, Copy, Debug)]
struct Case {
    bench: &'static Bench,
    kind: WebKind,
    protocol: Protocol,
    body: usize,
    /// What the kind is unless the user says another.
    usual: WebKind,
}

/// Starts a server, if it is installed.
type Start = fn(&Site, usize) -> Result<Result<Server, NoPeer>, BenchError>;
/// The servers, by what is added to the names of curves.
const STARTS: [(&str, Start); 2] = [("", nginx::start), ("-haproxy", haproxy::start)];

fn tls(options: &Options, emit: Emit<'_>) -> Result<(), BenchError> {
    usage::transport(options, &TLS)?;
    let kind = usage::kind(options, &TLS, WebKind::Handshake, |kind| !kind.has_request())?;
    let is_plain = options.web.target.as_ref().is_some_and(|target| !target.tls);
    if is_plain || options.web.protocol == Some(Protocol::Plain) {
        return Err(usage::plain(&TLS));
    }
    usage::target(options, &TLS)?;
    let protocols = match options.web.protocol {
        Some(protocol) => vec![protocol],
        None if options.quick => vec![Protocol::Tls13],
        None => vec![Protocol::Tls13, Protocol::Tls12],
    };
    for protocol in protocols {
        let case = Case { bench: &TLS, kind, protocol, body: BODIES[0], usual: WebKind::Handshake };
        case.run(options, emit)?;
    }
    Ok(())
}

fn https(options: &Options, emit: Emit<'_>) -> Result<(), BenchError> {
    usage::transport(options, &HTTPS)?;
    let kind = usage::kind(options, &HTTPS, WebKind::Request, WebKind::has_request)?;
    usage::target(options, &HTTPS)?;
    let protocol = match &options.web.target {
        Some(target) if !target.tls => Protocol::Plain,
        _ => options.web.protocol.unwrap_or(Protocol::Tls13),
    };
    let bodies = match options.web.body {
        Some(bytes) => vec![bytes],
        None if options.quick || options.web.target.is_some() => BODIES[..1].to_vec(),
        None => BODIES.to_vec(),
    };
    for body in bodies {
        Case { bench: &HTTPS, kind, protocol, body, usual: WebKind::Request }.run(options, emit)?;
    }
    Ok(())
}

impl Case {
    fn run(&self, options: &Options, emit: Emit<'_>) -> Result<(), BenchError> {
        if let Some(target) = &options.web.target {
            let settings = self.at_target(options, target)?;
            return self.measure(options, "-target", settings, None, emit);
        }
        let (_, far) = options.two_cpus()?;
        let site = Site::new(self.protocol, self.kind, self.body);
        for (suffix, start) in STARTS {
            options.go_on()?;
            let mut server = match self.start(options, start, &site, far)? {
                Ok(server) => server,
                Err(none) => {
                    emit(self.absent(options, suffix, &none).into());
                    continue;
                }
            };
            let settings = self.settings(options, &server);
            self.measure(options, suffix, settings, Some(&mut server), emit)?;
            server.stop()?;
        }
        Ok(())
    }

    fn start(
        &self,
        options: &Options,
        start: Start,
        site: &Site,
        cpu: usize,
    ) -> Result<Result<Server, NoPeer>, BenchError> {
        let started = start(site, cpu)?;
        Ok(started.and_then(|server| match haproxy::lacks(&server, options.web.gzip) {
            None => Ok(server),
            Some(none) => Err(none),
        }))
    }

    fn settings(&self, options: &Options, server: &Server) -> Settings {
        Settings {
            address: server.address,
            host: NAME.to_owned(),
            path: "/index.html".to_owned(),
            protocol: self.protocol,
            kind: self.kind,
            gzip: options.web.gzip,
            depth: depth(options),
            trust: server.trust(),
            patience: PATIENCE,
            server: vec![server.id()],
        }
    }

    fn at_target(&self, options: &Options, target: &Target) -> Result<Settings, BenchError> {
        let trust = match &options.web.ca {
            Some(file) => certificate::trust_of(file)?,
            None if target.tls => return Err(usage::nobody_to_trust(self.bench)),
            None => rustls::RootCertStore::empty(),
        };
        let protocol = if target.tls { self.protocol } else { Protocol::Plain };
        Ok(Settings {
            address: target.address,
            host: target.host.clone(),
            path: target.path.clone(),
            protocol,
            kind: self.kind,
            gzip: options.web.gzip,
            depth: depth(options),
            trust,
            patience: PATIENCE,
            server: vec![],
        })
    }

    /// The loads of one server, by a client on the first cpu.
    fn measure(
        &self,
        options: &Options,
        suffix: &str,
        settings: Settings,
        mut server: Option<&mut Server>,
        emit: Emit<'_>,
    ) -> Result<(), BenchError> {
        let near = options.cpu()?;
        on_cpu(near, || {
            let mut client = Client::open(settings)?;
            if let Some(server) = &server {
                self.same_content(&client, server)?;
            }
            let facts = self.facts(options, &client, server.as_deref(), near);
            let modes = options.load.mode.map_or(vec![Mode::Closed, Mode::Open], |mode| vec![mode]);
            for mode in modes {
                let mut one = options.clone();
                one.load.mode = Some(mode);
                let about = About {
                    bench: self.bench.name,
                    what: self.what().to_owned(),
                    unit: self.bench.unit,
                    facts: facts.clone(),
                };
                let before = Ledger::of(&client, server.as_deref_mut())?;
                client.restart();
                let mut curves = Vec::new();
                drive(&one, &about, &mut client, &mut |record| curves.push(record))?;
                client.settle()?;
                let after = Ledger::of(&client, server.as_deref_mut())?;
                for record in curves {
                    let Record::Curve(mut curve) = record else { continue };
                    curve.name = self.name(suffix, mode);
                    curve.command = options.command(self.bench.name);
                    self.say(&mut curve, &mut client, &before, &after);
                    emit(curve.into());
                }
            }
            client.finish()
        })
    }

    /// Server, case and mode.
    fn name(&self, suffix: &str, mode: Mode) -> String {
        let mut name = format!("{}{suffix}", self.bench.name);
        if self.kind != self.usual {
            name += &format!("-{}", self.kind);
        }
        if self.protocol != Protocol::Tls13 {
            name += &format!("-{}", self.protocol);
        }
        match self.body {
            bytes if bytes == BODIES[0] => (),
            bytes if bytes % 1024 == 0 => name += &format!("-{}k", bytes / 1024),
            bytes => name += &format!("-{bytes}b"),
        }
        format!("{name}-{}", mode.name())
    }

    fn what(&self) -> &'static str {
        match self.kind {
            WebKind::Handshake => {
                "a TCP connection and a full TLS handshake: from connect until our Finished is sent; the end of the \
                 connection is part of the load and not of the latency"
            }
            WebKind::Resumed => {
                "a TCP connection and a resumed TLS handshake: from connect until our Finished is sent; the end of \
                 the connection is part of the load and not of the latency"
            }
            WebKind::Request => {
                "a GET over a connection that stays: from when it is sent to the response's last byte"
            }
            WebKind::Connection => {
                "a TCP connection, a full handshake if there is TLS, and a GET: from connect to the response's last byte"
            }
        }
    }

    fn same_content(&self, client: &Client, server: &Server) -> Result<(), BenchError> {
        if !self.kind.has_request() || client.content() == Some(server.body()) {
            return Ok(());
        }
        Err(BenchError::Program {
            program: server.title.clone(),
            what: "its content is not that of the file it was given".to_owned(),
            remedy: "is something between the client and the server?".to_owned(),
        })
    }

    fn absent(&self, options: &Options, suffix: &str, none: &NoPeer) -> Curve {
        let mode = options.load.mode.unwrap_or(Mode::Closed);
        Curve {
            name: self.name(suffix, mode),
            about: self.what().to_owned(),
            mode,
            unit: self.bench.unit.to_owned(),
            facts: BTreeMap::from([("server".to_owned(), format!("{} (absent)", none.peer))]),
            points: Vec::new(),
            found: None,
            stages: Vec::new(),
            command: options.command(self.bench.name),
            notes: vec![none.to_string()],
        }
    }
}

/// The most that a client has under way.
pub(super) fn depth_of(options: &Options) -> usize {
    depth(options)
}

/// As deep as it goes.
fn depth(options: &Options) -> usize {
    let wanted = options.load.depths.iter().copied().max().unwrap_or(0);
    wanted.clamp(DEPTH, DEPTH_MAX)
}

#[cfg(test)]
mod tests {
    use super::super::options::Transport;
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let mut names = Vec::new();
        for (suffix, _) in STARTS {
            for (_, protocol) in Protocol::NAMES {
                for body in [1024, 1000, 100 * 1024] {
                    for kind in [WebKind::Request, WebKind::Connection] {
                        let case = Case { bench: &HTTPS, kind, protocol, body, usual: WebKind::Request };
                        names.push(case.name(suffix, Mode::Closed));
                    }
                }
            }
        }
        assert_eq!(names[0], "load-https-closed");
        assert!(names.contains(&"load-https-haproxy-connection-tls1.2-100k-closed".to_owned()), "{names:?}");
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn what_does_not_fit_a_bench_is_refused() {
        let mut options = Options::for_tests(1);
        options.web.kind = Some(WebKind::Request);
        let refused = |error: BenchError| assert!(error.to_string().contains("--op"), "{error}");
        refused(TLS.run(&options, &mut |_| ()).unwrap_err());
        options.web.kind = Some(WebKind::Handshake);
        refused(HTTPS.run(&options, &mut |_| ()).unwrap_err());
        options.web.protocol = Some(Protocol::Plain);
        let error = TLS.run(&options, &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("--protocol tls1.3"), "{error}");
        options.web = crate::web::WebOptions {
            target: Some("https://127.0.0.1:1/".parse().unwrap()),
            ..Default::default()
        };
        let error = TLS.run(&options, &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("--ca"), "{error}");
    }

    #[test]
    fn a_transport_of_the_proxy_is_refused_where_there_is_none() {
        let mut options = Options::for_tests(1);
        options.web.transport = Transport::Userspace;
        for bench in [&TLS, &HTTPS] {
            let error = bench.run(&options, &mut |_| ()).unwrap_err().to_string();
            assert!(error.contains("--transport userspace") && error.contains("http-1k"), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_a_target_is_refused_with_the_remedy() {
        for (target, protocol, body, said) in [
            ("https://127.0.0.1:1/", Some(Protocol::Plain), None, ["--protocol http", "--target http://"]),
            ("http://127.0.0.1:1/", Some(Protocol::Tls12), None, ["--protocol tls1.2", "--target https://"]),
            ("http://127.0.0.1:1/", Some(Protocol::Tls13), None, ["--protocol tls1.3", "--target https://"]),
            ("http://127.0.0.1:1/", None, Some(1024), ["--body", "path of --target"]),
        ] {
            let mut options = Options::for_tests(1);
            options.web.target = Some(target.parse().unwrap());
            (options.web.protocol, options.web.body) = (protocol, body);
            options.web.ca = Some("/nowhere/ca.pem".into());
            let error = HTTPS.run(&options, &mut |_| ()).unwrap_err().to_string();
            assert!(said.iter().all(|said| error.contains(said)), "{target}: {error}");
            assert!(!error.contains("--op"), "{target}: {error}");
        }
        let mut options = Options::for_tests(1);
        options.web.target = Some("http://127.0.0.1:1/".parse().unwrap());
        let error = TLS.run(&options, &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("--target https://"), "{error}");
    }

    #[test]
    fn more_may_be_under_way_when_the_user_wants_more() {
        let mut options = Options::for_tests(1);
        assert_eq!(depth(&options), DEPTH);
        options.load.depths = vec![4, 700];
        assert_eq!(depth(&options), 700);
        options.load.depths = vec![5000];
        assert_eq!(depth(&options), DEPTH_MAX);
    }
}
