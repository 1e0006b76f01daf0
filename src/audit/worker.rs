//! What the auditor's thread does: batches, counts that are due, and one sick sink's trouble told to the others.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};

use super::auditor::{Flush, Order, Totals};
use super::follow::Followers;
use super::health::Sink;
use super::image::Images;
use super::limit::Limit;
use super::offenders::Offenders;
use super::record::{Action, Record};

/// Records written with one call.
pub(super) const BATCH: usize = 256;

/// How often the auditor looks after what it owes: counts, and sinks that do not work.
const TICK: Duration = Duration::from_secs(1);

/// What comes to the thread.
pub(super) struct Inputs {
    pub(super) records: Receiver<Box<Record>>,
    pub(super) orders: Receiver<Order>,
    /// Tells until when to be done.
    pub(super) stopped: Receiver<Instant>,
}

/// What the thread owns.
pub(super) struct Worker {
    records: Receiver<Box<Record>>,
    orders: Receiver<Order>,
    stopped: Receiver<Instant>,
    sinks: Vec<Box<dyn Sink>>,
    followers: Followers,
    offenders: Offenders,
    limit: Limit,
    images: Images,
    totals: Arc<Totals>,
    /// How many of the dropped ones are in a record already.
    reported: u64,
    last_report: Option<Instant>,
}

impl Worker {
    pub(super) fn new(inputs: Inputs, sinks: Vec<Box<dyn Sink>>, followers: Followers, totals: Arc<Totals>) -> Self {
        let Inputs { records, orders, stopped } = inputs;
        Worker {
            records,
            orders,
            stopped,
            sinks,
            followers,
            offenders: Offenders::default(),
            limit: Limit::new(),
            images: Images::new(),
            totals,
            reported: 0,
            last_report: None,
        }
    }

    pub(super) fn run(&mut self) -> Flush {
        loop {
            let patience = if self.owes() { TICK } else { TICK * 60 };
            let patience = self.followers.patience().map_or(patience, |soon| soon.min(patience));
            select! {
                recv(self.stopped) -> deadline => match deadline {
                    Ok(deadline) => return self.close(Some(deadline)),
                    // The auditor was let go without being finished: carry on for as long as somebody records.
                    Err(_) => self.stopped = never(),
                },
                recv(self.orders) -> order => match order {
                    Ok(order) => self.carry_out(order),
                    Err(_) => self.orders = never(),
                },
                recv(self.records) -> first => match first {
                    Ok(first) => self.take(Some(*first)),
                    Err(_) => return self.close(None),
                },
                default(patience) => self.take(None),
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Follow(newcomer) => self.followers.admit(newcomer, Instant::now()),
            Order::Reopen => {
                let now = Instant::now();
                self.sinks.iter_mut().for_each(|sink| sink.reopen(now));
                self.write(Vec::new(), now); // what there is to say about it
            }
        }
    }

    /// Writes one batch: `first`, what waits behind it, and the counts that are due.
    fn take(&mut self, first: Option<Record>) {
        let now = Instant::now();
        let waiting = self.records.try_iter().take(BATCH - 1).map(|record| *record);
        let mut batch: Vec<Record> = Vec::new();
        for record in first.into_iter().chain(waiting) {
            let record = self.offenders.offer(record, now);
            batch.extend(record.and_then(|record| self.limit.offer(record, now)));
        }
        batch.extend(self.offenders.due(now));
        batch.extend(self.limit.due(now));
        if self.last_report.is_none_or(|last| now.saturating_duration_since(last) >= TICK) {
            batch.extend(self.report_drops(now));
        }
        self.write(batch, now);
    }

    /// The last batches, then every count.
    fn close(&mut self, deadline: Option<Instant>) -> Flush {
        while !self.records.is_empty() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            self.take(None);
        }
        let now = Instant::now();
        let unwritten = self.records.len() as u64;
        let mut last = self.offenders.flush(now);
        last.extend(self.limit.flush());
        last.extend(self.report_drops(now));
        if unwritten > 0 {
            let message = format!("stopped before {unwritten} records were written");
            last.push(Record::new(Action::Failure).saying(message).counting(unwritten));
        }
        self.write(last, now);
        while let Ok(order) = self.orders.try_recv() {
            self.carry_out(order);
        }
        self.followers.dismiss();
        Flush {
            finished: true,
            unwritten,
            dropped: self.totals.dropped.load(Relaxed),
            lost: self.totals.lost.load(Relaxed),
        }
    }

    fn report_drops(&mut self, now: Instant) -> Option<Record> {
        let total = self.totals.dropped.load(Relaxed);
        let new = total - self.reported;
        (new > 0).then(|| {
            self.reported = total;
            self.last_report = Some(now);
            Record::new(Action::Failure)
                .saying(format!("the audit queue was full: {new} records dropped, {total} in all"))
                .counting(new)
        })
    }

    fn write(&mut self, mut records: Vec<Record>, now: Instant) {
        for record in &mut records {
            let container = record.subject.as_ref().and_then(|subject| subject.container.as_ref());
            record.image = container.and_then(|container| self.images.of(container));
        }
        for sink in &mut self.sinks {
            sink.write(&records, now);
        }
        self.followers.tell(&records);
        for sick in 0..self.sinks.len() {
            if let Some(trouble) = self.sinks[sick].health().trouble() {
                let trouble = [trouble];
                let others = self.sinks.iter_mut().enumerate().filter(|(index, _)| *index != sick);
                others.for_each(|(_, sink)| sink.write(&trouble, now));
                self.followers.tell(&trouble);
            }
        }
        // Telling them may make more, of a log whose files are small: the next batch has them.
        let news: Vec<Record> = self.sinks.iter_mut().flat_map(|sink| sink.health().news()).collect();
        if !news.is_empty() {
            self.sinks.iter_mut().for_each(|sink| sink.write(&news, now));
            self.followers.tell(&news);
        }
        self.followers.flush(now);
        self.totals.lost.store(self.sinks.iter_mut().map(|sink| sink.health().lost_ever()).sum(), Relaxed);
        self.totals.rotations.store(self.sinks.iter_mut().map(|sink| sink.health().rotations()).sum(), Relaxed);
    }

    /// Whether something has to be written even if no record comes.
    fn owes(&mut self) -> bool {
        self.limit.is_counting()
            || self.offenders.is_counting()
            || self.totals.dropped.load(Relaxed) > self.reported
            || self.sinks.iter_mut().any(|sink| sink.health().owes())
    }
}
