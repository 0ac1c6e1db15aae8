//! The command line of `warpdrive zip`: gzip's letters, and those that say which cores and which device.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use warpdrive_pmd::engine::zip::{MAX_LEVEL, ZipFormat};

use super::chain::{MAX_BLOCK, MIN_BLOCK};

/// What `warpdrive zip` is to do.
#[derive(Args)]
pub struct ZipArgs {
    #[command(flatten)]
    pub format: FormatArgs,
    /// Decompress. Without -z, -g or -r the first bytes say whether it is gzip or zlib.
    #[arg(short, long, visible_alias = "uncompress")]
    pub decompress: bool,
    #[command(flatten)]
    pub level: Level,
    /// Keep the input file.
    #[arg(short, long)]
    pub keep: bool,
    /// Write to standard output and keep the input file.
    #[arg(short = 'c', long, visible_alias = "to-stdout")]
    pub stdout: bool,
    /// Overwrite files, follow links, and use a terminal for compressed data.
    #[arg(short, long)]
    pub force: bool,
    /// Test whether compressed files are sound.
    #[arg(short, long)]
    pub test: bool,
    /// List what compressed files hold, as found by decompressing them.
    #[arg(short, long)]
    pub list: bool,
    /// Neither store nor restore the name and time of the file.
    #[arg(short, long, overrides_with = "name")]
    pub no_name: bool,
    /// Store or restore the name and time of the file (the default when compressing).
    #[arg(short = 'N', long, overrides_with = "no_name")]
    pub name: bool,
    /// No warnings.
    #[arg(short, long, overrides_with = "verbose")]
    pub quiet: bool,
    /// Say what was done with each file.
    #[arg(short, long, overrides_with = "quiet")]
    pub verbose: bool,
    /// What is appended to the names of compressed files, in place of .gz, .zlib or .deflate.
    #[arg(short = 'S', long, value_name = "SUFFIX", value_parser = suffix)]
    pub suffix: Option<OsString>,
    /// Use that many cores at most; all that this process may run on are the default.
    #[arg(short, long, value_name = "N", value_parser = processes)]
    pub processes: Option<usize>,
    /// Use these cores: 0,2-3.
    #[arg(long, value_name = "LIST", conflicts_with = "processes")]
    pub cores: Option<String>,
    /// The device that computes; `warpdrive devices` lists them.
    #[arg(long, value_name = "NAME", default_value = super::engines::DEFAULT)]
    pub device: String,
    /// Bytes that are compressed as one piece: 128K, 1M. Larger ones compress better, smaller ones need less memory.
    #[arg(long, value_name = "SIZE", default_value = "1M", value_parser = block)]
    pub block: usize,
    /// Files; none, or -, is standard input.
    pub files: Vec<PathBuf>,
}

/// The format; at most one.
#[derive(Args)]
#[group(required = false, multiple = false)]
pub struct FormatArgs {
    /// gzip (RFC 1952), the default.
    #[arg(short, long)]
    gzip: bool,
    /// zlib (RFC 1950).
    #[arg(short, long)]
    zlib: bool,
    /// Raw DEFLATE (RFC 1951).
    #[arg(short, long, visible_alias = "deflate")]
    raw: bool,
}

impl FormatArgs {
    /// The one that was asked for.
    pub fn asked(&self) -> Option<ZipFormat> {
        match self {
            Self { gzip: true, .. } => Some(ZipFormat::Gzip),
            Self { zlib: true, .. } => Some(ZipFormat::Zlib),
            Self { raw: true, .. } => Some(ZipFormat::Deflate),
            _ => None,
        }
    }
}

/// The compression level: a letter for each of 0 to 9, or a number. The last one counts.
#[derive(Clone, Copy)]
pub struct Level(pub u8);

const DEFAULT_LEVEL: u8 = 6;
const LETTERS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const NUMBER: &str = "level";

impl Args for Level {
    fn augment_args(mut command: Command) -> Command {
        for (digit, id) in (b'0'..).zip(LETTERS) {
            let letter = Arg::new(id)
                .short(char::from(digit))
                .action(ArgAction::SetTrue)
                .overrides_with_all(LETTERS)
                .overrides_with(NUMBER);
            command = command.arg(match id {
                "0" => letter.help("Store only"),
                "1" => letter.long("fast").help("Compress fastest; -2 to -8 lie between"),
                "9" => letter.long("best").help("Compress best of the one-letter levels"),
                _ => letter.hide(true),
            });
        }
        let number = Arg::new(NUMBER).long(NUMBER).value_name("0..12").overrides_with(NUMBER);
        command.arg(
            number
                .value_parser(clap::value_parser!(u8).range(0..=i64::from(MAX_LEVEL)))
                .help("Level; 6 is the default, 10 to 12 are slow"),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Level {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let letter = LETTERS.iter().position(|id| given(id)).map(|level| level as u8);
        let number = matches.get_one(NUMBER).copied();
        Ok(Self(letter.or(number).unwrap_or(DEFAULT_LEVEL)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn suffix(text: &str) -> Result<OsString, String> {
    if text.is_empty() || text.contains('/') || text.len() > 30 {
        return Err("1 to 30 characters without / are needed".to_owned());
    }
    Ok(text.into())
}

fn processes(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=1024).contains(n)).ok_or_else(|| "1 to 1024 are possible".to_owned())
}

fn block(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "m" | "MiB" => 20,
        _ => return Err(format!("unit {unit:?} is not known: K or M")),
    };
    let bytes = number.parse::<usize>().ok().and_then(|n| n.checked_mul(1 << shift));
    bytes
        .filter(|n| (MIN_BLOCK..=MAX_BLOCK).contains(n))
        .ok_or_else(|| format!("{MIN_BLOCK} to {MAX_BLOCK} bytes are possible"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        zip: ZipArgs,
    }

    fn level(args: &[&str]) -> u8 {
        Only::try_parse_from([&["zip"], args].concat()).unwrap_or_else(|e| panic!("{e}")).zip.level.0
    }

    #[test]
    fn the_last_level_counts() {
        assert_eq!(level(&[]), 6);
        assert_eq!(level(&["-1"]), 1);
        assert_eq!(level(&["-9kc"]), 9);
        assert_eq!(level(&["-1", "-9"]), 9);
        assert_eq!(level(&["-9", "-0"]), 0);
        assert_eq!(level(&["-99"]), 9);
        assert_eq!(level(&["--fast"]), 1);
        assert_eq!(level(&["--level", "12"]), 12);
        assert_eq!(level(&["--level", "12", "-3"]), 3);
        assert_eq!(level(&["-3", "--level=0"]), 0);
        assert!(Only::try_parse_from(["zip", "--level", "13"]).is_err());
    }

    #[test]
    fn blocks_have_units_and_bounds() {
        assert_eq!(block("128K"), Ok(128 << 10));
        assert_eq!(block("1MiB"), Ok(1 << 20));
        assert_eq!(block("65536"), Ok(65_536));
        for wrong in ["", "K", "1G", "-1", "100", "4M", "99999999999999999999", "18014398509481985K"] {
            assert!(block(wrong).is_err(), "{wrong}");
        }
    }
}
