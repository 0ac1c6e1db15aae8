//! Reads what Prometheus would read, and is as strict as the format's description: for tests.

use std::collections::{BTreeMap, HashMap, HashSet};

/// Labels and a number.
pub type Sample = (BTreeMap<String, String>, f64);

/// Families by name.
#[derive(Debug, Default)]
pub struct Parsed {
    pub kinds: HashMap<String, String>,
    /// By the name of the sample, which for histograms is longer than that of the family.
    pub samples: HashMap<String, Vec<Sample>>,
}

impl Parsed {
    /// The number with exactly these labels.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let samples = self.samples.get(name).unwrap_or_else(|| panic!("there is no {name}"));
        let found = samples.iter().find(|(labels, _)| *labels == wanted);
        found.unwrap_or_else(|| panic!("no {name} with {labels:?}: {samples:?}")).1
    }
}

/// Panics at what is no such text.
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let (mut family, mut helped) = (String::new(), HashSet::new());
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
            name.clone_into(&mut family);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert!(name == family && ["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(parsed.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
        } else {
            let (name, sample) = sample(line);
            let kind = parsed.kinds.get(&family).unwrap_or_else(|| panic!("no type before {line}"));
            let ending = name.strip_prefix(&*family).unwrap_or_else(|| panic!("{line} is among {family}"));
            let fits = match &**kind {
                "histogram" => ["_bucket", "_sum", "_count"].contains(&ending),
                _ => ending.is_empty(),
            };
            assert!(fits, "{line} is no {kind}");
            let samples = parsed.samples.entry(name).or_default();
            assert!(samples.iter().all(|(labels, _)| *labels != sample.0), "twice: {line}");
            samples.push(sample);
        }
    }
    for (name, _) in parsed.kinds.iter().filter(|(_, kind)| *kind == "histogram") {
        check_histogram(&parsed, name);
    }
    parsed
}

fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn sample(line: &str) -> (String, Sample) {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect(line);
            assert!(is_name(label), "{line}");
            let (value, after) = quoted(after).expect(line);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            match after.split_at(1) {
                (",", after) => rest = after,
                ("}", after) => break rest = after,
                _ => panic!("{line}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').expect(line);
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().expect(line) };
    assert!(value >= 0.0, "{line}");
    (name.to_owned(), (labels, value))
}

/// A text up to its closing quote, and what is behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut letters) = (String::new(), text.char_indices());
    loop {
        match letters.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => match letters.next()?.1 {
                'n' => value.push('\n'),
                letter @ ('\\' | '"') => value.push(letter),
                _ => return None,
            },
            (_, letter) => value.push(letter),
        }
    }
}

fn check_histogram(parsed: &Parsed, name: &str) {
    let of = |ending: &str| parsed.samples.get(&format!("{name}{ending}")).map_or(&[][..], Vec::as_slice);
    for (labels, count) in of("_count") {
        let mine = |sample: &&Sample| sample.0.iter().filter(|(name, _)| *name != "le").eq(labels);
        assert_eq!(of("_sum").iter().filter(mine).count(), 1, "{name} {labels:?}");
        let buckets: Vec<(f64, f64)> = of("_bucket")
            .iter()
            .filter(mine)
            .map(|(labels, n)| {
                (if labels["le"] == "+Inf" { f64::INFINITY } else { labels["le"].parse().unwrap() }, *n)
            })
            .collect();
        assert!(
            buckets.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1),
            "{name} {labels:?}: {buckets:?}"
        );
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{name} {labels:?}");
    }
    let groups: HashSet<_> = of("_bucket")
        .iter()
        .map(|(labels, _)| labels.iter().filter(|(name, _)| *name != "le").collect::<Vec<_>>())
        .collect();
    assert_eq!(groups.len(), of("_count").len(), "{name}");
}
