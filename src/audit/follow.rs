//! Those who look on: each gets the last lines of the log and, if he wants, every later one as it is written.
//!
//! Nobody is waited for. What somebody does not take at once waits in a buffer of his own; when that is full, lines are
//! left out for him and their number is told as soon as there is room again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, recv};
use serde::{Deserialize, Serialize};

use super::format::{Render, render};
use super::record::{Action, Record};
use super::text::push_timed_line;
use crate::model::JsonFormat;

/// How many may look on at the same time.
pub const MAX_FOLLOWERS: usize = 8;
/// Lines that are kept for those who come later.
const MAX_RECENT: usize = 1000;
/// The same in bytes, both forms together.
const MAX_RECENT_BYTES: usize = 1 << 20;
/// Bytes that may wait for one follower. More than can be kept: whoever asks for all of that gets it without a gap.
const MAX_WAITING: usize = 2 * MAX_RECENT_BYTES;
/// When to try again with somebody who has taken something lately.
const SOON: Duration = Duration::from_millis(50);
/// When to try again with somebody who takes nothing.
const LATER: Duration = Duration::from_secs(1);
/// How long a last attempt is made with those who have not taken everything at the end.
const FAREWELL: Duration = Duration::from_millis(100);

/// What somebody wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// So many of the last records.
    pub last: u32,
    /// And all that come.
    pub follow: bool,
    /// How they are written.
    pub form: Form,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// As in the log, in its schema.
    Json,
    /// For people, behind the time.
    Text,
}

/// The last line of a stream: why there are no more. No record begins like these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All that was asked for is there.
    Complete,
    /// The daemon stops.
    Stopped,
    /// [`MAX_FOLLOWERS`] look on already.
    Full,
}

impl Ending {
    const ALL: [Ending; 3] = [Ending::Complete, Ending::Stopped, Ending::Full];

    fn line(self) -> &'static [u8] {
        match self {
            Ending::Complete => b"#complete\n",
            Ending::Stopped => b"#stopped\n",
            Ending::Full => b"#full\n",
        }
    }

    /// The ending that a line, line feed included, stands for.
    #[must_use]
    pub fn of(line: &[u8]) -> Option<Ending> {
        Ending::ALL.into_iter().find(|ending| ending.line() == line)
    }
}

/// Somebody who wants to look on.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) stream: UnixStream,
    pub(super) wish: Wish,
}

/// A record as it is shown.
#[derive(Clone)]
struct Shown {
    json: Arc<[u8]>,
    text: Arc<[u8]>,
}

impl Shown {
    fn in_form(&self, form: Form) -> &Arc<[u8]> {
        match form {
            Form::Json => &self.json,
            Form::Text => &self.text,
        }
    }

    fn len(&self) -> usize {
        self.json.len() + self.text.len()
    }
}

/// All who look on, and what newcomers are shown first.
pub(super) struct Followers {
    json: Render,
    recent: VecDeque<Shown>,
    recent_bytes: usize,
    followers: Vec<Follower>,
}

struct Follower {
    stream: UnixStream,
    wish: Wish,
    waiting: VecDeque<Arc<[u8]>>,
    /// How much of the first of them has gone out.
    sent: usize,
    waiting_bytes: usize,
    /// Records that were left out and have not been told of.
    missed: u64,
    /// When the stream took something for the last time.
    took: Instant,
}

impl Followers {
    pub(super) fn new(format: JsonFormat) -> Self {
        Followers { json: render(format), recent: VecDeque::new(), recent_bytes: 0, followers: Vec::new() }
    }

    /// Lets somebody in, or tells him that there is no room.
    pub(super) fn admit(&mut self, newcomer: Newcomer, now: Instant) {
        let Newcomer { stream, wish } = newcomer;
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.followers.len() >= MAX_FOLLOWERS {
            self.followers.retain(|follower| !follower.is_gone());
        }
        if self.followers.len() >= MAX_FOLLOWERS {
            let _ = (&stream).write(Ending::Full.line()); // a new stream has room for it, or nobody reads it
            return;
        }
        let mut follower =
            Follower { stream, wish, waiting: VecDeque::new(), sent: 0, waiting_bytes: 0, missed: 0, took: now };
        let last = usize::try_from(wish.last).unwrap_or(usize::MAX).min(self.recent.len());
        for shown in self.recent.range(self.recent.len() - last..) {
            follower.enqueue(Arc::clone(shown.in_form(wish.form)));
        }
        if !wish.follow {
            follower.enqueue(Ending::Complete.line().into());
        }
        self.followers.push(follower);
        self.flush(now);
    }

    /// Shows records to all, and keeps them for those who come later. Nothing is written before [`Followers::flush`].
    pub(super) fn tell(&mut self, records: &[Record]) {
        for record in records {
            let (mut json, mut text) = (Vec::with_capacity(1024), Vec::with_capacity(256));
            (self.json)(record, &mut json);
            push_timed_line(record, &mut text);
            let shown = Shown { json: json.into(), text: text.into() };
            for follower in self.followers.iter_mut().filter(|follower| follower.wish.follow) {
                follower.offer(&shown, &self.json);
            }
            self.keep(shown);
        }
    }

    fn keep(&mut self, shown: Shown) {
        self.recent_bytes += shown.len();
        self.recent.push_back(shown);
        while self.recent.len() > MAX_RECENT || self.recent_bytes > MAX_RECENT_BYTES {
            let Some(oldest) = self.recent.pop_front() else { return };
            self.recent_bytes -= oldest.len();
        }
    }

    /// Writes what can be written without waiting, and lets those go who have gone or have all that they asked for.
    pub(super) fn flush(&mut self, now: Instant) {
        let json = &self.json;
        self.followers.retain_mut(|follower| {
            if follower.write(now).is_err() {
                return false;
            }
            if follower.waiting.is_empty() && follower.missed > 0 {
                follower.tell_missed(json);
                return follower.write(now).is_ok();
            }
            follower.wish.follow || !follower.waiting.is_empty()
        });
    }

    /// How soon somebody is to be tried again, if something waits for anybody.
    pub(super) fn patience(&self) -> Option<Duration> {
        let behind = self.followers.iter().filter(|follower| !follower.waiting.is_empty());
        behind.map(|follower| if follower.took.elapsed() < LATER { SOON } else { LATER }).min()
    }

    /// Ends it for all, who may take what waits for them for a moment.
    pub(super) fn dismiss(&mut self) {
        for follower in self.followers.iter_mut().filter(|follower| follower.wish.follow) {
            if follower.missed > 0 {
                follower.tell_missed(&self.json);
            }
            follower.enqueue(Ending::Stopped.line().into());
        }
        let end = Instant::now() + FAREWELL;
        loop {
            self.flush(Instant::now());
            if self.followers.iter().all(|follower| follower.waiting.is_empty()) || Instant::now() >= end {
                return self.followers.clear();
            }
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Follower {
    /// Takes a record if there is room for it, behind the number of those for which there was none.
    fn offer(&mut self, shown: &Shown, json: &Render) {
        let line = shown.in_form(self.wish.form);
        if self.waiting_bytes + line.len() > MAX_WAITING {
            self.missed += 1;
            return;
        }
        if self.missed > 0 {
            self.tell_missed(json);
        }
        self.enqueue(Arc::clone(line));
    }

    fn tell_missed(&mut self, json: &Render) {
        let missed = std::mem::take(&mut self.missed);
        let record = Record::new(Action::Failure)
            .saying(format!("{missed} records are missing here: they came faster than they were read"))
            .counting(missed);
        let mut line = Vec::new();
        match self.wish.form {
            Form::Json => json(&record, &mut line),
            Form::Text => push_timed_line(&record, &mut line),
        }
        self.enqueue(line.into());
    }

    fn enqueue(&mut self, line: Arc<[u8]>) {
        self.waiting_bytes += line.len();
        self.waiting.push_back(line);
    }

    fn write(&mut self, now: Instant) -> io::Result<()> {
        while let Some(line) = self.waiting.front() {
            match (&self.stream).write(&line[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.took = now;
                    self.sent += written;
                    self.waiting_bytes -= written;
                    if self.sent == line.len() {
                        self.waiting.pop_front();
                        self.sent = 0;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether nobody is at the other end any more.
    fn is_gone(&self) -> bool {
        use std::os::fd::AsRawFd;
        let look = recv(self.stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        !matches!(look, Ok(1..) | Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR))
    }
}

#[cfg(test)]
mod tests;
