//! `pthguard events`

use std::io::{self, ErrorKind, Write};

use super::{CommandError, Options, Outcome};
use crate::audit::{Form, Wish};
use crate::config;
use crate::control::{self, Lost};

/// Prints the last records of the running daemon and, if they are to be followed, every later one until it stops.
///
/// # Errors
/// [`CommandError`]
pub fn events(last: u32, follow: bool, options: Options<'_>) -> Result<Outcome, CommandError> {
    let config = config::load(options.config)?;
    let wish = Wish { last, follow, form: if options.json { Form::Json } else { Form::Text } };
    let mut out = io::stdout().lock();
    let mut print = |line: &[u8]| out.write_all(line).and_then(|()| out.flush());
    match control::watch(&config, wish, &mut print) {
        Ok(true) => eprintln!("pthguard: the daemon has stopped"),
        Ok(false) => {}
        // Whoever has read enough, as `head` does, closes the pipe.
        Err(Lost::Taker(error)) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(Lost::Taker(error)) => return Err(error.into()),
        Err(Lost::Refused(refusal)) => return Err(refusal.into()),
    }
    Ok(Outcome::Fine)
}
