//! Any bytes under every kind of name: a verdict, never a panic; and a line more never makes a file more harmless.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pthguard::content::{classify, overlaid};

fuzz_target!(|bytes: &[u8]| {
    for name in [&b"x.pth"[..], b"x.start", b"sitecustomize.py", b"sitecustomize.so"] {
        let found = classify(name, bytes);
        assert!(found.line.is_none_or(|line| line.excerpt().len() <= 160));
    }
    let _ = overlaid(bytes);
    let alone = classify(b"x.pth", &[bytes, b"\n"].concat()).class;
    assert!(classify(b"x.pth", &[bytes, b"\nimport os\n"].concat()).class >= alone);
});
