//! Diagnostics that show the place: file, line, column, the line itself and a caret.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, and with which name or value.
    pub message: String,
    /// Where, in bytes of the text.
    pub span: Range<usize>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without help.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, help: None }
    }

    /// An error of a floor below, in which the remedy comes after the cause.
    #[must_use]
    pub fn of_error(span: Range<usize>, text: &str) -> Self {
        match text.split_once(". Remedy: ") {
            Some((cause, remedy)) => Self::new(span, cause).help(remedy),
            None => Self::new(span, text),
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Everything that is wrong with one configuration text.
#[derive(Debug)]
pub struct ConfigError {
    /// The file's name as the user gave it.
    pub file: String,
    /// Its text.
    pub text: String,
    /// At least one.
    pub diagnostics: Vec<Diagnostic>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, d) in self.diagnostics.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            self.show(d, f)?;
        }
        Ok(())
    }
}

impl ConfigError {
    fn show(&self, d: &Diagnostic, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Place::of(&self.text, d.span.start);
        writeln!(f, "{}:{}:{}: error: {}", self.file, at.line, at.column, d.message)?;
        let margin = at.line.to_string().len();
        let shown = at.text.replace('\t', " ");
        let rest = shown.chars().count().saturating_sub(at.column - 1);
        let width = self.text.get(d.span.clone()).map_or(1, |s| s.chars().count()).min(rest).max(1);
        writeln!(f, "{:margin$} |", "")?;
        writeln!(f, "{} | {shown}", at.line)?;
        write!(f, "{:margin$} | {:indent$}{}", "", "", "^".repeat(width), indent = at.column - 1)?;
        if let Some(help) = &d.help {
            write!(f, "\n{:margin$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// A place in a text, as people count: from 1, columns in characters.
struct Place<'a> {
    line: usize,
    column: usize,
    text: &'a str,
}

impl<'a> Place<'a> {
    fn of(text: &'a str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let line_text = text[start..].lines().next().unwrap_or("");
        Self {
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
            text: line_text,
        }
    }
}

/// `did you mean "…"?`, if one of the names is near enough to what was written.
#[must_use]
pub fn did_you_mean<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(written, names).map(|name| format!("did you mean {name:?}?"))
}

fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, name)| {
            let longer = written.len().max(name.len());
            *distance <= (longer / 3).max(1) && *distance < longer
        })
        .min()
        .map(|(_, name)| name)
}

/// A help line for a name that is not known: the nearest, else all there are.
#[must_use]
pub fn known_names<'a>(written: &str, what: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    did_you_mean(written, names.iter().copied()).unwrap_or_else(|| {
        if names.is_empty() {
            format!("there is no {what} at all")
        } else {
            format!("{what}: {}", names.join(", "))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_file_line_column_caret_and_help() {
        let text = "version = 1\n[port.in]\ndrivr = \"pcap\"\n";
        let start = text.find("drivr").unwrap();
        let e = ConfigError {
            file: "a.toml".into(),
            text: text.into(),
            diagnostics: vec![
                Diagnostic::new(start..start + 5, "unknown key").help("did you mean \"driver\"?"),
            ],
        };
        assert_eq!(
            e.to_string(),
            "a.toml:3:1: error: unknown key\n  |\n3 | drivr = \"pcap\"\n  | ^^^^^\n  = help: did you mean \"driver\"?"
        );
    }

    #[test]
    fn any_span_in_any_text_can_be_shown() {
        let text = "a = \"\u{fc}\u{1f980}\"\n\tb = 2";
        for start in 0..=text.len() + 2 {
            for end in start..=text.len() + 3 {
                let e = ConfigError {
                    file: "x".into(),
                    text: text.into(),
                    diagnostics: vec![Diagnostic::new(start..end, "m")],
                };
                assert!(e.to_string().contains("error: m"));
            }
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(did_you_mean("drivr", ["driver", "file"]).as_deref(), Some("did you mean \"driver\"?"));
        assert_eq!(did_you_mean("xyz", ["driver", "file"]), None);
        assert_eq!(did_you_mean("a", ["b"]), None, "any letter is near to any other");
        assert!(known_names("xyz", "port", ["in", "out"]).contains("in, out"));
    }
}
