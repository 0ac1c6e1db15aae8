//! Cores and their time.

use std::time::Duration;

use warpdrive_pipeline::cores::{self, CpuSet};
use warpdrive_pmd::clock::{self, Clock};

use super::{Area, Fact, Fix, Roots, Verdict, names, read, value_of};

pub(super) fn facts(roots: &Roots, spin: Duration) -> Vec<Fact> {
    let cpus = roots.sys.join("devices/system/cpu");
    let list = |name: &str| read(&cpus.join(name)).map(|text| kernel_list(&text)).unwrap_or_default();
    let status = read(&roots.proc.join("self/status")).unwrap_or_default();
    let allowed = value_of(&status, "Cpus_allowed_list").map(kernel_list).unwrap_or_default();
    let online = list("online");
    let cpuinfo = read(&roots.proc.join("cpuinfo")).unwrap_or_default();
    let flags: Vec<&str> = value_of(&cpuinfo, "flags").unwrap_or_default().split_whitespace().collect();
    vec![
        allowed_cpus(&allowed, &online),
        isolation(&list("isolated"), &list("nohz_full"), &online),
        siblings(roots, &allowed),
        governor(roots),
        tsc(&flags, &read(&roots.sys.join("devices/system/clocksource/clocksource0/current_clocksource"))),
        simd(&flags),
        load(&read(&roots.proc.join("loadavg")).unwrap_or_default(), online.len()),
        jitter(&Gaps::measure(spin)),
    ]
}

/// A cpu list as the kernel writes them: the syntax of `-l`, or nothing for no cpu.
fn kernel_list(text: &str) -> CpuSet {
    cores::parse_list(text).map(|map| map.cpus()).unwrap_or_default()
}

fn or_none(set: &CpuSet) -> String {
    if set.is_empty() { "none".to_owned() } else { set.to_string() }
}

fn allowed_cpus(allowed: &CpuSet, online: &CpuSet) -> Fact {
    let found = format!("{} allowed of {} online", or_none(allowed), or_none(online));
    let why = "each worker and engine core needs a cpu of its own; this process may use only those allowed";
    let all = or_none(online);
    let remedy = match online.len() {
        0 | 1 => "give the machine a second cpu".to_owned(),
        _ => format!("taskset -pc {all} $$   # in a container: --cpuset-cpus={all}"),
    };
    Fact::new(Area::Cpu, "cpus", found, why).note_if(allowed.len() < 2, remedy)
}

fn isolation(isolated: &CpuSet, nohz: &CpuSet, online: &CpuSet) -> Fact {
    let found = format!("isolcpus {}, nohz_full {}", or_none(isolated), or_none(nohz));
    let why = "on other cpus the scheduler's tick and other tasks interrupt the poll loop";
    // The first cpu stays with the system.
    let polling = online
        .iter()
        .next()
        .map_or(*online, |first| CpuSet::of(&[first]).map(|first| online.minus(&first)).unwrap_or_default());
    let remedy = format!(
        "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&isolcpus=managed_irq,domain,{polling} nohz_full={polling} \
         rcu_nocbs={polling} /' /etc/default/grub && update-grub && reboot"
    );
    Fact::new(Area::Cpu, "isolated cpus", found, why)
        .note_if((isolated.is_empty() || nohz.is_empty()) && !polling.is_empty(), remedy)
}

fn siblings(roots: &Roots, allowed: &CpuSet) -> Fact {
    let mut pairs: Vec<String> = Vec::new();
    for cpu in allowed.iter() {
        let file = format!("devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let set = read(&roots.sys.join(file)).map(|text| kernel_list(&text)).unwrap_or_default();
        let shown = format!("({set})");
        if set.len() > 1 && !pairs.contains(&shown) {
            pairs.push(shown);
        }
    }
    let found = if pairs.is_empty() { "none share a core".to_owned() } else { pairs.join(" ") };
    let why = "two poll loops on threads of one core halve each other's speed: use one thread of each";
    Fact::new(Area::Cpu, "smt siblings", found, why).note_if(
        !pairs.is_empty(),
        "echo off > /sys/devices/system/cpu/smt/control   # or choose cores with -l",
    )
}

fn governor(roots: &Roots) -> Fact {
    let cpus = roots.sys.join("devices/system/cpu");
    let mut slow = Vec::new();
    let mut found = Vec::new();
    for cpu in
        names(&cpus).iter().filter(|n| n.strip_prefix("cpu").is_some_and(|id| id.parse::<u32>().is_ok()))
    {
        let path = cpus.join(cpu).join("cpufreq/scaling_governor");
        if let Some(governor) = read(&path) {
            if governor != "performance" {
                slow.push(path);
            }
            if !found.contains(&governor) {
                found.push(governor);
            }
        }
    }
    let shown =
        if found.is_empty() { "not exposed (a virtual machine?)".to_owned() } else { found.join(", ") };
    let why = "a core that changes its frequency makes latency jump, and figures differ from run to run";
    Fact::new(Area::Cpu, "cpu governor", shown, why)
        .note_if(
            !slow.is_empty(),
            "echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )
        .fixed_by(Fix::Set { paths: slow, value: "performance".to_owned() })
}

fn tsc(flags: &[&str], source: &Option<String>) -> Fact {
    let missing: Vec<_> =
        ["constant_tsc", "nonstop_tsc"].into_iter().filter(|f| !flags.contains(f)).collect();
    let source = source.as_deref().unwrap_or("unknown");
    let found = match missing.as_slice() {
        [] => format!("invariant, kernel clock {source}"),
        _ => format!("without {}, kernel clock {source}", missing.join(" and ")),
    };
    let why = "latencies are measured with the time-stamp counter, which must tick evenly";
    let fact = Fact::new(Area::Cpu, "tsc", found, why);
    if missing.is_empty() || cfg!(not(target_arch = "x86_64")) {
        return fact;
    }
    fact.judged(
        Verdict::Bad,
        "in a virtual machine, pass the host's: qemu -cpu host,+invtsc; latencies are wrong till then",
    )
}

fn simd(flags: &[&str]) -> Fact {
    let (has, lacks): (Vec<_>, Vec<_>) =
        ["avx2", "avx512f", "avx512ifma", "waitpkg"].into_iter().partition(|flag| flags.contains(flag));
    let found = match (has.as_slice(), lacks.as_slice()) {
        (_, []) => has.join(" "),
        ([], _) => format!("none of {}", lacks.join(" ")),
        _ => format!("{}; not {}", has.join(" "), lacks.join(" ")),
    };
    let why = "avx512ifma or avx2 run RSA in lanes; waitpkg (umwait) lets an idle core doze between polls";
    Fact::new(Area::Cpu, "simd", found, why)
        .note_if(!has.contains(&"avx2"), "in a virtual machine, pass the host's: qemu -cpu host")
}

fn load(loadavg: &str, online: usize) -> Fact {
    let now: Option<f64> = loadavg.split_whitespace().next().and_then(|n| n.parse().ok());
    let found = now.map_or("unknown".to_owned(), |load| format!("{load:.2} on {online} cpus"));
    let why = "other busy tasks take time from the poll loops, and spoil every measurement";
    Fact::new(Area::Cpu, "competing load", found, why).note_if(
        now.is_some_and(|load| load > 0.5 * online as f64),
        "ps -eo pid,pcpu,comm --sort=-pcpu | head   # stop or move what is on top",
    )
}

/// How often a spinning core was away for how long.
#[derive(Default)]
struct Gaps {
    over_1us: u32,
    over_10us: u32,
    over_100us: u32,
    longest_ns: u64,
    spun_ns: u64,
}

impl Gaps {
    fn measure(spin: Duration) -> Self {
        let clock = Clock::get();
        let mut gaps = Self::default();
        let start = clock::ticks();
        let mut last = start;
        while clock.ns(last - start) < spin.as_nanos() as u64 {
            let now = clock::ticks();
            // Counters of two cores may differ by a few ticks when the thread moves.
            gaps.count(clock.ns(now.saturating_sub(last)));
            last = now.max(last);
        }
        gaps.spun_ns = clock.ns(last - start);
        gaps
    }

    fn count(&mut self, ns: u64) {
        self.over_1us += u32::from(ns > 1_000);
        self.over_10us += u32::from(ns > 10_000);
        self.over_100us += u32::from(ns > 100_000);
        self.longest_ns = self.longest_ns.max(ns);
    }
}

fn jitter(gaps: &Gaps) -> Fact {
    let found = format!(
        "in {} ms: {} gaps > 1 us, {} > 10 us, {} > 100 us; longest {:.1} us",
        gaps.spun_ns / 1_000_000,
        gaps.over_1us,
        gaps.over_10us,
        gaps.over_100us,
        gaps.longest_ns as f64 / 1_000.0
    );
    let why = "time that interrupts, other tasks or the hypervisor take from a spinning core: the floor of tail latency";
    Fact::new(Area::Cpu, "jitter", found, why).note_if(
        gaps.over_100us > 0,
        "isolate the polling cpus (see \"isolated cpus\") and stop competing load",
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{named, tree};
    use super::*;

    const CPU: &str = "sys/devices/system/cpu";

    fn quick(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<Fact>) {
        let (dir, roots) = tree(files);
        let facts = facts(&roots, Duration::from_millis(1));
        (dir, facts)
    }

    #[test]
    fn a_well_kept_machine_is_good() {
        let (_dir, facts) = quick(&[
            ("proc/self/status", "Name:\tx\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\n"),
            (
                "proc/cpuinfo",
                "model name\t: y\nflags\t\t: avx2 avx512f avx512ifma waitpkg constant_tsc nonstop_tsc\n",
            ),
            ("proc/loadavg", "0.10 0.2 0.3 1/100 5\n"),
            (&format!("{CPU}/online"), "0-3\n"),
            (&format!("{CPU}/isolated"), "2-3\n"),
            (&format!("{CPU}/nohz_full"), "2-3\n"),
            (&format!("{CPU}/cpu0/cpufreq/scaling_governor"), "performance\n"),
            (&format!("{CPU}/cpu0/topology/thread_siblings_list"), "0\n"),
        ]);
        for fact in facts.iter().filter(|f| f.name != "jitter") {
            assert_eq!(fact.verdict, Verdict::Good, "{fact:?}");
        }
        assert_eq!(named(&facts, "cpus").found, "0-3 allowed of 0-3 online");
        assert_eq!(named(&facts, "isolated cpus").found, "isolcpus 2,3, nohz_full 2,3");
    }

    #[test]
    fn a_neglected_machine_gets_commands() {
        let (dir, facts) = quick(&[
            ("proc/self/status", "Cpus_allowed_list:\t1\n"),
            ("proc/cpuinfo", "flags\t\t: sse2 constant_tsc\n"),
            ("proc/loadavg", "3.90 0.2 0.3 1/100 5\n"),
            (&format!("{CPU}/online"), "0-3\n"),
            (&format!("{CPU}/isolated"), "\n"),
            (&format!("{CPU}/nohz_full"), "(null)\n"),
            (&format!("{CPU}/cpu0/cpufreq/scaling_governor"), "powersave\n"),
            (&format!("{CPU}/cpufreq/scaling_governor"), "not a cpu\n"),
            (&format!("{CPU}/cpu1/topology/thread_siblings_list"), "1,3\n"),
        ]);
        let remedy = |name: &str| named(&facts, name).remedy.clone().unwrap();
        assert!(remedy("cpus").starts_with("taskset -pc 0-3"));
        assert!(remedy("isolated cpus").contains("nohz_full=1-3 "));
        assert_eq!(named(&facts, "smt siblings").found, "(1,3)");
        assert_eq!(named(&facts, "tsc").verdict, Verdict::Bad);
        assert_eq!(named(&facts, "tsc").found, "without nonstop_tsc, kernel clock unknown");
        assert_eq!(named(&facts, "competing load").verdict, Verdict::Note);
        assert_eq!(named(&facts, "simd").verdict, Verdict::Note);
        let paths = vec![dir.path().join(CPU).join("cpu0/cpufreq/scaling_governor")];
        assert_eq!(named(&facts, "cpu governor").fix, Some(Fix::Set { paths, value: "performance".into() }));
    }

    #[test]
    fn gaps_are_counted_by_length() {
        let mut gaps = Gaps::default();
        [500, 1_500, 50_000, 200_000].into_iter().for_each(|ns| gaps.count(ns));
        assert_eq!((gaps.over_1us, gaps.over_10us, gaps.over_100us, gaps.longest_ns), (3, 2, 1, 200_000));
        assert_eq!(jitter(&gaps).verdict, Verdict::Note);
        assert!(Gaps::measure(Duration::from_millis(2)).spun_ns >= 2_000_000);
    }
}
