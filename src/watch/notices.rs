//! The way from the watch to the gate: bounded, and never larger than what is in it.
//!
//! A notice has some 300 bytes, and a channel with a fixed number of slots writes to each of them when it is made: for three
//! lanes that was 14 MiB which nobody used until there was a storm.

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::drain::Notice;

/// Notices that wait for an arrivals thread. More are a storm: then the directories are read again instead.
const MOST: usize = 16_384;

/// Where what a lane's watch group tells goes.
#[derive(Clone, Debug)]
pub struct Notices(Sender<Notice>);

impl Notices {
    /// Both ends.
    #[must_use]
    pub fn new() -> (Self, Receiver<Notice>) {
        let (notices, received) = unbounded();
        (Notices(notices), received)
    }

    /// Whether there was room. Each thread that sends at the same time may find the last place free.
    pub(super) fn try_send(&self, notice: Notice) -> bool {
        self.0.len() < MOST && self.0.send(notice).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_so_many_and_no_more() {
        let (notices, received) = Notices::new();
        let sent = (0..MOST + 2).filter(|_| notices.try_send(Notice::SiteFilled)).count();
        assert_eq!((sent, received.len()), (MOST, MOST));
        received.recv().unwrap();
        assert!(notices.try_send(Notice::SiteFilled), "there is room again");
        drop(received);
        assert!(!notices.try_send(Notice::SiteFilled), "nobody listens");
    }
}
