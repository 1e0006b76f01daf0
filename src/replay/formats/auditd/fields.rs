//! The words of a line of the audit log.

use std::borrow::Cow;

use crate::audit::escape;

/// What the kernel's part of a line ends with, where the daemon has added its own.
const ENRICHED: u8 = 0x1d;

/// The begin of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    /// `SYSCALL`, `PATH` and so on.
    pub(super) kind: &'a [u8],
    /// What all lines of one event have in common: the host if it is named, the time, the serial.
    pub(super) id: (&'a [u8], &'a [u8]),
    /// What comes after it.
    pub(super) rest: &'a [u8],
}

/// `[node=HOST ]type=KIND msg=audit(TIME:SERIAL): …`
pub(super) fn header(line: &[u8]) -> Option<Header<'_>> {
    let (node, line) = match line.strip_prefix(b"node=") {
        Some(line) => split_at(line, b' ')?,
        None => (&b""[..], line),
    };
    let (kind, line) = split_at(line.strip_prefix(b"type=")?, b' ')?;
    let (id, rest) = split_at(line.strip_prefix(b"msg=audit(")?, b')')?;
    let is_id = |id: &[u8]| id.len() < 64 && id.iter().all(|byte| byte.is_ascii_digit() || b".:".contains(byte));
    (is_id(id) && node.len() < 256).then_some(Header { kind, id: (node, id), rest: rest.strip_prefix(b":")? })
}

fn split_at(bytes: &[u8], end: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == end)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// The `name=value` pairs of a line. Values are in quotes, or in hexadecimal if they hold what could end them.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(rest: &'a [u8]) -> Self {
        Fields(rest)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let begin = self.0.iter().position(|byte| *byte != b' ' && *byte != ENRICHED)?;
            let word = &self.0[begin..];
            let end = word.iter().position(|byte| matches!(*byte, b'=' | b' ' | ENRICHED)).unwrap_or(word.len());
            if word.get(end) != Some(&b'=') {
                self.0 = &word[end..];
                continue;
            }
            let (name, value) = (&word[..end], &word[end + 1..]);
            let end = match value.first() {
                Some(b'"') => value[1..].iter().position(|byte| *byte == b'"').map_or(value.len(), |at| at + 2),
                _ => value.iter().position(|byte| *byte == b' ' || *byte == ENRICHED).unwrap_or(value.len()),
            };
            self.0 = &value[end..];
            return Some((name, &value[..end]));
        }
    }
}

/// The bytes of a name or an argument; `None` where the kernel knew none, or the value is neither form.
pub(super) fn bytes(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    match value {
        b"(null)" | b"(none)" | b"?" => None,
        [b'"', text @ .., b'"'] => Some(Cow::Borrowed(text)),
        digits => hex::decode(digits).ok().filter(|bytes| !bytes.is_empty()).map(Cow::Owned),
    }
}

/// Text of such bytes; what is not UTF-8 is escaped.
pub(super) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => escape(bytes).into_owned(),
    }
}

/// A number without a sign in that base.
pub(super) fn number(value: &[u8], base: u32) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(value).ok()?, base).ok()
}

/// The absolute path of a name. Other recorders have it from the kernel's own tree; here `..` is taken for the directory
/// above by name, which it is not after a symbolic link.
pub(super) fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in [directory, name].into_iter().flat_map(|path| path.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut path = parts.iter().fold(Vec::new(), |mut path, part| {
        path.push(b'/');
        path.extend_from_slice(part);
        path
    });
    if path.is_empty() {
        path.push(b'/');
    }
    path
}
