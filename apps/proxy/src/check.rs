//! What can be said of the proxies of a plan before they are started.

use std::time::{Duration, UNIX_EPOCH};

use warpdrive_pipeline::diag::{ConfigError, Diagnostic};
use warpdrive_pipeline::plan::{Placed, Plan, ProxyPlan};

use crate::admin;
use crate::http::host;
use crate::http::negotiate::Types;
use crate::tls::{self, Certificates, Lasting, Pair};

/// Looks at what the proxies of a plan name: certificates, keys, suites, media types, addresses. Says what the user should
/// know although it is not wrong.
///
/// # Errors
/// [`ConfigError`] at the places of what is wrong.
pub fn check(plan: &Plan) -> Result<Vec<String>, Box<ConfigError>> {
    let mut notes = Vec::new();
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    for proxy in &plan.proxies {
        check_types(plan, proxy)?;
        check_admin(plan, proxy)?;
        check_hosts(plan, proxy)?;
        let pairs = tls::pairs(plan, &proxy.tls)?;
        notes.extend(pairs.iter().zip(&proxy.tls.certificates).filter_map(|(pair, (file, _))| {
            validity(pair, file, now).map(|note| format!("proxy {:?}: {note}", proxy.name))
        }));
        let certificates = Certificates::new(&pairs, proxy.tls.unknown_name, None);
        let certificates = certificates.map_err(|e| Box::new(plan.error(Diagnostic::new(0..0, e))))?;
        tls::config(plan, &proxy.tls, &Lasting::none(), certificates)?;
    }
    Ok(notes)
}

fn check_types(plan: &Plan, proxy: &ProxyPlan) -> Result<(), Box<ConfigError>> {
    for media in &proxy.compress.types {
        Types::parse(&[&media.name]).map_err(|_| {
            let message = format!("{:?} is not a media type", media.name);
            let help =
                "such as \"text/html\", \"text/*\", \"application/*+json\" or \"*/*\", without parameters";
            Box::new(plan.error(Diagnostic::new(media.span.clone(), message).help(help)))
        })?;
    }
    Ok(())
}

fn check_admin(plan: &Plan, proxy: &ProxyPlan) -> Result<(), Box<ConfigError>> {
    let Some(at) = &proxy.admin else { return Ok(()) };
    admin::check(&at.name)
        .map_err(|e| Box::new(plan.error(Diagnostic::of_error(at.span.clone(), &e.to_string()))))
}

/// Those that checks of servers ask for.
fn check_hosts(plan: &Plan, proxy: &ProxyPlan) -> Result<(), Box<ConfigError>> {
    for host in proxy.upstreams.iter().filter_map(|u| u.check.as_ref()?.host.as_ref()) {
        if host::check(host.name.as_bytes()).is_none() {
            let message = format!("{:?} is not a host", host.name);
            let help = "a name or an IP address, with a port or without: \"example.org\", \"[::1]:8080\"";
            return Err(Box::new(plan.error(Diagnostic::new(host.span.clone(), message).help(help))));
        }
    }
    Ok(())
}

fn validity(pair: &Pair, file: &Placed, now: Duration) -> Option<String> {
    pair.invalid_at(now).map(|why| format!("certificate {:?} {why}: clients will refuse it", file.name))
}
