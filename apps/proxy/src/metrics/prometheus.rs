//! Numbers as text for Prometheus: the text-based exposition format, version 0.0.4.

use std::fmt::{self, Display, Write as _};

use super::histogram::Snapshot;

/// Before each name.
const PREFIX: &str = "warpdrive_proxy_";

/// What numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They come and go.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A text that is being made. Numbers of one family stand together, in whatever order they come.
#[derive(Debug, Default)]
pub struct Prometheus {
    families: Vec<Family>,
}

#[derive(Debug)]
struct Family {
    name: String,
    kind: Kind,
    help: String,
    samples: String,
}

/// Where numbers of a family go.
pub struct Samples<'p>(&'p mut Family);

/// A number of a sample.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A whole one.
    Whole(u64),
    /// Another.
    Real(f64),
}

impl From<u64> for Number {
    fn from(n: u64) -> Self {
        Self::Whole(n)
    }
}

impl From<f64> for Number {
    fn from(n: f64) -> Self {
        Self::Real(n)
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(n) => write!(f, "{n}"),
            Self::Real(n) if n.is_infinite() => f.write_str(if *n > 0.0 { "+Inf" } else { "-Inf" }),
            Self::Real(n) => write!(f, "{n}"),
        }
    }
}

impl Prometheus {
    /// What HTTP calls this.
    pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A family by its name, without the prefix: letters, digits and underscores; units are seconds and bytes, and what is
    /// counted ends in `_total`. If there is one of that name, it is that one.
    pub fn family(&mut self, kind: Kind, name: &str, help: &str) -> Samples<'_> {
        debug_assert!(is_name(name), "{name:?} is no name");
        debug_assert_eq!(kind == Kind::Counter, name.ends_with("_total"), "{name}");
        let place = self.families.iter().position(|f| f.name == name).unwrap_or_else(|| {
            let (name, help) = (name.to_owned(), help.to_owned());
            self.families.push(Family { name, kind, help, samples: String::new() });
            self.families.len() - 1
        });
        debug_assert_eq!(self.families[place].kind, kind, "{name} is two things");
        Samples(&mut self.families[place])
    }

    /// The text.
    #[must_use]
    pub fn finish(&self) -> String {
        let mut text = String::new();
        for Family { name, kind, help, samples } in &self.families {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let _ = writeln!(text, "# HELP {PREFIX}{name} {}", Escaped { text: help, quotes: false });
            let _ = writeln!(text, "# TYPE {PREFIX}{name} {kind}");
            text.push_str(samples);
        }
        text
    }
}

impl Samples<'_> {
    /// Adds a number. Labels that are empty are as good as absent, and are left out.
    pub fn add(&mut self, labels: &[(&str, &str)], value: impl Into<Number>) {
        self.line("", labels, None, value.into());
    }

    /// Adds a distribution of seconds.
    pub fn histogram(&mut self, labels: &[(&str, &str)], values: &Snapshot) {
        let buckets = values.cumulative().map(|(ns, n)| (ns as f64 / 1e9, n));
        self.distribution(labels, buckets, values.sum_seconds(), values.count());
    }

    /// Adds a distribution: bounds, and how many values are not above each; the sum and the number of all.
    pub fn distribution(
        &mut self,
        labels: &[(&str, &str)],
        buckets: impl IntoIterator<Item = (f64, u64)>,
        sum: f64,
        count: u64,
    ) {
        for (bound, n) in buckets {
            self.line("_bucket", labels, Some(bound.into()), n.into());
        }
        self.line("_bucket", labels, Some(f64::INFINITY.into()), count.into());
        self.line("_sum", labels, None, sum.into());
        self.line("_count", labels, None, count.into());
    }

    fn line(&mut self, ending: &str, labels: &[(&str, &str)], bound: Option<Number>, value: Number) {
        let Family { name, samples, .. } = &mut *self.0;
        let _ = write!(samples, "{PREFIX}{name}{ending}");
        let bound = bound.map(|bound| bound.to_string());
        let labels = labels.iter().copied().chain(bound.as_deref().map(|bound| ("le", bound)));
        let mut before = '{';
        for (label, text) in labels.filter(|(_, text)| !text.is_empty()) {
            debug_assert!(is_name(label), "{label:?} is no name");
            let _ = write!(samples, "{before}{label}=\"{}\"", Escaped { text, quotes: true });
            before = ',';
        }
        let _ = writeln!(samples, "{} {value}", if before == ',' { "}" } else { "" });
    }
}

fn is_name(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b == b'_';
    name.bytes().next().is_some_and(letter) && name.bytes().all(|b| letter(b) || b.is_ascii_digit())
}

/// A text such that no line and no pair of quotes ends in it.
struct Escaped<'t> {
    text: &'t str,
    quotes: bool,
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.text.chars() {
            match letter {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.quotes => f.write_str("\\\"")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}
