//! `forward-null`: what the framework itself costs. Null port to null port, against testpmd between net_null ports.

use std::time::Duration;

use warpdrive_pipeline::config::Config;
use warpdrive_pipeline::cores;
use warpdrive_pipeline::launch;
use warpdrive_pipeline::plan::Plan;
use warpdrive_pipeline::running::Running;

use crate::measure::{Contender, alternate, cpu_time};
use crate::peers::PageSize;
use crate::testpmd::{Setup, Testpmd, forwarding_lines};
use crate::{BenchError, Lines, Options};

/// Time between the start of polling and the first count.
const WARM: Duration = Duration::from_millis(50);
const COUNTED: &str = "a packet is counted once, when the transmit queue has taken it: ours at port \"sink\", testpmd's TX-packets of both ports";

const TIMED: &str =
    "a second is one of the polling thread's cpu time: the same as by the clock unless others use that cpu";

/// Runs the bench.
pub fn run(options: &Options, emit: Lines<'_>) -> Result<(), BenchError> {
    let (cpu, other) = options.two_cpus()?;
    let pages = PageSize::best();
    let mut testpmd = Testpmd::start(&Setup {
        cpu,
        main_cpu: other,
        pages,
        devices: &["net_null0,size=64".to_owned(), "net_null1,size=64".to_owned()],
        ports: 2,
        mbufs: 8192,
        wrapper: &[],
    });
    let with = plan(cpu, pages, true)?;
    let without = plan(cpu, pages, false)?;
    let mut sides: Vec<Contender<'_>> =
        vec![Box::new(|slice| ours(&with, slice)), Box::new(|slice| ours(&without, slice))];
    if let Ok(testpmd) = &mut testpmd {
        sides.push(Box::new(|slice| testpmd.slice(WARM, slice)));
    }
    let values = alternate(options, &mut sides)?;
    drop(sides);
    let notes = [
        COUNTED.to_owned(),
        TIMED.to_owned(),
        pages.note().to_owned(),
        format!("64-byte frames, bursts of 32, one polling core: cpu {cpu}"),
    ];
    forwarding_lines(options, "forward-null", &values, testpmd.as_ref(), &notes, "")
        .into_iter()
        .for_each(emit);
    Ok(())
}

fn plan(cpu: usize, pages: PageSize, latency: bool) -> Result<Plan, BenchError> {
    let text = format!(
        "version = 1
         [eal]
         pages = \"{}\"
         latency = {latency}
         [port.source]
         driver = \"null\"
         size = 64
         [port.sink]
         driver = \"null\"
         [[pipeline]]
         name = \"forward\"
         stages = [ {{ rx = \"source\", burst = 32 }}, {{ tx = \"sink\" }} ]",
        pages.config()
    );
    let config = Config::parse("forward-null", &text)?;
    Ok(Plan::new(&config, &cores::parse_list(&cpu.to_string())?)?)
}

/// One slice: starts the pipeline, lets it warm up, counts, ends it.
fn ours(plan: &Plan, slice: Duration) -> Result<f64, BenchError> {
    let running = launch::launch(plan, &launch::Options::default())?;
    std::thread::sleep(WARM);
    // Of this process only the worker is busy.
    let own = std::process::id();
    let (start, before) = (cpu_time(own)?, sent(&running));
    std::thread::sleep(slice);
    let (end, after) = (cpu_time(own)?, sent(&running));
    running.stop();
    let ended = running.join();
    if ended.panicked || !ended.leaks.is_empty() {
        return Err(BenchError::Bug(format!("the pipeline ended badly: {ended:?}")));
    }
    Ok((after - before) as f64 / (end - start).as_secs_f64())
}

fn sent(running: &Running) -> u64 {
    let ports = running.snapshot().ports;
    ports.iter().flat_map(|p| &p.tx).map(|q| q.stats.packets).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_side_forwards() {
        let cpus = cores::allowed().unwrap();
        let plan = plan(cpus[0], PageSize::Small, true).unwrap();
        assert!(plan.latency);
        let rate = ours(&plan, Duration::from_millis(20)).unwrap();
        assert!(rate > 1000.0, "{rate}");
    }
}
