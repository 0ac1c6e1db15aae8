//! What `-l` prints, and the ratios of `-v`: gzip's tables, with numbers that are right for files of any size.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// One line.
pub(super) struct Entry<'a> {
    pub(super) packed: u64,
    pub(super) plain: u64,
    /// Bytes of headers and trailers, which do not count for the ratio.
    pub(super) wrapping: u64,
    pub(super) name: &'a str,
    /// Checksum and time, for the long form.
    pub(super) more: Option<(u32, Option<SystemTime>)>,
}

/// What stands above the columns.
pub(super) fn heading(out: &mut impl Write, long: bool) -> io::Result<()> {
    if long {
        write!(out, "method  crc     date  time  ")?;
    }
    writeln!(out, "{:>19} {:>19}  ratio uncompressed_name", "compressed", "uncompressed")
}

/// A line of the table.
pub(super) fn entry(out: &mut impl Write, entry: &Entry<'_>, long: bool) -> io::Result<()> {
    let Entry { packed, plain, wrapping, name, more } = entry;
    match more {
        Some((crc, time)) => {
            let time = time.map_or_else(|| " ".repeat(12), local);
            write!(out, "defla {crc:08x} {time} ")?;
        }
        None if long => write!(out, "{:28}", "")?,
        None => {}
    }
    let ratio = ratio(*plain, packed.saturating_sub(*wrapping));
    writeln!(out, "{packed:19} {plain:19} {ratio} {name}")
}

/// What compression saves: `" 51.5%"`.
pub(super) fn ratio(plain: u64, packed: u64) -> String {
    let saved = if plain == 0 { 0.0 } else { 1.0 - packed as f64 / plain as f64 };
    format!("{:5.1}%", 100.0 * saved)
}

/// A time here: `"Nov 21 15:39"`.
fn local(time: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) as libc::time_t;
    // SAFETY: all zeros is a valid tm: numbers, and a pointer that may be null.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both point to values of their types that live here; the result, null on failure, leaves `tm` valid.
    unsafe { libc::localtime_r(&seconds, &mut tm) };
    let month = usize::try_from(tm.tm_mon).ok().and_then(|month| MONTHS.get(month)).unwrap_or(&"???");
    format!("{month} {:2} {:02}:{:02}", tm.tm_mday, tm.tm_hour, tm.tm_min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_gzips() {
        assert_eq!(ratio(98_136, 47_630), " 51.5%");
        assert_eq!(ratio(0, 20), "  0.0%");
        assert_eq!(ratio(10, 30), "-200.0%");
        assert_eq!(ratio(1000, 0), "100.0%");
    }
}
