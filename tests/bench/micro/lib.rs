//! Nothing: `benches/` has it all. `cargo bench --manifest-path tests/bench/micro/Cargo.toml`
