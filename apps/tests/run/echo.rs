//! `echo`: what `ping` and `arping` would get back.

use crate::common::{folder, pcap, run_config};

const ME: [u8; 4] = [192, 0, 2, 9];
const MY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
const ASKER: [u8; 4] = [192, 0, 2, 1];

fn toml(others: &str) -> String {
    format!(
        r#"
        version = 1
        [port.in]
        driver = "pcap"
        file = "in.pcap"
        [port.out]
        driver = "pcap"
        out = "out.pcap"
        [[pipeline]]
        name = "p"
        stages = [
          {{ rx = "in" }},
          {{ echo = "192.0.2.9", mac = "02:00:00:00:00:99", others = "{others}" }},
          {{ tx = "out" }},
        ]
        "#
    )
}

#[test]
fn arp_and_ping_requests_are_answered_with_right_checksums() {
    let folder = folder();
    let mut requests = vec![pcap::arp_request(ASKER, ME)];
    // Odd and even lengths, and bodies that bring the checksum to its corners.
    for sequence in 0..200u16 {
        let body: Vec<u8> = (0..usize::from(sequence)).map(|i| (i * 31) as u8 ^ sequence as u8).collect();
        requests.push(pcap::ping(ASKER, ME, sequence, &body));
    }
    pcap::write(&folder.path().join("in.pcap"), &requests);
    let s = run_config(folder.path(), &toml("drop"), &[]).well().statistics();
    assert_eq!(s.all_dropped(), 0);
    let answers = pcap::read(&folder.path().join("out.pcap"));
    assert_eq!(answers.len(), requests.len());
    let arp = &answers[0];
    assert_eq!((&arp[..6], &arp[6..12]), (&pcap::CLIENT[..], &MY_MAC[..]));
    assert_eq!(arp[14..22], [0, 1, 8, 0, 6, 4, 0, 2], "a reply");
    assert_eq!((&arp[22..28], &arp[28..32]), (&MY_MAC[..], &ME[..]), "the answer: who it is");
    assert_eq!((&arp[32..38], &arp[38..42]), (&pcap::CLIENT[..], &ASKER[..]), "to whom");
    for (request, answer) in requests.iter().zip(&answers).skip(1) {
        assert_eq!(answer.len(), request.len());
        assert_eq!((&answer[..6], &answer[6..12]), (&pcap::CLIENT[..], &MY_MAC[..]));
        assert_eq!((&answer[26..30], &answer[30..34]), (&ME[..], &ASKER[..]));
        assert_eq!(pcap::ones_sum(&[&answer[14..34]]), 0xffff, "IPv4 checksum");
        let end = 14 + usize::from(u16::from_be_bytes([answer[16], answer[17]]));
        assert_eq!(pcap::ones_sum(&[&answer[34..end]]), 0xffff, "ICMP checksum");
        assert_eq!(answer[34..36], [0, 0], "an echo reply");
        assert_eq!(answer[38..], request[38..], "identifier, sequence and body are those of the request");
    }
}

#[test]
fn what_is_asked_of_others_is_passed_or_dropped_as_told() {
    let folder = folder();
    let other = [192, 0, 2, 10];
    let mut reply = pcap::ping(ASKER, ME, 1, b"reply");
    reply[34] = 0;
    let mut fragment = pcap::ping(ASKER, ME, 1, b"fragment");
    fragment[20..22].copy_from_slice(&[0x20, 0]);
    let mut cut = pcap::ping(ASKER, ME, 1, b"cut");
    cut[16..18].copy_from_slice(&[0, 24]);
    let frames = [
        pcap::arp_request(ASKER, other),
        pcap::ping(ASKER, other, 1, b"not me"),
        pcap::udp(ASKER, 1, ME, 7, b"UDP echo is something else"),
        reply,
        fragment,
        cut,
    ];
    pcap::write(&folder.path().join("in.pcap"), &frames);
    let s = run_config(folder.path(), &toml("pass"), &[]).well().statistics();
    assert_eq!(s.passed("p", 1, "no_match"), frames.len() as u64);
    assert!(pcap::read(&folder.path().join("out.pcap")) == frames, "untouched");
    let s = run_config(folder.path(), &toml("drop"), &[]).well().statistics();
    assert_eq!(s.dropped("p", 1, "no_match"), frames.len() as u64);
}
