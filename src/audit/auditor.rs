//! The way from whoever records to the sinks: a bounded queue and one thread.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::follow::{Followers, Newcomer, Wish};
use super::health::{Losses, Sink};
use super::journal::journal_sink;
use super::lines::Lines;
use super::record::Record;
use super::syslog::syslog_sink;
use super::worker::{Inputs, Worker};
use crate::backlog::Backlog;
use crate::model::JsonFormat;

/// Records that may wait for the auditor.
pub const QUEUE_CAPACITY: usize = 8192;

/// Orders that may wait for the auditor.
const ORDERS: usize = 16;

/// Where records go.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// JSON lines.
    pub json: Option<JsonTarget>,
    /// How large a file of them may become before it is rotated; none: as large as it likes.
    pub json_max_size: Option<u64>,
    /// Their schema.
    pub format: JsonFormat,
    /// The system's log.
    pub system: Option<SystemLog>,
    /// Text on standard error.
    pub stderr: bool,
}

/// Who keeps the system's log, with the socket that he listens at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemLog {
    /// A syslog daemon, usually `/dev/log`.
    Syslog(PathBuf),
    /// The journal of systemd, usually `/run/systemd/journal/socket`.
    Journal(PathBuf),
}

/// Where JSON lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonTarget {
    /// Standard output.
    Stdout,
    /// A file, which is appended to.
    File(PathBuf),
}

impl From<PathBuf> for JsonTarget {
    /// As it is written in the policy: `-` is standard output.
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { JsonTarget::Stdout } else { JsonTarget::File(path) }
    }
}

/// What the auditor is asked for beside records.
#[derive(Debug)]
pub(super) enum Order {
    /// Somebody looks on.
    Follow(Newcomer),
    /// Files are to be opened anew.
    Reopen,
}

/// What the auditor has not written, and what it has done to its files, since it started.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) dropped: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) rotations: AtomicU64,
}

/// The handle of whoever has something to record.
#[derive(Clone, Debug)]
pub struct Audit {
    queue: Option<Backlog<Box<Record>>>,
    orders: Option<Sender<Order>>,
    totals: Arc<Totals>,
    sinks: Arc<[Arc<Losses>]>,
}

impl Audit {
    /// Opens the targets and starts the thread `pth-audit`. `on_thread_start` is the first thing that the thread does,
    /// and it has returned when `start` does: the gate must know the thread before the thread opens anything.
    ///
    /// # Errors
    /// A JSON file that cannot be opened, or no thread. A missing syslog daemon is no error: it may come later.
    pub fn start(targets: Targets, on_thread_start: impl FnOnce() + Send + 'static) -> io::Result<(Audit, Auditor)> {
        let now = Instant::now();
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        match targets.json {
            Some(JsonTarget::Stdout) => sinks.push(Box::new(Lines::json_stdout(targets.format)?)),
            Some(JsonTarget::File(path)) => {
                sinks.push(Box::new(Lines::json_file(path, targets.json_max_size, targets.format, now)?))
            }
            None => {}
        }
        match targets.system {
            Some(SystemLog::Syslog(path)) => sinks.push(Box::new(syslog_sink(path))),
            Some(SystemLog::Journal(path)) => sinks.push(Box::new(journal_sink(path))),
            None => {}
        }
        if targets.stderr {
            sinks.push(Box::new(Lines::text_stderr()?));
        }
        Audit::start_with(sinks, Followers::new(targets.format), on_thread_start)
    }

    fn start_with(
        mut sinks: Vec<Box<dyn Sink>>,
        followers: Followers,
        on_thread_start: impl FnOnce() + Send + 'static,
    ) -> io::Result<(Audit, Auditor)> {
        let losses = sinks.iter_mut().map(|sink| sink.health().losses()).collect();
        let (queue, records) = Backlog::new(QUEUE_CAPACITY);
        let (order, orders) = bounded(ORDERS);
        let (stop, stopped) = bounded(1);
        let (done, finished) = bounded(1);
        let (ready, started) = bounded::<()>(1);
        let totals = Arc::new(Totals::default());
        let mut worker = Worker::new(Inputs { records, orders, stopped }, sinks, followers, Arc::clone(&totals));
        thread::Builder::new().name("pth-audit".into()).spawn(move || {
            on_thread_start();
            // Nobody waits for either any more when these fail.
            let _ = ready.send(());
            let _ = done.send(worker.run());
        })?;
        let _ = started.recv();
        let audit = Audit { queue: Some(queue), orders: Some(order), totals, sinks: losses };
        Ok((audit.clone(), Auditor { audit, stop, finished }))
    }

    /// A handle whose records go nowhere, for commands that do not log.
    #[must_use]
    pub fn disconnected() -> Audit {
        Audit { queue: None, orders: None, totals: Arc::default(), sinks: Arc::default() }
    }

    /// A handle and what is recorded through it, for tests.
    #[must_use]
    pub fn capture() -> (Audit, Receiver<Box<Record>>) {
        let (queue, records) = Backlog::new(QUEUE_CAPACITY);
        (Audit { queue: Some(queue), orders: None, totals: Arc::default(), sinks: Arc::default() }, records)
    }

    /// Hands a record to the auditor. Never blocks: with the queue full, or the auditor gone, the record is dropped
    /// and counted.
    pub fn record(&self, record: Record) {
        if let Some(queue) = &self.queue
            && !queue.try_send(Box::new(record))
        {
            self.totals.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Hands a connected stream over to the auditor, which writes to it what the wish says. Whether it will: with too many
    /// before it, or the auditor gone, the stream is closed.
    pub fn follow(&self, stream: UnixStream, wish: Wish) -> bool {
        self.order(Order::Follow(Newcomer { stream, wish }))
    }

    /// Has the log files opened anew, before the next record is written: whoever rotates them has moved them away. Whether
    /// the auditor has been told.
    pub fn reopen(&self) -> bool {
        self.order(Order::Reopen)
    }

    fn order(&self, order: Order) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok())
    }

    /// How many records were dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.totals.dropped.load(Relaxed)
    }

    /// How many records sinks did not take so far, summed over the sinks.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.totals.lost.load(Relaxed)
    }

    /// How often a log file was rotated so far.
    #[must_use]
    pub fn rotations(&self) -> u64 {
        self.totals.rotations.load(Relaxed)
    }

    /// Where records go, each with how many it did not take.
    #[must_use]
    pub fn lost_by_sink(&self) -> Vec<(String, u64)> {
        self.sinks.iter().map(|sink| (sink.name.clone(), sink.records.load(Relaxed))).collect()
    }

    /// How many records wait for the auditor.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.len() as u64)
    }
}

/// The auditor's thread, to be finished once nobody records any more.
#[must_use = "records that still wait are lost unless the auditor is finished"]
#[derive(Debug)]
pub struct Auditor {
    audit: Audit,
    stop: Sender<Instant>,
    finished: Receiver<Flush>,
}

/// What became of the last records.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// Whether the auditor came to its end within the time; else it was left behind in a write that hangs.
    pub finished: bool,
    /// Records that nobody took out of the queue.
    pub unwritten: u64,
    /// Records that never came into it.
    pub dropped: u64,
    /// Records that a sink did not take, summed over the sinks. Not known of an auditor that did not finish.
    pub lost: u64,
}

impl Auditor {
    /// Writes what waits, counts included, for at most `within`.
    pub fn finish(self, within: Duration) -> Flush {
        // Sending fails only if the thread has ended; then there is nothing to wait for either.
        let _ = self.stop.send(Instant::now() + within);
        self.finished.recv_timeout(within).unwrap_or_else(|_| Flush {
            finished: false,
            unwritten: self.audit.waiting(),
            dropped: self.audit.dropped(),
            lost: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a broken assumption fails the test")]

    use std::fs;

    use serde_json::Value;

    use super::super::health::Health;
    use super::super::record::Action;
    use super::super::sample;
    use super::super::worker::BATCH;
    use super::*;
    use crate::model::Failure;

    const LONG: Duration = Duration::from_secs(20);

    /// A sink that takes a batch only when the test lets it.
    struct Gated {
        permits: Receiver<()>,
        seen: Sender<Record>,
        health: Health,
    }

    impl Sink for Gated {
        fn write(&mut self, records: &[Record], _: Instant) {
            if !records.is_empty() {
                let _ = self.permits.recv();
                records.iter().for_each(|record| self.seen.send(record.clone()).unwrap());
            }
        }

        fn health(&mut self) -> &mut Health {
            &mut self.health
        }
    }

    fn gated() -> (Audit, Auditor, Sender<()>, Receiver<Record>) {
        let (permit, permits) = crossbeam_channel::unbounded();
        let (seen, records) = crossbeam_channel::unbounded();
        let sink = Gated { permits, seen, health: Health::new("gated".into()) };
        let (audit, auditor) = Audit::start_with(vec![Box::new(sink)], Followers::new(JsonFormat::Ecs), || {}).unwrap();
        (audit, auditor, permit, records)
    }

    fn start_record() -> Record {
        Record::new(Action::Start)
    }

    #[test]
    fn handles_can_be_shared_between_threads() {
        fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
        shared(&Audit::disconnected());
    }

    #[test]
    fn records_arrive_in_the_file_and_the_hook_ran_in_the_thread() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let (tell, told) = bounded(1);
        let targets = Targets { json: Some(path.clone().into()), ..Targets::default() };
        let (audit, auditor) = Audit::start(targets, move || {
            tell.send(thread::current().name().map(str::to_owned)).unwrap();
        })
        .unwrap();
        assert_eq!(told.try_recv().unwrap().as_deref(), Some("pth-audit"));
        for _ in 0..1000 {
            audit.record(start_record());
        }
        for _ in 0..50 {
            audit.record(sample::denied_write(0, 1));
        }
        let flush = auditor.finish(LONG);
        assert_eq!(flush, Flush { finished: true, unwritten: 0, dropped: 0, lost: 0 });
        let text = fs::read_to_string(path).unwrap();
        let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |action: &str| records.iter().filter(|record| record["event"]["action"] == action).count() as u64;
        assert_eq!(of("start"), 1000);
        let suppressed = records.iter().filter_map(|record| record["pthguard"]["suppressed"].as_u64()).sum::<u64>();
        assert_eq!(of("modification") + suppressed, 50);

        audit.record(start_record());
        assert_eq!(audit.dropped(), 1, "nobody is there any more");
    }

    #[test]
    fn lines_are_in_the_schema_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let targets = Targets { json: Some(path.clone().into()), format: JsonFormat::Ocsf, ..Targets::default() };
        let (audit, auditor) = Audit::start(targets, || {}).unwrap();
        audit.record(start_record());
        assert_eq!(auditor.finish(LONG).lost, 0);
        let event: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!((&event["type_uid"], event.get("event")), (&Value::from(600_203), None));
        assert_ne!(event["device"]["hostname"], "");
    }

    #[test]
    fn a_full_queue_drops_with_a_count_that_is_written_when_there_is_room() {
        let (audit, auditor, permit, seen) = gated();
        audit.record(start_record());
        let offered = 1 + 3 * QUEUE_CAPACITY as u64;
        (1..offered).for_each(|_| audit.record(start_record()));
        assert!(audit.dropped() > 0);
        drop(permit);
        let flush = auditor.finish(LONG);
        assert!(flush.finished && flush.unwritten == 0);
        let records: Vec<Record> = seen.try_iter().collect();
        let written = records.iter().filter(|record| record.action == Action::Start).count() as u64;
        let counted: u64 =
            records.iter().filter(|record| record.action == Action::Failure).filter_map(|record| record.count).sum();
        assert_eq!((written + counted, counted), (offered, flush.dropped));
    }

    #[test]
    fn finish_keeps_its_time_when_a_sink_hangs() {
        let (audit, auditor, permit, _seen) = gated();
        (0..1000).for_each(|_| audit.record(start_record()));
        let begun = Instant::now();
        let flush = auditor.finish(Duration::from_millis(100));
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(!flush.finished && flush.unwritten >= 1000 - BATCH as u64, "{flush:?}");
        drop(permit);
    }

    #[test]
    fn trouble_of_one_sink_is_told_to_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let targets = Targets {
            json: Some(path.clone().into()),
            system: Some(SystemLog::Syslog(dir.path().join("no-daemon"))),
            ..Targets::default()
        };
        let (audit, auditor) = Audit::start(targets, || {}).unwrap();
        audit.record(Record::failure(Failure::State));
        assert_eq!(auditor.finish(LONG).lost, 1);
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains("no-daemon does not take records"), "{text}");
    }

    #[test]
    fn a_full_disk_is_told_to_who_follows_and_counted() {
        use super::super::follow::{Form, Wish};
        use std::io::{BufRead, BufReader};
        let targets = Targets { json: Some(JsonTarget::File("/dev/full".into())), ..Targets::default() };
        let (audit, auditor) = Audit::start(targets, || {}).unwrap();
        let (stream, theirs) = UnixStream::pair().unwrap();
        assert!(audit.follow(stream, Wish { last: 100, follow: true, form: Form::Text }));
        theirs.set_read_timeout(Some(LONG)).unwrap();
        let mut lines = BufReader::new(theirs).lines().map(Result::unwrap);
        let trouble = loop {
            audit.record(Record::failure(Failure::State));
            match lines.next().unwrap() {
                line if line.contains("does not take records") => break line,
                line => assert!(line.contains("reason=state"), "{line}"),
            }
        };
        assert!(trouble.contains("/dev/full does not take records: No space left"), "{trouble}");
        let flush = auditor.finish(LONG);
        assert!(flush.lost > 0 && flush.lost == audit.lost(), "{flush:?}");
    }

    #[test]
    fn a_wrong_path_is_found_at_start() {
        let targets = Targets { json: Some(JsonTarget::File("/dev/null/events".into())), ..Targets::default() };
        let error = Audit::start(targets, || {}).unwrap_err();
        assert!(error.to_string().starts_with("/dev/null"), "{error}");
    }

    #[test]
    fn captured_and_disconnected_records() {
        let (audit, records) = Audit::capture();
        audit.record(start_record().by_pid(5));
        assert_eq!(records.try_recv().unwrap().pid(), Some(5));
        let nowhere = Audit::disconnected();
        nowhere.record(start_record());
        assert_eq!(nowhere.dropped(), 0);
        assert_eq!(JsonTarget::from(PathBuf::from("-")), JsonTarget::Stdout);
    }
}
