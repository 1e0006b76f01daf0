//! `pthguard status`, `pthguard metrics`

use std::io::{self, Write};
use std::path::Path;

use super::{CommandError, Options, Outcome};
use crate::config;
use crate::control::{Access, Refusal, check_state};
use crate::status::{Status, write_metrics, write_text};

/// Prints what the running guard tells of itself.
///
/// # Errors
/// [`CommandError`]; a [`Refusal`] if none runs.
pub fn status(options: Options<'_>) -> Result<Outcome, CommandError> {
    let status = ask(options.config)?;
    let mut text = String::new();
    if options.json {
        text = serde_json::to_string_pretty(&status).map_err(io::Error::from)?;
        text.push('\n');
    } else {
        let _ = write_text(&status, &mut text); // writing to a String cannot fail
    }
    print(&text)
}

/// Prints the same for Prometheus.
///
/// # Errors
/// As [`status`].
pub fn metrics(config: Option<&Path>) -> Result<Outcome, CommandError> {
    let status = ask(config)?;
    let mut text = String::new();
    let _ = write_metrics(&status, &mut text); // as above
    print(&text)
}

/// Asks the guard. Nothing is locked where none runs: who looks at the state every few seconds must not be in the way of
/// one that starts.
fn ask(config: Option<&Path>) -> Result<Status, CommandError> {
    let config = config::load(config)?;
    let access = match Access::to_daemon(&config) {
        Ok(access) => access,
        Err(error) if is_nobody(&error) => {
            check_state(&config.state_dir)?;
            return Err(Refusal::not_running(&config.state_dir).into());
        }
        Err(error) => {
            check_state(&config.state_dir)?;
            return Err(Refusal::system(&config.state_dir.join("control"), error).into());
        }
    };
    Ok(access.desk().status()?)
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn print(text: &str) -> Result<Outcome, CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Outcome::Fine)
}
