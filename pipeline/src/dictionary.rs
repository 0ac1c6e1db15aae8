//! The sessions of `zip` stages, with the dictionaries that they name.

use std::fs::File;
use std::io::Read as _;

use warpdrive_pmd::engine::zip::{MAX_DICTIONARY, ZipError, ZipSession};

use crate::diag::{ConfigError, Diagnostic};
use crate::plan::{Placed, Plan, ZipPlan};

/// The session of a stage. What is wrong with its dictionary is said at the place that names it.
pub(crate) fn session(plan: &Plan, zip: &ZipPlan) -> Result<ZipSession, ConfigError> {
    let dictionary = match &zip.dictionary {
        None => Vec::new(),
        Some(file) => read(file).map_err(|why| refused(plan, file, &why))?,
    };
    ZipSession::with(zip.session(dictionary)).map_err(|e| match &zip.dictionary {
        Some(file) => refused(plan, file, &e.to_string()),
        None => unreachable!("the plan has made such a session: {e}"),
    })
}

fn read(file: &Placed) -> Result<Vec<u8>, String> {
    let name = &file.name;
    let mut bytes = Vec::new();
    // One byte more is enough to see that it is too long, whatever it is.
    let read = File::open(name).and_then(|f| f.take(MAX_DICTIONARY as u64 + 1).read_to_end(&mut bytes));
    match read {
        Err(e) => Err(format!("cannot read dictionary {name:?}: {e}")),
        Ok(0) => {
            Err(format!("dictionary {name:?} is empty: write into it what payloads are likely to contain"))
        }
        Ok(n) if n > MAX_DICTIONARY => {
            let what = ZipError::LongDictionary(n);
            Err(format!("{what} (dictionary {name:?}, which may have more)"))
        }
        Ok(_) => Ok(bytes),
    }
}

fn refused(plan: &Plan, at: &Placed, why: &str) -> ConfigError {
    plan.error(Diagnostic::of_error(at.span.clone(), why))
}
