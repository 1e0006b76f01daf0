//! One recorded operation, whatever it was recorded by.

use std::borrow::Cow;

use crate::model::{ContentClass, Os};

/// What the record says was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A file was made under that name, or replaced by a new one.
    Create,
    /// A file was opened for writing, or its content changed.
    Modify,
    /// A file got the name by rename or exchange.
    Rename,
    /// A file got the name by a hard link.
    Link,
    /// A symbolic link of that name was made.
    Symlink,
    /// A FIFO, socket or device of that name was made.
    Special,
    /// The name was removed.
    Delete,
    /// A file was opened for reading.
    Read,
}

impl Operation {
    /// The word used in reports; that of the guard's own records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "creation",
            Operation::Modify => "modification",
            Operation::Rename => "rename",
            Operation::Link => "link",
            Operation::Symlink => "symlink",
            Operation::Special => "special",
            Operation::Delete => "deletion",
            Operation::Read => "read",
        }
    }
}

/// A record that cannot be read as one, or does not hold what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// Why, in a few words. There are only so many of them, so that they can be counted.
    pub reason: &'static str,
}

impl Malformed {
    pub(super) const fn because(reason: &'static str) -> Self {
        Malformed { reason }
    }
}

/// One recorded operation. What the record does not say is `None`.
///
/// All of it is what the record says, and none of it is proven. Text is borrowed from the record where it stands there
/// as it is. Bytes that are not UTF-8 are in it as their own escapes (`\xNN`) where the record holds them, and as the
/// replacement character where whoever recorded it has lost them.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// What the host runs.
    pub os: Option<Os>,
    /// What was done.
    pub operation: Operation,
    /// The file that it was done to; where a file got a name, that name.
    pub path: Cow<'a, str>,
    /// What comes after the last dot of the name. Where the record has a field for it, what that says: `None` if it is
    /// not there, whatever the name is.
    pub extension: Option<Cow<'a, str>>,
    /// The executable of the process.
    pub exe: Option<Cow<'a, str>>,
    /// The command line, its first word included. Records can cut it short.
    pub args: Vec<Cow<'a, str>>,
    /// What an interpreter ran, where the record says it: a path, `-m pip`, `-c`, `-`. The guard's own records do.
    pub script: Option<Cow<'a, str>>,
    /// The effective user id of the process.
    pub uid: Option<u32>,
    /// The executable of the process that started it.
    pub parent_exe: Option<Cow<'a, str>>,
    /// The container that the process ran in.
    pub container: Option<Cow<'a, str>>,
    /// What the file can do, as the guard's own records say it.
    pub content: Option<ContentClass>,
    /// The line of the file that makes it so, as the guard's own records show it: shortened and escaped.
    pub line: Option<Cow<'a, str>>,
    /// What the guard answered at the time: `allow`, `deny`, `would-deny`. Its own records say it.
    pub verdict: Option<Cow<'a, str>>,
    /// When, in whatever form the record has it.
    pub time: Option<Cow<'a, str>>,
}

impl<'a> Event<'a> {
    /// An operation of which nothing else is known.
    #[must_use]
    pub fn new(operation: Operation, path: Cow<'a, str>) -> Self {
        Event {
            os: None,
            operation,
            path,
            extension: None,
            exe: None,
            args: Vec::new(),
            script: None,
            uid: None,
            parent_exe: None,
            container: None,
            content: None,
            line: None,
            verdict: None,
            time: None,
        }
    }

    /// The same with the extension that its name has.
    #[must_use]
    pub(super) fn with_extension_of_name(self) -> Self {
        let extension = match &self.path {
            Cow::Borrowed(path) => extension(path).map(Cow::Borrowed),
            Cow::Owned(path) => extension(path).map(|extension| Cow::Owned(extension.to_owned())),
        };
        Event { extension, ..self }
    }
}

/// What comes after the last dot of the last name of a path, on any system. Not as `Path::extension`, which finds none in
/// `.pth`.
fn extension(path: &str) -> Option<&str> {
    // On Linux a backslash is a letter like any other.
    let name = match path.starts_with('/') {
        true => path.rsplit('/').next(),
        false => path.rsplit(['/', '\\']).next(),
    };
    let (_, extension) = name?.rsplit_once('.')?;
    (!extension.is_empty()).then_some(extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_is_what_follows_the_last_dot_of_the_name() {
        for (path, expected) in [
            ("/a/x.pth", Some("pth")),
            ("/a/.pth", Some("pth")),
            (r"C:\Python\Lib\site-packages\x.y.PTH", Some("PTH")),
            (r"/a.b/c\d.e\f", Some(r"e\f")),
            ("/a.b/c", None),
            (r"C:\a.b\c", None),
            ("/a/x.", None),
            ("", None),
        ] {
            assert_eq!(extension(path), expected, "{path}");
            let event = Event::new(Operation::Create, Cow::Owned(path.to_owned())).with_extension_of_name();
            assert_eq!(event.extension.as_deref(), expected);
        }
    }
}
