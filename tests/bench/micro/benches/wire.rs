//! Events as read(2) returns them: those that somebody waits for, and those that tell of names.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pthguard::fanotify::wire::{Events, Names};

/// `struct fanotify_event_metadata`, for an event of `len` bytes.
fn metadata(len: usize, mask: u64, fd: i32) -> Vec<u8> {
    let mut bytes = u32::try_from(len).expect("a short event").to_ne_bytes().to_vec();
    bytes.extend([3, 0]);
    bytes.extend(24_u16.to_ne_bytes());
    bytes.extend(mask.to_ne_bytes());
    bytes.extend(fd.to_ne_bytes());
    bytes.extend(4711_i32.to_ne_bytes());
    bytes
}

/// `struct fanotify_event_info_fid` with a handle of ext4 and a name.
fn named(kind: u8, name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend([7; 8]); // the file system's id
    bytes.extend(8_u32.to_ne_bytes());
    bytes.extend(1_i32.to_ne_bytes());
    bytes.extend([9; 8]);
    bytes.extend(name);
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let len = u16::try_from(bytes.len()).expect("a short record");
    bytes[2..4].copy_from_slice(&len.to_ne_bytes());
    bytes
}

/// A creation: the entry, and the pidfd of its author.
fn creation() -> Vec<u8> {
    const DFID_NAME: u8 = 2;
    const PIDFD: u8 = 4;
    let mut records = named(DFID_NAME, b"distutils-precedence.pth");
    records.extend([PIDFD, 0, 8, 0]);
    records.extend((-1_i32).to_ne_bytes());
    let mut event = metadata(24 + records.len(), libc::FAN_CREATE, -1);
    event.extend(records);
    event
}

fn wire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    let opening = metadata(24, libc::FAN_OPEN_PERM, 5);
    for (what, event, count) in
        [("an open", &opening, 1), ("100 opens", &opening, 100), ("100 names", &creation(), 100)]
    {
        let bytes = event.repeat(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(what, |bencher| {
            bencher.iter(|| {
                for event in Events::new(black_box(&bytes)) {
                    let event = event.expect("well-formed");
                    black_box(Names::of(&event));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);
