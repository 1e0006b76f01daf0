#![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::super::logfile::LOOK_AGAIN;
use super::super::record::Action;
use super::super::sample;
use super::*;

fn parsed(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

/// Sends later lines elsewhere, as a disk with room again would be.
fn redirect(sink: &mut Lines, to: &Path) {
    sink.target = Target::File(LogFile::not_open(to.to_owned()));
}

#[test]
fn file_and_directory_are_made_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log/pthguard/events.ndjson");
    let now = Instant::now();
    let mut sink = Lines::json_file(path.clone(), None, JsonFormat::Ecs, now).unwrap();
    sink.write(&[sample::full(), sample::hostile(b"\n\xff")], now);
    sink.write(&[sample::full()], now);
    assert_eq!(parsed(&path).len(), 3);
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn a_link_in_the_files_place_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, victim) = (dir.path().join("events"), dir.path().join("victim"));
    symlink(&victim, &path).unwrap();
    assert!(Lines::json_file(path, None, JsonFormat::Ecs, Instant::now()).is_err());
    assert!(!victim.exists());
}

#[test]
fn a_full_disk_is_counted_and_the_count_written_when_there_is_room() {
    let (dir, now) = (tempfile::tempdir().unwrap(), Instant::now());
    let mut sink = Lines::json_file("/dev/full".into(), None, JsonFormat::Ecs, now).unwrap();
    sink.write(&[sample::full(), sample::full()], now);
    let trouble = sink.health().trouble().and_then(|record| record.message).unwrap();
    assert!(trouble.contains("/dev/full") && trouble.contains("No space left"), "{trouble}");
    sink.write(&[sample::full()], now);
    assert!(sink.health().trouble().is_none());

    let path = dir.path().join("events");
    redirect(&mut sink, &path);
    sink.write(&[sample::full()], now + Duration::from_millis(199));
    assert!(!path.exists(), "not before the pause is over");
    sink.write(&[sample::full()], now + Duration::from_millis(200));
    let records = parsed(&path);
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["event"]["action"], "failure");
    assert_eq!(records[0]["pthguard"]["count"], 4);
    assert!(!sink.health().owes());
    assert_eq!(sink.health().lost_ever(), 4);
}

#[test]
fn what_is_owed_is_written_without_waiting_for_the_next_record() {
    let (dir, now) = (tempfile::tempdir().unwrap(), Instant::now());
    let mut sink = Lines::json_file("/dev/full".into(), None, JsonFormat::Ecs, now).unwrap();
    sink.write(&[sample::full()], now);
    let path = dir.path().join("events");
    redirect(&mut sink, &path);
    sink.write(&[], now + Duration::from_secs(1));
    assert_eq!(parsed(&path)[0]["pthguard"]["count"], 1);
}

#[test]
fn a_torn_line_is_ended_before_the_next_begins() {
    let now = Instant::now();
    // A stream that takes a part of what it is given, as a disk that fills up does.
    let (end, mut reader) = UnixStream::pair().unwrap();
    end.set_nonblocking(true).unwrap();
    reader.set_nonblocking(true).unwrap();
    let mut read = || {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes);
        bytes
    };
    let stream = Target::Stream(OwnedFd::from(end).into());
    let mut sink = Lines::new("stream".into(), stream, render(JsonFormat::Ecs));
    let batch = vec![sample::full(); 2000];
    sink.write(&batch, now);
    let lost = sink.health().lost_ever();
    assert!(sink.torn && 0 < lost && lost < 2000);
    let mut bytes = read();
    sink.write(&batch[..1], now + Duration::from_secs(1));
    bytes.extend(read());

    let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    let records: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(lines.len(), records.len() + 2, "one torn line, and nothing behind the last");
    assert_eq!(records.len() as u64, 2000 - lost + 2);
    assert_eq!(records[records.len() - 2]["pthguard"]["count"], lost);
}

#[test]
fn a_rotated_file_is_replaced() {
    let (dir, now) = (tempfile::tempdir().unwrap(), Instant::now());
    let (path, rotated) = (dir.path().join("events"), dir.path().join("events.1"));
    let mut sink = Lines::json_file(path.clone(), None, JsonFormat::Ecs, now).unwrap();
    sink.write(&[sample::full()], now);
    fs::rename(&path, &rotated).unwrap();
    sink.write(&[sample::full()], now + LOOK_AGAIN);
    assert_eq!((parsed(&rotated).len(), parsed(&path).len()), (1, 1));
    assert_eq!(mode(&path), 0o600);
}

/// The files' records, the predecessor's first.
fn all_parsed(path: &Path) -> (Vec<Value>, Vec<Value>) {
    let old = PathBuf::from(format!("{}.1", path.display()));
    (if old.exists() { parsed(&old) } else { Vec::new() }, parsed(path))
}

#[test]
fn a_file_is_rotated_before_it_is_too_large_and_nothing_is_lost() {
    let (dir, now) = (tempfile::tempdir().unwrap(), Instant::now());
    let path = dir.path().join("events");
    let mut line = Vec::new();
    render(JsonFormat::Ecs)(&sample::full(), &mut line);
    let max = 10 * line.len() as u64;
    let mut sink = Lines::json_file(path.clone(), Some(max), JsonFormat::Ecs, now).unwrap();
    sink.write(&vec![sample::full(); 7], now);
    assert!(sink.health().news().is_empty());
    sink.write(&vec![sample::full(); 7], now);
    let (old, new) = all_parsed(&path);
    assert_eq!((old.len(), new.len()), (10, 4), "the batch is divided between lines");
    let news = sink.health().news();
    let said = news[0].message.clone().unwrap();
    assert!(news.len() == 1 && news[0].action == Action::LogRotated, "{news:?}");
    assert!(said.contains(&format!("had {max} bytes and is ")) && !said.contains("gone"), "{said}");
    sink.write(&vec![sample::full(); 7], now);
    assert!(sink.health().news()[0].message.as_deref().unwrap().ends_with("before it is gone"));
    assert_eq!((sink.health().rotations(), sink.health().lost_ever()), (2, 0));
    let (old, new) = all_parsed(&path);
    assert_eq!((old.len(), new.len(), mode(&path)), (10, 1, 0o600));
    // A daemon that starts finds the file as large as it is.
    let mut sink = Lines::json_file(path.clone(), Some(max), JsonFormat::Ecs, now).unwrap();
    sink.write(&vec![sample::full(); 9], now);
    sink.write(&[sample::full()], now);
    let (old, new) = all_parsed(&path);
    assert_eq!((old.len(), new.len()), (10, 1));
}

#[test]
fn a_line_larger_than_a_file_may_be_has_one_of_its_own() {
    let (dir, now) = (tempfile::tempdir().unwrap(), Instant::now());
    let path = dir.path().join("events");
    let mut sink = Lines::json_file(path.clone(), Some(10), JsonFormat::Ecs, now).unwrap();
    sink.write(&vec![sample::full(); 3], now);
    let (old, new) = all_parsed(&path);
    assert_eq!((old.len(), new.len(), sink.health().rotations()), (1, 1, 2));
}

#[test]
fn a_file_that_cannot_be_rotated_goes_on_and_complains() {
    let (dir, now) = (tempfile::tempdir().unwrap(), Instant::now());
    let path = dir.path().join("events");
    fs::create_dir(dir.path().join("events.1")).unwrap();
    let mut sink = Lines::json_file(path.clone(), Some(3000), JsonFormat::Ecs, now).unwrap();
    for _ in 0..100 {
        sink.write(&[sample::full()], now);
    }
    assert_eq!((parsed(&path).len(), sink.health().lost_ever()), (100, 0));
    let news = sink.health().news();
    assert!(news.len() == 1 && news[0].action == Action::Failure, "{news:?}");
    assert!(news[0].message.as_deref().unwrap().contains("cannot be rotated and grows"), "{news:?}");
    fs::remove_dir(dir.path().join("events.1")).unwrap();
    sink.write(&[sample::full()], now + Duration::from_secs(60));
    assert_eq!(parsed(&path).len(), 1);
}

#[test]
fn what_somebody_else_has_rotated_or_emptied_is_left_alone() {
    let (dir, now) = (tempfile::tempdir().unwrap(), Instant::now());
    let (path, theirs) = (dir.path().join("events"), dir.path().join("events-yesterday"));
    let mut sink = Lines::json_file(path.clone(), Some(3000), JsonFormat::Ecs, now).unwrap();
    sink.write(&[sample::full()], now);
    fs::rename(&path, &theirs).unwrap();
    // Within the second until the name is looked up again.
    sink.write(&vec![sample::full(); 5], now);
    let (old, new) = all_parsed(&path);
    let (theirs, mine) = (parsed(&theirs).len(), old.len() + new.len());
    assert!(theirs + mine == 6 && mine > 0, "{theirs} {mine}");

    let path = dir.path().join("emptied");
    let mut sink = Lines::json_file(path.clone(), Some(3000), JsonFormat::Ecs, now).unwrap();
    sink.write(&[sample::full()], now);
    fs::write(&path, "").unwrap();
    sink.write(&[sample::full()], now + LOOK_AGAIN);
    assert_eq!((parsed(&path).len(), sink.health().rotations()), (1, 0));
}

#[test]
fn a_file_is_opened_anew_at_once_when_that_is_asked_for() {
    let (dir, now) = (tempfile::tempdir().unwrap(), Instant::now());
    let (path, rotated) = (dir.path().join("events"), dir.path().join("events-1"));
    let mut sink = Lines::json_file(path.clone(), None, JsonFormat::Ecs, now).unwrap();
    sink.write(&[sample::full()], now);
    fs::rename(&path, &rotated).unwrap();
    sink.reopen(now);
    assert_eq!(fs::read(&path).unwrap(), b"");
    sink.write(&[sample::full()], now);
    assert_eq!((parsed(&rotated).len(), parsed(&path).len()), (1, 1));
    // What cannot be opened leaves the old one in use, and is told.
    fs::remove_file(&path).unwrap();
    symlink("/dev/null", &path).unwrap();
    sink.reopen(now);
    assert!(sink.health().news()[0].message.as_deref().unwrap().contains("cannot be opened anew"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever comes in whatever batches: no file is larger than it may be, and the two hold the last records.
    #[test]
    fn rotation_keeps_sizes_and_order(batches in prop::collection::vec(0usize..12, 1..12), lines in 1u64..20) {
        let (dir, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let path = dir.path().join("events");
        let max = lines * 400;
        let mut sink = Lines::json_file(path.clone(), Some(max), JsonFormat::Ecs, now).unwrap();
        let mut told = 0;
        for batch in batches {
            let records: Vec<_> = (told..told + batch as u64).map(|n| Record::new(Action::Search).counting(n)).collect();
            told += batch as u64;
            sink.write(&records, now);
            prop_assert!(fs::metadata(&path).unwrap().len() <= max);
        }
        prop_assert_eq!(sink.health().lost_ever(), 0);
        let (old, new) = all_parsed(&path);
        let numbers: Vec<_> = old.iter().chain(&new).map(|record| record["pthguard"]["count"].as_u64().unwrap()).collect();
        prop_assert_eq!(numbers.clone(), (told - numbers.len() as u64..told).collect::<Vec<_>>());
        prop_assert!(sink.health().rotations() > 1 || numbers.len() as u64 == told);
    }
}
