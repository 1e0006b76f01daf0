//! How far it has come, on a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(200);
const WIDTH: u64 = 24;

/// One line on standard error that is written over again and again; nothing where that is no terminal.
pub(super) struct Progress {
    total: Option<u64>,
    began: Instant,
    next: Instant,
    is_shown: bool,
}

impl Progress {
    /// `total` is the size of all files, where all of them have one.
    pub(super) fn new(total: Option<u64>) -> Self {
        let began = Instant::now();
        Progress { total, began, next: began + EVERY, is_shown: std::io::stderr().is_terminal() }
    }

    pub(super) fn show(&mut self, bytes: u64, records: u64) {
        if !self.is_shown || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + EVERY;
        let text = line(bytes, self.total, records, self.began.elapsed());
        let _ = write!(std::io::stderr(), "\r{text}\x1b[K"); // who does not see it misses nothing
    }

    pub(super) fn end(&self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(bytes: u64, total: Option<u64>, records: u64, since: Duration) -> String {
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let speed = records as f64 / since.as_secs_f64().max(0.001);
    let told = format!("{} MB, {records} records, {speed:.0}/s", bytes / 1_000_000);
    let Some(total) = total.filter(|total| *total > 0) else { return told };
    let done = (bytes.saturating_mul(WIDTH) / total).min(WIDTH);
    let bar: String = (0..WIDTH).map(|at| if at < done { '#' } else { '.' }).collect();
    format!("[{bar}] {:3} % {told}", (bytes.saturating_mul(100) / total).min(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line(3_000_000, Some(6_000_000), 7, second),
            "[############............]  50 % 3 MB, 7 records, 7/s"
        );
        assert_eq!(
            line(9_000_000, Some(6_000_000), 7, second),
            "[########################] 100 % 9 MB, 7 records, 7/s"
        );
        assert_eq!(line(0, None, 0, Duration::ZERO), "0 MB, 0 records, 0/s");
    }
}
