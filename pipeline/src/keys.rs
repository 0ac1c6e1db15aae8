//! The keys that a plan's stages name: each loaded once, or made if it is a demo key. What is wrong with one is said at
//! the place that names it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use warpdrive_pmd::engine::rsa::{KeyError, RsaKey};

use crate::demo;
use crate::diag::{ConfigError, Diagnostic};
use crate::plan::{Placed, Plan};

pub(crate) struct Keys<'a> {
    plan: &'a Plan,
    demo_folder: PathBuf,
    loaded: BTreeMap<String, RsaKey>,
    /// What the user should know about demo keys.
    pub(crate) notes: Vec<String>,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(plan: &'a Plan, demo_folder: Option<PathBuf>) -> Self {
        let demo_folder = demo_folder.unwrap_or_else(demo::folder);
        Self { plan, demo_folder, loaded: BTreeMap::new(), notes: Vec::new() }
    }

    /// The key that a stage names, strong enough and with the certificate it should have.
    pub(crate) fn get(
        &mut self,
        name: &Placed,
        certificate: Option<&Placed>,
        allow_1024: bool,
    ) -> Result<&RsaKey, ConfigError> {
        let plan = self.plan;
        let key = self.load(&name.name).map_err(|e| refused(plan, name, &e))?;
        if key.is_weak() && !allow_1024 {
            let message = format!("key {:?} has 1024 bits, which is too weak", name.name);
            let help = "a key of 2048 bits or more; for old peers and captures: allow-1024 = true";
            return Err(plan.error(Diagnostic::new(name.span.clone(), message).help(help)));
        }
        if let Some(certificate) = certificate {
            key.check_certificate(&certificate.name).map_err(|e| refused(plan, certificate, &e))?;
        }
        Ok(key)
    }

    fn load(&mut self, name: &str) -> Result<&RsaKey, KeyError> {
        if !self.loaded.contains_key(name) {
            let key = match demo::bits(name) {
                None => RsaKey::load(name)?,
                Some(bits) => {
                    let (key, path, made) = demo::key(&self.demo_folder, bits)?;
                    let verb = if made { "made now" } else { "made earlier" };
                    let path = path.display();
                    self.notes.push(format!("key {name:?}: {path}, {verb}, for demonstration only"));
                    key
                }
            };
            self.loaded.insert(name.to_owned(), key);
        }
        Ok(&self.loaded[name])
    }
}

/// What is wrong with a key or a certificate, at the place that names it.
pub(crate) fn refused(plan: &Plan, at: &Placed, e: &KeyError) -> ConfigError {
    plan.error(Diagnostic::of_error(at.span.clone(), &e.to_string()))
}
