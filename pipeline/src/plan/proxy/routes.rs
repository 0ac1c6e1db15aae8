//! Routes: which requests go to which upstream.

use std::net::{IpAddr, Ipv6Addr};

use super::super::planner::Planner;
use super::UpstreamPlan;
use crate::config::{Name, ProxyTable, RouteTable};
use crate::diag::known_names;

/// The longest name of DNS.
const NAME_MAX: usize = 253;

/// `[[proxy.route]]`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields of the table in config/proxy.rs")]
pub struct RoutePlan {
    /// In lower case.
    pub host: Option<String>,
    pub path: String,
    pub upstream: usize,
    pub compress: bool,
}

impl RoutePlan {
    /// Whether it takes all that the other would.
    fn covers(&self, other: &Self) -> bool {
        let host = match (&self.host, &other.host) {
            (None, _) => true,
            (Some(_), None) => false,
            // `*.example.org` is also what `*.a.example.org` is.
            (Some(all), Some(one)) => {
                all == one || all.strip_prefix('*').is_some_and(|end| one.ends_with(end))
            }
        };
        host && other.path.starts_with(&self.path)
    }
}

impl Planner<'_> {
    pub(super) fn routes(&mut self, table: &ProxyTable, upstreams: &[UpstreamPlan]) -> Vec<RoutePlan> {
        if table.route.is_empty() {
            return vec![RoutePlan { host: None, path: "/".to_owned(), upstream: 0, compress: true }];
        }
        let mut plans: Vec<RoutePlan> = Vec::new();
        let before = self.errors.len();
        for route in &table.route {
            plans.extend(self.route(route, upstreams));
        }
        // What one means that is wrong cannot be said.
        if self.errors.len() == before {
            self.shadows(&table.route, &plans);
        }
        plans
    }

    /// Refuses routes that an earlier one leaves nothing.
    fn shadows(&mut self, tables: &[RouteTable], plans: &[RoutePlan]) {
        for (i, (table, plan)) in tables.iter().zip(plans).enumerate() {
            let Some(earlier) = plans[..i].iter().position(|earlier| earlier.covers(plan)) else { continue };
            let spans = [Some(table.path.span()), table.host.as_ref().map(Name::span)];
            let span = spans.into_iter().flatten().find(|span| !span.is_empty());
            let host = plans[earlier].host.as_deref().unwrap_or("any host");
            let message = format!(
                "route {} can never fit: route {} before it takes {host} {:?}, and so all that this one would",
                i + 1,
                earlier + 1,
                plans[earlier].path
            );
            let help = "the first route that fits counts: put the narrower one first, or leave it out";
            self.error(span.unwrap_or(table.upstream.span()), message, help);
        }
    }

    fn route(&mut self, table: &RouteTable, upstreams: &[UpstreamPlan]) -> Option<RoutePlan> {
        let path = table.path.get_ref();
        if let Some(help) = wrong_path(path) {
            self.error(table.path.span(), format!("{path:?} is not a path"), help);
        }
        if let Some(host) = &table.host
            && let Some(help) = wrong_host(host.get_ref())
        {
            self.error(host.span(), format!("{:?} is not a host", host.get_ref()), help);
        }
        let names = || upstreams.iter().map(|u| u.name.as_str());
        let wanted = table.upstream.get_ref();
        let Some(upstream) = names().position(|name| name == wanted) else {
            let help = known_names(wanted, "upstreams", names());
            self.error(table.upstream.span(), format!("there is no upstream {wanted:?}"), help);
            return None;
        };
        Some(RoutePlan {
            host: table.host.as_ref().map(|host| host.get_ref().to_ascii_lowercase()),
            path: path.clone(),
            upstream,
            compress: table.compress,
        })
    }
}

/// What to write instead of what is no path.
fn wrong_path(path: &str) -> Option<&'static str> {
    match path {
        _ if !path.starts_with('/') => Some("a path begins with /"),
        _ if path.contains('*') => Some("what paths begin with, without a star: \"/api/\""),
        _ if path.contains(['?', '#']) => Some("a path alone, without a query"),
        _ if !path.bytes().all(|b| b.is_ascii_graphic()) => {
            Some("as clients send it, with %XX for what is not ASCII: \"/caf%C3%A9/\"")
        }
        _ => None,
    }
}

/// What to write instead of what is no host.
fn wrong_host(host: &str) -> Option<&'static str> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    match host {
        "" | "*" => Some("leave host out: without it, all hosts fit"),
        _ if host.parse::<IpAddr>().is_ok() => None,
        _ if host.contains("//") || host.contains('/') => Some("a name alone, without a scheme and a path"),
        _ if host.starts_with('[') => Some("an IPv6 address without brackets and without a port: \"::1\""),
        _ if name.contains(':') && name.parse::<Ipv6Addr>().is_err() => Some("a name alone, without a port"),
        _ if name.contains('*') => Some("a star stands for all below a name, and first: \"*.example.org\""),
        _ if !host.is_ascii() => Some("the name as DNS has it: \"xn--caf-dma.example\""),
        _ if name.ends_with('.') => Some("the name without a dot at its end"),
        _ if name.len() <= NAME_MAX && name.split('.').all(is_label) => None,
        _ => Some("a name such as \"example.org\", \"*.example.org\" for all below it, or an IP address"),
    }
}
