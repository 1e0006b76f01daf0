//! `pthguard baseline`

use std::io::{self, Write};
use std::path::PathBuf;

use super::approve::approve_seen;
use super::{CommandError, Options, Outcome, resolve, with_desk};
use crate::audit::escape_path;
use crate::control::{Refusal, Why};
use crate::model::ContentClass;

/// Shows everything that is held in directories and approves it, except what keeps Python from starting and what is not
/// any more what was held: whoever changed it since may count on this command.
///
/// # Errors
/// [`CommandError`]
pub fn baseline(directories: &[PathBuf], options: Options<'_>) -> Result<Outcome, CommandError> {
    with_desk(options, |desk| {
        let directories = directories.iter().map(|path| resolve::directory(path)).collect::<Result<Vec<_>, _>>()?;
        let mut seen = Vec::new();
        let mut left_out = 0_usize;
        let mut leave_out = |path: &PathBuf, why: &dyn std::fmt::Display| {
            left_out += 1;
            writeln!(io::stderr(), "left out: {}: {why}", escape_path(path))
        };
        for file in desk.held()?.into_iter().filter(|file| directories.contains(&file.directory)) {
            let path = file.directory.join(&file.name);
            match desk.read(&path) {
                Ok(now) if now.class == ContentClass::Broken => {
                    leave_out(
                        &path,
                        &"it keeps some versions of Python from starting; `pthguard approve` it if it must be",
                    )?;
                }
                Ok(now) if file.held.sha256 != Some(now.sha256) => {
                    leave_out(&path, &"it has changed since it is held; `pthguard approve` shows it as it is now")?;
                }
                Ok(now) => seen.push(now),
                Err(Refusal { why: Why::NotFound, .. }) => {} // it is gone
                Err(refusal) => leave_out(&path, &refusal)?,
            }
        }
        if seen.is_empty() {
            writeln!(io::stderr(), "nothing that is held there can be accepted")?;
        }
        let outcome = approve_seen(desk, seen, options)?;
        Ok(if left_out == 0 { outcome } else { Outcome::Finding })
    })
}
