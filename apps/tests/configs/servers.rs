//! Mistakes in files of servers, and in the tables of devices that are elsewhere.

use super::{Wrong, file, pipelines_of, tables_of};

pub fn cases() -> Vec<Wrong> {
    [files(), serve(), cores(), devices(), queues(), permissions(), clients()].into_iter().flatten().collect()
}

/// A server with a device, and something in its `[serve]` table.
fn serve_of(keys: &str, message: &'static str, help: &'static str) -> Wrong {
    file(&format!("version = 1\n[serve]\n{keys}\n{ZIP}"), message, help)
}

/// A server with a ZIP device that has these keys too.
fn zip_of(keys: &str, message: &'static str, help: &'static str) -> Wrong {
    file(&format!("version = 1\n[serve]\n{ZIP}{keys}\n"), message, help)
}

const ZIP: &str = "[serve.device.hisi_zip-0]\nfunction = \"zip\"\n";

fn files() -> Vec<Wrong> {
    let both = format!("version = 1\n[serve]\n{ZIP}");
    vec![
        file(&format!("»[serve]\n{ZIP}"), "the version is missing", "version = 1"),
        file(&format!("version = »2\n[serve]\n{ZIP}"), "version 2 is not known", "version = 1"),
        file("version = 1\nserve = »1\n", "a table is expected here", "[serve]"),
        file("version = 1\n»[[serve]]\n", "a table is expected here", "[serve]"),
        file("version = 1\n[»serv]\n", "unknown table or key \"serv\"", "did you mean \"serve\"?"),
        file(&format!("{both}[»wobble]\n"), "unknown table or key \"wobble\"", "version, serve"),
        file(&format!("{both}[[»pipeline]]\nname = \"p\"\n"), "\"pipeline\" has no place", "warpdrive run"),
        file(
            &format!("{both}[»device.r]\ndriver = \"soft-rsa\"\n"),
            "\"device\" has no place",
            "[serve.device.NAME]",
        ),
        file(&format!("{both}[»eal]\ncores = \"0\"\n"), "\"eal\" has no place", "keys of [serve]"),
        file("»version = 1\n[serve]\n", "there is no device to be served", "[serve.device.hisi_zip-0]"),
    ]
}

fn serve() -> Vec<Wrong> {
    vec![
        serve_of("»expos = \"/x\"", "unknown key \"expos\"", "did you mean \"expose\"?"),
        serve_of(
            "»wobble = 1",
            "unknown key \"wobble\"",
            "expose, cores, idle, in_flight, simd, passes, deadline_us, blinding",
        ),
        serve_of("»core = 1", "unknown key \"core\"", "did you mean \"cores\"?"),
        serve_of("[serve.»devise.x]", "unknown key \"devise\"", "did you mean \"device\"?"),
        serve_of("expose = »1", "text is expected", "quotes"),
        serve_of("expose = »\"\"", "expose cannot be empty", "the path of a folder"),
        serve_of("idle = »\"slep\"", "\"slep\"", "did you mean \"sleep\"?"),
        serve_of("in_flight = »0", "in_flight = 0", "1 to 4096"),
        serve_of("in_flight = »4097", "in_flight = 4097", "1 to 4096"),
        serve_of("in_flight = »-1", "-1", "0 or more"),
        serve_of("in_flight = »\"many\"", "a whole number is expected", "without quotes"),
        serve_of("simd = »\"avx\"", "\"avx\"", "auto, avx512-ifma"),
        serve_of("passes = »\"large\"", "\"large\"", "did you mean \"largest\"?"),
        serve_of("deadline_us = »20000", "deadline_us = 20000 is too long", "0 to 10000"),
        serve_of("blinding = »1", "true or false is expected", "true"),
    ]
}

fn cores() -> Vec<Wrong> {
    vec![
        serve_of("cores = »1", "a list is expected", "[ … ]"),
        serve_of("cores = »[]", "no core to serve with", "cores = [1]"),
        serve_of("cores = [»\"0\"]", "a whole number is expected", "without quotes"),
        serve_of("cores = [0, »0]", "core 0 twice", "each core once"),
        serve_of("cores = [»77]", "core 77 is not one of the lcores in use", "lcores: 0 (choose others"),
        zip_of("core = »1", "core 1 is not one of the server's", "cores: 0, as serve.cores says"),
        zip_of("core = »\"auto\"", "a whole number is expected", "without quotes"),
    ]
}

fn devices() -> Vec<Wrong> {
    vec![
        file("version = 1\n[serve]\ndevice = »1\n", "a table is expected", "[serve.device.NAME]"),
        serve_of("»[serve.device.d]", "the key \"function\" is missing", "function = \"zip\""),
        serve_of("[serve.device.d]\nfunction = »\"zap\"", "\"zap\"", "did you mean \"zip\"?"),
        serve_of("[serve.device.d]\nfunction = »\"rsa\"", "\"rsa\"", "hpre, zip"),
        serve_of("[serve.device.»\"\"]\nfunction = \"zip\"", "a name cannot be empty", "[serve.device.NAME]"),
        serve_of(
            "[serve.device.»\"a/b\"]\nfunction = \"zip\"",
            "\"a/b\" cannot be the name",
            "\"hisi_zip-0\"",
        ),
        serve_of(
            "[serve.device.»\"..\"]\nfunction = \"hpre\"",
            "\"..\" cannot be the name",
            "\"hisi_hpre-0\"",
        ),
        zip_of("»driver = \"soft-zip\"", "unknown key \"driver\"", "keys: function, algorithms, api"),
        zip_of("»queue = 3", "unknown key \"queue\"", "did you mean \"queues\"?"),
        zip_of("algorithms = »\"zlib\"", "a list is expected", "[ … ]"),
        zip_of("algorithms = »[]", "computes nothing", "deflate, zlib, gzip"),
        zip_of("algorithms = [»\"gzp\"]", "\"gzp\" is not what zip does", "did you mean \"gzip\"?"),
        zip_of("algorithms = [\"gzip\", »\"gzip\"]", "\"gzip\" twice", "once"),
        serve_of(
            "[serve.device.hisi_hpre-0]\nfunction = \"hpre\"\nalgorithms = [»\"dh\"]",
            "\"dh\" is not what hpre does",
            "rsa",
        ),
        serve_of(
            "[serve.device.hisi_hpre-0]\nfunction = \"hpre\"\nlevel = »1",
            "\"level\" is a key of zip devices",
            "move it to the zip device",
        ),
        zip_of("level = »13", "level = 13", "0 to 12"),
        zip_of("priority = »9", "priority = 9", "1 to 8"),
        zip_of("priority = »0", "priority = 0", "1 to 8"),
        zip_of("inputs = »\"inplace\"", "\"inplace\"", "did you mean \"in-place\"?"),
        zip_of("mode = »\"iommu\"", "\"iommu\"", "did you mean \"noiommu\"?"),
        zip_of("numa_node = »-2", "numa_node = -2", "0 to 1023; -1"),
        zip_of("numa_node = »\"0\"", "a whole number is expected", "without quotes"),
    ]
}

fn queues() -> Vec<Wrong> {
    vec![
        zip_of("api = »0", "api = 0", "1 to 3"),
        zip_of("api = »4", "api = 4", "1 to 3"),
        zip_of(
            "api = 3\ndepth = »16",
            "queues of api = 3 have their doorbell in the first entry",
            "depth = 2, or api = 1",
        ),
        zip_of("depth = »1", "depth = 1", "2 to 4096"),
        zip_of("depth = »4097", "depth = 4097", "2 to 4096"),
        zip_of("queues = »0", "queues = 0", "1 to 1023"),
        zip_of("queues = »1024", "queues = 1024", "1 to 1023"),
        zip_of("queues = 8\nqueues_per_process = »9", "queues_per_process = 9", "1 to 8"),
        zip_of("reserve = »64", "text is expected", "quotes"),
        zip_of("reserve = »\"64\"", "\"64\" is not a size", "\"64 MiB\""),
        zip_of("reserve = »\"64 MB\"", "\"64 MB\" is not a size", "KiB, MiB or GiB"),
        zip_of("depth = 16\nreserve = »\"1 KiB\"", "\"1 KiB\" cannot be reserved", "whole pages"),
        zip_of("depth = 16\nreserve = »\"2 GiB\"", "\"2 GiB\" cannot be reserved", "\"1 GiB\""),
        zip_of("reserve = »\"64 MiB\"", "a queue of 1024 entries is longer", "depth = 28 or less"),
        zip_of("reserve = \"64 MiB\"\ndepth = »29", "a queue of 29 entries is longer", "depth = 28 or less"),
    ]
}

fn permissions() -> Vec<Wrong> {
    vec![
        zip_of("permissions = »660", "text is expected", "quotes"),
        zip_of("permissions = »\"0888\"", "\"0888\" are not permissions", "octal"),
        zip_of("permissions = »\"1777\"", "\"1777\" are not permissions", "\"0660\""),
        zip_of("permissions = »\"rw\"", "\"rw\" are not permissions", "\"0660\""),
        zip_of("permissions = »\"\"", "\"\" are not permissions", "\"0660\""),
        zip_of("user = »\"nobody-at-all\"", "there is no user \"nobody-at-all\"", "getent passwd"),
        zip_of("user = »0", "text is expected", "quotes"),
        zip_of("group = »\"none-of-these\"", "there is no group \"none-of-these\"", "getent group"),
        zip_of("group = »\"4294967295\"", "there is no group \"4294967295\"", "getent group"),
    ]
}

/// `driver = "uacce"`, in files for `warpdrive run`.
fn clients() -> Vec<Wrong> {
    let device = |keys: &str| format!("[device.u]\ndriver = \"uacce\"\n{keys}");
    let refused = |keys: &str, message, help| tables_of(&device(keys), message, help);
    vec![
        tables_of("[device.u]\ndriver = »\"uace\"", "no device driver \"uace\"", "did you mean \"uacce\"?"),
        refused("»core = 1", "\"core\" is a key of engines in this process", "[serve] of the server's file"),
        refused("»idle = \"spin\"", "\"idle\" is a key of engines in this process", "leave it out"),
        refused("»simd = \"auto\"", "\"simd\" is a key of engines in this process", "leave it out"),
        refused("»blinding = true", "\"blinding\" is a key of engines in this process", "leave it out"),
        refused("»devices = \"x\"", "unknown key \"devices\"", "did you mean \"device\"?"),
        refused("»name = \"x\"", "unknown key \"name\"", "driver, device, sysfs, dev, expose"),
        refused("device = »1", "text is expected", "quotes"),
        refused("device = »\"\"", "device cannot be empty", "hisi_zip-0"),
        refused("device = »\"/dev/hisi_zip-0\"", "is not the name of a device", "folders are sysfs and dev"),
        refused("sysfs = »\"\"", "sysfs cannot be empty", "the path of a folder"),
        refused(
            "expose = \"/x\"\nsysfs = »\"/y\"",
            "sysfs beside expose",
            "leave sysfs out, or leave expose out",
        ),
        refused("expose = \"/x\"\ndev = »\"/y\"", "dev beside expose", "leave dev out, or leave expose out"),
        pipelines_of(
            &format!(
                "{}[[pipeline]]\nname = \"p\"\nstages = [\n{}\n]\n",
                device(""),
                "{ rx = \"a\" },\n{ rsa = \"u\", op = \"sign\", scheme = \"pss-sha256\", key = \"demo:rsa2048\" },\n\
                 { zip = »\"u\", op = \"compress\" },\n{ tx = \"b\" }"
            ),
            "device \"u\" does RSA already, and ZIP is needed here",
            "another [device.NAME]",
        ),
    ]
}
