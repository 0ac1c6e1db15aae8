//! The grammars of `-c`, `-l` and `--lcores`.

use std::collections::BTreeMap;

use super::error::SyntaxError;
use super::{CoreError, CpuSet, LcoreMap, MAX_CPUS};

/// No honest option is longer; each entry names at least one of 1024 lcores.
const LONGEST: usize = 16 * 1024;

/// Parses the mask of `-c`: hexadecimal, with or without `0x`. Bit n is lcore n on cpu n.
///
/// # Errors
/// [`CoreError::Syntax`] with the place of the mistake.
pub fn parse_mask(text: &str) -> Result<LcoreMap, CoreError> {
    let mut scan = Scan::new("-c", "-c 0x3  (lcores 0 and 1)", text)?;
    scan.blanks();
    if scan.peek() == Some('0') && matches!(scan.chars.get(scan.at + 1), Some('x' | 'X')) {
        scan.at += 2;
    }
    let start = scan.at;
    while scan.peek().is_some_and(|c| c.is_ascii_hexdigit()) {
        scan.at += 1;
    }
    let end = scan.at;
    scan.blanks();
    if start == end || scan.peek().is_some() {
        return Err(scan.unexpected("a hexadecimal digit"));
    }
    let mut map = BTreeMap::new();
    for (nibble, at) in (start..end).rev().enumerate() {
        let digit = scan.chars[at].to_digit(16).unwrap_or(0);
        for bit in (0..4).filter(|bit| digit & (1 << bit) != 0) {
            let cpu = nibble * 4 + bit;
            if cpu >= MAX_CPUS {
                return Err(scan.fail(
                    at,
                    1,
                    format!("bit {cpu} is out of range: cpus are 0 to {}", MAX_CPUS - 1),
                ));
            }
            map.insert(cpu, CpuSet::of(&[cpu])?);
        }
    }
    if map.is_empty() {
        return Err(scan.fail(start, end - start, "the mask is 0: it names no core".to_owned()));
    }
    Ok(LcoreMap(map))
}

/// Parses the list of `-l`: `0,2-3` puts lcore n on cpu n. As in DPDK since 25.11, whatever [`parse_lcores`] takes
/// is taken here too.
///
/// # Errors
/// [`CoreError::Syntax`] with the place of the mistake.
pub fn parse_list(text: &str) -> Result<LcoreMap, CoreError> {
    lcores(Scan::new("-l", "-l 0,2-3", text)?)
}

/// Parses the map of `--lcores`: `<lcore_set>[@cpu_set][,<lcore_set>[@cpu_set]]...`
///
/// A set is a number (`0`), a range (`0-3`) or a group (`(0,2-4)`). Without `@`, each lcore of a number or range runs
/// on the cpu of its own number, and the lcores of a group share the cpus of the group; a range before `@` must be a
/// group (`(0-1)@2`). Ranges may run backwards and blanks stand anywhere between. All this is what DPDK does. Two of
/// its accidents are errors here: text after a group, and a second mapping of an lcore that contradicts the first.
///
/// # Errors
/// [`CoreError::Syntax`] with the place of the mistake.
pub fn parse_lcores(text: &str) -> Result<LcoreMap, CoreError> {
    lcores(Scan::new("--lcores", "--lcores '0@0,(1,2)@(2-3),4-5'", text)?)
}

fn lcores(mut scan: Scan) -> Result<LcoreMap, CoreError> {
    let mut map: BTreeMap<usize, CpuSet> = BTreeMap::new();
    loop {
        scan.blanks();
        let start = scan.at;
        let (ids, shape) = scan.set("an lcore")?;
        let shape_end = scan.at;
        scan.blanks();
        let shared = if scan.peek() == Some('@') {
            if shape == Shape::Range {
                let text: String = scan.chars[start..shape_end].iter().collect();
                let what = format!("a range before \"@\" needs parentheses: ({text})@...");
                return Err(scan.fail(start, shape_end - start, what));
            }
            scan.at += 1;
            scan.blanks();
            Some(scan.set("a cpu")?.0)
        } else {
            (shape == Shape::Group).then_some(ids)
        };
        let end = scan.at;
        for lcore in ids.iter() {
            let cpus = match shared {
                Some(cpus) => cpus,
                None => CpuSet::of(&[lcore])?,
            };
            if let Some(before) = map.insert(lcore, cpus)
                && before != cpus
            {
                let what = format!("lcore {lcore} is on cpu {before} already, and here on cpu {cpus}");
                return Err(scan.fail(start, end - start, what));
            }
        }
        scan.blanks();
        match scan.peek() {
            None => return Ok(LcoreMap(map)),
            Some(',') => scan.at += 1,
            Some(_) => return Err(scan.unexpected("\",\" or the end")),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Number,
    Range,
    Group,
}

struct Scan {
    option: &'static str,
    example: &'static str,
    chars: Vec<char>,
    at: usize,
}

impl Scan {
    fn new(option: &'static str, example: &'static str, text: &str) -> Result<Self, CoreError> {
        let scan = Self { option, example, chars: text.chars().take(LONGEST + 1).collect(), at: 0 };
        if scan.chars.len() > LONGEST {
            return Err(scan.fail(LONGEST, 1, format!("longer than {LONGEST} characters")));
        }
        Ok(scan)
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.at += 1;
        }
    }

    fn fail(&self, at: usize, len: usize, what: String) -> CoreError {
        let (option, example, text) = (self.option, self.example, self.chars.clone());
        CoreError::Syntax(Box::new(SyntaxError { option, example, text, at, len, what }))
    }

    fn unexpected(&self, wanted: &str) -> CoreError {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(c) => format!("{:?}", c.to_string()),
        };
        self.fail(self.at, 1, format!("expected {wanted}, found {found}"))
    }

    /// A number, a range or a group of these.
    fn set(&mut self, of: &str) -> Result<(CpuSet, Shape), CoreError> {
        let mut set = CpuSet::new();
        if self.peek() != Some('(') {
            let is_range = self.numbers(of, "number or \"(\"", &mut set)?;
            return Ok((set, if is_range { Shape::Range } else { Shape::Number }));
        }
        let open = self.at;
        self.at += 1;
        loop {
            self.blanks();
            self.numbers(of, "number", &mut set)?;
            self.blanks();
            match self.peek() {
                Some(',') => self.at += 1,
                Some(')') => {
                    self.at += 1;
                    return Ok((set, Shape::Group));
                }
                None => return Err(self.fail(open, 1, "\"(\" without its \")\"".to_owned())),
                Some(_) => return Err(self.unexpected("\",\" or \")\"")),
            }
        }
    }

    /// A number or a range, whether it is a range.
    fn numbers(&mut self, of: &str, kind: &str, set: &mut CpuSet) -> Result<bool, CoreError> {
        let first = self.number(of, kind)?;
        let end = self.at;
        self.blanks();
        if self.peek() != Some('-') {
            self.at = end;
            set.insert(first)?;
            return Ok(false);
        }
        self.at += 1;
        self.blanks();
        let last = self.number(of, "number")?;
        for cpu in first.min(last)..=first.max(last) {
            set.insert(cpu)?;
        }
        Ok(true)
    }

    fn number(&mut self, of: &str, kind: &str) -> Result<usize, CoreError> {
        let start = self.at;
        let mut value = 0usize;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            value = value.saturating_mul(10).saturating_add(digit as usize);
            self.at += 1;
        }
        if self.at == start {
            return Err(self.unexpected(&format!("{of} {kind}")));
        }
        if value >= MAX_CPUS {
            let digits: String = self.chars[start..self.at].iter().take(20).collect();
            let what = format!("{of} number is 0 to {}, not {digits}", MAX_CPUS - 1);
            return Err(self.fail(start, self.at - start, what));
        }
        Ok(value)
    }
}
