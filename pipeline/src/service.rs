//! What a worker polls besides pipelines: an application with queues of its own, such as a proxy.
//!
//! The dataplane places it on cores and opens pools and devices for it; what it does is its own affair. So that this
//! crate need not know applications, whoever starts the plan brings a [`Maker`].

use std::sync::Arc;

use warpdrive_mempool::Mempool;
use warpdrive_pmd::device::Device;
use warpdrive_pmd::port::{PortInfo, RxQueue, TxQueue};

use crate::diag::ConfigError;
use crate::plan::{Plan, ProxyPlan};

/// An application on one core. It is made on that core and stays there.
pub trait Service {
    /// Does what there is to do now, without waiting for anything, and says how much that was: 0 for nothing. `now` is in
    /// ticks. When `stopping`, it begins nothing and brings to an end what it has begun.
    fn round(&mut self, now: u64, stopping: bool) -> usize;

    /// Once in 256 rounds, or after 10 ms: looks at what the control plane has left for it, and publishes gauges.
    fn control(&mut self, now: u64);

    /// Whether nothing is left to be brought to an end. Asked when stopping.
    fn is_done(&self) -> bool;

    /// Ends it, and says how much it had to give up.
    fn close(self: Box<Self>) -> usize;
}

/// A service that can be sent to its core, where it is made.
pub type Seed = Box<dyn FnOnce() -> Box<dyn Service> + Send>;

/// What a proxy is made of.
pub struct Parts<'a> {
    /// The whole plan, for messages about it.
    pub plan: &'a Plan,
    /// What it is to do.
    pub proxy: &'a ProxyPlan,
    /// The pool of its buffers.
    pub pool: &'a Mempool,
    /// The accelerator that signs.
    pub rsa: Option<&'a Arc<dyn Device>>,
    /// The accelerator that compresses.
    pub zip: Option<&'a Arc<dyn Device>>,
    /// The port that it lives on, if it does TCP by itself.
    pub wire: Option<WireParts>,
}

/// A port, and its queues for each core of a proxy.
pub struct WireParts {
    /// Facts about the port.
    pub info: PortInfo,
    /// The pool of its buffers.
    pub pool: Mempool,
    /// For each core, in their order.
    pub queues: Vec<(Box<dyn RxQueue>, Box<dyn TxQueue>)>,
}

/// Makes services of plans.
pub trait Maker {
    /// Opens what a proxy needs, and gives one service for each of its cores, in their order; and says what was got.
    ///
    /// # Errors
    /// [`ServiceError`]; what was opened by then is closed again.
    fn proxy(&mut self, parts: Parts<'_>, got: &mut Vec<String>) -> Result<Vec<Seed>, ServiceError>;
}

/// Why a service cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// What turned out to be wrong with the configuration.
    #[error(transparent)]
    Config(#[from] Box<ConfigError>),
    /// What the machine does not give.
    #[error("{service:?}: {cause}")]
    Failed {
        /// The service's name.
        service: String,
        /// The cause and the remedy.
        cause: String,
    },
}

/// Who makes no services: a plan that has some cannot be started with it.
pub struct NoServices;

impl Maker for NoServices {
    fn proxy(&mut self, parts: Parts<'_>, _got: &mut Vec<String>) -> Result<Vec<Seed>, ServiceError> {
        let service = parts.proxy.name.clone();
        Err(ServiceError::Failed {
            service,
            cause: "this program runs no proxies. Remedy: warpdrive run".to_owned(),
        })
    }
}
