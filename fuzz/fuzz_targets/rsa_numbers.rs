//! Keys that come as numbers, from whoever likes: nothing panics, errors have a remedy, and operations of such keys give
//! a root of their input or fail, while others in the same pass are right.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use num_bigint::BigUint;
use warpdrive_mempool::{DmaMode, Domain, Mempool, PageChoice, PageSize, PoolConfig};
use warpdrive_pmd::device::{Device, Request, SessionId, SessionSpec, Status};
use warpdrive_pmd::engine::rsa::{CrtNumbers, KeyError, Passes, RawSession, RsaEngine, RsaOptions, Simd};
use warpdrive_pmd::engine::{Placement, SoftDevice};

/// Operations at once.
const TOGETHER: usize = 4;
/// Longer than any field of a descriptor.
const MAX_FIELD: usize = 600;

#[derive(Arbitrary, Debug)]
enum Plan<'a> {
    /// The fields of a private operation, as they are.
    Fields { fields: [&'a [u8]; 5] },
    /// The two of another, and an input.
    Exponent { exponent: &'a [u8], modulus: &'a [u8], size: u8, input: &'a [u8] },
    /// Halves that are made odd and of one length, with all that belongs to them, of which one byte may be changed.
    Halves {
        p: &'a [u8],
        q: &'a [u8],
        size: u8,
        e: u64,
        damage: Option<(u8, u8, u8)>,
        way: u8,
        input: &'a [u8],
    },
}

struct Rig {
    pool: Mempool,
    devices: [SoftDevice<RsaEngine>; 3],
}

fn rig() -> &'static Rig {
    static RIG: OnceLock<Rig> = OnceLock::new();
    RIG.get_or_init(|| {
        let domain = Domain::new(DmaMode::ShareDomain);
        let pages = PageChoice::Exactly(PageSize::Size4K);
        let config = PoolConfig { buffers: 64, pages, ..PoolConfig::default() };
        let ways = [(Simd::Auto, false), (Simd::Library, false), (Simd::Auto, true)];
        let devices = ways.map(|(simd, blinding)| {
            let options = RsaOptions { simd, blinding, passes: Passes::Largest, ..RsaOptions::default() };
            SoftDevice::open_with("rsa0", Placement::Inline, &domain, options).expect("a device")
        });
        Rig { pool: Mempool::new(&config, &domain).expect("a pool"), devices }
    })
}

/// A key of which everything is right: 2^512 − 629 and 2^512 − 875 are primes.
fn good() -> (&'static [BigUint; 5], BigUint) {
    static GOOD: OnceLock<[BigUint; 5]> = OnceLock::new();
    let e = BigUint::from(65_537u32);
    let of = |distance: u32| (BigUint::from(1u8) << 512) - distance;
    (GOOD.get_or_init(|| numbers(of(629), of(875), &e).expect("a good key")), e)
}

/// p, q, dp, dq and qinv.
fn numbers(p: BigUint, q: BigUint, e: &BigUint) -> Option<[BigUint; 5]> {
    let (dp, dq, qinv) = (e.modinv(&(&p - 1u8))?, e.modinv(&(&q - 1u8))?, q.modinv(&p)?);
    Some([p, q, dp, dq, qinv])
}

fn from_crt(fields: [&[u8]; 5]) -> Option<RawSession> {
    let [p, q, dp, dq, qinv] = fields;
    made(RawSession::from_crt(&CrtNumbers { p, q, dp, dq, qinv }, "fuzz"))
}

fn made(session: Result<RawSession, KeyError>) -> Option<RawSession> {
    let session = match session {
        Ok(session) => session,
        Err(e) => {
            let message = e.to_string();
            assert!(message.contains("Remedy: ") && !message.contains("aws-lc"), "{message}");
            return None;
        }
    };
    assert!(matches!(session.key_bytes(), 128 | 256 | 384 | 512));
    Some(session)
}

/// `number` in so many bytes, zeros in front.
fn field(number: &BigUint, bytes: usize) -> Vec<u8> {
    let number = number.to_bytes_be();
    [vec![0; bytes - number.len()], number].concat()
}

/// Odd, with the highest bit, of so many bytes.
fn odd(bytes: &[u8], len: usize) -> BigUint {
    let mut bytes = bytes[..bytes.len().min(len)].to_vec();
    bytes.resize(len, 0x5a);
    bytes[0] |= 0x80;
    bytes[len - 1] |= 1;
    BigUint::from_bytes_be(&bytes)
}

/// All of these at once, by the device of this number; what comes of each.
fn run(way: usize, of: &[(SessionId, Vec<u8>)]) -> Vec<Result<Vec<u8>, Status>> {
    let Rig { pool, devices } = rig();
    let mut queue = devices[way].request_queue(TOGETHER).expect("a queue");
    let mut requests: Vec<Request> = of
        .iter()
        .zip(0..)
        .map(|((session, src), tag)| {
            let mut packet = pool.alloc().expect("a packet");
            packet.extend_from_slice(src).expect("room");
            packet.append(src.len()).expect("room");
            let mut request = Request::new(*session, packet).with_tag(tag);
            request.set_src(0..src.len()).expect("within the packet");
            request.set_dst(src.len()..2 * src.len()).expect("within the packet");
            request
        })
        .collect();
    assert_eq!(queue.send_burst(&mut requests), of.len());
    let receive = |_| queue.recv_sync(Duration::from_secs(60)).expect("an answer");
    let mut done: Vec<_> = of.iter().map(receive).collect();
    done.sort_by_key(|done| done.request.tag);
    assert_eq!(devices[way].stats().panics, 0);
    done.into_iter()
        .zip(of)
        .map(|(done, (_, src))| match done.status {
            Status::Ok => {
                assert_eq!(done.produced as usize, src.len());
                let packet = done.request.into_packets().0.expect("the packet");
                Ok(packet.data()[src.len()..].to_vec())
            }
            status => Err(status),
        })
        .collect()
}

/// A session for as long as `f` takes.
fn with(way: usize, session: RawSession, f: impl FnOnce(SessionId)) {
    let device = &rig().devices[way];
    let id = device.create_session(SessionSpec::RawRsa(session)).expect("room for a session");
    f(id);
    assert!(device.remove_session(id));
}

fn exponent(exponent: &[u8], modulus: &[u8], input: &[u8]) {
    let Some(session) = made(RawSession::from_exponent(exponent, modulus, "fuzz")) else { return };
    let (e, n) = (BigUint::from_bytes_be(exponent), BigUint::from_bytes_be(modulus));
    let (input, bytes) = (BigUint::from_bytes_be(input) % &n, session.key_bytes());
    with(0, session, |id| {
        let right = field(&input.modpow(&e, &n), bytes);
        assert_eq!(run(0, &[(id, field(&input, bytes))]), [Ok(right)]);
        assert_eq!(run(0, &[(id, field(&n, bytes))]), [Err(Status::BadInput)]);
    });
}

fn halves(numbers: &[BigUint; 5], e: &BigUint, damage: Option<(u8, u8, u8)>, way: usize, input: &[u8]) {
    let half = numbers[0].bits().div_ceil(8) as usize;
    let mut fields = numbers.each_ref().map(|number| field(number, half));
    if let Some((which, at, by)) = damage {
        let field = &mut fields[usize::from(which) % 5];
        field[usize::from(at) % half] ^= by;
    }
    let [p, q, ..] = fields.each_ref().map(|field| BigUint::from_bytes_be(field));
    let session = from_crt(fields.each_ref().map(Vec::as_slice));
    let changed = damage.is_some_and(|(_, _, by)| by != 0);
    let Some(session) = session else {
        let (whole, equal) = ((&p * &q).bits() == 16 * half as u64, p == q);
        let public = (2..=33).contains(&e.bits());
        assert!(changed || !whole || equal || !public, "these belong together");
        return;
    };
    let (good, good_e) = good();
    let good_fields = good.each_ref().map(|number| field(number, 64));
    let good_session = from_crt(good_fields.each_ref().map(Vec::as_slice)).expect("a good key");
    let (n, good_n) = (p * q, &good[0] * &good[1]);
    let (input, good_input) = (BigUint::from_bytes_be(input) % &n, BigUint::from_bytes_be(input) % &good_n);
    with(way, session, |bad| {
        with(way, good_session, |good| {
            let (mine, other) = ((bad, field(&input, 2 * half)), (good, field(&good_input, 128)));
            let results = run(way, &[other.clone(), mine.clone(), other, mine]);
            for (i, result) in results.into_iter().enumerate() {
                match result {
                    // A damaged key may belong together again, with another exponent.
                    Ok(_) if i % 2 == 1 && changed => {}
                    Ok(root) => {
                        let (n, e, input) =
                            if i % 2 == 1 { (&n, e, &input) } else { (&good_n, &good_e, &good_input) };
                        assert_eq!(BigUint::from_bytes_be(&root).modpow(e, n), *input);
                    }
                    Err(status) => assert!(i % 2 == 1 && status == Status::EngineFailed, "{status:?}"),
                }
            }
        });
    });
}

fuzz_target!(|plan: Plan<'_>| {
    // Mostly the smallest, as it is the fastest.
    let bytes = |size: u8| [128, 128, 128, 256, 128, 128, 384, 512][usize::from(size) % 8];
    let cut = |field: &'_ [u8]| field[..field.len().min(MAX_FIELD)].to_vec();
    match plan {
        Plan::Fields { fields } => drop(from_crt(fields.map(|field| &field[..field.len().min(MAX_FIELD)]))),
        Plan::Exponent { exponent: e, modulus, size, input } => {
            exponent(&cut(e), &field(&odd(modulus, bytes(size)), bytes(size)), &cut(input));
        }
        Plan::Halves { p, q, size, e, damage, way, input } => {
            let half = bytes(size) / 2;
            let e = [65_537, 3, 5, 17, 257, e >> 31 | 1, e | 1][(e % 7) as usize];
            let Some(numbers) = numbers(odd(p, half), odd(q, half), &e.into()) else { return };
            halves(&numbers, &e.into(), damage, usize::from(way) % 3, &cut(input));
        }
    }
});
