//! What waits for a thread: bounded, and no larger than what is in it.
//!
//! A channel with a fixed number of slots writes to each of them when it is made. For the notices of three lanes, of some 300
//! bytes each, that was 14 MiB of memory that nobody used until there was a storm.

use crossbeam_channel::{Receiver, Sender, unbounded};

/// The end at which things come in.
#[derive(Debug)]
pub struct Backlog<T> {
    things: Sender<T>,
    most: usize,
}

impl<T> Backlog<T> {
    /// Both ends, with room for that many.
    #[must_use]
    pub fn new(most: usize) -> (Self, Receiver<T>) {
        let (things, received) = unbounded();
        (Backlog { things, most }, received)
    }

    /// Whether there was room, and somebody who receives. Threads that send at the same time may each find the last place
    /// free.
    pub fn try_send(&self, thing: T) -> bool {
        self.things.len() < self.most && self.things.send(thing).is_ok()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.things.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.things.is_empty()
    }
}

impl<T> Clone for Backlog<T> {
    fn clone(&self) -> Self {
        Backlog { things: self.things.clone(), most: self.most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_so_many_and_no_more() {
        let (backlog, received) = Backlog::new(100);
        let sent = (0..102).filter(|number| backlog.try_send(*number)).count();
        assert_eq!((sent, backlog.len(), received.len()), (100, 100, 100));
        assert_eq!(received.recv(), Ok(0));
        assert!(backlog.try_send(1), "there is room again");
        drop(received);
        assert!(!backlog.try_send(2), "nobody receives");
    }
}
