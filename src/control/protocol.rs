//! What goes over the socket: one JSON object a line, a request and its answer, then the connection ends.

use serde::{Deserialize, Serialize};

use super::desk::{Approved, HeldFile, Key, Name, Refusal, Restored, Revoked, Seen, Shown, Why};
use crate::audit::Wish;
use crate::model::Sha256;
use crate::quarantine::Id;

/// The version of both directions.
const VERSION: u32 = 1;
/// Longest request, in bytes.
pub(super) const MAX_REQUEST: usize = 64 * 1024;
/// Longest answer, in bytes.
pub(super) const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// So much of a list goes into one answer; the rest is asked for with the key of its last item.
const MAX_PAGE: usize = MAX_ANSWER / 2;

/// What can be asked. Who asks is not said but known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Request {
    Read {
        path: Name,
    },
    Approve {
        shown: Shown,
    },
    ApproveEverywhere {
        name: Name,
        sha256: Sha256,
    },
    Revoke {
        path: Name,
    },
    RevokeEverywhere {
        name: Name,
        sha256: Sha256,
    },
    Approvals {
        after: Option<Key>,
    },
    Held {
        after: Option<Key>,
    },
    Restore {
        id: Id,
        to: Option<Name>,
        approve: Option<Sha256>,
    },
    Purge {
        ids: Vec<Id>,
    },
    /// The answer is [`Answer::Done`], and the lines of the log follow on the same connection.
    Events {
        wish: Wish,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Answer {
    Seen(Box<Seen>),
    Done,
    Revoked(Vec<Revoked>),
    Approvals(Page<Approved>),
    Held(Page<HeldFile>),
    Restored(Restored),
    Refused(Refusal),
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Whether there is more behind the last item.
    pub(super) more: bool,
}

impl<T: Serialize> Page<T> {
    /// The items of a sorted list behind a key, as many as one answer holds.
    pub(super) fn of(all: Vec<T>, after: Option<&Key>, key: impl Fn(&T) -> Key) -> Self {
        let mut page = Page { items: Vec::new(), more: false };
        let mut size = 0;
        for item in all.into_iter().filter(|item| after.is_none_or(|after| key(item) > *after)) {
            size += serde_json::to_vec(&item).map_or(0, |text| text.len());
            if size > MAX_PAGE && !page.items.is_empty() {
                page.more = true;
                break;
            }
            page.items.push(item);
        }
        page
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<T> {
    version: u32,
    #[serde(rename = "body")]
    body: T,
}

/// For looking at the version alone: another one may say other things.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// A line, with its line feed.
pub(super) fn to_line<T: Serialize>(body: &T) -> Result<Vec<u8>, Refusal> {
    let mut line = serde_json::to_vec(&Envelope { version: VERSION, body })
        .map_err(|error| Refusal::new(Why::System, format!("the answer cannot be written: {error}")))?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a line, without its line feed.
pub(super) fn from_line<'de, T: Deserialize<'de>>(line: &'de [u8]) -> Result<T, Refusal> {
    let malformed = |error: serde_json::Error| Refusal::new(Why::Malformed, format!("control socket: {error}"));
    let Versioned { version } = serde_json::from_slice(line).map_err(malformed)?;
    if version != VERSION {
        let message = format!(
            "control socket: the other side speaks version {version} of the protocol, this is {VERSION}; the daemon and \
             the command must be of one release (restart the daemon)"
        );
        return Err(Refusal::new(Why::Malformed, message));
    }
    serde_json::from_slice::<Envelope<T>>(line).map(|envelope| envelope.body).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(text: &str) -> Result<Request, Refusal> {
        from_line(text.as_bytes())
    }

    #[test]
    fn requests_come_back_as_they_were() {
        use std::os::unix::ffi::OsStringExt;
        let name = Name(std::ffi::OsString::from_vec(b"/s/\xff\n\".pth".to_vec()));
        let sha256 = Sha256::of(b"x");
        for asked in [
            Request::Read { path: name.clone() },
            Request::ApproveEverywhere { name: name.clone(), sha256 },
            Request::Restore { id: "1-0".parse().unwrap(), to: Some(name.clone()), approve: Some(sha256) },
            Request::Purge { ids: vec!["1-0".parse().unwrap()] },
            Request::Held { after: None },
            Request::Events { wish: Wish { last: 20, follow: true, form: crate::audit::Form::Text } },
        ] {
            let line = to_line(&asked).unwrap();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(from_line::<Request>(&line[..line.len() - 1]).unwrap(), asked);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_and_not_guessed_at() {
        assert!(request(r#"{"version":1,"body":{"held":{"after":null}}}"#).is_ok());
        for text in [
            "",
            "{}",
            "null",
            r#"{"version":1}"#,
            r#"{"version":1,"body":{"held":{"after":null}},"uid":0}"#,
            r#"{"version":1,"body":{"held":{"after":null,"by":0}}}"#,
            r#"{"version":1,"body":{"held":{},"purge":{"ids":[]}}}"#,
            r#"{"version":1,"body":{"approve":{"shown":{"path":"/x","directory":"1:00","sha256":"00"}}}}"#,
            r#"{"version":1,"body":{"read":{"path":{"hex":"0"}}}}"#,
            r#"{"version":1,"body":{"purge":{"ids":["../../etc"]}}}"#,
            r#"{"version":1,"body":{"events":{"wish":{"last":-1,"follow":true,"form":"json"}}}}"#,
            r#"{"version":1,"body":{"events":{"wish":{"last":1,"follow":true,"form":"xml"}}}}"#,
            r#"{"version":-1,"body":{"held":{"after":null}}}"#,
        ] {
            assert_eq!(request(text).unwrap_err().why, Why::Malformed, "{text}");
        }
        let newer = request(r#"{"version":2,"new":{}}"#).unwrap_err();
        assert!(newer.message.contains("version 2"), "{newer}");
    }

    #[test]
    fn a_long_list_comes_in_pages_without_gaps_or_repeats() {
        let item = |number: u32| HeldFile {
            directory: format!("/{}/{:05}", "d".repeat(2000), number / 2).into(),
            name: format!("{number:05}.pth").into(),
            held: crate::approvals::Held {
                sha256: None,
                class: crate::model::ContentClass::Code,
                line: None,
                package: None,
                author: String::new(),
                reason: String::new(),
                since: String::new(),
                size: 0,
            },
        };
        let all: Vec<_> = (0..4000).map(item).collect();
        let (mut got, mut pages) = (Vec::new(), 0);
        loop {
            let after = got.last().map(HeldFile::key);
            let page = Page::of(all.clone(), after.as_ref(), HeldFile::key);
            assert!(to_line(&Answer::Held(page.clone())).unwrap().len() < MAX_ANSWER);
            got.extend(page.items);
            pages += 1;
            if !page.more {
                break;
            }
        }
        assert!(pages > 2 && got == all, "{pages}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = from_line::<Request>(&bytes);
        }

        #[test]
        fn a_damaged_request_is_refused_or_another_one(at in 0_usize..80, byte in any::<u8>()) {
            let mut line = to_line(&Request::Purge { ids: vec!["0123456789-0".parse().unwrap()] }).unwrap();
            let at = at % line.len();
            line[at] = byte;
            let _ = from_line::<Request>(&line);
        }
    }
}
