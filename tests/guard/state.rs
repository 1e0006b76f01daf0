//! What is remembered: the first start's baseline, a restart, changes made meanwhile, a damaged store.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::harness::Config;
use crate::site::Place;

/// What is there at the first start goes on working, and what of it executes is said.
#[test]
fn the_first_start_accepts_what_is_there() {
    let place = Place::new();
    let (venv, theirs) = (&place.venvs[0], place.venvs[0].site.join("theirs.pth"));
    fs::write(&theirs, place.payload()).unwrap();
    let guard = Config::new(&place).start();
    let start = place.start(venv);
    assert!(start.canary && start.keep && start.victim && start.clean, "{start:?}");
    // Nobody asked for anything: a record without a verdict.
    let baseline = guard.wait_record("", &["baseline"], Some("theirs.pth"));
    assert!(baseline.to_string().contains("execut"), "not marked as executable: {baseline}");
    assert_eq!(guard.quarantine(), [] as [&Path; 0]);
}

/// Approvals outlive the guard; what was changed or brought while nobody looked is unreadable, and left where it is.
#[test]
fn a_restart_keeps_approvals_and_trusts_nothing_new() {
    let place = Place::new();
    let config = Config::new(&place);
    let (status, _) = config.start().stop();
    assert_eq!(status.code(), Some(0));
    let venv = &place.venvs[0];
    let (planted, changed) = (venv.site.join("evil.pth"), venv.site.join("victim.pth"));
    fs::write(&planted, place.payload()).unwrap();
    fs::write(&changed, place.payload()).unwrap();
    for _ in 0..2 {
        let mut guard = config.start();
        for path in [&planted, &changed] {
            assert_eq!(fs::read(path).expect_err("not approved").raw_os_error(), Some(libc::EPERM), "{path:?}");
        }
        let start = place.start(venv);
        assert!(!start.canary && start.keep && !start.victim && start.clean, "{start:?}");
        let other = place.start(place.venvs.last().unwrap());
        assert!(other.keep && other.clean, "{other:?}");
        for path in [&planted, &changed] {
            assert_eq!(path.metadata().unwrap().len(), place.payload().len() as u64, "{path:?} was touched");
        }
        guard.assert_alive();
        let (status, _) = guard.stop();
        assert_eq!(status.code(), Some(0));
    }
}

/// kill -9 at any moment must not cost what was approved before.
#[test]
fn approvals_survive_a_kill() {
    let place = Place::new();
    let config = Config::new(&place);
    for _ in 0..3 {
        drop(config.start());
    }
    let _guard = config.start();
    let start = place.start(&place.venvs[0]);
    assert!(start.keep && start.victim && start.clean, "{start:?}");
}

type Damage = fn(&Path);

/// A damaged store is an error with a way out, never an empty store: that would approve whatever lies there now.
#[test]
fn a_damaged_journal_is_refused() {
    let damages: [(&str, Damage); 6] = [
        ("a byte in the middle", |journal| {
            let mut bytes = fs::read(journal).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x80;
            fs::write(journal, bytes).unwrap();
        }),
        ("half of the header is missing", |journal| {
            let bytes = fs::read(journal).unwrap();
            let header = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            fs::write(journal, &bytes[header / 2..]).unwrap();
        }),
        ("the header is missing", |journal| {
            let bytes = fs::read(journal).unwrap();
            let header = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            fs::write(journal, &bytes[header + 1..]).unwrap();
        }),
        ("zeros, as after a power cut", |journal| {
            let length = fs::metadata(journal).unwrap().len() as usize;
            fs::write(journal, vec![0; length]).unwrap();
        }),
        ("emptied", |journal| fs::write(journal, "").unwrap()),
        ("deleted, with the blobs still there", |journal| fs::remove_file(journal).unwrap()),
    ];
    for (damage, harm) in damages {
        let place = Place::new();
        let config = Config::new(&place);
        config.start().stop();
        let journal = config.state().join("approvals.ndjson");
        harm(&journal);
        fs::write(place.venvs[0].site.join("evil.pth"), place.payload()).unwrap();
        let Err((status, said)) = config.try_start(&mut config.command()) else {
            panic!("{damage}: the guard started all the same");
        };
        assert_eq!(status.code(), Some(2), "{damage}: {said}");
        assert!(said.contains(config.state().to_str().unwrap()), "{damage}: does not say where: {said}");
        let line = said.contains(".ndjson:") || said.contains("line ");
        assert!(line || damage.contains("deleted") || damage.contains("emptied"), "{damage}: which line? {said}");
        let ways_out = ["remove", "delete", "move", "restore", "pthguard ", "--"];
        assert!(ways_out.iter().any(|way| said.contains(way)), "{damage}: no way out: {said}");
    }
}

/// One flipped bit in a digest: refused, or the file it stood for is unreadable; it never approves other bytes.
#[test]
fn a_flipped_bit_in_a_digest_approves_nothing() {
    let place = Place::new();
    let config = Config::new(&place);
    config.start().stop();
    let journal = config.state().join("approvals.ndjson");
    let mut text = fs::read(&journal).unwrap();
    let is_digest = |window: &[u8]| window.iter().all(u8::is_ascii_hexdigit);
    let at = text.windows(64).position(is_digest).expect("a sha256 in the journal");
    text[at] = if text[at] == b'0' { b'1' } else { b'0' };
    fs::write(&journal, text).unwrap();
    match config.try_start(&mut config.command()) {
        Err((status, said)) => assert_eq!(status.code(), Some(2), "{said}"),
        Ok(_guard) => {
            let readable = |name: &str| fs::read(place.venvs[0].site.join(name)).is_ok();
            let other = |name: &str| fs::read(place.venvs.last().unwrap().site.join(name)).is_ok();
            let all = readable("keep.pth") && readable("victim.pth") && other("keep.pth") && other("victim.pth");
            assert!(!all, "the digest was not looked at");
        }
    }
}

/// A crash in the middle of an append leaves half a line at the end; everything before it holds.
#[test]
fn a_torn_last_line_is_tolerated() {
    let place = Place::new();
    let config = Config::new(&place);
    config.start().stop();
    let journal = config.state().join("approvals.ndjson");
    fs::OpenOptions::new().append(true).open(&journal).unwrap().write_all(b"{\"time\":\"2026-").unwrap();
    for _ in 0..2 {
        let guard = config.start();
        for venv in &place.venvs {
            let start = place.start(venv);
            assert!(start.keep && start.victim && start.clean, "{start:?}");
        }
        guard.stop();
    }
}

/// Nobody but root may read or change what decides.
#[test]
fn the_state_is_roots_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let config = Config::new(&place);
    let _guard = config.start();
    for path in [config.state().to_owned(), config.state().join("approvals.ndjson"), config.state().join("blobs")] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o022, 0, "{path:?} is writable by others: {mode:o}");
    }
}

/// A policy that others may write to, or that has a mistake, is refused with the file's name.
#[test]
fn a_policy_that_cannot_be_trusted_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let config = Config::new(&place);
    let refused = |harm: &dyn Fn(&Path)| {
        let mut command = config.command();
        harm(&place.path().join("pthguard.toml"));
        let Err((status, said)) = config.try_start(&mut command) else { panic!("the guard started") };
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains("pthguard.toml"), "{said}");
    };
    refused(&|file| fs::set_permissions(file, fs::Permissions::from_mode(0o622)).unwrap());
    refused(&|file| std::os::unix::fs::chown(file, Some(65534), None).unwrap());
    refused(&|file| fs::write(file, "mode = \"enforce\"\nmodus = 1\n").unwrap());
    refused(&|file| fs::write(file, b"mode = \xff\n").unwrap());
    let journal = config.state().join("approvals.ndjson");
    assert!(!journal.exists(), "a refused start left {:?}", journal.as_os_str().as_bytes());
}
