//! What a startup file can do, read off its bytes: pure functions.

#![forbid(unsafe_code)]

mod lines;

pub use lines::executes;
