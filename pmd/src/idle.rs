//! What a polling core does when there is nothing to do.

use std::time::Duration;

use serde::Deserialize;

/// How a core waits. `Spin` has the lowest latency and the highest use of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdlePolicy {
    /// Poll again at once.
    Spin,
    /// Poll again after a PAUSE instruction, which leaves the core's units to a sibling thread.
    #[default]
    Pause,
    /// Wait up to 100 us in UMWAIT (C0.2), where the cpu has it; else `Pause`, and the start-up report says so.
    Umwait,
    /// After 1,000 empty polls sleep, longer and longer up to 1 ms. The only policy that makes system calls.
    Sleep,
}

/// The state of one core's waiting.
#[derive(Debug)]
pub struct Idle {
    policy: IdlePolicy,
    empty: u32,
}

const SPINS_BEFORE_SLEEP: u32 = 1_000;
const LONGEST_SLEEP_US: u64 = 1_000;

impl Idle {
    /// Starts with the given policy, or the nearest that the cpu can do.
    #[must_use]
    pub fn new(policy: IdlePolicy) -> Self {
        let policy = if policy == IdlePolicy::Umwait && !has_umwait() { IdlePolicy::Pause } else { policy };
        Self { policy, empty: 0 }
    }

    /// The policy that was got.
    #[must_use]
    pub fn policy(&self) -> IdlePolicy {
        self.policy
    }

    /// To be called after a poll that found work.
    #[inline]
    pub fn busy(&mut self) {
        self.empty = 0;
    }

    /// To be called after a poll that found none.
    #[inline]
    pub fn wait(&mut self) {
        match self.policy {
            IdlePolicy::Spin => {}
            IdlePolicy::Pause => std::hint::spin_loop(),
            IdlePolicy::Umwait => umwait(),
            IdlePolicy::Sleep => {
                self.empty = self.empty.saturating_add(1);
                match self.empty.checked_sub(SPINS_BEFORE_SLEEP) {
                    None => std::hint::spin_loop(),
                    Some(step) => {
                        let us = (u64::from(step) / 8 + 1).min(LONGEST_SLEEP_US);
                        std::thread::sleep(Duration::from_micros(us));
                    }
                }
            }
        }
    }
}

/// Whether the cpu has UMONITOR/UMWAIT/TPAUSE (CPUID leaf 7, ECX bit 5).
#[must_use]
pub fn has_umwait() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::x86_64::__cpuid_count(7, 0).ecx & (1 << 5) != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Waits up to about 100 us (2^18 ticks, and the limit the kernel sets in IA32_UMWAIT_CONTROL). The queues lie at
/// several addresses and UMWAIT watches one, so this is TPAUSE: a bounded doze, not a wake-up.
#[inline]
fn umwait() {
    #[cfg(target_arch = "x86_64")]
    {
        let until = crate::clock::ticks() + (1 << 18);
        // SAFETY: TPAUSE reads three registers and writes flags; only reached when CPUID says it exists.
        unsafe {
            std::arch::asm!(
                "tpause {state:e}",
                state = in(reg) 0u32,
                in("eax") until as u32,
                in("edx") (until >> 32) as u32,
                options(nomem, nostack),
            );
        }
    }
}
