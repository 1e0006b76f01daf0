//! Any bytes from the kernel's side: the parser ends, and never reads outside of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pthguard::fanotify::wire::Events;

fuzz_target!(|bytes: &[u8]| {
    for event in Events::new(bytes).flatten() {
        let _ = event.infos().count();
    }
});
