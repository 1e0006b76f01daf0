#![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

use std::io::{BufRead, Read};

use proptest::prelude::*;
use serde_json::Value;

use super::super::sample;
use super::*;

fn followers() -> Followers {
    Followers::new(JsonFormat::Ecs)
}

fn wish(last: u32, follow: bool, form: Form) -> Wish {
    Wish { last, follow, form }
}

fn join(followers: &mut Followers, wish: Wish) -> UnixStream {
    let (stream, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    followers.admit(Newcomer { stream, wish }, Instant::now());
    theirs
}

/// All that is there now.
fn bytes(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn split(bytes: &[u8]) -> Vec<String> {
    bytes.lines().map(Result::unwrap).collect()
}

/// All that is there now, line by line.
fn lines(stream: &UnixStream) -> Vec<String> {
    split(&bytes(stream))
}

fn numbered(number: u64) -> Record {
    Record::new(Action::Search).saying(format!("number {number}")).counting(number)
}

fn number(line: &str) -> Option<u64> {
    let record: Value = serde_json::from_str(line).unwrap();
    record["pthguard"]["count"].as_u64().filter(|_| record["event"]["action"] == "search")
}

#[test]
fn the_last_ones_come_first_then_every_one() {
    let mut followers = followers();
    followers.tell(&(0..10).map(numbered).collect::<Vec<_>>());
    let stream = join(&mut followers, wish(3, true, Form::Json));
    followers.tell(&[numbered(10)]);
    followers.flush(Instant::now());
    let seen: Vec<_> = lines(&stream).iter().map(|line| number(line).unwrap()).collect();
    assert_eq!(seen, [7, 8, 9, 10]);
    assert_eq!(followers.patience(), None);
    followers.dismiss();
    assert_eq!(lines(&stream), ["#stopped"]);
    assert_eq!((&stream).read(&mut [0]).unwrap(), 0);
}

#[test]
fn who_does_not_follow_gets_an_end() {
    let mut followers = followers();
    followers.tell(&[numbered(1), sample::hostile(b"\n#complete\n\x1b[2J\xff")]);
    let stream = join(&mut followers, wish(u32::MAX, false, Form::Text));
    let lines = lines(&stream);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("20") && lines[0].ends_with("Z search count=1 message=\"number 1\""), "{}", lines[0]);
    assert!(lines[1].contains(r"\x0a#complete\x0a\x1b[2J\xff"), "{}", lines[1]);
    assert!(!lines.concat().chars().any(char::is_control));
    assert_eq!(Ending::of(format!("{}\n", lines[2]).as_bytes()), Some(Ending::Complete));
    assert_eq!((&stream).read(&mut [0]).unwrap(), 0, "the stream ends with it");
    assert!(followers.followers.is_empty());
}

#[test]
fn no_record_looks_like_an_end() {
    for form in [Form::Json, Form::Text] {
        let mut followers = followers();
        followers.tell(&[sample::full(), sample::hostile(b"#stopped\n")]);
        let stream = join(&mut followers, wish(2, true, form));
        let lines = lines(&stream);
        assert!(lines.len() == 2 && lines.iter().all(|line| !line.starts_with('#')), "{lines:?}");
    }
}

/// Somebody who reads nothing costs a bounded buffer, nobody else waits for him, and he learns how many he has missed.
#[test]
fn who_is_too_slow_is_told_what_he_missed() {
    let mut followers = followers();
    let (slow, quick) = (wish(0, true, Form::Json), wish(0, true, Form::Text));
    let (slow, quick) = (join(&mut followers, slow), join(&mut followers, quick));
    let (mut told, mut seen_by_quick) = (0, 0);
    let begun = Instant::now();
    while followers.followers[0].missed < 500 {
        followers.tell(&[numbered(told)]);
        followers.flush(Instant::now());
        seen_by_quick += lines(&quick).len() as u64;
        told += 1;
        assert!(followers.followers[0].waiting_bytes <= MAX_WAITING);
    }
    assert!(begun.elapsed() < Duration::from_secs(20) && seen_by_quick == told);
    assert!(followers.patience().is_some());
    let mut seen = Vec::new();
    while followers.patience().is_some() {
        seen.extend(bytes(&slow));
        followers.flush(Instant::now());
    }
    followers.tell(&[numbered(told)]);
    followers.flush(Instant::now());
    seen.extend(bytes(&slow));
    let seen = split(&seen);
    let numbers: Vec<_> = seen.iter().filter_map(|line| number(line)).collect();
    assert_eq!(numbers, (0..numbers.len() as u64 - 1).chain([told]).collect::<Vec<_>>(), "no gap but the one");
    let gap: Value = serde_json::from_str(&seen[seen.len() - 2]).unwrap();
    assert_eq!(gap["pthguard"]["count"], told - (numbers.len() as u64 - 1));
    assert!(gap["pthguard"]["message"].as_str().unwrap().contains("are missing here"), "{gap}");
}

#[test]
fn there_is_room_for_few_and_who_has_gone_makes_room() {
    let mut followers = followers();
    let mut streams: Vec<_> = (0..MAX_FOLLOWERS).map(|_| join(&mut followers, wish(0, true, Form::Json))).collect();
    let turned_away = join(&mut followers, wish(0, true, Form::Json));
    assert_eq!(lines(&turned_away), ["#full"]);
    drop(streams.pop());
    let welcome = join(&mut followers, wish(0, true, Form::Json));
    followers.tell(&[numbered(1)]);
    followers.flush(Instant::now());
    assert_eq!((lines(&welcome).len(), followers.followers.len()), (1, MAX_FOLLOWERS));
    drop(streams);
    followers.tell(&[numbered(2)]);
    followers.flush(Instant::now());
    assert_eq!((lines(&welcome).len(), followers.followers.len()), (1, 1));
}

#[test]
fn what_is_kept_is_bounded_in_number_and_bytes() {
    let mut followers = followers();
    followers.tell(&(0..3000).map(numbered).collect::<Vec<_>>());
    assert_eq!(followers.recent.len(), MAX_RECENT);
    for _ in 0..200 {
        followers.tell(&[sample::hostile(&[0xff; 4000])]);
    }
    assert!(followers.recent_bytes <= MAX_RECENT_BYTES && followers.recent.len() < 200);
    assert_eq!(followers.recent_bytes, followers.recent.iter().map(Shown::len).sum::<usize>());
    let stream = join(&mut followers, wish(u32::MAX, true, Form::Json));
    let (kept, mut got) = (followers.recent.len(), Vec::new());
    while followers.patience().is_some() {
        got.extend(bytes(&stream));
        followers.flush(Instant::now());
    }
    got.extend(bytes(&stream));
    let got: Vec<Value> = split(&got).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(got.len(), kept);
}

#[test]
fn the_end_does_not_wait_for_who_does_not_read() {
    let mut followers = followers();
    let _stream = join(&mut followers, wish(0, true, Form::Json));
    while followers.patience().is_none() {
        followers.tell(&vec![sample::full(); 100]);
        followers.flush(Instant::now());
    }
    let begun = Instant::now();
    followers.dismiss();
    assert!(begun.elapsed() < Duration::from_secs(5) && followers.followers.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However a reader pauses, each record is shown to him or counted, in its order.
    #[test]
    fn every_record_is_shown_or_counted(steps in prop::collection::vec((0usize..400, any::<bool>()), 1..40)) {
        let mut followers = followers();
        let stream = join(&mut followers, wish(0, true, Form::Json));
        let (mut told, mut seen) = (0, String::new());
        for (count, reads) in steps {
            let records: Vec<_> = (told..told + count as u64).map(numbered).collect();
            told += count as u64;
            followers.tell(&records);
            followers.flush(Instant::now());
            if reads {
                let _ = (&stream).read_to_string(&mut seen);
            }
        }
        while followers.patience().is_some() {
            let _ = (&stream).read_to_string(&mut seen);
            followers.flush(Instant::now());
        }
        let _ = (&stream).read_to_string(&mut seen);
        let mut next = 0;
        for line in seen.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let count = record["pthguard"]["count"].as_u64().unwrap();
            if record["event"]["action"] == "search" {
                prop_assert_eq!(count, next);
                next += 1;
            } else {
                next += count;
            }
        }
        prop_assert_eq!(next, told);
    }
}
