//! Who may open a device.

use warpdrive_pmd::uacce::serve::Permissions;

use super::ServePlanner;
use crate::config::{Name, ServedTable};

/// Numbers of names: as the accounts of this machine have them.
#[derive(Clone, Copy, Debug)]
pub struct Accounts {
    /// Of a user.
    pub user: fn(&str) -> Option<u32>,
    /// Of a group.
    pub group: fn(&str) -> Option<u32>,
}

impl ServePlanner<'_> {
    pub(super) fn permissions(&mut self, table: &ServedTable, usual: Permissions) -> Permissions {
        let Accounts { user, group } = self.accounts;
        Permissions {
            mode: table.permissions.as_ref().map_or(usual.mode, |mode| self.mode(mode, usual.mode)),
            uid: table.user.as_ref().map_or(usual.uid, |name| self.number_of("user", name, user)),
            gid: table.group.as_ref().map_or(usual.gid, |name| self.number_of("group", name, group)),
        }
    }

    /// Bits as of chmod, in octal.
    fn mode(&mut self, written: &Name, usual: u16) -> u16 {
        let text = written.get_ref();
        let octal = text.len() <= 4 && text.chars().all(|c| c.is_digit(8));
        match u16::from_str_radix(text, 8) {
            Ok(mode) if octal && mode <= 0o777 => mode,
            _ => {
                let help = "as of chmod, in octal: \"0660\" lets its user and its group open it";
                self.error(written.span(), format!("{text:?} are not permissions of a file"), help);
                usual
            }
        }
    }

    fn number_of(&mut self, what: &str, name: &Name, find: fn(&str) -> Option<u32>) -> u32 {
        let written = name.get_ref();
        // Names first: they may be of digits. The last number means nobody.
        let number = || written.parse().ok().filter(|number| *number != u32::MAX);
        find(written).or_else(number).unwrap_or_else(|| {
            let database = if what == "user" { "passwd" } else { "group" };
            let help = format!("a name that `getent {database}` lists, or a number, in quotes");
            self.error(name.span(), format!("there is no {what} {written:?}"), help);
            0
        })
    }
}
