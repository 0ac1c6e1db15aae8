//! Tests of the parsers and of the arithmetic, by the definitions and by what a receiver would check.

use proptest::prelude::*;

use super::*;

/// A UDP datagram over IPv4 or IPv6, maybe tagged, with right lengths and checksums.
fn datagram(v6: bool, tags: usize, payload: &[u8]) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for _ in 0..tags {
        f.extend([0x81, 0x00, 0x00, 0x07]);
    }
    let l3 = f.len() + 2;
    if v6 {
        f.extend(ETH_IPV6.to_be_bytes());
        f.extend([0x60, 0, 0, 0, 0, 0, IP_UDP, 64]);
        f.extend((0..32).map(|i| i as u8));
    } else {
        f.extend(ETH_IPV4.to_be_bytes());
        f.extend([0x45, 0, 0, 0, 0, 1, 0, 0, 64, IP_UDP, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    }
    let l4 = f.len();
    f.extend([0x11, 0x51, 0x11, 0x52, 0, 0, 0xff, 0xff]);
    f.extend(payload);
    let udp = Udp { l3: l3 as u16, l4: l4 as u16, end: f.len() as u16, v6 };
    udp.mend(&mut f, payload.len());
    f
}

/// By the definition: 16-bit words in one's complement.
fn naive_checksum(bytes: &[u8]) -> u16 {
    let mut total = 0u32;
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

#[test]
fn knows_a_checksum_from_the_rfc() {
    // RFC 1071 section 3: the sum of these words is ddf2.
    assert_eq!(finish(sum(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), !0xddf2);
}

#[test]
fn tags_and_fragments_are_understood() {
    let f = datagram(false, 2, b"hello");
    let udp = Udp::parse(&f).unwrap();
    assert_eq!(&f[udp.payload()], b"hello");
    assert_eq!(l3(&f).unwrap().vlan, Some(7));
    let mut fragment = datagram(false, 0, b"hello");
    fragment[20] = 0x20;
    assert_eq!(Udp::parse(&fragment), Err(NotUdp::Fragment));
    assert_eq!(Udp::parse(&[0; 60]), Err(NotUdp::Other));
    assert_eq!(Udp::parse(&[0; 13]), Err(NotUdp::Malformed));
}

proptest! {
    #[test]
    fn the_fast_checksum_is_the_plain_one(bytes: Vec<u8>) {
        prop_assert_eq!(finish(sum(0, &bytes)), naive_checksum(&bytes));
    }

    #[test]
    fn mended_datagrams_are_sound(
        v6: bool, tags in 0usize..3, payload in proptest::collection::vec(any::<u8>(), 0..600), cut in 0usize..600,
    ) {
        let mut f = datagram(v6, tags, &payload);
        let original = f.clone();
        let udp = Udp::parse(&f).unwrap();
        prop_assert_eq!(Udp::unpack(udp.pack()), udp);
        prop_assert_eq!(&f[udp.payload()], &payload[..]);
        let shorter = payload.len().min(cut);
        udp.mend(&mut f, shorter);
        f.truncate(udp.headers() + shorter);
        let again = Udp::parse(&f).unwrap();
        prop_assert_eq!(again.payload().len(), shorter);
        // A receiver's check: header and pseudo-header sums are zero.
        if !v6 {
            prop_assert_eq!(naive_checksum(&f[usize::from(udp.l3)..usize::from(udp.l4)]), 0);
        }
        let (from, to) = if v6 { (8, 40) } else { (12, 20) };
        let l3 = usize::from(udp.l3);
        let mut pseudo = f[l3 + from..l3 + to].to_vec();
        pseudo.extend([0, IP_UDP]);
        pseudo.extend(((8 + shorter) as u16).to_be_bytes());
        pseudo.extend(&f[usize::from(udp.l4)..]);
        prop_assert_eq!(naive_checksum(&pseudo), 0);
        f.extend(&payload[shorter..]);
        udp.mend(&mut f, payload.len());
        prop_assert_eq!(f, original);
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = Udp::parse(&bytes);
        if let Some(flow) = Flow::of(&bytes) {
            let _ = flow.symmetric_hash();
        }
    }

    #[test]
    fn both_directions_hash_alike(a: u32, b: u32, p: u16, q: u16) {
        let make = |a: u32, b: u32, p: u16, q: u16| {
            let ip = Ip {
                src: Ipv4Addr::from(a).into(), dst: Ipv4Addr::from(b).into(),
                protocol: IP_UDP, l4: 34, end: 60, fragment: false,
            };
            Flow { ethertype: ETH_IPV4, vlan: None, ip: Some(ip), ports: Some((p, q)) }.symmetric_hash()
        };
        prop_assert_eq!(make(a, b, p, q), make(b, a, q, p));
    }
}
