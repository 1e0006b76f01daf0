//! `pthguard revoke`

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;

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
            let revoked = desk.revoke(&resolve::entry(file)?, &Peer::this_process())?;
            if say(&revoked)? == Outcome::Finding {
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

fn say(revoked: &[Revoked]) -> Result<Outcome, CommandError> {
    let mut outcome = Outcome::Fine;
    for one in revoked {
        let in_every = if one.path.is_absolute() { "" } else { " in every directory" };
        writeln!(io::stdout(), "revoked {}{in_every} ({})", escape_path(&one.path), text::brief(one.sha256))?;
        if one.still_approved {
            let name = one.path.file_name().unwrap_or_default();
            writeln!(
                io::stderr(),
                "it can still be read: these bytes are approved under this name in every directory, until \
                 `pthguard revoke --sha256 {} --name {}`",
                one.sha256,
                escape(name.as_encoded_bytes())
            )?;
            outcome = Outcome::Finding;
        }
    }
    Ok(outcome)
}
