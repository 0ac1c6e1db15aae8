//! `load-rsa`: signatures through a queue to an engine core.

use warpdrive_mempool::{DmaMode, Domain, Mempool};
use warpdrive_pmd::device::{Device, Request, SessionSpec};
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaKey, RsaOp, RsaOptions, RsaScheme, RsaSession};
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::idle::IdlePolicy;

use super::device::{DeviceRig, unique_name};
use super::{QUICK, ROUNDS, SLICE_S, facts, pool};
use crate::load::modes::{About, drive};
use crate::measure::on_cpu;
use crate::{Bench, BenchError, Emit, Kind, Options};

/// The bench.
pub const BENCH: Bench = Bench {
    name: "load-rsa",
    about: "RSA-2048 signatures through a queue to an engine core",
    peer: "",
    package: "",
    unit: "op/s",
    seconds: SLICE_S,
    rounds: ROUNDS,
    quick: QUICK,
    run: Kind::Load(run),
};
/// Requests that may be under way.
const DEPTH: usize = 1024;
/// Bytes that are signed.
const MESSAGE: usize = 32;

fn run(options: &Options, emit: Emit<'_>) -> Result<(), BenchError> {
    let (near, far) = options.two_cpus()?;
    let key = RsaKey::generate(2048)?;
    let domain = Domain::new(DmaMode::Sva);
    let mut rig = open(&key, far, DEPTH, RsaOptions::default(), &domain)?;
    let mut facts = facts(&domain, (near, far));
    facts.extend(rig.facts());
    let about = About {
        bench: BENCH.name,
        what: format!(
            "a PKCS#1 signature with RSA-{}: hashed, padded, signed and checked by the engine; latency until its completion is received",
            key.bits()
        ),
        unit: BENCH.unit,
        facts,
    };
    on_cpu(near, move || drive(options, &about, &mut rig, emit))
}

/// Signs with `key` on `cpu`, in the way that the options say; up to `depth` requests at once.
///
/// # Errors
/// [`BenchError`] when there is no memory or the engine's thread does not start there.
pub fn open(
    key: &RsaKey,
    cpu: usize,
    depth: usize,
    options: RsaOptions,
    domain: &Domain,
) -> Result<DeviceRig, BenchError> {
    let placement = Placement::Core { cpu, idle: IdlePolicy::Pause };
    let device = SoftDevice::<RsaEngine>::open_with(&unique_name(), placement, domain, options)?;
    sign(Box::new(device), key, depth, pool(depth, 2048, domain)?)
}

/// Signs with `key` by a device, in packets of `pool`; up to `depth` requests at once.
///
/// # Errors
/// [`BenchError`] when the device has no queue, or the pool no packets.
pub fn sign(
    device: Box<dyn Device>,
    key: &RsaKey,
    depth: usize,
    pool: Mempool,
) -> Result<DeviceRig, BenchError> {
    let session = RsaSession::new(RsaOp::Sign, RsaScheme::Pkcs1Sha256, key)?;
    let key_bytes = key.bits() / 8;
    DeviceRig::new(device, SessionSpec::Rsa(session), pool, depth, |pool, session, _| {
        let bug = |what: &str| BenchError::Bug(format!("a packet of the pool: {what}"));
        let mut packet = pool.alloc().ok_or_else(|| bug("none left"))?;
        packet.append(MESSAGE + key_bytes).map_err(|e| bug(&e.to_string()))?.fill(7);
        let mut request = Request::new(session, packet);
        request
            .set_src(0..MESSAGE)
            .and_then(|()| request.set_dst(MESSAGE..MESSAGE + key_bytes))
            .map_err(|e| bug(&e.to_string()))?;
        Ok(request)
    })
}
