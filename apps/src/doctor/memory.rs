//! Pages and limits.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr;

use super::kernel::capabilities;
use super::{Area, Fact, Fix, Roots, Verdict, names, read};

/// 128 MiB: the pools, rings and tables of the largest example.
const PAGES_2M: u64 = 64;
/// What must be lockable where there are no hugepages.
const LOCKED_BYTES: u64 = 64 << 20;

pub(super) fn facts(roots: &Roots) -> Vec<Fact> {
    vec![
        hugepages_2m(roots),
        hugepages_1g(roots),
        hugetlb_memfd(map_hugetlb_memfd()),
        transparent(roots),
        memlock(roots),
        pagemap(&first_frame(&roots.proc)),
        numa(roots),
    ]
}

fn pool(roots: &Roots, kib: u32, what: &str) -> Option<u64> {
    read(&roots.sys.join(format!("kernel/mm/hugepages/hugepages-{kib}kB/{what}")))?.parse().ok()
}

fn hugepages_2m(roots: &Roots) -> Fact {
    let why = "hugepages hold the packet buffers: fewer TLB misses, physically contiguous, never swapped";
    let path = roots.sys.join("kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
    let Some(total) = pool(roots, 2048, "nr_hugepages") else {
        return Fact::new(Area::Memory, "hugepages 2M", "not in this kernel", why)
            .judged(Verdict::Note, "a kernel with CONFIG_HUGETLBFS; till then pools use 4 KiB pages");
    };
    let free = pool(roots, 2048, "free_hugepages").unwrap_or(0);
    Fact::new(Area::Memory, "hugepages 2M", format!("{total}, {free} free"), why)
        .note_if(total < PAGES_2M, format!("echo {PAGES_2M} > {}", path.display()))
        .fixed_by(Fix::AtLeast { path, value: PAGES_2M })
}

fn hugepages_1g(roots: &Roots) -> Fact {
    let found = match pool(roots, 1_048_576, "nr_hugepages") {
        None => "not on this cpu or kernel".to_owned(),
        Some(0) => "none, none needed".to_owned(),
        Some(n) => format!("{n}, {} free", pool(roots, 1_048_576, "free_hugepages").unwrap_or(0)),
    };
    let why = "of use for pools of 1 GiB and more only; smaller ones take 2 MiB pages";
    Fact::new(Area::Memory, "hugepages 1G", found, why)
}

fn hugetlb_memfd(mapped: io::Result<()>) -> Fact {
    let why = "memory that devices and other processes share is a memfd of hugepages: no mount is needed";
    let fact = Fact::new(Area::Memory, "hugetlb memfd", "works", why);
    match mapped {
        Ok(()) => fact,
        Err(e) => {
            let remedy = if e.raw_os_error() == Some(libc::ENOMEM) {
                "free hugepages (see \"hugepages 2M\"); in a container also the cgroup's hugetlb.2MB.max"
            } else {
                "a kernel with CONFIG_HUGETLBFS that permits memfd_create(MFD_HUGETLB)"
            };
            Fact { found: format!("no: {e}"), ..fact }.judged(Verdict::Note, remedy)
        }
    }
}

/// Maps one 2 MiB page of a memfd, and lets it go.
fn map_hugetlb_memfd() -> io::Result<()> {
    const BYTES: usize = 2 << 20;
    // SAFETY: the name is a NUL-terminated literal.
    let raw = unsafe {
        libc::memfd_create(
            c"warpdrive-doctor".as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_HUGETLB | libc::MFD_HUGE_2MB,
        )
    };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: plain call on an owned descriptor.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), BYTES as libc::off_t) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new mapping at an address of the kernel's choice; mapping reserves the page, none is touched.
    unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let p = libc::mmap(ptr::null_mut(), BYTES, access, libc::MAP_SHARED, fd.as_raw_fd(), 0);
        if p == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        libc::munmap(p, BYTES);
    }
    Ok(())
}

fn transparent(roots: &Roots) -> Fact {
    let path = roots.sys.join("kernel/mm/transparent_hugepage/enabled");
    let modes = read(&path).unwrap_or_default();
    let chosen =
        modes.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("absent", |(mode, _)| mode);
    let why = "in mode \"always\" khugepaged moves pages of any process, which halts its threads meanwhile";
    Fact::new(Area::Memory, "transparent hugepages", chosen, why)
        .note_if(chosen == "always", format!("echo madvise > {}", path.display()))
        .fixed_by(Fix::Set { paths: vec![path], value: "madvise".to_owned() })
}

fn memlock(roots: &Roots) -> Fact {
    let limits = read(&roots.proc.join("self/limits")).unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or("unknown");
    let status = read(&roots.proc.join("self/status")).unwrap_or_default();
    let exempt = capabilities(&status) & (1 << super::kernel::CAP_IPC_LOCK) != 0;
    let found = match soft.parse::<u64>() {
        Ok(bytes) => format!("{} KiB", bytes / 1024),
        Err(_) => soft.to_owned(),
    };
    let enough = exempt || soft == "unlimited" || soft.parse().is_ok_and(|bytes: u64| bytes >= LOCKED_BYTES);
    let found = if exempt { format!("{found}, waived by CAP_IPC_LOCK") } else { found };
    let why = "4 KiB pages are locked so that they keep their physical address; hugepages need no limit";
    Fact::new(Area::Memory, "locked memory limit", found, why)
        .note_if(!enough, "ulimit -l unlimited   # as root; in a systemd unit: LimitMEMLOCK=infinity")
}

fn pagemap(frame: &io::Result<u64>) -> Fact {
    let why = "DMA mode \"noiommu\" gives devices physical addresses; \"sva\" and \"share-domain\" need none";
    let fact = Fact::new(Area::Memory, "physical addresses", "shown", why);
    let hidden = match frame {
        Ok(0) => "hidden (frame 0)".to_owned(),
        Ok(_) => return fact,
        Err(e) => format!("unreadable: {e}"),
    };
    Fact { found: hidden, ..fact }.judged(
        Verdict::Note,
        "setcap cap_sys_admin+ep \"$(command -v warpdrive)\"   # or run as root, or dma = \"sva\"",
    )
}

/// The physical frame of a page of this process; 0 when the kernel hides it.
fn first_frame(proc: &Path) -> io::Result<u64> {
    const FRAME: u64 = (1 << 55) - 1; // Documentation/admin-guide/mm/pagemap.rst
    const PAGE: usize = 4096; // an entry of a larger page size merely lies earlier: still one of this process
    let here = std::hint::black_box(Box::new(1u8));
    let mut entry = [0u8; 8];
    let offset = (ptr::from_ref::<u8>(&here).addr() / PAGE * 8) as u64;
    std::fs::File::open(proc.join("self/pagemap"))?.read_exact_at(&mut entry, offset)?;
    Ok(u64::from_ne_bytes(entry) & FRAME)
}

fn numa(roots: &Roots) -> Fact {
    let nodes = names(&roots.sys.join("devices/system/node"));
    let count =
        nodes.iter().filter(|n| n.strip_prefix("node").is_some_and(|id| id.parse::<u32>().is_ok())).count();
    let found = match count {
        0 | 1 => "1 node".to_owned(),
        n => format!("{n} nodes"),
    };
    let why = "with several nodes, a pool belongs on the node of its cores and of its interface";
    Fact::new(Area::Memory, "numa", found, why)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{named, tree};
    use super::*;

    const HUGE: &str = "sys/kernel/mm/hugepages/hugepages-2048kB";

    #[test]
    fn few_hugepages_are_raised_and_others_kept() {
        let (dir, roots) = tree(&[
            (&format!("{HUGE}/nr_hugepages"), "8\n"),
            (&format!("{HUGE}/free_hugepages"), "5\n"),
            ("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "2\n"),
        ]);
        let facts = facts(&roots);
        let pages = named(&facts, "hugepages 2M");
        let path = dir.path().join(HUGE).join("nr_hugepages");
        assert_eq!(pages.found, "8, 5 free");
        assert_eq!(pages.remedy, Some(format!("echo 64 > {}", path.display())));
        assert_eq!(pages.fix, Some(Fix::AtLeast { path, value: 64 }));
        assert_eq!(named(&facts, "hugepages 1G").found, "2, 0 free");
    }

    #[test]
    fn enough_hugepages_need_no_fix() {
        let (_dir, roots) = tree(&[(&format!("{HUGE}/nr_hugepages"), "64\n")]);
        let fact = hugepages_2m(&roots);
        assert_eq!((fact.verdict, fact.fix, fact.remedy), (Verdict::Good, None, None));
    }

    #[test]
    fn transparent_hugepages_always_are_noted() {
        let file = "sys/kernel/mm/transparent_hugepage/enabled";
        let (_dir, roots) = tree(&[(file, "[always] madvise never\n")]);
        let fact = transparent(&roots);
        assert_eq!((fact.verdict, fact.found.as_str()), (Verdict::Note, "always"));
        assert!(fact.fix.is_some());
        let (_dir, roots) = tree(&[(file, "always [madvise] never\n")]);
        assert_eq!(transparent(&roots).verdict, Verdict::Good);
    }

    #[test]
    fn locked_memory() {
        let limits = |soft: &str| {
            format!("Limit  Soft  Hard  Units\nMax locked memory   {soft}   unlimited   bytes\n")
        };
        let judge = |soft: &str, caps: &str| {
            let (_dir, roots) = tree(&[
                ("proc/self/limits", &limits(soft)),
                ("proc/self/status", &format!("CapEff:\t{caps}\n")),
            ]);
            let fact = memlock(&roots);
            (fact.verdict, fact.found)
        };
        assert_eq!(judge("8388608", "0"), (Verdict::Note, "8192 KiB".to_owned()));
        assert_eq!(judge("67108864", "0"), (Verdict::Good, "65536 KiB".to_owned()));
        assert_eq!(judge("unlimited", "0"), (Verdict::Good, "unlimited".to_owned()));
        assert_eq!(judge("65536", "4000"), (Verdict::Good, "64 KiB, waived by CAP_IPC_LOCK".to_owned()));
    }

    #[test]
    fn frames_and_memfds_by_their_answers() {
        assert_eq!(pagemap(&Ok(0)).verdict, Verdict::Note);
        assert_eq!(pagemap(&Ok(5)).verdict, Verdict::Good);
        assert!(first_frame(Path::new("/proc")).is_ok());
        let none = hugetlb_memfd(Err(io::Error::from_raw_os_error(libc::ENOMEM)));
        assert!(none.remedy.unwrap().contains("free hugepages"));
    }

    #[test]
    fn nodes_are_counted() {
        let node = "sys/devices/system/node";
        let (_dir, roots) = tree(&[
            (&format!("{node}/node0/cpulist"), "0"),
            (&format!("{node}/node1/cpulist"), "1"),
            (&format!("{node}/online"), "0-1"),
        ]);
        assert_eq!(numa(&roots).found, "2 nodes");
    }
}
