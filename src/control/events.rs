//! A command's end of a stream of records.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::desk::{Refusal, Why};
use super::protocol::{Answer, MAX_ANSWER, Request, from_line, to_line};
use super::socket::{StateDir, write_line};
use crate::audit::{Ending, MAX_FOLLOWERS, Wish};
use crate::config::Config;

/// How long the daemon may take to answer: other commands may be before this one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a stream of records ended early.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The daemon says no, or there is none.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Whoever was to get the lines does not take them.
    #[error("{0}")]
    Taker(io::Error),
}

/// Asks the running daemon for records, and hands each line, with its line feed, to `each`. Returns whether the daemon ends
/// it because it stops; else everything that was asked for is there.
///
/// # Errors
/// [`Lost`]
pub fn watch(config: &Config, wish: Wish, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<bool, Lost> {
    let stream = ask(config, wish)?;
    let limit = |limit| stream.set_read_timeout(limit).map_err(|error| gone(&error));
    limit(Some(PATIENCE))?;
    let mut lines = BufReader::new(&stream);
    let mut line = Vec::new();
    read_line(&mut lines, &mut line)?;
    let answer = from_line(line.strip_suffix(b"\n").unwrap_or(&line))?;
    if let Answer::Refused(refusal) = answer {
        return Err(refusal.into());
    }
    let Answer::Done = answer else {
        return Err(Refusal::new(Why::Malformed, "control socket: the daemon answers something else").into());
    };
    if wish.follow {
        limit(None)?; // the next record may come tomorrow
    }
    loop {
        read_line(&mut lines, &mut line)?;
        match Ending::of(&line) {
            Some(Ending::Complete) => return Ok(false),
            Some(Ending::Stopped) => return Ok(true),
            Some(Ending::Full) => {
                let message = format!("{MAX_FOLLOWERS} others follow the events already; end one of them");
                return Err(Refusal::new(Why::System, message).into());
            }
            None => each(&line).map_err(Lost::Taker)?,
        }
    }
}

fn ask(config: &Config, wish: Wish) -> Result<UnixStream, Refusal> {
    let no_daemon = |error: io::Error| {
        let state = crate::audit::escape_path(&config.state_dir);
        let hint = if error.kind() == ErrorKind::PermissionDenied { "this needs root" } else { "does the daemon run?" };
        Refusal::new(Why::System, format!("cannot reach a daemon at {state}/control: {error}; {hint}"))
    };
    let stream = StateDir::open(&config.state_dir).and_then(|dir| dir.connect(PATIENCE)).map_err(no_daemon)?;
    // A daemon that has refused already does not read the request, but its answer is there.
    let _ = write_line(&stream, &to_line(&Request::Events { wish })?, Instant::now() + PATIENCE);
    Ok(stream)
}

/// Reads one line, line feed included, in place of the one before.
fn read_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> Result<(), Refusal> {
    line.clear();
    let limit = u64::try_from(MAX_ANSWER).unwrap_or(u64::MAX);
    let result = lines.take(limit).read_until(b'\n', line);
    if line.ends_with(b"\n") {
        return Ok(());
    }
    Err(gone(&result.err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into())))
}

fn gone(error: &io::Error) -> Refusal {
    Refusal::new(Why::System, format!("the daemon has gone without a word, or does not answer: {error}"))
}
