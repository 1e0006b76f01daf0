//! Lists of programs that rules share: `[programs]` names them, `"@NAME"` in a rule's `exe` or `script` stands for one.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use toml::Spanned;

use super::error::Faults;
use super::raw::{RawFile, Texts};

type Paths = Vec<Spanned<String>>;

/// The lists of all files; the last file that defines one has the word.
#[derive(Default)]
pub(super) struct Programs(BTreeMap<String, Paths>);

impl Programs {
    /// Takes over what a file defines. `"@NAME"` in the definition of NAME stands for what the files before it say, so
    /// that a list can be extended.
    pub(super) fn define(&mut self, raw: &mut RawFile, faults: &mut Faults) {
        for (name, list) in std::mem::take(&mut raw.programs) {
            if !is_name(name.get_ref()) {
                let message = "programs: a list's name is made of lower-case letters, digits, \"-\" and \"_\"";
                faults.add(&name.span(), message);
            }
            if list.get_ref().is_empty() {
                faults.add(&list.span(), format!("programs.{} is empty: name programs", name.get_ref()));
            }
            let list = self.resolve(list.into_inner(), faults);
            self.0.insert(name.into_inner(), list);
        }
    }

    /// A rule's list, with what its `"@NAME"` entries stand for.
    pub(super) fn expand(&self, list: Texts, faults: &mut Faults) -> Texts {
        let list = list?;
        let span = list.span();
        Some(Spanned::new(span, self.resolve(list.into_inner(), faults)))
    }

    fn resolve(&self, list: Paths, faults: &mut Faults) -> Paths {
        let mut resolved = Vec::new();
        for entry in list {
            let Some(name) = entry.get_ref().strip_prefix('@') else {
                resolved.push(entry);
                continue;
            };
            match self.0.get(name) {
                // In the place of the entry: it is where a fault has to be mended.
                Some(list) => {
                    resolved.extend(list.iter().map(|path| Spanned::new(entry.span(), path.get_ref().clone())));
                }
                None => {
                    let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
                    let message = format!(
                        "there is no list {name:?}: define it in [programs], or name one of {}",
                        known.join(", ")
                    );
                    faults.add(&entry.span(), message);
                }
            }
        }
        resolved
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}
