//! Configurations: whatever the text, a plan that keeps its promises, or an error that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warpdrive_pipeline::config::Config;
use warpdrive_pipeline::cores::parse_list;
use warpdrive_pipeline::plan::Plan;

fuzz_target!(|text: &str| {
    let lcores = parse_list("0,1").expect("two lcores");
    let plan = Config::parse("fuzz.toml", text).and_then(|config| Plan::new(&config, &lcores));
    match plan {
        Ok(plan) => {
            let placed: usize = plan.workers.iter().map(|w| w.pipelines.len()).sum();
            assert_eq!(placed, plan.pipelines.len(), "every pipeline has one worker");
            assert!(!plan.pipelines.is_empty() && !plan.pools.is_empty());
            for pool in &plan.pools {
                let needs: usize = pool.needs.iter().map(|(_, n)| n).sum();
                assert!(needs <= pool.config.buffers, "the pool is large enough");
                assert!(pool.config.check().is_ok());
            }
        }
        Err(e) => {
            let shown = e.to_string();
            assert!(shown.contains("fuzz.toml") && !e.diagnostics.is_empty());
        }
    }
});
