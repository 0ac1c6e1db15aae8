//! Tests of the grammars and of pinning. Maps marked (dpdk) are what DPDK 22.11 makes of the same text.

use proptest::prelude::*;

use super::*;

fn map(text: &str) -> Vec<(usize, String)> {
    let map = parse_lcores(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
    map.iter().map(|(lcore, cpus)| (lcore, cpus.to_string())).collect()
}

fn pairs(expected: &[(usize, &str)]) -> Vec<(usize, String)> {
    expected.iter().map(|&(lcore, cpus)| (lcore, cpus.to_owned())).collect()
}

/// The character and the text of a syntax error.
fn mistake(result: Result<LcoreMap, CoreError>) -> (usize, String) {
    match result {
        Err(CoreError::Syntax(e)) => (e.character(), e.what().to_owned()),
        other => panic!("expected a syntax error, got {other:?}"),
    }
}

#[test]
fn the_example_of_dpdks_source_gives_nine_lcores() {
    let expected = [
        (0, "0,6"),
        (1, "1"),
        (2, "5-7"),
        (3, "0,2"),
        (4, "0,2"),
        (5, "0,2"),
        (6, "0,6"),
        (7, "7"),
        (8, "8"),
    ];
    assert_eq!(map("1,2@(5-7),(3-5)@(0,2),(0,6),7-8"), pairs(&expected));
}

#[test]
fn the_examples_of_dpdks_guide() {
    assert_eq!(map("1-3"), pairs(&[(1, "1"), (2, "2"), (3, "3")]));
    assert_eq!(map("1@(1,2)"), pairs(&[(1, "1,2")]));
    assert_eq!(map("1@31,2@32,3@33"), pairs(&[(1, "31"), (2, "32"), (3, "33")]));
    assert_eq!(map("(1-3)@(31-33)"), pairs(&[(1, "31-33"), (2, "31-33"), (3, "31-33")]));
}

#[test]
fn odd_but_valid_texts() {
    assert_eq!(map("1-0"), pairs(&[(0, "0"), (1, "1")])); // (dpdk)
    assert_eq!(map("(0,1)"), pairs(&[(0, "0,1"), (1, "0,1")])); // (dpdk)
    assert_eq!(map(" ( 0 , 1 ) @ 1 "), pairs(&[(0, "1"), (1, "1")])); // (dpdk)
    assert_eq!(map("0@0-1"), pairs(&[(0, "0,1")])); // (dpdk)
    assert_eq!(map("5@0"), pairs(&[(5, "0")])); // (dpdk)
    assert_eq!(map("(1-0)@0,0"), pairs(&[(0, "0"), (1, "0")])); // (dpdk)
    assert_eq!(map("0@2-1,3"), pairs(&[(0, "1,2"), (3, "3")]));
    assert_eq!(map("\t1023@1023"), pairs(&[(1023, "1023")]));
    assert_eq!(map("007@08"), pairs(&[(7, "8")]));
    assert_eq!(map("0,0,0@0"), pairs(&[(0, "0")]));
}

#[test]
fn lcore_mistakes_are_placed() {
    let cases = [
        ("", 1, "expected an lcore number or \"(\", found the end"),
        ("   ", 4, "expected an lcore number or \"(\", found the end"),
        ("0,", 3, "expected an lcore number or \"(\", found the end"),
        (",0", 1, "expected an lcore number or \"(\", found \",\""),
        ("0,,1", 3, "expected an lcore number or \"(\", found \",\""),
        ("a", 1, "expected an lcore number or \"(\", found \"a\""),
        ("-1", 1, "expected an lcore number or \"(\", found \"-\""),
        ("0-", 3, "expected an lcore number, found the end"),
        ("0--1", 3, "expected an lcore number, found \"-\""),
        ("0-1-2", 4, "expected \",\" or the end, found \"-\""),
        ("0@", 3, "expected a cpu number or \"(\", found the end"),
        ("0@,2", 3, "expected a cpu number or \"(\", found \",\""),
        ("0@1@2", 4, "expected \",\" or the end, found \"@\""),
        ("@1", 1, "expected an lcore number or \"(\", found \"@\""),
        ("0-1@2", 1, "a range before \"@\" needs parentheses: (0-1)@..."),
        ("3,(0,1", 3, "\"(\" without its \")\""),
        ("(0,1)x", 6, "expected \",\" or the end, found \"x\""),
        ("()", 2, "expected an lcore number, found \")\""),
        ("((0))", 2, "expected an lcore number, found \"(\""),
        ("(0 1)", 4, "expected \",\" or \")\", found \"1\""),
        ("(0@1)", 3, "expected \",\" or \")\", found \"@\""),
        ("0)", 2, "expected \",\" or the end, found \")\""),
        ("0 1", 3, "expected \",\" or the end, found \"1\""),
        ("0@1,0@0", 5, "lcore 0 is on cpu 1 already, and here on cpu 0"),
        ("(0,1),1", 7, "lcore 1 is on cpu 0,1 already, and here on cpu 1"),
        ("1024", 1, "an lcore number is 0 to 1023, not 1024"),
        ("0@1024", 3, "a cpu number is 0 to 1023, not 1024"),
        ("0-99999999999999999999999", 3, "an lcore number is 0 to 1023, not 99999999999999999999"),
        ("٣", 1, "expected an lcore number or \"(\", found \"٣\""),
    ];
    for (text, character, what) in cases {
        assert_eq!(mistake(parse_lcores(text)), (character, what.to_owned()), "{text:?}");
    }
}

#[test]
fn masks() {
    let lcores = |text: &str| parse_mask(text).unwrap().to_string();
    assert_eq!(lcores("0x3"), "0,1");
    assert_eq!(lcores("3"), "0,1");
    assert_eq!(lcores("0XfF"), "0-7");
    assert_eq!(lcores(" 10 "), "4");
    assert_eq!(lcores(&format!("0x8{}", "0".repeat(255))), "1023");
    assert_eq!(lcores(&format!("{}1", "0".repeat(1000))), "0");
    let cases = [
        ("", 1, "expected a hexadecimal digit, found the end"),
        ("0x", 3, "expected a hexadecimal digit, found the end"),
        ("0xg", 3, "expected a hexadecimal digit, found \"g\""),
        ("3,4", 2, "expected a hexadecimal digit, found \",\""),
        ("0x00", 3, "the mask is 0: it names no core"),
    ];
    for (text, character, what) in cases {
        assert_eq!(mistake(parse_mask(text)), (character, what.to_owned()), "{text:?}");
    }
    let (character, what) = mistake(parse_mask(&format!("0x1{}", "0".repeat(256))));
    assert_eq!((character, what.as_str()), (3, "bit 1024 is out of range: cpus are 0 to 1023"));
}

#[test]
fn lists() {
    assert_eq!(parse_list("0,2-3").unwrap().to_string(), "0,2,3");
    assert_eq!(parse_list("(0-1)@(2,3)").unwrap().to_string(), "(0,1)@(2,3)");
    assert_eq!(
        parse_list("0,2-").unwrap_err().to_string().lines().next().unwrap().split(':').next(),
        Some("-l")
    );
}

#[test]
fn a_mistake_is_shown_with_a_caret_and_an_example() {
    let shown = parse_lcores("(0-1)@,2").unwrap_err().to_string();
    let expected = "--lcores: expected a cpu number or \"(\", found \",\" (character 7)\n\
                    \x20 (0-1)@,2\n\
                    \x20       ^\n\
                    \x20 right: --lcores '0@0,(1,2)@(2-3),4-5'";
    assert_eq!(shown, expected);
    let shown = parse_lcores("7,2-3@4").unwrap_err().to_string();
    assert_eq!(shown.lines().nth(2), Some("    ^^^"));
}

#[test]
fn a_long_text_is_cut_around_the_mistake_and_control_characters_are_not_echoed() {
    let shown =
        parse_lcores(&format!("{}\x1b{}", "1,".repeat(200), ",1".repeat(200))).unwrap_err().to_string();
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines.iter().all(|l| l.chars().count() < 110), "{shown}");
    assert!(!shown.contains('\x1b'));
    let caret = lines[2].find('^').unwrap();
    assert_eq!(lines[1].chars().nth(caret), Some('\u{fffd}'), "{shown}");
    let (_, what) = mistake(parse_lcores(&"0,".repeat(20_000)));
    assert!(what.contains("16384"), "{what}");
}

#[test]
fn only_one_option_may_choose() {
    assert!(choose(None, None, None).unwrap().is_none());
    assert_eq!(choose(Some("3"), None, None).unwrap().unwrap().len(), 2);
    assert_eq!(choose(None, Some("3"), None).unwrap().unwrap().len(), 1);
    assert_eq!(choose(None, None, Some("(3,4)@0")).unwrap().unwrap().len(), 2);
    for (c, l, m) in [(true, true, false), (true, false, true), (false, true, true), (true, true, true)] {
        let arg = |given: bool| given.then_some("1");
        let e = choose(arg(c), arg(l), arg(m)).unwrap_err();
        assert!(matches!(e, CoreError::MoreThanOne { .. }), "{e}");
    }
}

#[test]
fn cpus_outside_the_snapshot_are_refused_by_name() {
    let e = parse_lcores("0,4@(1,7-8)").unwrap().validate(&[0, 1, 3]).unwrap_err().to_string();
    assert!(e.contains("lcore 4 wants cpu 7,8") && e.contains("may run on cpu 0,1,3"), "{e}");
    parse_lcores("0,4@(1,3)").unwrap().validate(&[0, 1, 3]).unwrap();
    parse_lcores("9@0").unwrap().validate(&[0, 5000]).unwrap();
}

#[test]
fn nobody_chose() {
    assert_eq!(auto(&[3, 0, 1, 4096]).unwrap().to_string(), "0,1,3");
    assert!(matches!(auto(&[]), Err(CoreError::Empty)));
}

#[test]
fn cpus_of_two_lcores_are_contended() {
    assert!(parse_lcores("0-3").unwrap().contended().is_empty());
    assert_eq!(parse_lcores("0@(0-2),1@1,2@(2,3)").unwrap().contended().to_string(), "1,2");
}

#[test]
fn pinning_is_verified() {
    let allowed = allowed().unwrap();
    std::thread::spawn(move || {
        let before = current().unwrap();
        assert_eq!(before.iter().collect::<Vec<_>>(), allowed);
        let one = CpuSet::of(&allowed[..1]).unwrap();
        pin_current(&one).unwrap();
        assert_eq!(current().unwrap(), one);
        pin_current(&before).unwrap();
        assert_eq!(current().unwrap(), before);
        assert!(matches!(pin_current(&CpuSet::new()), Err(CoreError::Empty)));
        if !allowed.contains(&1023) {
            let nowhere = CpuSet::of(&[1023]).unwrap();
            assert!(matches!(pin_current(&nowhere), Err(CoreError::Pin { .. })));
            let partly = CpuSet::of(&[allowed[0], 1023]).unwrap();
            assert!(matches!(pin_current(&partly), Err(CoreError::PinnedElsewhere { .. })));
        }
    })
    .join()
    .unwrap();
}

/// A set as text, with its meaning.
fn set() -> impl Strategy<Value = (String, Vec<usize>, bool)> {
    let item = prop_oneof![
        (0..MAX_CPUS).prop_map(|n| (n.to_string(), vec![n])),
        (0..MAX_CPUS, 0..MAX_CPUS).prop_map(|(a, b)| (format!("{a} - {b}"), (a.min(b)..=a.max(b)).collect())),
    ];
    let group = prop::collection::vec(item.clone(), 1..5).prop_map(|items| {
        let text: Vec<_> = items.iter().map(|(text, _)| text.clone()).collect();
        let ids = items.into_iter().flat_map(|(_, ids)| ids).collect();
        (format!("({})", text.join(", ")), ids, true)
    });
    prop_oneof![item.prop_map(|(text, ids)| (text, ids, false)), group]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn one_entry_means_what_it_says((text, ids, group) in set(), at in prop::option::of(set())) {
        // A range before @ must be a group.
        let (text, group) = if at.is_some() && !group { (format!("({text})"), true) } else { (text, group) };
        let written = at.as_ref().map_or(text.clone(), |(cpus, ..)| format!("{text}@{cpus}"));
        let map = parse_lcores(&written).unwrap();
        let shared = at.map(|(_, cpus, _)| cpus).or(group.then(|| ids.clone()));
        for &lcore in &ids {
            let cpus = CpuSet::of(shared.as_deref().unwrap_or(&[lcore])).unwrap();
            prop_assert_eq!(map.get(lcore), Some(&cpus));
        }
        prop_assert_eq!(map.iter().map(|(l, _)| l).collect::<Vec<_>>(),
            CpuSet::of(&ids).unwrap().iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_map_survives_being_written_and_read(
        entries in prop::collection::btree_map(0..40usize, prop::collection::vec(0..40usize, 1..4), 1..30),
    ) {
        let map = LcoreMap(entries.iter().map(|(&l, cpus)| (l, CpuSet::of(cpus).unwrap())).collect());
        let text = map.to_string();
        prop_assert_eq!(parse_lcores(&text).unwrap(), map.clone(), "{}", text);
        prop_assert_eq!(parse_list(&text).unwrap(), map);
    }

    #[test]
    fn nothing_panics(text in "[0-9(),@x \t-]{0,40}|.{0,40}") {
        for result in [parse_mask(&text), parse_list(&text), parse_lcores(&text)] {
            match result {
                Ok(map) => prop_assert!(map.len() > 0 && parse_lcores(&map.to_string()).unwrap() == map),
                Err(e) => prop_assert!(e.to_string().contains("right: ")),
            }
        }
    }
}
