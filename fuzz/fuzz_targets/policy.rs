//! Any text as a policy file: an error or a policy that prints as one that loads again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pthguard::config::{Config, Source};

fuzz_target!(|text: &str| {
    let source = Source { name: "fuzz.toml".to_owned(), text: text.to_owned() };
    if let Ok(config) = Config::from_sources(&[source]) {
        let _ = config.render();
    }
});
