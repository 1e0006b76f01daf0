//! A start that takes long because there is much to guard is not taken for one that hangs.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use sd_notify::NotifyState;

use super::notify;
use crate::gate::Guard;

/// How often it is looked whether there is progress.
const TICK: Duration = Duration::from_secs(1);
/// The time that the service manager gives from then on, where its own is over before.
const MORE: Duration = Duration::from_secs(30);

/// Does what the start consists of, and asks the service manager for more time as long as one directory after the other is
/// guarded.
pub(super) fn told<T>(guard: &Guard, work: impl FnOnce() -> T) -> T {
    let (done, is_done) = bounded::<()>(0);
    let tell = move || {
        let mut before = 0;
        while is_done.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            let guarded = guard.watch().sites.all().len();
            if guarded > before {
                let more = u32::try_from(MORE.as_micros()).unwrap_or(u32::MAX);
                notify(&[NotifyState::ExtendTimeoutUsec(more)]);
            }
            before = guarded;
        }
    };
    thread::scope(|scope| {
        scope.spawn(tell);
        let result = work();
        drop(done);
        result
    })
}
