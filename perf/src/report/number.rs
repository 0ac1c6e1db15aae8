//! Numbers as people read them.

/// Prefixes of the SI from a billion down.
const PREFIXES: [(f64, &str); 3] = [(1e9, " G"), (1e6, " M"), (1e3, " k")];

/// With a prefix of the SI: `1.234 M`.
#[must_use]
pub fn si(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    // 999,950 with four digits is 1.000 M and not 1000 k.
    let carried = value.abs() * (1.0 + 0.5 * 10f64.powi(-(digits as i32)));
    match PREFIXES.iter().find(|(scale, _)| carried >= *scale) {
        Some((scale, prefix)) => format!("{}{prefix}", significant(value / scale, digits)),
        None => significant(value, digits),
    }
}

/// Without a prefix, thousands apart, no finer than a thousandth: `17,370`, `12.34`, `0.012`.
#[must_use]
pub fn plain(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    match value.abs() {
        v if v >= 999.95 => thousands(value.round() as i64),
        v if v >= 0.999_95 => significant(value, 4),
        _ => format!("{value:.3}"),
    }
}

/// A count, thousands apart.
#[must_use]
pub fn count(n: u64) -> String {
    thousands(i64::try_from(n).unwrap_or(i64::MAX))
}

/// As a tick of an axis has it: no more digits than it needs.
#[must_use]
pub fn tick(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = si(value, 6);
    let (digits, prefix) = text.split_once(' ').map_or((text.as_str(), None), |(d, p)| (d, Some(p)));
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    };
    prefix.map_or_else(|| digits.to_owned(), |prefix| format!("{digits} {prefix}"))
}

/// So many significant digits, without an exponent.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    // The rounded value may have one digit more before the point.
    let log = value.abs().log10();
    let whole = (log + 0.5 * 10f64.powi(-(digits as i32)) / std::f64::consts::LN_10).floor() as i32;
    let places = (digits as i32 - 1 - whole).clamp(0, 12);
    format!("{value:.*}", places as usize)
}

fn thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = if value < 0 { "-".to_owned() } else { String::new() };
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As [`tick`], without a prefix: `1,000`.
#[must_use]
pub fn plain_tick(value: f64) -> String {
    if value.abs() >= 1000.0 { thousands(value.round() as i64) } else { tick(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_prefix_and_four_digits() {
        let said = [0.0, 7.0, 999.0, 1234.0, 999_960.0, 1_234_567.0, 2.5e9, f64::NAN].map(|v| si(v, 4));
        assert_eq!(said, ["0", "7.000", "999.0", "1.234 k", "1.000 M", "1.235 M", "2.500 G", "–"]);
    }

    #[test]
    fn times_have_no_prefix() {
        let said =
            [0.0, 0.012_345, 1.5, 99.999, 123.45, 999.96, 17_369.77, -1234.0, f64::INFINITY].map(plain);
        assert_eq!(said, ["0.000", "0.012", "1.500", "100.0", "123.5", "1,000", "17,370", "-1,234", "–"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn ticks_are_short() {
        let said = [0.0, 0.05, 1.0, 2.5, 20.0, 1000.0, 1_500_000.0].map(tick);
        assert_eq!(said, ["0", "0.05", "1", "2.5", "20", "1 k", "1.5 M"]);
        assert_eq!([0.05, 500.0, 20_000.0].map(plain_tick), ["0.05", "500", "20,000"]);
    }
}
