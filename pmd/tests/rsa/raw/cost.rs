//! Measurements, for a machine that does nothing else: `cargo test --release -p warpdrive-pmd --test rsa -- --ignored
//! --nocapture raw::cost`.

use std::time::Instant;

use super::*;

#[test]
#[ignore = "a measurement"]
fn what_a_session_costs() {
    let time = |what: &str, f: &dyn Fn()| {
        let mut times = [Duration::ZERO; 51];
        for time in &mut times {
            let begun = Instant::now();
            f();
            *time = begun.elapsed();
        }
        times.sort();
        println!("{what}: least {:?}, median {:?}", times[0], times[times.len() / 2]);
    };
    for key in keys() {
        println!("{} bits", key.bytes * 8);
        time("by CRT", &|| drop(key.crt().unwrap()));
        let other = (0..100u64).find_map(|i| Numbers::of(&key.p, &key.q, &((1 << 31) + 1 + 2 * i).into()));
        let other = other.expect("an exponent of 32 bits");
        time("by CRT, e of 32 bits", &|| drop(other.crt().unwrap()));
        // Any number below p − 1 with an inverse, so that one is sought.
        let mut damaged = key.clone();
        damaged.dp ^= BigUint::from(6u8);
        time("by CRT, refused late", &|| drop(damaged.crt().unwrap_err()));
        time("e and n", &|| drop(key.public().unwrap()));
        let (d, n) = (key.input(&key.d()), key.input(&key.n()));
        time("d and n", &|| drop(RawSession::from_exponent(&d, &n, "d and n").unwrap()));
    }
}

/// What somebody who sends one request can take of the engine's time.
#[test]
#[ignore = "a measurement"]
fn what_an_operation_alone_takes() {
    let mut bench = bench(RsaOptions::default()).unwrap();
    for key in keys() {
        for (what, session) in [("CRT", key.crt()), ("d and n", key.by_exponent()), ("e and n", key.public())]
        {
            let (id, input) = (bench.raw(session), key.input(&(key.n() / 3u8)));
            let mut times = [Duration::ZERO; 51];
            for time in &mut times {
                let request = bench.request(id, &input, b"", key.bytes);
                let begun = Instant::now();
                assert_eq!(bench.complete(request).status, Status::Ok);
                *time = begun.elapsed();
            }
            times.sort();
            println!("{} bits, {what}: least {:?}, median {:?}", key.bytes * 8, times[0], times[25]);
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn as_many_operations_as_signatures() {
    const IN_FLIGHT: usize = 8;
    const ROUNDS: usize = 1_001;
    let mut bench = bench(RsaOptions::default()).unwrap();
    let key = &keys()[1];
    let raw = (bench.raw(key.crt()), key.input(&(key.n() / 3u8)));
    let sign = (bench.session(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &known_key()), MESSAGE.to_vec());
    let mut kinds = [raw, sign].map(|(id, src)| {
        let requests: Vec<_> = (0..IN_FLIGHT).map(|_| bench.request(id, &src, b"", 256)).collect();
        (requests, vec![])
    });
    // By turns, so that both have the same machine.
    for _ in 0..ROUNDS {
        for (requests, times) in &mut kinds {
            let begun = Instant::now();
            assert_eq!(bench.queue.send_burst(requests), IN_FLIGHT);
            while bench.queue.in_flight() > 0 {
                let completion = bench.queue.recv().expect("what runs inline answers at once");
                assert_eq!(completion.status, Status::Ok);
                requests.push(completion.request);
            }
            times.push(begun.elapsed());
        }
    }
    let [raw, sign] = kinds.map(|(_, mut times)| {
        times.sort();
        IN_FLIGHT as f64 / times[ROUNDS / 2].as_secs_f64()
    });
    println!("2048 bits, {IN_FLIGHT} in flight: raw {raw:.0}/s, sign {sign:.0}/s, ratio {:.3}", raw / sign);
    assert!(raw > 0.95 * sign);
}
