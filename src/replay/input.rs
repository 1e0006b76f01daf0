//! Recorded telemetry, one record at a time, in memory that does not grow with the file.
//!
//! *Owns* where a record begins and ends. *Must not* know what it says, nor hold more than one. *Hands to* the formats
//! one [`Chunk`] after the other.
//!
//! A file is of one of two forms, and its first characters tell which:
//!
//! * lines: JSON lines, the audit daemon's log;
//! * JSON over many lines, as `Get-WinEvent | ConvertTo-Json` makes it: an array of objects, or one object after the
//!   other, each of which is a chunk.
//!
//! Either can be UTF-8 or what `>` writes in Windows PowerShell: UTF-16, little end first, with a byte order mark.

mod decode;
mod objects;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, BufReader, Read};

use self::decode::Decoder;
use self::objects::{Objects, Step};
use super::event::Malformed;

/// Longest line or object that is read. The longest that is known of an honest recorder are some ten kilobytes.
pub const MAX_CHUNK: usize = 1024 * 1024;
/// How far the form of a file is looked for. Blanks can be that long.
const HEAD: usize = 4096;
/// What is read at once.
const BUFFER: usize = 256 * 1024;

const TOO_LONG: Malformed = Malformed::because("longer than 1 MiB");

/// One line, or one object of a file that is JSON over many lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The line that it begins on, from 1.
    pub line: u64,
    /// What it is, or why it was passed over.
    pub bytes: Result<&'a [u8], Malformed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Lines,
    Objects,
}

/// The records of one file.
#[derive(Debug)]
pub struct Input<R> {
    source: BufReader<Decoder<R>>,
    /// Not known before something was read.
    form: Option<Form>,
    /// The chunk that was last handed out, of [`Form::Lines`].
    line: Vec<u8>,
    /// Lines that have ended before what is read next, of [`Form::Lines`].
    ended: u64,
    objects: Objects,
}

impl<R: Read> Input<R> {
    /// The records in what `source` says.
    pub fn new(source: R) -> Self {
        Input {
            source: BufReader::with_capacity(BUFFER, Decoder::new(source)),
            form: None,
            line: Vec::new(),
            ended: 0,
            objects: Objects::new(MAX_CHUNK),
        }
    }

    /// The next record that is not blank; `None` when there are no more.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn next_chunk(&mut self) -> io::Result<Option<Chunk<'_>>> {
        let form = match self.form {
            Some(form) => form,
            None => *self.form.insert(form_of(self.source.get_mut().peek(HEAD)?)),
        };
        match form {
            Form::Lines => self.next_line(),
            Form::Objects => self.next_object(),
        }
    }

    /// How many bytes of the source have been read, what waits in the buffer included.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.source.get_ref().bytes_read()
    }

    fn next_line(&mut self) -> io::Result<Option<Chunk<'_>>> {
        loop {
            self.line.clear();
            let longest = u64::try_from(MAX_CHUNK).unwrap_or(u64::MAX).saturating_add(1);
            let read = (&mut self.source).take(longest).read_until(b'\n', &mut self.line)?;
            if read == 0 {
                return Ok(None);
            }
            self.ended += 1;
            if read > MAX_CHUNK && self.line.last() != Some(&b'\n') {
                self.source.skip_until(b'\n')?;
                return Ok(Some(Chunk { line: self.ended, bytes: Err(TOO_LONG) }));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(Chunk { line: self.ended, bytes: Ok(self.line.trim_ascii()) }));
            }
        }
    }

    fn next_object(&mut self) -> io::Result<Option<Chunk<'_>>> {
        self.objects.begin();
        'reading: loop {
            let bytes = self.source.fill_buf()?;
            if bytes.is_empty() {
                return Ok(self.objects.is_open().then(|| self.objects.chunk()));
            }
            for (at, byte) in bytes.iter().enumerate() {
                let used = match self.objects.step(*byte) {
                    Step::More => continue,
                    Step::Ends => at + 1,
                    Step::EndsBefore => at,
                };
                self.source.consume(used);
                break 'reading;
            }
            let used = bytes.len();
            self.source.consume(used);
        }
        Ok(Some(self.objects.chunk()))
    }
}

/// What a file that begins like this is. JSON lines have more than a brace on the first of them.
fn form_of(head: &[u8]) -> Form {
    let blank = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let head = &head[blank(head)..];
    let Some((first, rest)) = head.split_first() else { return Form::Lines };
    let between = &rest[..blank(rest)];
    match (first, rest.get(between.len())) {
        (b'{', Some(_)) if between.contains(&b'\n') => Form::Objects,
        (b'[', Some(b'{' | b'[' | b']')) => Form::Objects,
        _ => Form::Lines,
    }
}
