//! `match`: packets to which all conditions apply go on, the others go elsewhere.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use warpdrive_mempool::Burst;
use warpdrive_pmd::port::TxQueue;
use warpdrive_pmd::port::ring::RingTx;

use super::{Context, Stage, counted};
use crate::config::{Conditions, Name, NameOrNumber};
use crate::diag::{Diagnostic, known_names};
use crate::stats::{Reason, SharedStage};
use crate::wire::{self, Flow};

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Reads `"192.0.2.0/24"`, `"2001:db8::/32"` or a single address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether an address is in the network.
    #[must_use]
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u32::from(a) ^ u32::from(b)).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (u128::from(a) ^ u128::from(b)).leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

/// Conditions, read and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    ethertype: Option<u16>,
    vlan: Option<u16>,
    protocol: Option<u8>,
    src: Option<Cidr>,
    dst: Option<Cidr>,
    sport: Option<RangeInclusive<u16>>,
    dport: Option<RangeInclusive<u16>>,
}

const ETHERTYPES: &[(&str, u16)] =
    &[("ipv4", wire::ETH_IPV4), ("ipv6", wire::ETH_IPV6), ("arp", wire::ETH_ARP)];
const PROTOCOLS: &[(&str, u8)] =
    &[("icmp", wire::IP_ICMP), ("tcp", wire::IP_TCP), ("udp", wire::IP_UDP), ("icmpv6", wire::IP_ICMPV6)];

impl Rules {
    /// Reads the conditions of a configuration.
    ///
    /// # Errors
    /// A diagnostic for each value that means nothing.
    pub fn read(c: &Conditions) -> Result<Self, Vec<Diagnostic>> {
        let mut errors = Vec::new();
        let rules = Self {
            ethertype: named(c.ethertype.as_ref(), "EtherTypes", ETHERTYPES, &mut errors),
            vlan: vlan(c.vlan.as_ref(), &mut errors),
            protocol: named(c.protocol.as_ref(), "protocols", PROTOCOLS, &mut errors),
            src: network(c.src.as_ref(), &mut errors),
            dst: network(c.dst.as_ref(), &mut errors),
            sport: ports(c.sport.as_ref(), &mut errors),
            dport: ports(c.dport.as_ref(), &mut errors),
        };
        if errors.is_empty() { Ok(rules) } else { Err(errors) }
    }

    /// Whether all conditions hold for a frame.
    #[must_use]
    pub fn hold(&self, frame: &[u8]) -> bool {
        let Some(flow) = Flow::of(frame) else {
            return false;
        };
        let is = |wanted: Option<u16>, got: Option<u16>| wanted.is_none() || wanted == got;
        let within = |range: &Option<RangeInclusive<u16>>, port: Option<u16>| {
            range.as_ref().is_none_or(|r| port.is_some_and(|p| r.contains(&p)))
        };
        let inside = |net: Option<Cidr>, address: Option<IpAddr>| {
            net.is_none_or(|n| address.is_some_and(|a| n.contains(a)))
        };
        is(self.ethertype, Some(flow.ethertype))
            && is(self.vlan, flow.vlan)
            && is(self.protocol.map(u16::from), flow.ip.map(|ip| u16::from(ip.protocol)))
            && inside(self.src, flow.ip.map(|ip| ip.src))
            && inside(self.dst, flow.ip.map(|ip| ip.dst))
            && within(&self.sport, flow.ports.map(|p| p.0))
            && within(&self.dport, flow.ports.map(|p| p.1))
    }
}

fn named<T: Copy + TryFrom<u32>>(
    value: Option<&toml::Spanned<NameOrNumber>>,
    what: &str,
    names: &[(&str, T)],
    errors: &mut Vec<Diagnostic>,
) -> Option<T> {
    let value = value?;
    match value.get_ref() {
        NameOrNumber::Number(n) => {
            let read = T::try_from(*n).ok();
            if read.is_none() {
                let most = u64::MAX >> (64 - 8 * size_of::<T>());
                errors.push(
                    Diagnostic::new(value.span(), format!("{n} is too large")).help(format!("0 to {most}")),
                );
            }
            read
        }
        NameOrNumber::Name(name) => {
            let read = names.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
            if read.is_none() {
                errors.push(
                    Diagnostic::new(value.span(), format!("{name:?} is not known here")).help(known_names(
                        name,
                        what,
                        names.iter().map(|(n, _)| *n),
                    )),
                );
            }
            read
        }
    }
}

/// A VLAN identifier has 12 bits (IEEE 802.1Q).
fn vlan(value: Option<&toml::Spanned<u16>>, errors: &mut Vec<Diagnostic>) -> Option<u16> {
    let value = value?;
    let id = *value.get_ref();
    if id > 4095 {
        errors.push(Diagnostic::new(value.span(), format!("vlan = {id} is not possible")).help("0 to 4095"));
    }
    Some(id)
}

fn network(value: Option<&Name>, errors: &mut Vec<Diagnostic>) -> Option<Cidr> {
    let value = value?;
    let read = Cidr::parse(value.get_ref());
    if read.is_none() {
        errors.push(
            Diagnostic::new(value.span(), format!("{:?} is not a network", value.get_ref()))
                .help("for example \"192.0.2.0/24\" or \"2001:db8::1\""),
        );
    }
    read
}

fn ports(
    value: Option<&toml::Spanned<NameOrNumber>>,
    errors: &mut Vec<Diagnostic>,
) -> Option<RangeInclusive<u16>> {
    let value = value?;
    let written = match value.get_ref() {
        NameOrNumber::Number(n) => n.to_string(),
        NameOrNumber::Name(text) => format!("{text:?}"),
    };
    let read = match value.get_ref() {
        NameOrNumber::Number(n) => u16::try_from(*n).ok().map(|p| p..=p),
        NameOrNumber::Name(text) => text
            .split_once('-')
            .or(Some((text, text)))
            .and_then(|(a, b)| Some(a.trim().parse::<u16>().ok()?..=b.trim().parse::<u16>().ok()?))
            .filter(|r| !r.is_empty()),
    };
    if read.is_none() {
        errors.push(
            Diagnostic::new(value.span(), format!("{written} is not a port or a range of ports"))
                .help("for example 53 or \"1024-2047\""),
        );
    }
    read
}

/// Separates packets.
pub struct MatchStage {
    rules: Rules,
    /// Where the others go; `None`: they are dropped.
    elsewhere: Option<RingTx>,
    others: Burst,
    counters: SharedStage,
}

impl MatchStage {
    /// Lets through what `rules` hold for.
    #[must_use]
    pub fn new(rules: Rules, elsewhere: Option<RingTx>) -> Self {
        Self { rules, elsewhere, others: Burst::new(), counters: SharedStage::default() }
    }
}

impl Stage for MatchStage {
    fn kind(&self) -> &'static str {
        "match"
    }

    fn process(&mut self, burst: &mut Burst, _cx: &mut Context<'_>) {
        let (rules, others) = (&self.rules, &mut self.others);
        burst.retain_or(|p| rules.hold(p.data()), |p| drop(others.push(p)));
        let n = self.others.len();
        match &mut self.elsewhere {
            _ if n == 0 => {}
            None => self.counters.dropped(Reason::NoMatch, self.others.free_front(n)),
            Some(ring) => {
                ring.tx_burst(&mut self.others);
                let lost = self.others.free_front(n);
                self.counters.passed(Reason::NoMatch, n - lost);
                self.counters.dropped(Reason::Full, lost);
            }
        }
    }

    fn room(&self) -> usize {
        self.elsewhere.as_ref().map_or(usize::MAX, RingTx::room)
    }

    counted!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_they_should() {
        let net = Cidr::parse("192.0.2.128/25").unwrap();
        assert!(net.contains("192.0.2.200".parse().unwrap()));
        assert!(!net.contains("192.0.2.1".parse().unwrap()));
        assert!(!net.contains("::1".parse().unwrap()));
        assert!(Cidr::parse("0.0.0.0/0").unwrap().contains("203.0.113.9".parse().unwrap()));
        assert!(Cidr::parse("2001:db8::/32").unwrap().contains("2001:db8:1::1".parse().unwrap()));
        for wrong in ["", "192.0.2.0/33", "::/129", "192.0.2/24", "a/8", "192.0.2.0/", "192.0.2.0/-1"] {
            assert_eq!(Cidr::parse(wrong), None, "{wrong}");
        }
    }
}
