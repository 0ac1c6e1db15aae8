//! Configurations: found, read, and made a plan.

use std::path::Path;
use std::process::ExitCode;

use nix::unistd::{Group, User};
use warpdrive_pipeline::config::{Config, Pages, ServeConfig};
use warpdrive_pipeline::cores::{self, CoreError, LcoreMap};
use warpdrive_pipeline::diag::{ConfigError, Diagnostic};
use warpdrive_pipeline::plan::{Accounts, Plan, ServePlan};
use warpdrive_pmd::engine::Engine as _;
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaOptions, Simd};

use crate::EX_CONFIG;
use crate::cli::{CheckArgs, CoreArgs};

/// The demonstration that runs without a file.
const BUILT_IN: &str = include_str!("../../configs/sign-zip.toml");
/// Its name in messages.
const BUILT_IN_NAME: &str = "configs/sign-zip.toml (built in)";

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("cannot read {path}: {cause}. Remedy: {remedy}")]
    Read { path: String, cause: String, remedy: &'static str },
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Core(#[from] CoreError),
    #[error("--force-simd: {0}")]
    Simd(String),
}

impl Refused {
    /// Says why, and with what the program exits.
    pub fn exit(&self) -> ExitCode {
        eprintln!("{}{self}", if matches!(self, Self::Config(_)) { "" } else { "error: " });
        match self {
            Self::Config(_) => ExitCode::from(EX_CONFIG),
            Self::Read { .. } | Self::Simd(_) => ExitCode::FAILURE,
            Self::Core(_) => ExitCode::from(2),
        }
    }
}

/// The text of a configuration file, or why there is none and the remedy.
fn read(path: &Path) -> Result<String, (String, &'static str)> {
    use std::io::ErrorKind;
    let bytes = std::fs::read(path).map_err(|e| {
        let remedy = match e.kind() {
            ErrorKind::NotFound => "the path of a configuration; examples are in configs/",
            ErrorKind::IsADirectory => "a TOML file in it; examples are in configs/",
            ErrorKind::PermissionDenied => "a file that this user may read",
            _ => "a file that can be read",
        };
        (e.to_string(), remedy)
    })?;
    String::from_utf8(bytes).map_err(|e| {
        let before = String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        (format!("it is not UTF-8 at line {line}, column {column}"), "save it as UTF-8")
    })
}

/// A configuration that was found sound.
pub struct Found {
    /// What is to be done.
    pub plan: Plan,
    /// On which cpus.
    pub lcores: LcoreMap,
    /// The name of the configuration in messages.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// The text of a configuration, read once: it may come from a pipe.
pub struct Source {
    /// Its name in messages.
    pub name: String,
    /// All of it.
    pub text: String,
}

impl Source {
    /// Of a file; without one, the demonstration.
    ///
    /// # Errors
    /// [`Refused::Read`].
    pub fn read(path: Option<&Path>) -> Result<Self, Refused> {
        let Some(path) = path else {
            return Ok(Self { name: BUILT_IN_NAME.to_owned(), text: BUILT_IN.to_owned() });
        };
        let name = path.display().to_string();
        match read(path) {
            Ok(text) => Ok(Self { name, text }),
            Err((cause, remedy)) => Err(Refused::Read { path: name, cause, remedy }),
        }
    }

    /// Whether it is the configuration of a server.
    pub fn is_server(&self) -> bool {
        ServeConfig::is_one(&self.text)
    }
}

/// What the command line says of cores.
fn chosen(cores: &CoreArgs) -> Result<Option<LcoreMap>, CoreError> {
    cores::choose(cores.mask.as_deref(), cores.list.as_deref(), cores.lcores.as_deref())
}

/// Insists on a cpu that can do this.
fn supported(simd: Simd) -> Result<(), Refused> {
    RsaEngine::supports(&RsaOptions { simd, ..RsaOptions::default() }).map_err(Refused::Simd)
}

/// A configuration of a server that was found sound.
pub struct FoundServer {
    /// What is to be served.
    pub plan: ServePlan,
    /// On which cpus.
    pub lcores: LcoreMap,
    /// The name of the configuration in messages.
    pub name: String,
}

/// Reads the configuration of a server.
///
/// # Errors
/// [`Refused`].
pub fn server(
    source: Source,
    cores: &CoreArgs,
    simd: Option<Simd>,
    allowed: &[usize],
) -> Result<FoundServer, Refused> {
    let Source { name, text } = source;
    let mut config = ServeConfig::parse(&name, &text)?;
    if let Some(simd) = simd {
        supported(simd)?;
        config.serve.force_simd(simd);
    }
    let lcores = chosen(cores)?.map_or_else(|| cores::auto(allowed), Ok)?;
    lcores.validate(allowed)?;
    Ok(FoundServer { plan: ServePlan::new(&config, &lcores, ACCOUNTS)?, lcores, name })
}

/// The accounts of this machine. One that cannot be looked up is not there.
const ACCOUNTS: Accounts = Accounts {
    user: |name| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw()),
    group: |name| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw()),
};

/// Reads a configuration.
///
/// # Errors
/// [`Refused`].
pub fn plan(args: &CheckArgs, allowed: &[usize]) -> Result<Found, Refused> {
    plan_of(Source::read(args.config.as_deref())?, args, allowed)
}

/// As [`plan`], of what was read already.
///
/// # Errors
/// [`Refused`].
pub fn plan_of(source: Source, args: &CheckArgs, allowed: &[usize]) -> Result<Found, Refused> {
    let Source { name, text } = source;
    let mut config = Config::parse(&name, &text)?;
    if args.no_huge {
        config.eal.pages = Pages::K4;
        config.mempools.iter_mut().for_each(|m| m.value.pages = None);
    }
    if let Some(simd) = args.simd.force_simd {
        supported(simd)?;
        config.force_simd(simd);
    }
    let lcores = match (chosen(&args.cores)?, &config.eal.cores) {
        (Some(map), _) => map,
        (None, Some(list)) => {
            let refuse = |e: CoreError| {
                let message = match &e {
                    CoreError::Syntax(s) => {
                        format!("{:?}: {} (character {})", list.get_ref(), s.what(), s.character())
                    }
                    other => other.to_string(),
                };
                config
                    .error(vec![Diagnostic::new(list.span(), message).help("for example cores = \"0,2-3\"")])
            };
            let map = cores::parse_list(list.get_ref()).map_err(refuse)?;
            map.validate(allowed).map_err(refuse)?;
            map
        }
        (None, None) => cores::auto(allowed)?,
    };
    lcores.validate(allowed)?;
    let mut plan = Plan::new(&config, &lcores)?;
    let notes = warpdrive_proxy::check(&plan).map_err(|e| *e)?;
    plan.notes.extend(notes);
    Ok(Found { plan, lcores, name, text })
}
