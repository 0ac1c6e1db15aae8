//! Operations on numbers, with keys that come as numbers: right for keys, harmless for what is none.

use num_bigint::BigUint;
use pkcs1::RsaPrivateKeyRef;
use pkcs1::der::Decode;
use warpdrive_pmd::device::DeviceError;
use warpdrive_pmd::engine::rsa::{CrtNumbers, KeyError, Passes, RawSession, RsaOptions, Simd};

use super::*;

mod cost;
mod hostile;
mod refused;

/// A key as numbers.
#[derive(Clone)]
struct Numbers {
    p: BigUint,
    q: BigUint,
    dp: BigUint,
    dq: BigUint,
    qinv: BigUint,
    e: BigUint,
    bytes: usize,
}

impl Numbers {
    fn of_pem(name: &str) -> Self {
        let der = pem::parse(fs::read_to_string(data(name)).unwrap()).unwrap().into_contents();
        let key = RsaPrivateKeyRef::from_der(&der).unwrap();
        let number = |uint: pkcs1::UintRef<'_>| BigUint::from_bytes_be(uint.as_bytes());
        Self::of(&number(key.prime1), &number(key.prime2), &number(key.public_exponent)).unwrap()
    }

    /// Of any two numbers, primes or not, if there are exponents and an inverse.
    fn of(p: &BigUint, q: &BigUint, e: &BigUint) -> Option<Self> {
        Some(Self {
            dp: e.modinv(&(p - 1u8))?,
            dq: e.modinv(&(q - 1u8))?,
            qinv: q.modinv(p)?,
            p: p.clone(),
            q: q.clone(),
            e: e.clone(),
            bytes: [128, 256, 384, 512]
                .into_iter()
                .find(|bytes| *bytes as u64 * 4 >= p.bits())
                .unwrap_or(1024),
        })
    }

    fn n(&self) -> BigUint {
        &self.p * &self.q
    }

    fn d(&self) -> BigUint {
        self.e.modinv(&((&self.p - 1u8) * (&self.q - 1u8))).unwrap()
    }

    fn input(&self, number: &BigUint) -> Vec<u8> {
        field(number, self.bytes)
    }

    fn crt(&self) -> Result<RawSession, KeyError> {
        let half = self.bytes / 2;
        let [p, q, dp, dq, qinv] =
            [&self.p, &self.q, &self.dp, &self.dq, &self.qinv].map(|number| field(number, half));
        RawSession::from_crt(&CrtNumbers { p: &p, q: &q, dp: &dp, dq: &dq, qinv: &qinv }, "numbers")
    }

    fn public(&self) -> Result<RawSession, KeyError> {
        RawSession::from_exponent(&self.input(&self.e), &self.input(&self.n()), "e and n")
    }

    fn by_exponent(&self) -> Result<RawSession, KeyError> {
        RawSession::from_exponent(&self.input(&self.d()), &self.input(&self.n()), "d and n")
    }

    /// What is right of an input: by another arithmetic, and another way than passes or aws-lc go.
    fn right(&self, input: &BigUint) -> Vec<u8> {
        self.input(&input.modpow(&self.d(), &self.n()))
    }
}

/// A number in a field of so many bytes, zeros in front.
fn field(number: &BigUint, bytes: usize) -> Vec<u8> {
    let number = number.to_bytes_be();
    [vec![0; bytes.checked_sub(number.len()).expect("a number that fits")], number].concat()
}

/// The smallest prime from `from` on that has all these exponents.
fn prime(mut from: BigUint, exponents: &[u64]) -> BigUint {
    let (one, two) = (BigUint::from(1u8), BigUint::from(2u8));
    from |= &one;
    loop {
        let p1 = &from - &one;
        let has = |e: &u64| BigUint::from(*e).modinv(&p1).is_some();
        if two.modpow(&p1, &from) == one && exponents.iter().all(has) {
            return from;
        }
        from += &two;
    }
}

/// Keys of all sizes, and two that are a little shorter than the fields of their size. The first has primes for all exponents that
/// are tried, and a few more.
fn keys() -> &'static [Numbers; 6] {
    static KEYS: OnceLock<[Numbers; 6]> = OnceLock::new();
    KEYS.get_or_init(|| {
        let [p, q] = [0xc5, 0xe9].map(|top| prime(BigUint::from(top as u8) << 504, &EXPONENTS));
        let small = Numbers::of(&p, &q, &EXPONENTS[0].into()).unwrap();
        let [a, b, c] = ["rsa2048-pkcs1.pem", "rsa3072-pkcs1.pem", "rsa4096-pkcs1.pem"].map(Numbers::of_pem);
        let short = |bits: u32| {
            let [p, q] =
                [0xd1, 0xb9].map(|top| prime(BigUint::from(top as u8) << (bits - 8), &EXPONENTS[..1]));
            Numbers::of(&p, &q, &EXPONENTS[0].into()).unwrap()
        };
        [small, a, b, c, short(1009), short(482)]
    })
}

/// Those that are tried, and two that must be found: of 31 and 33 bits.
const EXPONENTS: [u64; 7] = [65_537, 3, 5, 17, 257, (1 << 31) - 1, (1 << 33) - 9];

/// Options under which operations go all ways that there are here.
fn ways() -> Vec<RsaOptions> {
    let with = |simd, passes, blinding| RsaOptions { simd, passes, blinding, ..RsaOptions::default() };
    vec![
        with(Simd::Auto, Passes::Adaptive, false),
        with(Simd::Library, Passes::Single, false),
        with(Simd::Avx512IfmaPlain, Passes::Largest, true),
        with(Simd::Avx512IfmaKaratsuba, Passes::Largest, false),
    ]
}

/// A device, or nothing and a word about it where this cpu cannot.
fn bench(options: RsaOptions) -> Option<Bench> {
    let domain = Domain::new(DmaMode::ShareDomain);
    let device = match SoftDevice::open_with("rsa0", Placement::Inline, &domain, options) {
        Ok(device) => device,
        Err(DeviceError::Unsupported { cause, .. }) => {
            println!("skipped: {cause}");
            return None;
        }
        Err(e) => panic!("{e}"),
    };
    let pages = PageChoice::Exactly(PageSize::Size4K);
    let pool = Mempool::new(&PoolConfig { buffers: 64, pages, ..PoolConfig::default() }, &domain).unwrap();
    let queue = device.request_queue(16).unwrap();
    Some(Bench { pool, queue, device, always_written: HashMap::new() })
}

impl Bench {
    fn raw(&self, session: Result<RawSession, KeyError>) -> SessionId {
        self.device.create_session(SessionSpec::RawRsa(session.unwrap())).unwrap()
    }

    /// Sends all at once; the results in their order.
    fn together(&mut self, of: &[(SessionId, Vec<u8>)]) -> Vec<Result<Vec<u8>, Status>> {
        let mut requests: Vec<_> =
            of.iter().zip(0..).map(|((id, src), i)| self.request(*id, src, b"", 512).with_tag(i)).collect();
        assert_eq!(self.queue.send_burst(&mut requests), of.len());
        let receive = |_| self.queue.recv_sync(Duration::from_secs(30)).expect("an answer within 30 s");
        let mut done: Vec<_> = of.iter().map(receive).collect();
        done.sort_by_key(|completion| completion.request.tag);
        let result = |done: Completion| {
            let output = done.request.into_packets().1.unwrap();
            let (produced, rest) = output.data().split_at(done.produced as usize);
            assert!(rest.iter().all(|&b| b == 0xee), "nothing is written beyond the output");
            if done.status == Status::Ok { Ok(produced.to_vec()) } else { Err(done.status) }
        };
        done.into_iter().map(result).collect()
    }
}

/// 0, 1 and what is at the other end; any numbers; and one whose result begins with many zeros.
fn inputs(key: &Numbers) -> Vec<BigUint> {
    let n = key.n();
    let ends = [BigUint::ZERO, 1u8.into(), 2u8.into(), &n - 2u8, &n - 1u8];
    let any = (1..4u8).map(|i| BigUint::from_bytes_be(&vec![0x35 * i; key.bytes]) % &n);
    ends.into_iter().chain(any).chain([BigUint::from(0x0123_4567u32).modpow(&key.e, &n)]).collect()
}

#[test]
fn the_operations_are_those_of_the_numbers_and_results_have_full_length() {
    let expected: Vec<Vec<_>> =
        keys().iter().map(|key| inputs(key).iter().map(|input| key.right(input)).collect()).collect();
    assert!(expected.iter().all(|of| of.last().unwrap().starts_with(&[0; 100])));
    for options in ways() {
        let Some(mut bench) = bench(options) else { continue };
        for (key, expected) in keys().iter().zip(&expected) {
            let sessions = [key.crt(), key.by_exponent()];
            for session in sessions {
                let id = bench.raw(session);
                let of: Vec<_> = inputs(key).iter().map(|number| (id, key.input(number))).collect();
                let results: Vec<_> = bench.together(&of).into_iter().map(Result::unwrap).collect();
                assert_eq!(results, *expected, "{} bits", key.bytes * 8);
            }
            let id = bench.raw(key.public());
            let of: Vec<_> = expected.iter().map(|result| (id, result.clone())).collect();
            for (back, input) in bench.together(&of).into_iter().zip(inputs(key)) {
                assert_eq!(back, Ok(key.input(&input)), "{} bits", key.bytes * 8);
            }
        }
        let stats = bench.device.stats();
        assert_eq!((stats.errors, stats.retried, stats.panics), (0, 0, 0));
    }
}

#[test]
fn exponents_are_found_whichever_prime_is_the_larger() {
    let Numbers { p, q, .. } = &keys()[0];
    let mut bench = bench(RsaOptions::default()).unwrap();
    for e in EXPONENTS {
        for (p, q) in [(p, q), (q, p)] {
            let key = Numbers::of(p, q, &e.into()).unwrap();
            let id = bench.raw(key.crt());
            let input = BigUint::from(0xfedcu16);
            // Four, for a pass, which compares each result with its input by way of e.
            let results = bench.together(&vec![(id, key.input(&input)); 4]);
            assert_eq!(results, vec![Ok(key.right(&input)); 4], "{e}");
        }
    }
    assert_eq!(bench.device.stats().retried, 0);
}

#[test]
fn requests_share_passes_with_all_others_of_their_size() {
    let options = RsaOptions { simd: Simd::Avx512Ifma, ..RsaOptions::default() };
    let Some(mut bench) = bench(options) else { return };
    let [_, key, other, ..] = keys();
    let signer = known_key();
    let sign = bench.session(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &signer);
    let (raw, long, public, slow) =
        (bench.raw(key.crt()), bench.raw(other.crt()), bench.raw(key.public()), bench.raw(key.by_exponent()));
    let input = |key: &Numbers| key.input(&BigUint::from(7u8));
    let pair = [(raw, input(key)), (sign, MESSAGE.to_vec())];
    let mut of = [&pair[..]; 4].concat();
    assert!(bench.together(&of).iter().all(Result::is_ok));
    let stats = bench.device.stats();
    assert_eq!((stats.batches, &stats.fill[1..]), (1, &[0, 0, 0, 0, 0, 0, 0, 1][..]));
    // Of others there is one each: those are alone, and hold nobody up.
    of.splice(3..3, [(long, input(other)), (public, input(key)), (slow, input(key))]);
    assert!(bench.together(&of).iter().all(Result::is_ok));
    let stats = bench.device.stats();
    assert_eq!((stats.batches, &stats.fill[1..]), (5, &[3, 0, 0, 0, 0, 0, 0, 2][..]));
}

#[test]
fn what_is_no_number_below_the_modulus_is_refused() {
    for options in ways() {
        let Some(mut bench) = bench(options) else { continue };
        for key in keys() {
            let (n, bytes) = (key.n(), key.bytes);
            let good = key.input(&BigUint::from(2u8));
            for session in [key.crt(), key.by_exponent(), key.public()] {
                let id = bench.raw(session);
                for bad in [&n + 0u8, &n + 1u8, (BigUint::from(1u8) << (8 * bytes)) - 1u8] {
                    assert_eq!(bench.run(id, &key.input(&bad), b"", bytes), Err(Status::BadInput));
                }
                for bad in [&[][..], &[0], &good[1..], &[&[0], &good[..]].concat()] {
                    assert_eq!(bench.run(id, bad, b"", bytes), Err(Status::BadInput), "{}", bad.len());
                }
                let needed = bytes as u32;
                assert_eq!(bench.run(id, &good, b"", bytes - 1), Err(Status::NoSpace { needed }));
                assert!(bench.run(id, &good, b"", bytes).is_ok());
            }
        }
    }
}

#[test]
fn a_signature_made_by_hand_is_the_one_that_a_session_makes() {
    let mut bench = Bench::new(Placement::Inline);
    let key = &keys()[1];
    let known = fs::read(data("pkcs1-sha256.sig")).unwrap();
    let (public, private) = (bench.raw(key.public()), bench.raw(key.crt()));
    let encoded = bench.run(public, &known, b"", 256).unwrap();
    assert_eq!(encoded[..3], [0, 1, 0xff]);
    assert_eq!(bench.run(private, &encoded, b"", 256), Ok(known));
}

#[test]
fn a_session_says_what_it_is_and_never_its_key() {
    let key = &keys()[0];
    for (session, kind, private) in
        [(key.crt(), "private", true), (key.by_exponent(), "private", true), (key.public(), "public", false)]
    {
        let session = session.unwrap();
        assert_eq!((session.key_bytes(), session.is_private()), (128, private));
        assert_eq!(format!("{session:?}"), format!("RawSession({kind}, 1024 bits)"));
    }
}
