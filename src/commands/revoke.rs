//! `pthguard revoke`

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{CommandError, Options, Outcome, resolve, text, with_desk};
use crate::audit::{escape, escape_path};
use crate::control::{Peer, Revoked};
use crate::model::Sha256;

/// Takes back the approvals of files, which need not be there any more. It asks nothing: it can only close.
///
/// # Errors
/// [`CommandError`]. What came before the file that fails is revoked.
pub fn revoke(files: &[PathBuf], options: Options<'_>) -> Result<Outcome, CommandError> {
    with_desk(options, |desk| {
        let mut outcome = Outcome::Fine;
        for file in files {
            let path = resolve::entry(file)?;
            let revoked = desk.revoke(&path, &Peer::this_process())?;
            if say(&revoked)? == Outcome::Finding {
                outcome = Outcome::Finding;
            } else if let Some(seen) = desk.read(&path).ok().filter(|seen| seen.is_approved) {
                say_still_approved(&path, seen.sha256)?; // other bytes than those that were revoked lie there now
                outcome = Outcome::Finding;
            }
        }
        Ok(outcome)
    })
}

/// Takes back every approval of these bytes under this name.
///
/// # Errors
/// [`CommandError`]
pub fn revoke_everywhere(name: &OsStr, sha256: Sha256, options: Options<'_>) -> Result<Outcome, CommandError> {
    let name = resolve::name(name)?;
    with_desk(options, |desk| say(&desk.revoke_everywhere(name, sha256, &Peer::this_process())?))
}

fn say_still_approved(path: &Path, sha256: Sha256) -> io::Result<()> {
    let name = escape(path.file_name().unwrap_or_default().as_encoded_bytes());
    writeln!(
        io::stderr(),
        "it can still be read: these bytes are approved under this name in every directory, until \
         `pthguard revoke --sha256 {sha256} --name {name}`"
    )
}

fn say(revoked: &[Revoked]) -> Result<Outcome, CommandError> {
    let mut outcome = Outcome::Fine;
    for one in revoked {
        let in_every = if one.path.is_absolute() { "" } else { " in every directory" };
        writeln!(io::stdout(), "revoked {}{in_every} ({})", escape_path(&one.path), text::brief(one.sha256))?;
        if one.still_approved {
            say_still_approved(&one.path, one.sha256)?;
            outcome = Outcome::Finding;
        }
    }
    Ok(outcome)
}
