//! Connections that a server is to hold: each made one request, and now there is nothing to do.

use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::super::client::{Beside, Settings, broken, kernel, request};
use super::super::connection::{Connection, Desk};
use super::super::content::Expected;
use super::super::failure::{Failure, Stage};
use super::super::options::WebKind;
use super::super::socket::{self, Watched};
use super::super::tls;
use crate::BenchError;

/// Operations under way at a time: few enough for a server not to need memory for many.
const AT_ONCE: usize = 32;
/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

/// The connections.
pub struct Crowd {
    settings: Settings,
    tls: (Arc<ClientConfig>, ServerName<'static>),
    desk: Desk,
    watched: Watched,
    held: Vec<Connection>,
    /// What else is done in every round.
    beside: Beside,
    /// All have stood.
    complete: bool,
}

impl Crowd {
    /// Makes so many, each with a full handshake and a request.
    ///
    /// # Errors
    /// [`BenchError::Program`] when one cannot be made, or is not kept.
    pub fn gather(settings: Settings, count: usize, beside: Beside) -> Result<Self, BenchError> {
        let config = tls::config(settings.protocol, settings.trust.clone(), None)?;
        let name = ServerName::try_from(settings.host.clone())
            .map_err(|e| broken(&settings, format!("{:?}: {e}", settings.host), "a host name"))?;
        let desk = Desk {
            kind: WebKind::Request,
            buffer: vec![0; BUFFER],
            request: request(&settings),
            expected: Expected::default(),
            must_resume: false,
        };
        let mut crowd = Self {
            settings,
            tls: (Arc::new(config), name),
            desk,
            watched: Watched::new().map_err(kernel)?,
            held: Vec::with_capacity(count),
            beside,
            complete: false,
        };
        crowd.each(count, Self::join)?;
        crowd.complete = true;
        Ok(crowd)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Makes a request over each: so it is known that the server still holds them all.
    ///
    /// # Errors
    /// [`BenchError::Program`] when one is gone.
    pub fn ask(&mut self) -> Result<(), BenchError> {
        self.each(self.held.len(), |crowd, i| {
            let looked = crowd.held[i].request(i as u64, &mut crowd.desk, &mut |_| ());
            crowd.is_done(looked)
        })
    }

    /// The next connection, with its request. Whether that was done at once.
    fn join(&mut self, i: usize) -> Result<bool, BenchError> {
        let opened = socket::open(self.settings.address).and_then(|socket| {
            self.watched.add(&socket, i as u64)?;
            Ok(socket)
        });
        let socket = opened.map_err(|e| self.failed(&Failure::Local(e)))?;
        let (config, name) = self.tls.clone();
        let tls = ClientConnection::new(config, name);
        let tls = tls.map_err(|e| self.failed(&Failure::Tls(Stage::Connecting, e)))?;
        self.held.push(Connection::new(socket, Some(tls), Some(i as u64)));
        self.look(i, false)
    }

    /// Has `begin` start an operation for each of the first `count`, and waits until all are done.
    fn each(
        &mut self,
        count: usize,
        mut begin: impl FnMut(&mut Self, usize) -> Result<bool, BenchError>,
    ) -> Result<(), BenchError> {
        let (mut begun, mut done, mut since) = (0, 0, Instant::now());
        while done < count {
            let before = done;
            while begun < count && begun - done < AT_ONCE {
                done += usize::from(begin(self, begun)?);
                begun += 1;
            }
            (self.beside)().map_err(kernel)?;
            let happened = self.watched.poll().map_err(kernel)?;
            for n in 0..happened {
                if let Some(event) = self.watched.happened(n) {
                    done += usize::from(self.look(event.token as usize, event.hangup)?);
                }
            }
            if done > before {
                since = Instant::now();
            } else if since.elapsed() > self.settings.patience {
                let what = format!("no answer to one of {count} connections, {done} had theirs");
                return Err(broken(
                    &self.settings,
                    what,
                    "a higher limit of connections, or a quieter machine",
                ));
            }
        }
        Ok(())
    }

    /// Looks after a connection. Whether its request is done now.
    fn look(&mut self, i: usize, hangup: bool) -> Result<bool, BenchError> {
        let looked = self.held[i].advance(&mut self.desk, hangup, &mut |_| ());
        self.is_done(looked)
    }

    fn is_done(&self, (step, result): super::super::connection::Looked) -> Result<bool, BenchError> {
        result.map_err(|failure| self.failed(&failure))?;
        match step.closed {
            Some(_) => Err(self.failed(&Failure::Closed(Stage::Idle))),
            None => Ok(step.done),
        }
    }

    fn failed(&self, failure: &Failure) -> BenchError {
        let which = if self.complete { "one of the connections that it was to hold was " } else { "" };
        broken(&self.settings, format!("{which}{failure}"), failure.remedy())
    }
}
