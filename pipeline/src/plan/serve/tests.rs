use warpdrive_mempool::DmaMode;
use warpdrive_pmd::engine::rsa::Simd;
use warpdrive_pmd::idle::IdlePolicy;
use warpdrive_pmd::uacce::serve::{Function, Inputs, Permissions};

use super::*;
use crate::cores;

const ACCOUNTS: Accounts = Accounts {
    user: |name| (name == "alice").then_some(1001),
    group: |name| (name == "accelerators").then_some(77),
};

fn plan(serve: &str, devices: &str) -> Result<ServePlan, String> {
    let text = format!("version = 1\n[serve]\n{serve}\n{devices}\n");
    let config = ServeConfig::parse("s.toml", &text).map_err(|e| e.to_string())?;
    let lcores = cores::parse_lcores("0@2,1@3,7@5").unwrap();
    ServePlan::supported(&config, &lcores, ACCOUNTS, |_| Ok(())).map_err(|e| e.to_string())
}

const ZIP: &str = "[serve.device.hisi_zip-0]\nfunction = \"zip\"\n";

#[test]
fn every_key_reaches_the_server() {
    let serve = "expose = \"/tmp/x\"\ncores = [7, 0]\nidle = \"umwait\"\nin_flight = 9\nsimd = \"library\"\nblinding = true";
    let device = "algorithms = [\"gzip\"]\nmode = \"noiommu\"\ncore = 0\ndepth = 16\nqueues = 5\n\
        queues_per_process = 4\nreserve = \"8 MiB\"\npriority = 3\nlevel = 6\ninputs = \"in-place\"\npermissions = \"0640\"\n\
        user = \"alice\"\ngroup = \"accelerators\"\nnuma_node = -1\n";
    let plan = plan(serve, &format!("{ZIP}{device}")).unwrap();
    assert_eq!(plan.expose, PathBuf::from("/tmp/x"));
    assert_eq!(plan.cores, [(7, 5), (0, 2)], "an lcore runs on its cpu");
    let ServerConfig { cores, devices, in_flight, rsa } = &plan.server;
    let cores: Vec<(usize, IdlePolicy)> = cores.iter().map(|core| (core.cpu, core.idle)).collect();
    assert_eq!(cores, [(5, IdlePolicy::Umwait), (2, IdlePolicy::Umwait)]);
    assert_eq!((*in_flight, rsa.simd, rsa.blinding), (9, Simd::Library, true));
    let d = &devices[0];
    assert_eq!((d.name.as_str(), d.function, d.version), ("hisi_zip-0", Function::Zip, 1));
    assert_eq!(
        (&*d.algorithms, d.mode, d.core, d.depth),
        (&["gzip".to_owned()][..], DmaMode::NoIommu, 1, 16)
    );
    assert_eq!((d.queues, d.queues_per_process, d.reserve, d.priority), (5, 4, 8 << 20, 3));
    assert_eq!((d.level, d.inputs, d.numa_node), (6, Inputs::InPlace, -1));
    assert_eq!(d.permissions, Permissions { mode: 0o640, uid: 1001, gid: 77 });
    assert_eq!(plan.lcore_of(d), 0);
}

#[test]
fn what_is_left_out_is_the_usual() {
    let plan =
        plan("", &format!("{ZIP}queues = 7\n[serve.device.hisi_hpre-0]\nfunction = \"hpre\"\n")).unwrap();
    assert_eq!((plan.expose, plan.cores), (PathBuf::from(EXPOSE), vec![(7, 5)]), "the last core");
    let [zip, hpre] = &plan.server.devices[..] else { panic!() };
    assert_eq!((zip.queues, zip.queues_per_process), (7, 7), "no more than there are");
    assert_eq!((hpre.queues, hpre.queues_per_process, hpre.depth), (256, 64, 1024));
    assert_eq!(hpre.algorithms, ["rsa"]);
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
}

#[test]
fn queues_of_later_versions_have_two_entries() {
    let depth = |keys: &str| plan("", &format!("{ZIP}{keys}")).map(|plan| plan.server.devices[0].depth);
    assert_eq!(depth("api = 3"), Ok(2));
    assert_eq!(depth("api = 2\ndepth = 2"), Ok(2));
    let e = depth("api = 3\ndepth = 1024").unwrap_err();
    assert!(e.contains("s.toml:7:9: error: queues of api = 3"), "{e}");
}

#[test]
fn memory_is_reserved_behind_a_queue_of_one_page() {
    let queue =
        |keys: &str| plan("", &format!("{ZIP}{keys}")).map(|plan| plan.server.devices[0].queue_bytes());
    assert_eq!(queue("reserve = \"4 KiB\"\ndepth = 28"), Ok(3 * 4096), "doorbells, queue, reserved");
    let e = queue("reserve = \"4 KiB\"\ndepth = 29").unwrap_err();
    assert!(e.contains("s.toml:7:9: error: memory is reserved") && e.contains("depth = 28 or less"), "{e}");
    let e = queue("reserve = \"4 KiB\"").unwrap_err();
    assert!(e.contains("s.toml:6:11: error: memory is reserved"), "at the key that is written: {e}");
}

#[test]
fn what_not_all_programs_can_use_is_noted() {
    let notes = |keys: &str| plan("", &format!("{ZIP}{keys}")).unwrap().notes.join("\n");
    assert!(notes("algorithms = [\"deflate\", \"zlib\"]").contains("crash if it is to do zlib with"));
    assert!(notes("algorithms = [\"deflate\", \"zlib\"]\napi = 3").is_empty());
    assert!(notes("mode = \"share-domain\"").contains("memory that a program shares with it"));
    assert!(notes("mode = \"share-domain\"\nreserve = \"1 MiB\"\ndepth = 16").is_empty());
    let other = plan("", "[serve.device.mine]\nfunction = \"zip\"\n").unwrap().notes.join("\n");
    assert!(
        other.contains("device \"mine\": UADK knows what does zip by names such as hisi_zip-0"),
        "{other}"
    );
    let two = plan("cores = [0, 1]", ZIP).unwrap().notes.join("\n");
    assert!(two.contains("core 1 serves no device"), "{two}");
}

#[test]
fn what_this_cpu_cannot_do_is_refused_at_its_place() {
    let text = format!("version = 1\n[serve]\nsimd = \"avx512-ifma\"\n{ZIP}");
    let config = ServeConfig::parse("s.toml", &text).unwrap();
    let lcores = cores::parse_list("0").unwrap();
    let refused =
        ServePlan::supported(&config, &lcores, ACCOUNTS, |_| Err("it lacks it. Remedy: another".to_owned()));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.starts_with("s.toml:3:8: error: it lacks it\n"), "{refused}");
    assert!(refused.contains("= help: another"), "{refused}");
}
