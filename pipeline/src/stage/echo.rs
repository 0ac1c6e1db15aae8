//! `echo`: answers ARP requests (RFC 826) and ICMP echo requests (RFC 792) for one IPv4 address, so that `ping` works.

use std::net::{IpAddr, Ipv4Addr};

use warpdrive_mempool::Burst;
use warpdrive_pmd::port::MacAddr;

use super::{Context, Stage, counted};
use crate::config::Otherwise;
use crate::stats::{Reason, SharedStage};
use crate::wire::{self, ETH_ARP, ETH_IPV4, IP_ICMP, be16};

/// Turns requests into answers, in place.
pub struct EchoStage {
    address: Ipv4Addr,
    mac: MacAddr,
    others: Otherwise,
    counters: SharedStage,
}

impl EchoStage {
    /// Answers for `address` as `mac`; `others` says what becomes of all other packets.
    #[must_use]
    pub fn new(address: Ipv4Addr, mac: MacAddr, others: Otherwise) -> Self {
        Self { address, mac, others, counters: SharedStage::default() }
    }

    /// Makes an answer of a request; false, with nothing changed, if the frame is none for us.
    fn answer(&self, frame: &mut [u8]) -> bool {
        match wire::l3(frame) {
            Some(l3) if l3.ethertype == ETH_ARP => self.answer_arp(frame, l3.at),
            Some(l3) if l3.ethertype == ETH_IPV4 => self.answer_icmp(frame, l3.at),
            _ => false,
        }
    }

    fn answer_arp(&self, frame: &mut [u8], at: usize) -> bool {
        // Ethernet, IPv4, address lengths 6 and 4, operation 1 (request).
        const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
        let Some(arp) = frame.get_mut(at..at + 28) else {
            return false;
        };
        if arp[..8] != REQUEST || arp[24..28] != self.address.octets() {
            return false;
        }
        arp[7] = 2; // reply
        arp.copy_within(8..18, 18); // the asker becomes the target
        arp[8..14].copy_from_slice(&self.mac.0);
        arp[14..18].copy_from_slice(&self.address.octets());
        self.turn(frame);
        true
    }

    fn answer_icmp(&self, frame: &mut [u8], at: usize) -> bool {
        const ECHO_REQUEST: u8 = 8;
        let Some(ip) = wire::ip(frame, ETH_IPV4, at) else {
            return false;
        };
        let for_us = ip.dst == IpAddr::V4(self.address) && ip.protocol == IP_ICMP && !ip.fragment;
        if !for_us || ip.end < ip.l4 + 8 || frame[ip.l4..ip.l4 + 2] != [ECHO_REQUEST, 0] {
            return false;
        }
        frame[ip.l4] = 0; // echo reply
        // RFC 1624: HC' = ~(~HC + ~m + m'), with m = 0x0800 and m' = 0.
        let old = be16(frame, ip.l4 + 2).unwrap_or(0);
        let new = wire::finish(u64::from(!old) + u64::from(!0x0800u16));
        frame[ip.l4 + 2..ip.l4 + 4].copy_from_slice(&new.to_be_bytes());
        let (src, dst) = (at + 12, at + 16);
        let mut asker = [0; 4];
        asker.copy_from_slice(&frame[src..src + 4]);
        frame.copy_within(dst..dst + 4, src);
        frame[dst..dst + 4].copy_from_slice(&asker);
        self.turn(frame);
        true
    }

    /// Sends the frame back to where it came from.
    fn turn(&self, frame: &mut [u8]) {
        frame.copy_within(6..12, 0);
        frame[6..12].copy_from_slice(&self.mac.0);
    }
}

impl Stage for EchoStage {
    fn kind(&self) -> &'static str {
        "echo"
    }

    fn process(&mut self, burst: &mut Burst, _cx: &mut Context<'_>) {
        let mut others = 0;
        let pass = self.others == Otherwise::Pass;
        burst.retain_or(
            |packet| {
                let answered = self.answer(packet.data_mut());
                others += usize::from(!answered);
                answered || pass
            },
            drop,
        );
        match self.others {
            Otherwise::Pass => self.counters.passed(Reason::NoMatch, others),
            Otherwise::Drop => self.counters.dropped(Reason::NoMatch, others),
        }
    }

    counted!();
}
