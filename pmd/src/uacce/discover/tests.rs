use super::*;

const GOOD: [(&str, &str); 9] = [
    ("api", "hisi_qm_v1\n"),
    ("flags", "1\n"),
    ("available_instances", "7\n"),
    ("algorithms", "rsa\ndh\n"),
    ("region_mmio_size", "4096\n"),
    ("region_dus_size", "86016\n"),
    ("device/numa_node", "-1\n"),
    ("isolate", "0\n"),
    ("warpdrive", "share heartbeat null\n"),
];

/// A folder with devices.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(folder.roots().sysfs).unwrap();
        folder
    }

    fn roots(&self) -> Roots {
        Roots::below(self.0.path())
    }

    fn set(&self, device: &str, attribute: &str, value: &str) {
        let path = self.roots().sysfs.join(device).join(attribute);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }

    fn device(&self, name: &str) {
        GOOD.iter().for_each(|(attribute, value)| self.set(name, attribute, value));
    }
}

#[test]
fn a_device_is_what_its_attributes_say() {
    let folder = Folder::new();
    folder.device("hisi_hpre-0");
    let info = UacceInfo::read(&folder.roots(), "hisi_hpre-0").unwrap();
    assert_eq!((info.name.as_str(), info.path), ("hisi_hpre-0", folder.roots().dev.join("hisi_hpre-0")));
    assert_eq!((info.api.as_str(), info.version), ("hisi_qm_v1", Some(Version::V1)));
    assert_eq!((info.algorithms, info.flags, info.numa_node), (vec!["rsa".into(), "dh".into()], 1, None));
    assert_eq!((info.mmio_bytes, info.dus_bytes, info.isolated, info.priority), (4096, 86_016, false, None));
    let expected = Extensions { share: true, level: false, heartbeat: true, null: true };
    assert_eq!(info.extensions, Some(expected));
}

#[test]
fn a_device_that_was_found_is_looked_at_again() {
    let folder = Folder::new();
    folder.device("a-0");
    let before = UacceInfo::read(&folder.roots(), "a-0").unwrap();
    let again = before.read_again().unwrap();
    assert_eq!((&again.path, &again.folder, before.difference(&again)), (&before.path, &before.folder, None));
    for (attribute, value, told) in [
        ("api", "hisi_qm_v2", "api: hisi_qm_v1 before, hisi_qm_v2 now"),
        ("flags", "0", "flags: 1 before, 0 now"),
        ("algorithms", "rsa", "algorithms: rsa, dh before, rsa now"),
        ("region_mmio_size", "8192", "region_mmio_size: 4096 before, 8192 now"),
        ("region_dus_size", "4096", "region_dus_size: 86016 before, 4096 now"),
        ("warpdrive", "heartbeat null", "extensions: "),
        ("isolate", "1", "it has been isolated"),
    ] {
        folder.device("a-0");
        folder.set("a-0", attribute, value);
        let now = before.read_again().unwrap();
        assert!(before.difference(&now).is_some_and(|what| what.contains(told)), "{attribute}");
    }
    // What may change: how it is to be used is the same.
    folder.device("a-0");
    folder.set("a-0", "priority", "3");
    folder.set("a-0", "device/numa_node", "0");
    assert_eq!(before.difference(&before.read_again().unwrap()), None);
    fs::remove_dir_all(folder.roots().sysfs.join("a-0")).unwrap();
    assert!(before.read_again().is_err());
}

#[test]
fn how_many_queues_are_left_is_always_new() {
    let folder = Folder::new();
    folder.device("a-0");
    let info = UacceInfo::read(&folder.roots(), "a-0").unwrap();
    assert_eq!(info.available_instances().unwrap(), Some(7));
    folder.set("a-0", "available_instances", "0\n");
    assert_eq!(info.available_instances().unwrap(), Some(0));
    folder.set("a-0", "available_instances", "-19\n");
    assert_eq!(info.available_instances().unwrap(), None, "as of drivers that do not count");
    folder.set("a-0", "available_instances", "many\n");
    let error = info.available_instances().unwrap_err().to_string();
    assert!(error.contains("a-0/available_instances") && error.contains("\"many\""), "{error}");
}

#[test]
fn the_mode_is_told_by_flags_and_api() {
    for (api, flags, mode) in [
        ("hisi_qm_v2", "1", DmaMode::Sva),
        ("hisi_qm_v2_noiommu", "1", DmaMode::Sva),
        ("hisi_qm_v2_noiommu", "0", DmaMode::NoIommu),
        ("hisi_qm_v2", "128", DmaMode::ShareDomain),
    ] {
        let folder = Folder::new();
        folder.device("a-0");
        folder.set("a-0", "api", api);
        folder.set("a-0", "flags", flags);
        assert_eq!(UacceInfo::read(&folder.roots(), "a-0").unwrap().mode(), mode, "{api} {flags}");
    }
}

#[test]
fn words_of_the_server_add_algorithms_and_hardware_has_none() {
    let folder = Folder::new();
    folder.device("z-0");
    folder.set("z-0", "algorithms", "deflate\n");
    folder.set("z-0", "warpdrive", "zlib gzip level\n");
    let info = UacceInfo::read(&folder.roots(), "z-0").unwrap();
    assert!(["deflate", "zlib", "gzip"].iter().all(|a| info.does(a)) && !info.does("rsa"));
    assert!(info.extensions().level && !info.extensions().share);
    fs::remove_file(folder.roots().sysfs.join("z-0/warpdrive")).unwrap();
    let info = UacceInfo::read(&folder.roots(), "z-0").unwrap();
    assert_eq!((info.does("zlib"), info.extensions), (false, None));
}

#[test]
fn what_is_wrong_names_the_file_the_cause_and_the_remedy() {
    for (attribute, value, cause) in [
        ("api", "", "some text"),
        ("flags", "0x1", "bits"),
        ("flags", "4294967296", "bits"),
        ("algorithms", " \n", "some text"),
        ("region_mmio_size", "0", "2^30"),
        ("region_dus_size", "-4096", "2^30"),
        ("region_dus_size", "99999999999999999999", "2^30"),
        ("device/numa_node", "near", "node"),
        ("isolate", "2", "0 or 1"),
        ("priority", "high", "a number"),
    ] {
        let folder = Folder::new();
        folder.device("a-0");
        folder.set("a-0", attribute, value);
        let error = UacceInfo::read(&folder.roots(), "a-0").unwrap_err().to_string();
        let file = folder.roots().sysfs.join("a-0").join(attribute);
        assert!(error.contains(file.to_str().unwrap()), "{error}");
        assert!(error.contains(cause) && error.contains("Remedy: "), "{error}");
    }
    let needed = ["api", "flags", "algorithms", "region_mmio_size", "region_dus_size", "device/numa_node"];
    for attribute in needed {
        let folder = Folder::new();
        folder.device("a-0");
        fs::remove_file(folder.roots().sysfs.join("a-0").join(attribute)).unwrap();
        let error = UacceInfo::read(&folder.roots(), "a-0").unwrap_err().to_string();
        assert!(error.contains(attribute) && error.contains("Remedy: "), "{error}");
    }
    for attribute in ["isolate", "warpdrive"] {
        let folder = Folder::new();
        folder.device("a-0");
        fs::remove_file(folder.roots().sysfs.join("a-0").join(attribute)).unwrap();
        assert!(UacceInfo::read(&folder.roots(), "a-0").is_ok(), "{attribute} may be absent");
    }
}

#[test]
fn one_bad_device_hides_no_other() {
    let folder = Folder::new();
    for name in ["b-0", "a-0", "c-0"] {
        folder.device(name);
    }
    folder.set("b-0", "flags", "none");
    let listed = list(&folder.roots()).unwrap();
    let names: Vec<_> = listed.devices.iter().map(|info| info.name.as_str()).collect();
    assert_eq!((names, listed.skipped.len()), (vec!["a-0", "c-0"], 1));
    assert!(
        find(&folder.roots(), "b-0").unwrap_err().to_string().contains("b-0/flags"),
        "who asks for it hears of it"
    );
}

#[test]
fn without_the_list_the_remedy_is_told() {
    let roots = Roots::below(Path::new("/nonexistent"));
    let error = list(&roots).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/class/uacce") && error.contains("warpdrive serve"), "{error}");
}

#[test]
fn of_several_the_one_with_most_queues_left_is_taken() {
    let folder = Folder::new();
    for (name, left) in [("a-0", "3"), ("b-0", "9"), ("c-0", "9"), ("d-0", "30"), ("e-0", "40")] {
        folder.device(name);
        folder.set(name, "available_instances", left);
    }
    folder.set("d-0", "isolate", "1");
    folder.set("e-0", "algorithms", "zlib");
    let roots = folder.roots();
    let found = |wanted: &str| find(&roots, wanted).map(|info| info.name.clone());
    assert_eq!(found("rsa").unwrap(), "b-0", "the first of equals; d is out of order");
    assert_eq!(found("zlib").unwrap(), "e-0");
    assert_eq!(found("d-0").unwrap(), "d-0", "by its name at any rate");
    for name in ["a-0", "b-0", "c-0"] {
        folder.set(name, "available_instances", "0");
    }
    let error = found("rsa").unwrap_err();
    assert!(matches!(&error, DiscoverError::Exhausted { devices, .. } if devices.len() == 4), "{error}");
    let error = found("sha").unwrap_err().to_string();
    assert!(error.contains("\"sha\"") && error.contains("e-0 (zlib)"), "{error}");
    assert!(matches!(found("../a-0"), Err(DiscoverError::NotFound { .. })), "no paths");
}
