//! Clients by one, servers by another: TCP in user space before the proxy, the kernel's behind it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use super::{Accepted, Close, Flow, Net};

/// Connections that come by one, and are made by the other. Their numbers are even and odd.
pub struct Both<A, B> {
    /// Where clients come.
    pub clients: A,
    /// Where servers are.
    pub servers: B,
    ready: Vec<Flow>,
}

fn outside(flow: Flow, side: u32) -> Flow {
    Flow { index: flow.index << 1 | side, ..flow }
}

fn inside(flow: Flow) -> Flow {
    Flow { index: flow.index >> 1, ..flow }
}

impl<A: Net, B: Net> Both<A, B> {
    /// Of two.
    #[must_use]
    pub fn new(clients: A, servers: B) -> Self {
        Self { clients, servers, ready: Vec::new() }
    }

    fn of(&mut self, flow: Flow) -> (&mut dyn Net, Flow) {
        let net: &mut dyn Net = if flow.index & 1 == 0 { &mut self.clients } else { &mut self.servers };
        (net, inside(flow))
    }
}

impl<A: Net, B: Net> Net for Both<A, B> {
    fn poll(&mut self, ready: &mut Vec<Flow>) {
        self.clients.poll(&mut self.ready);
        ready.extend(self.ready.drain(..).map(|flow| outside(flow, 0)));
        self.servers.poll(&mut self.ready);
        ready.extend(self.ready.drain(..).map(|flow| outside(flow, 1)));
    }

    fn accept(&mut self) -> Option<Accepted> {
        let accepted = self.clients.accept()?;
        Some(Accepted { flow: outside(accepted.flow, 0), ..accepted })
    }

    fn connect(&mut self, to: SocketAddr) -> io::Result<Flow> {
        self.servers.connect(to).map(|flow| outside(flow, 1))
    }

    fn connected(&mut self, flow: Flow) -> io::Result<bool> {
        let (net, flow) = self.of(flow);
        net.connected(flow)
    }

    fn recv(&mut self, flow: Flow, into: &mut [u8]) -> io::Result<usize> {
        let (net, flow) = self.of(flow);
        net.recv(flow, into)
    }

    fn send(&mut self, flow: Flow, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let (net, flow) = self.of(flow);
        net.send(flow, pieces)
    }

    fn is_readable(&self, flow: Flow) -> bool {
        let net: &dyn Net = if flow.index & 1 == 0 { &self.clients } else { &self.servers };
        net.is_readable(inside(flow))
    }

    fn shutdown(&mut self, flow: Flow) {
        let (net, flow) = self.of(flow);
        net.shutdown(flow);
    }

    fn close(&mut self, flow: Flow, how: Close) {
        let (net, flow) = self.of(flow);
        net.close(flow, how);
    }

    fn stop_listening(&mut self) {
        self.clients.stop_listening();
    }

    fn refused(&self) -> u64 {
        self.clients.refused()
    }

    fn flush(&mut self) {
        self.clients.flush();
        self.servers.flush();
    }
}
