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
        println!("{what}: {:?}", times[times.len() / 2]);
    };
    for key in keys() {
        println!("{} bits", key.bytes * 8);
        time("by CRT", &|| drop(key.crt().unwrap()));
        // Any number below p − 1 with an inverse, so that one is sought.
        let mut damaged = key.clone();
        damaged.dp ^= BigUint::from(6u8);
        time("by CRT, refused late", &|| drop(damaged.crt().unwrap_err()));
        time("e and n", &|| drop(key.public().unwrap()));
        time("d and n", &|| drop(key.by_exponent().unwrap()));
    }
    let Numbers { p, q, .. } = &keys()[0];
    for e in EXPONENTS {
        let key = Numbers::of(p, q, &e.into()).unwrap();
        time(&format!("1024 bits, e = {e}"), &|| drop(key.crt().unwrap()));
    }
}

#[test]
#[ignore = "a measurement"]
fn as_many_operations_as_signatures() {
    const IN_FLIGHT: usize = 8;
    const ROUNDS: usize = 40;
    let mut bench = bench(RsaOptions::default()).unwrap();
    let key = &keys()[1];
    let raw = (bench.raw(key.crt()), key.input(&(key.n() / 3u8)));
    let sign = (bench.session(RsaOp::Sign, RsaScheme::Pkcs1Sha256, &known_key()), MESSAGE.to_vec());
    let mut rates = [raw, sign].map(|of| (of, vec![]));
    for _ in 0..ROUNDS {
        for ((id, src), rates) in &mut rates {
            let mut requests: Vec<_> = (0..IN_FLIGHT).map(|_| bench.request(*id, src, b"", 256)).collect();
            let (begun, mut done) = (Instant::now(), 0);
            while begun.elapsed() < Duration::from_millis(25) {
                bench.queue.send_burst(&mut requests);
                while bench.queue.in_flight() > 0 {
                    let completion = bench.queue.recv().expect("what runs inline answers at once");
                    assert_eq!(completion.status, Status::Ok);
                    requests.push(completion.request);
                    done += 1;
                }
            }
            rates.push(f64::from(done) / begun.elapsed().as_secs_f64());
        }
    }
    let [raw, sign] = rates.map(|(_, mut rates)| {
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    });
    println!("2048 bits, {IN_FLIGHT} in flight: raw {raw:.0}/s, sign {sign:.0}/s, ratio {:.3}", raw / sign);
    assert!(raw > 0.95 * sign);
}
