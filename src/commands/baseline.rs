//! `pthguard baseline`

use std::io::{self, Write};
use std::path::PathBuf;

use super::approve::approve_seen;
use super::{CommandError, Options, Outcome, resolve, with_desk};
use crate::audit::escape_path;
use crate::control::{Desk, Refusal, Seen, Why};
use crate::model::ContentClass;

/// Shows everything that is held in directories and approves it, except what keeps Python from starting and what is not
/// any more what was held: whoever changed it since may count on this command.
///
/// # Errors
/// [`CommandError`]
pub fn baseline(directories: &[PathBuf], options: Options<'_>) -> Result<Outcome, CommandError> {
    let directories = directories.iter().map(|path| resolve::directory(path)).collect::<Result<Vec<_>, _>>()?;
    let (seen, left_out) = with_desk(options, |desk| look(desk, &directories))?;
    for (path, why) in &left_out {
        writeln!(io::stderr(), "left out: {}: {why}", escape_path(path))?;
    }
    if seen.is_empty() {
        writeln!(io::stderr(), "nothing that is held there can be accepted")?;
    }
    let outcome = approve_seen(seen, options)?;
    Ok(if left_out.is_empty() { outcome } else { Outcome::Finding })
}

/// What can be accepted, and what cannot, with the reason.
type Sorted = (Vec<Seen>, Vec<(PathBuf, String)>);

fn look(desk: &dyn Desk, directories: &[PathBuf]) -> Result<Sorted, CommandError> {
    let (mut seen, mut left_out) = (Vec::new(), Vec::new());
    for file in desk.held()?.into_iter().filter(|file| directories.contains(&file.directory)) {
        let path = file.directory.join(&file.name);
        let why = match desk.read(&path) {
            Ok(now) if now.class == ContentClass::Broken => {
                "it keeps some versions of Python from starting; `pthguard approve` it if it must be".to_owned()
            }
            Ok(now) if file.held.sha256 != Some(now.sha256) => {
                "it has changed since it is held; `pthguard approve` shows it as it is now".to_owned()
            }
            Ok(now) => {
                seen.push(now);
                continue;
            }
            Err(Refusal { why: Why::NotFound, .. }) => continue, // it is gone
            Err(refusal) => refusal.message,
        };
        left_out.push((path, why));
    }
    Ok((seen, left_out))
}
