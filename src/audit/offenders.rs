//! Who is denied again and again: reported as one offender, with a count, instead of line by line.
//!
//! UPSTYLE writes its file again whenever it has vanished, for as long as it lives. Each attempt is denied and would be
//! a line. The first denials of a program and user are written as they are; from the [`REPEATED`]th on they are counted,
//! and a report says who it is, how often and since when: at once, then ever more rarely while it goes on.
//!
//! A process number is cheap to change, so offenders are told apart by user and executable. A report names the process
//! if it was one.
//!
//! Pure: the time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::escape::escape_path;
use super::record::{Action, Outcome, Record};
use crate::model::{Access, Reason};

/// With this denial a program counts as a repeated offender.
pub(super) const REPEATED: u64 = 20;
/// An offender that was not denied for so long is forgotten; its denials begin anew.
const MEMORY: Duration = Duration::from_secs(60);
/// From the first report to the second; each further one comes after twice the time.
const FIRST_WINDOW: Duration = Duration::from_secs(10);
/// The longest time between two reports.
const LONGEST_WINDOW: Duration = Duration::from_secs(600);
/// Offenders that are told apart; denials of others are written, within the limits of all records.
const MAX_OFFENDERS: usize = 256;
/// Processes of one offender that are told apart.
const MAX_PROCESSES: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Program {
    uid: u32,
    exe: (u64, u64),
}

impl Program {
    /// Of a denial that a rule, or the lack of one, is the reason of.
    fn of(denial: &Record) -> Option<Program> {
        let subject = denial.subject.as_ref()?;
        let is_attempt = match denial.access? {
            Access::Write | Access::Rename | Access::Link | Access::Symlink | Access::Special => true,
            Access::Read | Access::Delete | Access::List => false,
        };
        let is_denial =
            denial.outcome.is_some_and(Outcome::is_violation) && denial.reason.is_some_and(Reason::is_judgement);
        let exe = (subject.exe.dev, subject.exe.ino);
        (is_attempt && is_denial).then_some(Program { uid: subject.uids.effective, exe })
    }
}

struct Offender {
    first: Instant,
    last: Instant,
    denials: u64,
    /// Process ids with start times.
    processes: Vec<(u32, u64)>,
    /// Denials that have not been told of.
    counted: u64,
    /// When to report next, and how long after that again; none before the first report.
    next: Option<(Instant, Duration)>,
    /// The last one, for its facts.
    example: Record,
}

impl Offender {
    fn report(&mut self, now: Instant) -> Record {
        let subject = self.example.subject.as_deref();
        let exe = subject.map(|subject| escape_path(&subject.exe.path).into_owned()).unwrap_or_default();
        let script = subject.and_then(|subject| subject.script.display());
        let script = script.map(|script| format!(" {}", escape_path(script.as_ref()))).unwrap_or_default();
        let user = subject.map_or(0, |subject| subject.uids.effective);
        let who = match self.processes.as_slice() {
            [(pid, _)] => format!("process {pid} ({exe}{script}), user {user}, was"),
            many if many.len() < MAX_PROCESSES => format!("{} processes of {exe}, user {user}, were", many.len()),
            _ => format!("{MAX_PROCESSES} or more processes of {exe}, user {user}, were"),
        };
        let seconds = now.saturating_duration_since(self.first).as_secs_f64();
        let message = format!("{who} denied {} times in {seconds:.1} seconds", self.denials);
        let window = self.next.map_or(FIRST_WINDOW, |(_, window)| (window * 2).min(LONGEST_WINDOW));
        self.next = Some((now + window, window));
        Record { latency: None, ..self.example.clone() }
            .at(std::time::SystemTime::now())
            .as_action(Action::Repeated)
            .saying(message)
            .counting(std::mem::take(&mut self.counted))
    }

    fn is_due(&self, now: Instant) -> bool {
        self.counted > 0 && self.next.is_some_and(|(at, _)| at <= now)
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.counted == 0 && now.saturating_duration_since(self.last) >= MEMORY
    }
}

/// The table of those who were denied lately.
#[derive(Default)]
pub(super) struct Offenders(HashMap<Program, Offender>);

impl Offenders {
    /// Gives back what is to be written: the record, or a report in its place, or nothing if it was counted.
    pub(super) fn offer(&mut self, record: Record, now: Instant) -> Option<Record> {
        let Some(program) = Program::of(&record) else { return Some(record) };
        if self.0.get(&program).is_some_and(|offender| offender.is_forgotten(now)) {
            self.0.remove(&program);
        }
        if self.0.len() >= MAX_OFFENDERS && !self.0.contains_key(&program) {
            self.0.retain(|_, offender| !offender.is_forgotten(now));
            if self.0.len() >= MAX_OFFENDERS {
                return Some(record);
            }
        }
        let offender = self.0.entry(program).or_insert_with(|| Offender {
            first: now,
            last: now,
            denials: 0,
            processes: Vec::new(),
            counted: 0,
            next: None,
            example: record.clone(),
        });
        offender.last = now;
        offender.denials += 1;
        if let Some(subject) = &record.subject {
            let process = (subject.pid, subject.start_time);
            if offender.processes.len() < MAX_PROCESSES && !offender.processes.contains(&process) {
                offender.processes.push(process);
            }
        }
        if offender.denials < REPEATED {
            return Some(record);
        }
        offender.counted += 1;
        offender.example = record;
        (offender.next.is_none() || offender.is_due(now)).then(|| offender.report(now))
    }

    /// The reports that are due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Record> {
        self.0.values_mut().filter(|offender| offender.is_due(now)).map(|offender| offender.report(now)).collect()
    }

    /// All that was not told of, at the end.
    pub(super) fn flush(&mut self, now: Instant) -> Vec<Record> {
        self.0.values_mut().filter(|offender| offender.counted > 0).map(|offender| offender.report(now)).collect()
    }

    /// Whether something waits to be told of.
    pub(super) fn is_counting(&self) -> bool {
        self.0.values().any(|offender| offender.counted > 0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::sample::denied_write;
    use super::*;

    fn by(pid: u32, uid: u32, ino: u64) -> Record {
        let mut record = denied_write(uid, ino);
        let subject = record.subject.as_mut().map(Arc::make_mut).unwrap();
        subject.pid = pid;
        record
    }

    #[test]
    fn the_twentieth_is_a_report_and_the_rest_is_counted() {
        let (mut offenders, start) = (Offenders::default(), Instant::now());
        for _ in 1..REPEATED {
            let written = offenders.offer(by(7, 0, 1), start).unwrap();
            assert_eq!(written.action, Action::Modification);
        }
        let later = start + Duration::from_secs(3);
        let report = offenders.offer(by(7, 0, 1), later).unwrap();
        assert_eq!((report.action, report.count), (Action::Repeated, Some(1)));
        let message = report.message.unwrap();
        assert!(
            message.starts_with("process 7 (") && message.ends_with("was denied 20 times in 3.0 seconds"),
            "{message}"
        );
        assert!((0..100).all(|_| offenders.offer(by(8, 0, 1), later).is_none()) && offenders.is_counting());
        assert!(offenders.due(later + FIRST_WINDOW - Duration::from_millis(1)).is_empty());
        let due = offenders.due(later + FIRST_WINDOW);
        assert_eq!((due.len(), due[0].count), (1, Some(100)));
        assert!(due[0].message.as_deref().unwrap().contains("2 processes of"), "{:?}", due[0].message);
        assert!(!offenders.is_counting() && offenders.flush(later).is_empty());
    }

    #[test]
    fn reports_become_rare_and_silence_is_forgotten() {
        let (mut offenders, start) = (Offenders::default(), Instant::now());
        let each_second = |seconds: u64| start + Duration::from_secs(seconds);
        let hour = (0..3600).filter_map(|second| offenders.offer(by(7, 0, 1), each_second(second)));
        let reports = hour.filter(|record| record.action == Action::Repeated).count();
        assert!((8..=12).contains(&reports), "{reports} reports in an hour");
        assert_eq!(offenders.flush(each_second(3600)).len(), 1);
        let again = offenders.offer(by(7, 0, 1), each_second(3600) + MEMORY).unwrap();
        assert_eq!(again.action, Action::Modification, "a new series");
    }

    #[test]
    fn only_judged_attempts_count_and_others_do_not_use_them_up() {
        let (mut offenders, now) = (Offenders::default(), Instant::now());
        let read = || Record { access: Some(Access::Read), ..denied_write(0, 1) };
        let late = || Record { reason: Some(Reason::Failure(crate::model::Failure::Timeout)), ..denied_write(0, 1) };
        assert!((0..100).all(|_| offenders.offer(read(), now).is_some() && offenders.offer(late(), now).is_some()));
        assert!((0..100).filter(|_| offenders.offer(by(1, 0, 1), now).is_some()).count() < 100);
        assert_eq!(offenders.offer(by(1, 0, 2), now).unwrap().action, Action::Modification, "another executable");
        assert_eq!(offenders.offer(by(1, 5, 1), now).unwrap().action, Action::Modification, "another user");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_counted_twice(steps in prop::collection::vec((0u64..9000, 0u32..3, 0u64..400, any::<bool>()), 0..600)) {
            let (mut offenders, mut now) = (Offenders::default(), Instant::now());
            let mut told = 0;
            let tell = |record: &Record| record.count.unwrap_or(1);
            for (millis, pid, ino, look) in &steps {
                now += Duration::from_millis(millis / 40);
                told += offenders.offer(by(*pid, 0, ino / 60 * ino), now).as_ref().map_or(0, tell);
                if *look {
                    now += Duration::from_millis(*millis);
                    told += offenders.due(now).iter().map(tell).sum::<u64>();
                }
                prop_assert!(offenders.0.len() <= MAX_OFFENDERS);
            }
            told += offenders.flush(now).iter().map(tell).sum::<u64>();
            prop_assert_eq!(told, steps.len() as u64);
        }
    }
}
