//! Any bytes as recorded telemetry of every format: records within their limit, and nothing that does not end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pthguard::replay::{Format, Input, MAX_CHUNK, Parser};

fuzz_target!(|bytes: &[u8]| {
    for format in Format::ALL {
        let mut input = Input::new(bytes);
        let mut parser = Parser::new(format);
        while let Ok(Some(chunk)) = input.next_chunk() {
            assert!(chunk.bytes.is_ok_and(|bytes| bytes.len() <= MAX_CHUNK) || bytes.len() > MAX_CHUNK);
            let _ = parser.next(chunk);
        }
        while parser.finish().is_some() {}
    }
});
