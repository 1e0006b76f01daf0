//! `pthguard mode`

use std::io::{self, Write};
use std::time::Duration;

use super::{CommandError, Options, Outcome, with_desk};
use crate::control::Peer;
use crate::model::Mode;

/// Longest time for which a guard may be told to only watch.
const LONGEST: Duration = Duration::from_hours(24);

/// Switches the mode of the running guard; to audit only for a while, after which it goes back by itself.
///
/// # Errors
/// [`CommandError`]: no guard runs, or its policy cannot be enforced.
pub fn mode(mode: Mode, limit: Option<Duration>, options: Options<'_>) -> Result<Outcome, CommandError> {
    match (mode, limit) {
        (Mode::Audit, None) => {
            let message = "say for how long, as in `pthguard mode audit --for 10m`: a guard that is left in audit mode \
                           stops nobody. `mode = \"audit\"` in the policy is for good";
            return Err(CommandError::Usage(message.to_owned()));
        }
        (_, Some(limit)) if limit.is_zero() || limit > LONGEST => {
            let message = format!("--for must be from 1s to {}h", LONGEST.as_secs() / 3600);
            return Err(CommandError::Usage(message));
        }
        (Mode::Audit | Mode::Enforce, _) => {}
    }
    with_desk(options, |desk| Ok(desk.switch_mode(mode, limit, &Peer::this_process())?))?;
    if options.json {
        let item = serde_json::json!({ "mode": mode.as_str(), "seconds": limit.map(|limit| limit.as_secs()) });
        writeln!(io::stdout(), "{}", serde_json::json!({ "version": 1, "items": [item] }))?;
        return Ok(Outcome::Fine);
    }
    match limit {
        Some(limit) => writeln!(io::stdout(), "{} for {} s, then as before", mode.as_str(), limit.as_secs())?,
        None => writeln!(io::stdout(), "{}", mode.as_str())?,
    }
    Ok(Outcome::Fine)
}
