//! Signals that ask the program to end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

/// Becomes true when somebody asks the program to end.
pub fn stop_by_signal() -> Result<Arc<AtomicBool>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second signal ends the program at once, as people expect who press Ctrl-C twice.
        let again = signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop));
        let first = signal_hook::flag::register(signal, Arc::clone(&stop));
        again.and(first).map_err(|e| format!("cannot handle signal {signal}: {e}"))?;
    }
    Ok(stop)
}
