//! Where the objects of a JSON file begin and end that has them over many lines, byte by byte.
//!
//! A file can be broken anywhere: cut, joined with another, a brace lost. That costs the object that is broken and not
//! what comes after it. What a reader of JSON would notice, a bracket of the wrong kind, an object where a name belongs,
//! a line feed in a text, ends it at the next place where an object of the file can begin: for indented JSON a line that
//! is indented as little as the object's own first one; for JSON in one line an object after a comma. In one line a lost
//! bracket of an array is not noticed before the limit of a chunk.

use super::{Chunk, TOO_LONG};

/// Deepest nesting that is followed.
const MAX_DEPTH: u32 = 128;

/// What a byte was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Not the end.
    More,
    /// The last one of a chunk.
    Ends,
    /// The first one after a chunk, which has to be given again.
    EndsBefore,
}

/// The brackets that are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Nesting {
    depth: u32,
    /// One bit for each, the innermost lowest: whether it is an array's.
    arrays: u128,
}

impl Nesting {
    /// `false` where it is too deep.
    fn open(&mut self, is_array: bool) -> bool {
        self.depth += 1;
        self.arrays = self.arrays << 1 | u128::from(is_array);
        self.depth <= MAX_DEPTH
    }

    /// `false` where that kind was not the last one to be opened.
    fn close(&mut self, is_array: bool) -> bool {
        let matches = self.depth > 0 && self.is_in_array() == is_array;
        self.depth = self.depth.saturating_sub(1);
        self.arrays >>= 1;
        matches
    }

    fn is_in_array(self) -> bool {
        self.arrays & 1 == 1
    }
}

/// The chunk that is being read.
#[derive(Debug)]
pub(super) struct Objects {
    limit: usize,
    bytes: Vec<u8>,
    is_too_long: bool,
    is_open: bool,
    /// Whether it is certain that this is no object: what follows is looked at only for its end.
    is_broken: bool,
    nesting: Nesting,
    is_text: bool,
    is_escaped: bool,
    /// Whether the last character that counts was a comma.
    is_after_comma: bool,
    /// The line that is read, from 1, and the one that the chunk began on.
    line: u64,
    first_line: u64,
    /// How far the line that is read is indented, and whether nothing else has been read of it.
    indent: usize,
    is_line_begin: bool,
    /// How far the line is indented that the chunk began on.
    own_indent: usize,
    /// Whether what is in the object is indented deeper than itself; not known while it is on its first line.
    is_indented: Option<bool>,
}

impl Objects {
    pub(super) fn new(limit: usize) -> Self {
        Objects {
            limit,
            bytes: Vec::new(),
            is_too_long: false,
            is_open: false,
            is_broken: false,
            nesting: Nesting::default(),
            is_text: false,
            is_escaped: false,
            is_after_comma: false,
            line: 1,
            first_line: 1,
            indent: 0,
            is_line_begin: true,
            own_indent: 0,
            is_indented: None,
        }
    }

    /// Forgets the chunk before.
    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.is_too_long = false;
        self.is_open = false;
        self.is_broken = false;
        self.nesting = Nesting::default();
        self.is_text = false;
        self.is_escaped = false;
        self.is_indented = None;
    }

    /// Whether something has been read that belongs to a chunk.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// What has been read.
    pub(super) fn chunk(&self) -> Chunk<'_> {
        let bytes = if self.is_too_long { Err(TOO_LONG) } else { Ok(self.bytes.trim_ascii()) };
        Chunk { line: self.first_line, bytes }
    }

    /// How much memory is held.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes the next byte.
    pub(super) fn step(&mut self, byte: u8) -> Step {
        let begins_line = self.is_line_begin && !byte.is_ascii_whitespace();
        match byte {
            b'\n' => {
                self.line += 1;
                self.indent = 0;
                self.is_line_begin = true;
            }
            b' ' | b'\t' if self.is_line_begin => self.indent += 1,
            b'\r' => {}
            _ => self.is_line_begin = false,
        }
        if !self.is_open {
            return self.outside(byte);
        }
        if begins_line {
            if self.is_indented.is_none() && self.line > self.first_line {
                self.is_indented = Some(self.indent > self.own_indent);
            }
            match (self.is_at_next(), byte) {
                (true, b'{' | b']') => return Step::EndsBefore,
                // Also of what was broken: its end all the same.
                (true, b'}') => {
                    self.push(byte);
                    return Step::Ends;
                }
                _ => {}
            }
        }
        let step = if self.is_broken { self.broken(byte) } else { self.inside(byte) };
        if step != Step::EndsBefore {
            self.push(byte);
        }
        step
    }

    /// Whether the line can be the next object's, or the end of this one, for how little it is indented.
    fn is_at_next(&self) -> bool {
        let tells = self.is_broken || self.is_indented == Some(true);
        tells && self.line > self.first_line && self.indent <= self.own_indent
    }

    fn outside(&mut self, byte: u8) -> Step {
        match byte {
            // The last three are byte order marks, of files that were joined.
            b',' | b'[' | b']' | 0xef | 0xbb | 0xbf => return Step::More,
            _ if byte.is_ascii_whitespace() => return Step::More,
            b'{' => {
                self.nesting.open(false);
            }
            _ => self.is_broken = true,
        }
        self.is_open = true;
        self.is_after_comma = false;
        self.first_line = self.line;
        self.own_indent = self.indent;
        self.push(byte);
        Step::More
    }

    fn inside(&mut self, byte: u8) -> Step {
        if self.is_text {
            match byte {
                b'\n' => self.is_broken = true,
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.is_text = false,
                _ => {}
            }
            return Step::More;
        }
        let is_after_comma = self.is_after_comma;
        self.note_comma(byte);
        let is_sound = match byte {
            b'"' => {
                self.is_text = true;
                true
            }
            b'{' if is_after_comma && !self.nesting.is_in_array() => return Step::EndsBefore,
            b'{' | b'[' => self.nesting.open(byte == b'['),
            b'}' | b']' => self.nesting.close(byte == b']'),
            _ => true,
        };
        self.is_broken = !is_sound;
        if is_sound && self.nesting.depth == 0 { Step::Ends } else { Step::More }
    }

    fn broken(&mut self, byte: u8) -> Step {
        let is_next = byte == b'{' && self.is_after_comma && self.is_indented != Some(true);
        self.note_comma(byte);
        if is_next { Step::EndsBefore } else { Step::More }
    }

    fn note_comma(&mut self, byte: u8) {
        if !byte.is_ascii_whitespace() {
            self.is_after_comma = byte == b',';
        }
    }

    fn push(&mut self, byte: u8) {
        if self.is_too_long {
            return;
        }
        if self.bytes.len() < self.limit {
            self.bytes.push(byte);
            return;
        }
        // It need not have an end at all.
        self.is_too_long = true;
        self.is_broken = true;
        self.bytes.clear();
    }
}
