//! `warpdrive run-with-devices`: a command that finds the devices of `warpdrive serve` where drivers of the kernel put theirs.
//!
//! It gets a mount namespace of its own, in which `/dev` and `/sys/class` are folders made anew: what was there is bound there again,
//! and links to the devices are added. Links, because a queue file that is mounted by itself can be opened only once at a time, and
//! because they find the files of a server that was started anew, too.

use std::ffi::{CStr, CString, OsString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, ValueHint};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, User, initgroups, setgid, setgroups, setuid};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change};
use thiserror::Error;
use warpdrive_pmd::uacce::EXPOSE;
use warpdrive_pmd::uacce::abi::{DEV, SYSFS};

/// Major and minor number of the device that makes pseudoterminals (Linux `Documentation/admin-guide/devices.txt`).
const PTMX: (u32, u32) = (5, 2);
/// Exit code when nothing was run, as of env(1).
const EX_NOT_RUN: u8 = 125;
/// Exit code when what was found cannot be run.
const EX_CANNOT_RUN: u8 = 126;
/// Exit code when the command is not there.
const EX_NOT_FOUND: u8 = 127;

#[derive(Args)]
pub struct WithDevicesArgs {
    /// The folder where `warpdrive serve` presents its devices.
    #[arg(long, value_name = "PATH", default_value = EXPOSE, value_hint = ValueHint::DirPath)]
    pub expose: PathBuf,
    /// Run the command as this user, with its groups. The environment stays as it is. Of a number that no user has, the group is
    /// the same number.
    #[arg(long, value_name = "NAME|UID", value_hint = ValueHint::Username)]
    pub user: Option<String>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

#[derive(Debug, Error)]
enum Error {
    #[error("{path}: no server presents devices here: {cause}. Remedy: {remedy}", path = path.display())]
    NoServer { path: PathBuf, cause: io::Error, remedy: &'static str },
    #[error("{path}: the server has no devices. Remedy: give it some in its configuration", path = path.display())]
    NoDevices { path: PathBuf },
    #[error(
        "a mount namespace: {cause}. Remedy: as root (sudo), with --user to run the command as somebody else"
    )]
    Namespace { cause: nix::Error },
    #[error("{what} {path}: {cause}", path = path.display())]
    Mount { what: &'static str, path: PathBuf, cause: io::Error },
    #[error(
        "user {user:?}: {cause}. Remedy: a name or a number that `getent passwd` lists, or any other number"
    )]
    User { user: String, cause: String },
    #[error("{command}: {cause}", command = command.display())]
    Command { command: OsString, cause: io::Error },
}

impl Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Command { cause, .. } if cause.kind() == io::ErrorKind::NotFound => EX_NOT_FOUND,
            Self::Command { .. } => EX_CANNOT_RUN,
            _ => EX_NOT_RUN,
        }
    }
}

/// Becomes the command, unless that fails.
pub fn run(args: &WithDevicesArgs) -> ExitCode {
    let error = prepare(args).map_or_else(|e| e, |()| become_command(&args.command));
    eprintln!("error: {error}");
    ExitCode::from(error.exit_code())
}

fn prepare(args: &WithDevicesArgs) -> Result<(), Error> {
    let user = args.user.as_deref().map(Identity::find).transpose()?;
    let exposed = Exposed::at(&args.expose)?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(|cause| Error::Namespace { cause })?;
    // Mounts of others still come here, but ours do not go there.
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
        .map_err(failed("private mounts below", Path::new("/")))?;
    exposed.show()?;
    user.map_or(Ok(()), |user| user.assume())
}

fn become_command(command: &[OsString]) -> Error {
    let Some((program, args)) = command.split_first() else {
        return Error::Command { command: OsString::new(), cause: io::ErrorKind::NotFound.into() };
    };
    // In place: signals, the terminal and whoever waits have to do with the command itself.
    let cause = Command::new(program).args(args).exec();
    Error::Command { command: program.clone(), cause }
}

/// A tree as [`Mounted`](warpdrive_pmd::uacce::serve::fs::Mounted) has it.
struct Exposed {
    path: PathBuf,
    names: Vec<OsString>,
}

impl Exposed {
    fn at(path: &Path) -> Result<Self, Error> {
        let none = |cause: io::Error| {
            let remedy = match File::open("/dev/fuse") {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    "modprobe fuse (this kernel has no /dev/fuse, or it hides it here), then warpdrive serve"
                }
                _ => "warpdrive serve; with --expose PATH if it has another folder",
            };
            Error::NoServer { path: path.to_owned(), cause, remedy }
        };
        let absolute = path.canonicalize().map_err(none)?;
        let entries = fs::read_dir(absolute.join("class/uacce")).map_err(none)?;
        let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
        match names.map_err(none)? {
            names if names.is_empty() => Err(Error::NoDevices { path: absolute }),
            names => Ok(Self { path: absolute, names }),
        }
    }

    /// Puts links to the devices where drivers of the kernel put theirs.
    fn show(&self) -> Result<(), Error> {
        let (dev, sysfs) = (Path::new(DEV), Path::new(SYSFS));
        if sysfs.is_dir() {
            cover(sysfs, MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, &self.names)?;
        } else {
            let class = sysfs.parent().unwrap_or(sysfs);
            cover(class, MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, &[])?;
            // For everybody, whatever mask the caller has.
            fs::create_dir(sysfs)
                .and_then(|()| fs::set_permissions(sysfs, Permissions::from_mode(0o755)))
                .map_err(failed("the folder", sysfs))?;
        }
        cover(dev, MountFlags::NOSUID, &self.names)?;
        for name in &self.names {
            for (of, at) in [("dev", dev), ("class/uacce", sysfs)] {
                let link = at.join(name);
                symlink(self.path.join(of).join(name), &link).map_err(failed("the link", &link))?;
            }
        }
        Ok(())
    }
}

/// Puts an empty folder over `folder`, and what was there into it, except `names`.
fn cover(folder: &Path, flags: MountFlags, names: &[OsString]) -> Result<(), Error> {
    let old = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("the folder", folder))?;
    mount("warpdrive", folder, "tmpfs", flags, c"mode=755").map_err(failed("tmpfs at", folder))?;
    // From here on only the descriptor leads to what was there.
    let covered = PathBuf::from(format!("/proc/self/fd/{}", old.as_raw_fd()));
    for entry in fs::read_dir(&covered).map_err(failed("/proc, for", folder))? {
        let name = entry.map_err(failed("the folder", folder))?.file_name();
        if names.contains(&name) {
            continue;
        }
        let at = folder.join(&name);
        match carry_over(&covered.join(&name), &at) {
            // A device may go at any time.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(failed("what was at", &at))?,
        }
    }
    Ok(())
}

/// Makes `to` what `from` is: the same link, or a mount of it with all that is mounted below.
fn carry_over(from: &Path, to: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(from)?;
    let kind = found.file_type();
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if kind.is_char_device() && found.rdev() == makedev(PTMX.0, PTMX.1) {
        // It looks for `pts` in the folder where it is, and a mount of it would be in the old one.
        mknodat(CWD, to, FileType::CharacterDevice, Mode::empty(), found.rdev())?;
        chown(to, Some(found.uid()), Some(found.gid()))?;
        return fs::set_permissions(to, found.permissions());
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
    } else {
        File::create_new(to)?;
    }
    Ok(mount_bind_recursive(from, to)?)
}

fn failed<E: Into<io::Error>>(what: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |cause| Error::Mount { what, path, cause: cause.into() }
}

/// Who runs the command.
struct Identity {
    uid: Uid,
    gid: Gid,
    /// Of a user with groups.
    name: Option<CString>,
}

impl Identity {
    /// Of a name, or of a number.
    fn find(user: &str) -> Result<Self, Error> {
        let wrong = |cause: String| Error::User { user: user.to_owned(), cause };
        let number = user.parse::<u32>().ok();
        let mut found = User::from_name(user).map_err(|e| wrong(e.to_string()))?;
        if let (None, Some(number)) = (&found, number) {
            found = User::from_uid(Uid::from_raw(number)).map_err(|e| wrong(e.to_string()))?;
        }
        match (found, number) {
            (Some(User { name, uid, gid, .. }), _) => {
                let name = CString::new(name).map_err(|e| wrong(e.to_string()))?;
                Ok(Self { uid, gid, name: Some(name) })
            }
            (None, Some(number)) => {
                Ok(Self { uid: Uid::from_raw(number), gid: Gid::from_raw(number), name: None })
            }
            (None, None) => Err(wrong("there is none of this name".to_owned())),
        }
    }

    /// Becomes this user, for good.
    fn assume(&self) -> Result<(), Error> {
        let groups = |name: Option<&CStr>| match name {
            Some(name) => initgroups(name, self.gid),
            None => setgroups(&[]),
        };
        groups(self.name.as_deref())
            .and_then(|()| setgid(self.gid))
            .and_then(|()| setuid(self.uid))
            .map_err(|e| Error::User { user: self.uid.to_string(), cause: e.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn what_follows_a_command_is_its_own() {
        let parse = |line: &str| match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::RunWithDevices(args) => args,
            _ => panic!("{line}"),
        };
        let args = parse("warpdrive run-with-devices -- ls -l --user x -- y");
        assert_eq!(args.command, ["ls", "-l", "--user", "x", "--", "y"]);
        assert_eq!((args.user, args.expose), (None, PathBuf::from(EXPOSE)));
        let args = parse("warpdrive run-with-devices --user me --expose /a ls --help");
        assert_eq!((args.user.as_deref(), args.command), (Some("me"), vec!["ls".into(), "--help".into()]));
        assert!(Cli::try_parse_from(["warpdrive", "run-with-devices", "--"]).is_err());
    }
}
