//! Opens devices behind queue files. What turns out to be wrong is told at its place in the configuration.

use std::ops::Range;

use warpdrive_mempool::Domain;
use warpdrive_pmd::uacce::{UacceDevice, UacceInfo, UacceOptions, discover};

use crate::diag::{ConfigError, Diagnostic};
use crate::launch::LaunchError;
use crate::plan::{Plan, UaccePlan};

/// Finds the device that the plan means and opens it, for memory of `domain`.
pub(crate) fn open(
    plan: &Plan,
    uacce: &UaccePlan,
    name: &str,
    domain: &Domain,
) -> Result<UacceDevice, LaunchError> {
    let refused = |span: &Range<usize>, text: String| plan.error(Diagnostic::of_error(span.clone(), &text));
    let found = discover::find(&uacce.roots, uacce.wanted())
        .map_err(|e| refused(&uacce.placed.span, format!("device {name:?}: {e}")))?;
    check(plan, uacce, &found, domain)?;
    // What was chosen, should the nearest be another one by now.
    let options = UacceOptions { device: Some(found.name.clone()) };
    Ok(UacceDevice::open(name, &uacce.roots, domain, options)?)
}

/// Whether it does what is asked of it, and takes addresses as this process has them.
fn check(plan: &Plan, uacce: &UaccePlan, found: &UacceInfo, domain: &Domain) -> Result<(), ConfigError> {
    let name = &found.name;
    if let Some(does) = uacce.does.filter(|does| !does.algorithms().iter().any(|a| found.does(a))) {
        let message =
            format!("{name} does {}, and {} is asked of it", found.algorithms.join(", "), does.name());
        let help = format!("a device that does {}", does.algorithms().join(", "));
        return Err(plan.error(Diagnostic::new(uacce.placed.span.clone(), message).help(help)));
    }
    if found.mode() != domain.mode() {
        let message = format!(
            "{name} takes addresses of mode {}, and those of this program have mode {}",
            found.mode(),
            domain.mode()
        );
        let span = uacce.dma.clone().unwrap_or_else(|| uacce.placed.span.clone());
        let help = format!("[eal] dma = {:?}", found.mode().name());
        return Err(plan.error(Diagnostic::new(span, message).help(help)));
    }
    Ok(())
}
