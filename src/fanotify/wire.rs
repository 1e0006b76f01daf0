//! What read(2) on a fanotify descriptor returns, and what is written to it: pure functions over bytes.
//!
//! The parser is total: whatever the bytes are it ends, never reads outside of them and never panics. A kernel that
//! sends an unknown information record is met by skipping the record, one that sends an unknown metadata version by
//! an error. Layouts: fanotify(7), `include/uapi/linux/fanotify.h` of Linux 6.18.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::handle::{FileId, Handle};

/// Size of `struct fanotify_event_metadata`.
pub const METADATA_LEN: usize = 24;
const METADATA_VERSION: u8 = 3;
const INFO_HEADER_LEN: usize = 4;

/// Record types of information records (`FAN_EVENT_INFO_TYPE_*`).
mod info_type {
    pub(super) const FID: u8 = 1;
    pub(super) const DFID_NAME: u8 = 2;
    pub(super) const DFID: u8 = 3;
    pub(super) const PIDFD: u8 = 4;
    pub(super) const OLD_DFID_NAME: u8 = 10;
    pub(super) const NEW_DFID_NAME: u8 = 12;
}

/// Bytes that are no fanotify event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Fewer bytes than an event's metadata, or than its length says.
    #[error("an event is cut short")]
    Truncated,
    /// A length that contradicts another.
    #[error("an event's lengths contradict each other")]
    Length,
    /// The kernel speaks another version of the metadata than the one that fanotify(7) describes.
    #[error("unknown fanotify metadata version {0}")]
    Version(u8),
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// What happened: `FAN_*` bits.
    pub mask: u64,
    /// The event's descriptor, or a negative number: `FAN_NOFD` or, with `FAN_REPORT_FD_ERROR`, a negative errno.
    pub fd: i32,
    /// Process or, with `FAN_REPORT_TID`, thread id; 0 where the process lives outside of the reader's pid namespace.
    pub pid: i32,
    infos: &'a [u8],
}

/// A directory and a name in it, as an information record tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The directory.
    pub dir: FileId,
    /// The entry's name; `.` for the directory itself.
    pub name: &'a OsStr,
}

/// One information record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Info<'a> {
    /// The object itself (`FAN_REPORT_FID`, `FAN_REPORT_TARGET_FID`).
    Target(FileId),
    /// Parent directory and name (`FAN_REPORT_DFID_NAME`).
    Entry(Place<'a>),
    /// Parent directory without a name (`FAN_REPORT_DIR_FID`).
    Dir(FileId),
    /// Where a renamed entry was.
    OldEntry(Place<'a>),
    /// Where a renamed entry is now.
    NewEntry(Place<'a>),
    /// A pidfd of the author, or `FAN_NOPIDFD` (gone) or `FAN_EPIDFD` (could not be made).
    Pidfd(i32),
    /// A record of a type that this version has no use for.
    Other(u8),
}

/// Splits what one read(2) returned into events. After an error nothing more comes.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Events<'a> {
    /// `bytes` as read(2) returned them.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Events { rest: bytes }
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let parsed = parse_event(self.rest);
        self.rest = match parsed {
            Ok((_, len)) => &self.rest[len..],
            Err(_) => &[],
        };
        Some(parsed.map(|(event, _)| event))
    }
}

/// What an event is about: its information records, each in its place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// The object itself.
    pub target: Option<FileId>,
    /// The directory and name of an entry that came or went; of a directory itself its own entry `.`.
    pub entry: Option<Place<'a>>,
    /// Where a renamed entry was.
    pub old: Option<Place<'a>>,
    /// Where it is now.
    pub new: Option<Place<'a>>,
}

impl<'a> Names<'a> {
    /// Those of an event.
    #[must_use]
    pub fn of(event: &Event<'a>) -> Self {
        let mut names = Names::default();
        for info in event.infos() {
            match info {
                Info::Target(file) => names.target = Some(file),
                Info::Entry(place) => names.entry = Some(place),
                Info::OldEntry(place) => names.old = Some(place),
                Info::NewEntry(place) => names.new = Some(place),
                Info::Dir(_) | Info::Pidfd(_) | Info::Other(_) => {}
            }
        }
        names
    }

    /// What an event about an object itself is about. A directory is told as its own entry `.` (fanotify(7)).
    #[must_use]
    pub fn itself(&self) -> Option<FileId> {
        self.entry.filter(|place| place.name == ".").map(|place| place.dir).or(self.target)
    }
}

fn parse_event(bytes: &[u8]) -> Result<(Event<'_>, usize), WireError> {
    let metadata = bytes.get(..METADATA_LEN).ok_or(WireError::Truncated)?;
    let len = u32_at(metadata, 0) as usize;
    let metadata_len = usize::from(u16_at(metadata, 6));
    if metadata[4] != METADATA_VERSION {
        return Err(WireError::Version(metadata[4]));
    }
    if metadata_len < METADATA_LEN || len < metadata_len {
        return Err(WireError::Length);
    }
    let event = bytes.get(..len).ok_or(WireError::Truncated)?;
    let event = Event {
        mask: u64_at(metadata, 8),
        fd: u32_at(metadata, 16).cast_signed(),
        pid: u32_at(metadata, 20).cast_signed(),
        infos: &event[metadata_len..],
    };
    Ok((event, len))
}

impl<'a> Event<'a> {
    /// The event's information records. Ends at the first one whose length makes no sense.
    pub fn infos(&self) -> impl Iterator<Item = Info<'a>> + use<'a> {
        let mut rest = self.infos;
        std::iter::from_fn(move || {
            let header = rest.get(..INFO_HEADER_LEN)?;
            let len = usize::from(u16_at(header, 2));
            if len < INFO_HEADER_LEN {
                return None;
            }
            let body = rest.get(INFO_HEADER_LEN..len)?;
            rest = &rest[len..];
            Some(parse_info(header[0], body))
        })
    }
}

fn parse_info(kind: u8, body: &[u8]) -> Info<'_> {
    let parsed = match kind {
        info_type::PIDFD => body.get(..4).map(|fd| Info::Pidfd(u32_at(fd, 0).cast_signed())),
        info_type::FID => parse_fid(body).map(|(id, _)| Info::Target(id)),
        info_type::DFID => parse_fid(body).map(|(id, _)| Info::Dir(id)),
        info_type::DFID_NAME => parse_place(body).map(Info::Entry),
        info_type::OLD_DFID_NAME => parse_place(body).map(Info::OldEntry),
        info_type::NEW_DFID_NAME => parse_place(body).map(Info::NewEntry),
        _ => None,
    };
    parsed.unwrap_or(Info::Other(kind))
}

/// fsid, then `struct file_handle`; returns what follows, too.
fn parse_fid(body: &[u8]) -> Option<(FileId, &[u8])> {
    let head = body.get(..16)?;
    let handle_len = u32_at(head, 8) as usize;
    let bytes = body.get(16..)?.get(..handle_len)?;
    let handle = Handle::new(u32_at(head, 12).cast_signed(), bytes)?;
    Some((FileId { fsid: u64_at(head, 0), handle }, &body[16 + handle_len..]))
}

fn parse_place(body: &[u8]) -> Option<Place<'_>> {
    let (dir, rest) = parse_fid(body)?;
    let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Place { dir, name: OsStr::from_bytes(name) })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

/// What an answer tells the kernel's audit subsystem (`struct fanotify_response_info_audit_rule`, Linux 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditRule {
    /// Number of the rule that decided, 0 for none.
    pub number: u32,
    /// Trust in the subject: 0 no, 1 yes, 2 unknown.
    pub subject_trust: u32,
    /// Trust in the object: 0 no, 1 yes, 2 unknown.
    pub object_trust: u32,
}

const FAN_ALLOW: u32 = 0x01;
const FAN_DENY: u32 = 0x02;
const FAN_AUDIT: u32 = 0x10;
const FAN_INFO: u32 = 0x20;
const RESPONSE_INFO_AUDIT_RULE: u8 = 1;

/// An encoded answer: `struct fanotify_response`, with the audit rule record behind it where one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    bytes: [u8; 24],
    len: usize,
}

impl Response {
    /// The answer to the event with descriptor number `fd`.
    #[must_use]
    pub fn new(fd: i32, allow: bool, audit: Option<AuditRule>) -> Self {
        let verdict = if allow { FAN_ALLOW } else { FAN_DENY };
        let mut bytes = [0; 24];
        bytes[..4].copy_from_slice(&fd.to_ne_bytes());
        let Some(rule) = audit else {
            bytes[4..8].copy_from_slice(&verdict.to_ne_bytes());
            return Response { bytes, len: 8 };
        };
        bytes[4..8].copy_from_slice(&(verdict | FAN_AUDIT | FAN_INFO).to_ne_bytes());
        bytes[8] = RESPONSE_INFO_AUDIT_RULE;
        bytes[10..12].copy_from_slice(&16u16.to_ne_bytes());
        bytes[12..16].copy_from_slice(&rule.number.to_ne_bytes());
        bytes[16..20].copy_from_slice(&rule.subject_trust.to_ne_bytes());
        bytes[20..24].copy_from_slice(&rule.object_trust.to_ne_bytes());
        Response { bytes, len: 24 }
    }

    /// The answer to the event with descriptor number `fd`, for the kernel's audit records, on a kernel that takes no rule.
    #[must_use]
    pub fn without_rule(fd: i32, allow: bool) -> Self {
        let mut response = Response::new(fd, allow, None);
        let verdict = if allow { FAN_ALLOW } else { FAN_DENY };
        response.bytes[4..8].copy_from_slice(&(verdict | FAN_AUDIT).to_ne_bytes());
        response
    }

    /// The bytes to write(2).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metadata(len: u32, mask: u64, fd: i32, pid: i32) -> Vec<u8> {
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend([METADATA_VERSION, 0]);
        bytes.extend(24u16.to_ne_bytes());
        bytes.extend(mask.to_ne_bytes());
        bytes.extend(fd.to_ne_bytes());
        bytes.extend(pid.to_ne_bytes());
        bytes
    }

    fn fid_info(kind: u8, id: &FileId, name: Option<&[u8]>) -> Vec<u8> {
        let mut body = id.fsid.to_ne_bytes().to_vec();
        body.extend(u32::try_from(id.handle.bytes().len()).unwrap().to_ne_bytes());
        body.extend(id.handle.kind().to_ne_bytes());
        body.extend(id.handle.bytes());
        if let Some(name) = name {
            body.extend(name);
            body.push(0);
        }
        while !body.len().is_multiple_of(4) {
            body.push(0); // the kernel pads records to four bytes
        }
        let mut record = vec![kind, 0];
        record.extend(u16::try_from(4 + body.len()).unwrap().to_ne_bytes());
        record.extend(body);
        record
    }

    fn file_id(seed: u8, len: usize) -> FileId {
        FileId { fsid: 0x1122_3344_5566_7788 ^ u64::from(seed), handle: Handle::new(1, &vec![seed; len]).unwrap() }
    }

    fn event(mask: u64, infos: &[Vec<u8>]) -> Vec<u8> {
        let infos = infos.concat();
        let mut bytes = metadata(u32::try_from(24 + infos.len()).unwrap(), mask, -1, 42);
        bytes.extend(infos);
        bytes
    }

    #[test]
    fn a_rename_with_all_its_records() {
        let (old, new, target) = (file_id(1, 8), file_id(2, 8), file_id(3, 12));
        let mut pidfd = vec![info_type::PIDFD, 0, 8, 0];
        pidfd.extend(7i32.to_ne_bytes());
        let records = [
            fid_info(info_type::OLD_DFID_NAME, &old, Some(b"evil.txt")),
            fid_info(info_type::NEW_DFID_NAME, &new, Some(b"\xff\n.pth")),
            fid_info(info_type::FID, &target, None),
            pidfd,
            vec![99, 0, 4, 0],
        ];
        let mut bytes = event(0x1000_0000, &records);
        bytes.extend(event(0x100, &[]));
        let events: Vec<_> = Events::new(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].mask, events[0].fd, events[0].pid), (0x1000_0000, -1, 42));
        let infos: Vec<_> = events[0].infos().collect();
        assert_eq!(
            infos,
            [
                Info::OldEntry(Place { dir: old, name: OsStr::from_bytes(b"evil.txt") }),
                Info::NewEntry(Place { dir: new, name: OsStr::from_bytes(b"\xff\n.pth") }),
                Info::Target(target),
                Info::Pidfd(7),
                Info::Other(99),
            ]
        );
        assert_eq!(events[1].infos().count(), 0);
    }

    #[test]
    fn what_is_no_event_is_an_error_and_ends_the_iteration() {
        let good = event(1, &[]);
        let mut version = good.clone();
        version[4] = 2;
        let mut short = good.clone();
        short[0] = 23;
        let mut long = good.clone();
        long[0] = 200;
        for (bytes, error) in [
            (&good[..10], WireError::Truncated),
            (&version[..], WireError::Version(2)),
            (&short[..], WireError::Length),
            (&long[..], WireError::Truncated),
        ] {
            let mut events = Events::new(bytes);
            assert_eq!(events.next().unwrap().unwrap_err(), error);
            assert!(events.next().is_none());
        }
    }

    #[test]
    fn a_handle_longer_than_its_record_is_not_believed() {
        let mut record = fid_info(info_type::DFID_NAME, &file_id(1, 8), Some(b"x.pth"));
        record[12] = 0xff; // handle_bytes
        let bytes = event(1, &[record]);
        let event = Events::new(&bytes).next().unwrap().unwrap();
        assert_eq!(event.infos().collect::<Vec<_>>(), [Info::Other(info_type::DFID_NAME)]);
    }

    #[test]
    fn answers_are_laid_out_as_the_kernel_reads_them() {
        assert_eq!(Response::new(5, true, None).as_bytes(), [5u32.to_ne_bytes(), 1u32.to_ne_bytes()].concat());
        assert_eq!(Response::new(5, false, None).as_bytes(), [5u32.to_ne_bytes(), 2u32.to_ne_bytes()].concat());
        let rule = AuditRule { number: 9, subject_trust: 2, object_trust: 0 };
        let response = Response::new(5, false, Some(rule));
        assert_eq!(response.as_bytes().len(), 24);
        assert_eq!(response.as_bytes()[4..8], 0x32u32.to_ne_bytes());
        assert_eq!(response.as_bytes()[8..12], [1, 0, 16, 0]);
        assert_eq!(response.as_bytes()[12..16], 9u32.to_ne_bytes());
        let without = Response::without_rule(5, false);
        assert_eq!(without.as_bytes(), [5u32.to_ne_bytes(), 0x12u32.to_ne_bytes()].concat());
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for event in Events::new(&bytes).flatten() {
                prop_assert!(event.infos().count() <= bytes.len());
            }
        }

        #[test]
        fn any_damage_to_an_event_is_survived(at in 0usize..100, value in any::<u8>(), name in "[^\0]{0,40}") {
            let record = fid_info(info_type::DFID_NAME, &file_id(7, 8), Some(name.as_bytes()));
            let mut bytes = event(0x100, &[record]);
            let at = at % bytes.len();
            bytes[at] = value;
            for event in Events::new(&bytes).flatten() {
                let _ = event.infos().count();
            }
        }

        #[test]
        fn every_name_comes_back_as_it_was(name in proptest::collection::vec(1u8..=255, 1..256)) {
            let dir = file_id(4, 8);
            let bytes = event(0x100, &[fid_info(info_type::DFID_NAME, &dir, Some(&name))]);
            let event = Events::new(&bytes).next().unwrap().unwrap();
            let place = Place { dir, name: OsStr::from_bytes(&name) };
            prop_assert_eq!(event.infos().collect::<Vec<_>>(), vec![Info::Entry(place)]);
        }
    }
}
