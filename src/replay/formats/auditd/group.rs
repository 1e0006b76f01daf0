//! The lines of one event.

use super::super::super::event::{Event, Malformed, Operation};
use super::super::{Parsed, uid};
use super::calls::{Call, call};
use super::fields::{Fields, bytes, joined, number, text};
use crate::model::Os;

/// Most names that are kept of an event. A rename onto another file has five.
const MAX_NAMES: usize = 16;
/// Longest name or command line that is kept; the kernel's `PATH_MAX`.
const MAX_TEXT: usize = 4096;
/// Most arguments that are kept of a command line.
const MAX_ARGS: usize = 64;
/// Longest argument of a program that an event shows being started.
const MAX_ARG: usize = 1024;

/// The working directory, as an argument that is a descriptor (`AT_FDCWD`), in its lower half.
const WORKING_DIRECTORY: u32 = 0xffff_ff9c;

const O_ACCMODE: u64 = 0o3;
const O_TRUNC: u64 = 0o1000;
const O_PATH: u64 = 0o10_000_000;
const O_TMPFILE: u64 = 0o20_000_000;
const S_IFMT: u64 = 0o170_000;
const S_IFREG: u64 = 0o100_000;

/// What became of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameType {
    Create,
    Delete,
    Normal,
}

#[derive(Debug)]
struct Name {
    name_type: NameType,
    name: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct SystemCall {
    architecture: Option<u64>,
    number: Option<u64>,
    has_failed: bool,
    args: [Option<u64>; 4],
    exe: Option<String>,
    euid: Option<u32>,
}

/// What is known of one event.
#[derive(Debug)]
pub(super) struct Group {
    line: u64,
    node: Box<[u8]>,
    serial: Box<[u8]>,
    call: Option<SystemCall>,
    working_directory: Option<Vec<u8>>,
    names: Vec<Name>,
    /// Of the record that openat2 has for them.
    open_flags: Option<u64>,
    title: Vec<String>,
    arguments: Vec<String>,
    malformed: Option<Malformed>,
}

impl Group {
    /// Whether lines of that kind say something about files.
    pub(super) fn knows(kind: &[u8]) -> bool {
        matches!(kind, b"SYSCALL" | b"CWD" | b"PATH" | b"PROCTITLE" | b"EXECVE" | b"OPENAT2")
    }

    /// An event that begins on that line.
    pub(super) fn new(line: u64, (node, serial): (&[u8], &[u8])) -> Self {
        Group {
            line,
            node: node.into(),
            serial: serial.into(),
            call: None,
            working_directory: None,
            names: Vec::new(),
            open_flags: None,
            title: Vec::new(),
            arguments: Vec::new(),
            malformed: None,
        }
    }

    pub(super) fn is(&self, (node, serial): (&[u8], &[u8])) -> bool {
        *self.serial == *serial && *self.node == *node
    }

    /// Takes a line of the event, after its begin.
    pub(super) fn push(&mut self, kind: &[u8], rest: &[u8]) {
        let fields = Fields::of(rest);
        let pushed = match kind {
            b"SYSCALL" => self.push_call(fields),
            b"CWD" => self.push_working_directory(fields),
            b"PATH" => self.push_name(fields),
            b"OPENAT2" => {
                let flags = fields.into_iter().find(|(name, _)| *name == b"oflag");
                self.open_flags = flags.and_then(|(_, value)| number(value, 8));
                Ok(())
            }
            b"PROCTITLE" => {
                let title = fields.into_iter().find(|(name, _)| *name == b"proctitle");
                let title = title.and_then(|(_, value)| bytes(value)).unwrap_or_default();
                let title = &title[..title.len().min(MAX_TEXT)];
                self.title = title.split(|byte| *byte == 0).take(MAX_ARGS).map(text).collect();
                Ok(())
            }
            b"EXECVE" => {
                self.push_arguments(fields);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(reason) = pushed {
            self.malformed.get_or_insert(Malformed::because(reason));
        }
    }

    fn push_call(&mut self, fields: Fields<'_>) -> Result<(), &'static str> {
        let mut call = SystemCall::default();
        for (name, value) in fields {
            match name {
                b"arch" => call.architecture = number(value, 16),
                b"syscall" => call.number = number(value, 10),
                b"success" => call.has_failed = value == b"no",
                b"a0" => call.args[0] = number(value, 16),
                b"a1" => call.args[1] = number(value, 16),
                b"a2" => call.args[2] = number(value, 16),
                b"a3" => call.args[3] = number(value, 16),
                b"euid" => call.euid = std::str::from_utf8(value).ok().and_then(uid),
                b"exe" => call.exe = bytes(value).map(|exe| bounded(&exe).map(text)).transpose()?,
                _ => {}
            }
        }
        self.call.replace(call).map_or(Ok(()), |_| Err("two SYSCALL records in one audit event"))
    }

    fn push_working_directory(&mut self, fields: Fields<'_>) -> Result<(), &'static str> {
        for (_, value) in fields.into_iter().filter(|(name, _)| *name == b"cwd") {
            let Some(directory) = bytes(value) else { continue };
            if self.working_directory.replace(bounded(&directory)?.to_vec()).is_some() {
                return Err("two working directories in one audit event");
            }
        }
        Ok(())
    }

    fn push_name(&mut self, fields: Fields<'_>) -> Result<(), &'static str> {
        let (mut name, mut name_type) = (None, None);
        for (field, value) in fields {
            match field {
                b"name" if name.is_none() => name = Some(value),
                b"nametype" | b"objtype" if name_type.is_none() => name_type = Some(value),
                _ => {}
            }
        }
        let name_type = match name_type {
            Some(b"CREATE") => NameType::Create,
            Some(b"DELETE") => NameType::Delete,
            Some(b"NORMAL") => NameType::Normal,
            _ => return Ok(()),
        };
        if self.names.len() == MAX_NAMES {
            return Err("too many names in one audit event");
        }
        let name = name.and_then(bytes).map(|name| bounded(&name).map(<[u8]>::to_vec)).transpose()?;
        self.names.push(Name { name_type, name });
        Ok(())
    }

    fn push_arguments(&mut self, fields: Fields<'_>) {
        for (name, value) in fields {
            let is_argument = name.strip_prefix(b"a").is_some_and(|place| place.iter().all(u8::is_ascii_digit));
            if is_argument && self.arguments.len() < MAX_ARGS {
                let argument = bytes(value).unwrap_or_default();
                self.arguments.push(text(&argument[..argument.len().min(MAX_ARG)]));
            }
        }
    }

    /// What the event says, nothing of it being to come.
    pub(super) fn complete(self) -> Parsed<'static> {
        Parsed { line: self.line, result: self.event() }
    }

    fn event(self) -> Result<Option<Event<'static>>, Malformed> {
        let Some(call) = &self.call else {
            // A title alone belongs to records of another kind.
            let is_of_file = !self.names.is_empty();
            return if is_of_file { Err(Malformed::because("audit records without their SYSCALL")) } else { Ok(None) };
        };
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        if call.has_failed {
            return Ok(None);
        }
        let Some((operation, directory)) = self.operation(call)? else { return Ok(None) };
        let path = self.path(call, operation, directory)?;
        let args = if self.arguments.is_empty() { self.title } else { self.arguments };
        let time = self.serial.split(|byte| *byte == b':').next().map(text);
        let call = self.call.unwrap_or_default();
        Ok(Some(Event {
            os: Some(Os::Linux),
            exe: call.exe.map(Into::into),
            args: args.into_iter().map(Into::into).collect(),
            uid: call.euid,
            time: time.map(Into::into),
            ..Event::new(operation, path.into()).with_extension_of_name()
        }))
    }

    /// What was done, and which argument is the directory that the name is relative to.
    fn operation(&self, made: &SystemCall) -> Result<Option<(Operation, Option<usize>)>, Malformed> {
        let (Some(architecture), Some(number)) = (made.architecture, made.number) else {
            return Err(Malformed::because("an audit SYSCALL record without its call"));
        };
        let known = call(architecture, number);
        let known = known.map_err(|()| Malformed::because("an audit event of an unknown architecture"))?;
        let Some((call, directory)) = known else { return Ok(None) };
        let is_creation = self.names.iter().any(|name| name.name_type == NameType::Create);
        let argument = |at: usize| made.args.get(at).copied().flatten();
        let operation = match call {
            Call::Open { flags } => {
                let flags = flags.map_or(self.open_flags, argument);
                match flags {
                    Some(flags) if flags & (O_TMPFILE | O_PATH) != 0 => return Ok(None),
                    _ if is_creation => Operation::Create,
                    Some(flags) if flags & O_ACCMODE != 0 || flags & O_TRUNC != 0 => Operation::Modify,
                    Some(_) => Operation::Read,
                    None => return Err(Malformed::because("an audit event that does not tell a write from a read")),
                }
            }
            Call::Creat if is_creation => Operation::Create,
            Call::Creat | Call::Truncate => Operation::Modify,
            Call::Rename => Operation::Rename,
            Call::Link => Operation::Link,
            Call::Symlink => Operation::Symlink,
            Call::Mknod { mode } => match argument(mode).map(|mode| mode & S_IFMT) {
                Some(0 | S_IFREG) => Operation::Create,
                _ => Operation::Special,
            },
            Call::Unlink => Operation::Delete,
        };
        Ok(Some((operation, directory)))
    }

    /// The file that got, or lost, its name.
    fn path(&self, call: &SystemCall, operation: Operation, directory: Option<usize>) -> Result<String, Malformed> {
        let wanted = match operation {
            Operation::Delete => NameType::Delete,
            Operation::Modify | Operation::Read => NameType::Normal,
            Operation::Create | Operation::Rename | Operation::Link | Operation::Symlink | Operation::Special => {
                NameType::Create
            }
        };
        let name = self.names.iter().rev().find(|name| name.name_type == wanted).and_then(|name| name.name.as_deref());
        let name = name.ok_or(Malformed::because("an audit event without the name of the file"))?;
        if name.first() == Some(&b'/') {
            return Ok(text(&joined(&[], name)));
        }
        let descriptor = directory.and_then(|at| call.args[at]);
        // The kernel logs all 64 bits of it or the lower half.
        #[allow(clippy::cast_possible_truncation, reason = "a descriptor has 32 bits")]
        let is_elsewhere = descriptor.is_some_and(|descriptor| descriptor as u32 != WORKING_DIRECTORY);
        if is_elsewhere {
            return Err(Malformed::because("a name relative to a directory that the audit log does not name"));
        }
        let directory = self.working_directory.as_deref();
        let directory = directory.ok_or(Malformed::because("an audit event without the working directory"))?;
        Ok(text(&joined(directory, name)))
    }
}

fn bounded(bytes: &[u8]) -> Result<&[u8], &'static str> {
    if bytes.len() <= MAX_TEXT { Ok(bytes) } else { Err("a name longer than 4096 bytes in an audit event") }
}
