//! Where the servers of a bench live, and their clients: on loopback, or at the ends of veth pairs in network namespaces of
//! the bench's own.
//!
//! With TCP in user space each server has a veth pair to itself, for AF_XDP takes all frames of an interface. All pairs
//! are alike: 1,500 bytes, and no offloads at either end, since what user-space TCP receives must have its checksum and
//! fit a frame, and no other server is to be spared what a wire demands. The server behind the proxies is on the loopback
//! interface of their namespace.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;

use super::options::Transport;
use crate::BenchError;
use crate::lab::{self, Lab, Shape};

/// The port of a server that does TCP by itself: nobody else has its address.
const PORT: u16 = 443;

/// Where a server is to live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// A network namespace; `None`: that of this process.
    pub namespace: Option<String>,
    /// Its address.
    pub ip: Ipv4Addr,
    /// The interface on whose frames it does TCP by itself; `None`: the kernel does.
    pub wire: Option<String>,
}

impl Default for Home {
    fn default() -> Self {
        Self { namespace: None, ip: Ipv4Addr::LOCALHOST, wire: None }
    }
}

impl Home {
    /// Two ports that nobody uses now.
    pub(super) fn free_ports(&self) -> Result<[SocketAddr; 2], BenchError> {
        if self.wire.is_some() {
            return Ok([PORT, PORT + 1].map(|port| SocketAddr::new(self.ip.into(), port)));
        }
        let ports = || {
            let (one, two) = (TcpListener::bind((self.ip, 0))?, TcpListener::bind((self.ip, 0))?);
            Ok([one.local_addr()?, two.local_addr()?])
        };
        lab::within(self.namespace.as_deref(), || {
            ports().map_err(|cause| BenchError::Io {
                what: format!("no free port at {}", self.ip),
                cause,
                remedy: "is the loopback interface up?",
            })
        })
    }

    /// A command that runs there.
    pub(super) fn command(&self, command: Command) -> Command {
        let Some(namespace) = &self.namespace else { return command };
        let [ip, words @ ..] = lab::inside(namespace);
        let mut there = Command::new(ip);
        there.args(words).arg(command.get_program()).args(command.get_args());
        there
    }
}

/// What a bench stands on. It goes with all its namespaces when it is dropped: servers should have ended by then.
pub struct Ground {
    lab: Option<Lab>,
    cables: u8,
}

impl Ground {
    /// For a transport.
    ///
    /// # Errors
    /// [`BenchError::Program`] where there are no network namespaces, or not for this user.
    pub fn new(transport: Transport) -> Result<Self, BenchError> {
        let lab = match transport {
            Transport::Kernel => None,
            Transport::Userspace => {
                let lab = Lab::of(Shape::Pair)?;
                lab::up(&lab.forwarder, "lo")?;
                Some(lab)
            }
        };
        Ok(Self { lab, cables: 0 })
    }

    /// Moves the calling thread to where clients are.
    ///
    /// # Errors
    /// [`BenchError::Io`].
    pub fn enter(&self) -> Result<(), BenchError> {
        self.lab.as_ref().map_or(Ok(()), |lab| lab::enter(&lab.generator))
    }

    /// For the server behind the proxies.
    #[must_use]
    pub fn behind(&self) -> Home {
        Home { namespace: self.lab.as_ref().map(|lab| lab.forwarder.clone()), ..Home::default() }
    }

    /// For our proxy.
    ///
    /// # Errors
    /// [`BenchError`] when no veth pair can be laid.
    pub fn ours(&mut self) -> Result<Home, BenchError> {
        self.home(false)
    }

    /// For a peer, whose TCP is the kernel's.
    ///
    /// # Errors
    /// As of [`ours`](Self::ours).
    pub fn peer(&mut self) -> Result<Home, BenchError> {
        self.home(true)
    }

    fn home(&mut self, kernel: bool) -> Result<Home, BenchError> {
        let Some(lab) = &self.lab else { return Ok(Home::default()) };
        let number = self.cables;
        self.cables += 1;
        let name = format!("wire{number}");
        lab.cable(&name)?;
        let [near, far] = ends(number);
        lab::address(&lab.generator, &name, &format!("{near}/24"))?;
        if kernel {
            lab::address(&lab.forwarder, &name, &format!("{far}/24"))?;
        }
        Ok(Home { namespace: Some(lab.forwarder.clone()), ip: far, wire: (!kernel).then_some(name) })
    }
}

/// The addresses of the two ends of a cable, of those for benchmarks (RFC 2544, C.2.2): the client's and the server's.
fn ends(number: u8) -> [Ipv4Addr; 2] {
    [1, 2].map(|end| Ipv4Addr::new(198, 18, number, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_a_server_lives_where_this_process_does() {
        let mut ground = Ground::new(Transport::Kernel).unwrap();
        assert_eq!(ground.ours().unwrap(), Home::default());
        assert_eq!(ground.peer().unwrap(), Home::default());
        assert_eq!(ground.behind(), Home::default());
        let [one, two] = Home::default().free_ports().unwrap();
        assert!(one.ip().is_loopback() && one.port() != two.port() && one.port() > 0);
        let command = Home::default().command(Command::new("nginx"));
        assert_eq!(command.get_program(), "nginx");
    }

    #[test]
    fn what_runs_in_a_namespace_is_started_by_ip() {
        let home = Home { namespace: Some("far".to_owned()), ..Home::default() };
        let mut command = Command::new("nginx");
        command.arg("-v");
        let command = home.command(command);
        let words: Vec<_> = command.get_args().collect();
        assert_eq!(
            (command.get_program().to_str(), words),
            (
                Some("ip"),
                vec!["netns".as_ref(), "exec".as_ref(), "far".as_ref(), "nginx".as_ref(), "-v".as_ref()]
            )
        );
    }

    #[test]
    fn each_server_has_a_wire_of_its_own() {
        let Ok(mut ground) = Ground::new(Transport::Userspace) else {
            eprintln!("skipped: needs root and network namespaces");
            return;
        };
        let (ours, peer) = (ground.ours().unwrap(), ground.peer().unwrap());
        assert_eq!((ours.wire.as_deref(), ours.ip), (Some("wire0"), Ipv4Addr::new(198, 18, 0, 2)));
        assert_eq!((peer.wire.as_deref(), peer.ip), (None, Ipv4Addr::new(198, 18, 1, 2)));
        assert_eq!(ours.free_ports().unwrap()[0].port(), PORT);
        // Whoever listens there at all addresses is reached by the peer's, and ours is nobody's yet.
        let listen = || Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)));
        let listener = lab::within(peer.namespace.as_deref(), listen).unwrap().unwrap();
        let port = listener.local_addr().unwrap().port();
        let reach = |to: SocketAddr| {
            let soon = std::time::Duration::from_millis(300);
            let there = || ground.enter().map(|()| std::net::TcpStream::connect_timeout(&to, soon).is_ok());
            std::thread::scope(|scope| scope.spawn(there).join().unwrap()).unwrap()
        };
        assert!(reach(SocketAddr::new(peer.ip.into(), port)));
        assert!(!reach(SocketAddr::new(ours.ip.into(), port)));
        assert!(ground.behind().free_ports().is_ok(), "loopback is up");
    }
}
