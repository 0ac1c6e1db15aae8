//! TCP in user space: the port it lives on, and its addresses.

use std::net::IpAddr;

use warpdrive_pmd::port::MacAddr;

use super::super::planner::Planner;
use super::ProxyPlan;
use crate::config::{Name, ProxyTable, Transport};

/// What an address looks like.
const EXAMPLE: &str = "addresses = [\"192.0.2.7/24\", \"2001:db8::7/64\"]";
/// The most addresses and gateways that the TCP stack keeps.
const MOST: usize = 8;

/// What `transport = "userspace"` needs.
#[derive(Debug, Clone)]
pub struct UserPlan {
    /// Index of the port.
    pub port: usize,
    /// Ethernet address, if not that of the port.
    pub mac: Option<MacAddr>,
    /// Addresses with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where packets for others go.
    pub gateways: Vec<IpAddr>,
}

impl Planner<'_> {
    /// What TCP in user space needs. Its port's queues are owned when the cores are known.
    pub(super) fn user(&mut self, table: &ProxyTable) -> Option<UserPlan> {
        if table.transport == Transport::Kernel {
            self.nothing_of_user(table);
            return None;
        }
        let name = table.name.get_ref();
        let Some(port) = &table.port else {
            let message = format!("proxy {name:?} does TCP by itself and has no port");
            self.error(table.name.span(), message, "port = \"NAME\" of a [port.NAME]");
            return None;
        };
        if table.addresses.is_empty() {
            let message = format!("proxy {name:?} does TCP by itself and has no addresses");
            self.error(table.name.span(), message, EXAMPLE);
        }
        if let Some(more) = table.addresses.get(MOST) {
            self.error(
                more.span(),
                format!("proxy {name:?} has more than {MOST} addresses"),
                "fewer of them",
            );
        }
        let addresses: Vec<(IpAddr, u8)> = table.addresses.iter().filter_map(|a| self.prefix(a)).collect();
        self.own_addresses(table, &addresses);
        let mac = table.mac.as_ref().and_then(|written| self.mac(written));
        let gateways = table.gateways.iter().map(|gateway| *gateway.get_ref()).collect();
        Some(UserPlan { port: self.port(port)?, mac, addresses, gateways })
    }

    /// Keys that have no meaning with sockets of the kernel.
    fn nothing_of_user(&mut self, table: &ProxyTable) {
        let names = [table.port.as_ref(), table.mac.as_ref(), table.addresses.first()];
        let names = names.into_iter().flatten().map(Name::span);
        for span in names.chain(table.gateways.first().map(toml::Spanned::span)) {
            let message = "this is for transport = \"userspace\", and the transport is the kernel's";
            self.error(span, message, "leave it out, or transport = \"userspace\"");
        }
    }

    /// It can listen at addresses that are its own.
    fn own_addresses(&mut self, table: &ProxyTable, addresses: &[(IpAddr, u8)]) {
        for listen in &table.listen {
            let ip = listen.get_ref().ip();
            if !ip.is_unspecified() && !addresses.iter().any(|(own, _)| *own == ip) {
                let message = format!("{ip} is none of the addresses of proxy {:?}", table.name.get_ref());
                self.error(listen.span(), message, "one of its addresses, or 0.0.0.0 or [::] for all");
            }
        }
    }

    fn mac(&mut self, written: &Name) -> Option<MacAddr> {
        let parsed: Result<MacAddr, String> = written.get_ref().parse();
        // The lowest bit of the first byte is that of groups.
        let reason = match &parsed {
            Ok(mac) if mac.0[0] & 1 == 0 => return parsed.ok(),
            Ok(_) => "this is the address of a group".to_owned(),
            Err(e) => e.clone(),
        };
        let message = format!("{:?} is no Ethernet address of an interface: {reason}", written.get_ref());
        self.error(written.span(), message, "mac = \"02:00:00:00:00:07\"");
        None
    }

    fn prefix(&mut self, written: &Name) -> Option<(IpAddr, u8)> {
        let parsed = written.get_ref().split_once('/').and_then(|(address, bits)| {
            let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
            let most = if address.is_ipv4() { 32 } else { 128 };
            (bits <= most && !address.is_unspecified() && !address.is_multicast()).then_some((address, bits))
        });
        if parsed.is_none() {
            let message = format!(
                "{:?} is not an address of an interface with the length of its prefix",
                written.get_ref()
            );
            self.error(written.span(), message, EXAMPLE);
        }
        parsed
    }

    /// Gives each worker of a proxy its queues.
    pub(in crate::plan) fn own_queues(&mut self, proxies: &[ProxyPlan]) {
        let config = self.config;
        for (table, plan) in config.proxies.iter().zip(proxies) {
            let (Some(user), Some(port)) = (&plan.user, &table.port) else { continue };
            for queue in 0..plan.lcores.len() as u16 {
                self.own(true, user.port, queue, &plan.name, port.span());
                self.own(false, user.port, queue, &plan.name, port.span());
            }
        }
    }
}
