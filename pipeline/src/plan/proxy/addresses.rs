//! What proxies must not have twice, and what cannot do without system calls.

use std::net::SocketAddr;

use toml::Spanned;

use super::super::planner::Planner;
use crate::config::{Name, ProxyTable, Require, Strict};

impl Planner<'_> {
    /// Addresses of all proxies, each of which can be one's only.
    pub(super) fn places(&mut self, tables: &[ProxyTable]) {
        let mut seen: Vec<(SocketAddr, &str)> = Vec::new();
        for table in tables {
            let name = table.name.get_ref();
            for listen in &table.listen {
                let address = *listen.get_ref();
                // Port 0 is another one each time.
                let other = seen.iter().find(|(other, _)| *other == address && address.port() != 0);
                if let Some((_, other)) = other {
                    let message = format!("proxy {other:?} listens at {address} already");
                    self.error(listen.span(), message, "each address once, in all proxies");
                }
                seen.push((address, name));
            }
        }
        let mut admins: Vec<&Name> = Vec::new();
        for admin in tables.iter().filter_map(|table| table.admin.as_ref()) {
            self.admin(admin, &admins, &seen);
            admins.push(admin);
        }
    }

    fn admin(&mut self, admin: &Name, others: &[&Name], listens: &[(SocketAddr, &str)]) {
        let written = admin.get_ref();
        let address: Option<SocketAddr> = written.parse().ok().filter(|a: &SocketAddr| a.port() != 0);
        let help = "an address or a path of its own: admin = \"127.0.0.1:9443\"";
        if let Some((listen, name)) = listens.iter().find(|(l, _)| address.is_some_and(|a| is_taken(a, *l))) {
            let message = format!("the admin address {written} is taken: proxy {name:?} listens at {listen}");
            self.error(admin.span(), message, help);
        } else if others
            .iter()
            .any(|other| other.get_ref() == written && address.is_none_or(|a| a.port() != 0))
        {
            self.error(admin.span(), format!("another proxy has {written} as its admin address"), help);
        }
    }

    /// Refuses what is not to call the kernel: it does TCP for servers, whoever does it for clients.
    pub(super) fn system_calls(&mut self, tables: &[ProxyTable]) {
        let Some(table) = tables.first() else { return };
        let (config, name) = (self.config, table.name.get_ref());
        let because = format!("proxy {name:?}: servers are reached by sockets, which are system calls");
        let strict = config.eal.strict.get_ref();
        if *strict != Strict::Off {
            let message = format!("strict = {:?} does not go together with {because}", strict.name());
            self.error(config.eal.strict.span(), message, "strict = \"off\"");
        }
        let no_syscalls = |require: &&Spanned<Require>| *require.get_ref() == Require::NoSyscalls;
        if let Some(require) = config.eal.require.iter().find(no_syscalls) {
            let message = format!("\"no-syscalls\" does not go together with {because}");
            self.error(require.span(), message, "leave it out");
        }
    }
}

/// Whether nobody else can listen at `address` when somebody does at `listen`.
fn is_taken(address: SocketAddr, listen: SocketAddr) -> bool {
    let all = listen.ip().is_unspecified() && listen.is_ipv4() == address.is_ipv4();
    listen.port() == address.port() && (all || listen.ip() == address.ip())
}
