//! Records for the journal of systemd, in its native protocol: a datagram of fields, which `journalctl FIELD=VALUE` finds.
//!
//! What comes from others (paths, programs, rules' names) is there as it is, byte for byte: a value with a line feed in it
//! comes with its length, so it cannot begin another field. `MESSAGE` is the escaped line that syslog would get.
//!
//! There is no `OBJECT_PID`: for it the journal looks the process up when the record arrives, and by then it may be gone, or
//! the number be another process's.

use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::datagrams::{DatagramSink, Severity};
use super::escape::escape_path;
use super::record::{Action, Outcome, Record};
use super::text::text_line;
use crate::model::{Access, ContentClass, Mode, Reason};

/// Longest value; the kernel's `PATH_MAX`. A record of few such values fits a datagram (`net.core.wmem_default`).
const MAX_VALUE: usize = 4096;
/// `LOG_AUTHPRIV`, as for syslog.
const FACILITY: u32 = 10;

/// The sink at a journal's socket.
pub(super) fn journal_sink(path: PathBuf) -> DatagramSink {
    DatagramSink::new(format!("journal {}", escape_path(&path)), path, Box::new(entry))
}

/// The record as one entry.
fn entry(record: &Record) -> Vec<u8> {
    let mut entry = Entry(Vec::with_capacity(1024));
    entry.field("MESSAGE", text_line(record).as_bytes());
    entry.field("MESSAGE_ID", message_id(record.action).as_bytes());
    entry.show("PRIORITY", Some(Severity::of(record) as u32));
    entry.show("SYSLOG_FACILITY", Some(FACILITY));
    entry.field("SYSLOG_IDENTIFIER", b"pthguard");
    entry.show("PTHGUARD_ACTION", Some(record.action.as_str()));
    entry.show("PTHGUARD_VERDICT", record.outcome.map(Outcome::as_str));
    entry.show("PTHGUARD_REASON", record.reason.map(Reason::as_str));
    entry.show("PTHGUARD_ACCESS", record.access.map(Access::as_str));
    entry.show("PTHGUARD_MODE", record.mode.map(Mode::as_str));
    entry.value("PTHGUARD_RULE", record.rule.as_deref().map(str::as_bytes));
    entry.value("PTHGUARD_POLICY", record.policy_generation.as_deref().map(str::as_bytes));
    entry.show("PTHGUARD_COUNT", record.count);
    if let Some(object) = &record.object {
        entry.value("PTHGUARD_PATH", Some(bytes(&object.path)));
        entry.show("PTHGUARD_SHA256", object.sha256);
        entry.show("PTHGUARD_CONTENT", object.content.map(ContentClass::as_str));
    }
    entry.value("PTHGUARD_OLD_PATH", record.old_path.as_deref().map(bytes));
    entry.show("PTHGUARD_PID", record.pid());
    entry.show("PTHGUARD_UID", record.uid());
    entry.show("PTHGUARD_LOGIN_UID", record.login_uid);
    if let Some(subject) = record.subject.as_deref() {
        entry.value("PTHGUARD_EXE", Some(bytes(&subject.exe.path)));
        entry.value("PTHGUARD_SCRIPT", subject.script.display().as_deref().map(OsStrExt::as_bytes));
        entry.value("PTHGUARD_UNIT", subject.unit.as_deref().map(str::as_bytes));
        entry.value("PTHGUARD_CONTAINER", subject.container.as_ref().map(|container| container.id.as_bytes()));
    }
    entry.0
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Fields, one behind the other.
struct Entry(Vec<u8>);

impl Entry {
    fn show(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.field(name, value.to_string().as_bytes());
        }
    }

    /// A value of others, which may be long.
    fn value(&mut self, name: &str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.field(name, &value[..value.len().min(MAX_VALUE)]);
        }
    }

    /// `NAME=value` where the value has no line feed, else the name, the length in 64 bits, little-endian, and the value.
    fn field(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

/// What kind of record it is, for `journalctl MESSAGE_ID=…`. These never change.
fn message_id(action: Action) -> &'static str {
    match action {
        Action::Creation => "ef9b1ac216bd45fead4d84e1769a7b90",
        Action::Modification => "4bd63fce95404b14b36171ab70c1ba3d",
        Action::Rename => "83285884f49e4a44ba8c03000be83385",
        Action::Link => "20d68db2a4704ee1a94e1db1b9d646d9",
        Action::Symlink => "3467ccfe2cad4f6590820d57dd506f8e",
        Action::Special => "774f2e18a8b648ebbb4844196745af7e",
        Action::Read => "c058994adf9a41bd9dd096dbbd10c9d6",
        Action::Deletion => "4fded7c2249c4ccda5459ee0d7c75899",
        Action::Listing => "5cad775616e743f08dcd0fd14d2cf70c",
        Action::Baseline => "049b103b1be8496f8364c7e161c81513",
        Action::Approval => "1719c68727474ac090833b65b281b396",
        Action::Revocation => "f00a71523ea04edd916cdaaca86c7ba1",
        Action::Held => "d66b24315966424a91c0d8c0ea8fe032",
        Action::Quarantine => "4eca4c2675d5477f954940c04058da82",
        Action::Restore => "d1dcafae3c8441e895bb9f2e0bdf3d2a",
        Action::Purge => "438e699a728e451587b64c9c321b877a",
        Action::Refused => "52a687305621418da7e3d69cdb379c05",
        Action::SiteGuarded => "c7142862dde6464eac0603c924f6c9f5",
        Action::SiteLost => "bf81ec62d879400da4f45d74edb56fd0",
        Action::Search => "19da9f4c8ae34c668f1e5f061f77892b",
        Action::LogRotated => "27d46c9626c14312b93d85a513c1570a",
        Action::Start => "1e8d9d97a3234fa2b1359c6f0594a427",
        Action::Stop => "48a7f65fbbbf4f61921685e7c7a33adb",
        Action::Takeover => "ce7ab8d0e68e409dbcf979b44d169e85",
        Action::Reload => "f692914611164ac3904957da602d1c59",
        Action::Mode => "86a9d4af013448829add4eb551604d33",
        Action::Kill => "f24b10bf5eaf413dbf1c60db9609238d",
        Action::Failure => "8b3ee6af121245d284d19811a9928e16",
        Action::Repeated => "a5247db2816840a993a15d3efb5808d0",
        Action::Suppressed => "295aa53600834fc29342270c3a668ac6",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

    use std::collections::HashSet;
    use std::os::unix::net::UnixDatagram;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::super::health::Sink;
    use super::super::sample;
    use super::*;

    /// As the journal reads it (systemd.io, "Journal native protocol").
    fn parsed(mut entry: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| *byte == b'\n').unwrap();
            let (line, rest) = (&entry[..end], &entry[end + 1..]);
            let (name, value) = match line.iter().position(|byte| *byte == b'=') {
                Some(at) => {
                    entry = rest;
                    (&line[..at], &line[at + 1..])
                }
                None => {
                    let length = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
                    assert_eq!(rest[8 + length], b'\n');
                    entry = &rest[8 + length + 1..];
                    (line, &rest[8..8 + length])
                }
            };
            let name = String::from_utf8(name.to_owned()).unwrap();
            assert!(name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_uppercase()));
            assert!(name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'), "{name}");
            fields.push((name, value.to_owned()));
        }
        fields
    }

    fn field(fields: &[(String, Vec<u8>)], name: &str) -> Option<Vec<u8>> {
        let mut found = fields.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.clone());
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }

    #[test]
    fn a_record_is_an_entry_of_its_facts() {
        let fields = parsed(&entry(&sample::full()));
        for (name, expected) in [
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "pthguard"),
            ("SYSLOG_FACILITY", "10"),
            ("PTHGUARD_ACTION", "rename"),
            ("PTHGUARD_VERDICT", "deny"),
            ("PTHGUARD_REASON", "rule"),
            ("PTHGUARD_RULE", "no-shells"),
            ("PTHGUARD_PATH", "/srv/app/lib/python3.12/site-packages/evil.pth"),
            ("PTHGUARD_OLD_PATH", "/srv/app/lib/python3.12/site-packages/evil.txt"),
            ("PTHGUARD_EXE", "/usr/bin/python3.12"),
            ("PTHGUARD_SCRIPT", "-m pip"),
            ("PTHGUARD_PID", "4242"),
            ("PTHGUARD_UID", "1000"),
            ("PTHGUARD_UNIT", "docker.service"),
            ("PTHGUARD_CONTENT", "code"),
            ("PTHGUARD_POLICY", "g7-1f2e3d"),
        ] {
            assert_eq!(field(&fields, name).as_deref(), Some(expected.as_bytes()), "{name}");
        }
        assert_eq!(field(&fields, "MESSAGE"), Some(text_line(&sample::full()).into_bytes()));
        let start = parsed(&entry(&Record::new(Action::Start)));
        assert_eq!((field(&start, "PRIORITY"), field(&start, "PTHGUARD_PATH")), (Some(b"6".to_vec()), None));
    }

    #[test]
    fn kinds_are_told_apart() {
        let all = Action::ALL;
        let ids: HashSet<_> = all.into_iter().map(message_id).collect();
        assert_eq!(ids.len(), all.len());
        let documented = include_str!("../../docs/logging.md");
        for action in all {
            let row = format!("| `{}` | `{}` |", action.as_str(), message_id(action));
            assert!(documented.contains(&row), "docs/logging.md has not: {row}");
        }
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit())));
    }

    #[test]
    fn one_record_is_one_datagram_however_long_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut sink = journal_sink(path);
        let name = [b"x\nPTHGUARD_VERDICT=allow\n\xff".to_vec(), vec![b'a'; 4096]].concat();
        sink.write(&[sample::hostile(&name)], Instant::now());
        assert_eq!(sink.health().lost_ever(), 0);
        let mut buffer = vec![0; 1 << 20];
        let length = journal.recv(&mut buffer).unwrap();
        let fields = parsed(&buffer[..length]);
        assert_eq!(field(&fields, "PTHGUARD_VERDICT"), Some(b"deny".to_vec()));
        assert_eq!(field(&fields, "PTHGUARD_EXE"), Some(name[..MAX_VALUE].to_vec()));
    }

    proptest! {
        #[test]
        fn any_value_comes_back_and_makes_no_field_of_its_own(values in prop::collection::vec(prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\n'), Just(b'='), Just(0)], 0..60), 0..6)) {
            let mut entry = Entry(Vec::new());
            for (number, value) in values.iter().enumerate() {
                entry.field(&format!("F{number}"), value);
            }
            let fields: Vec<_> = parsed(&entry.0).into_iter().map(|(_, value)| value).collect();
            prop_assert_eq!(fields, values);
        }

        #[test]
        fn any_name_of_a_file_stays_a_value(name in prop::collection::vec(any::<u8>(), 0..300)) {
            let fields = parsed(&entry(&sample::hostile(&name)));
            prop_assert_eq!(field(&fields, "PTHGUARD_EXE"), Some(name));
            prop_assert_eq!(field(&fields, "PTHGUARD_VERDICT"), Some(b"deny".to_vec()));
        }
    }
}
