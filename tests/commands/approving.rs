//! `approve` and `revoke`: what is shown, what is approved, what is recorded.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use pthguard::config;
use pthguard::control::{Access, Peer, Shown, Why};
use pthguard::model::Sha256;

use crate::stage::{PAYLOAD, Stage};

#[test]
fn what_is_shown_is_approved_and_recorded() {
    let stage = Stage::new();
    let path = stage.write("x.pth", PAYLOAD);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let sha256 = Sha256::of(PAYLOAD.as_bytes()).to_string();
    let done = stage.run(&["approve", "--yes"], &[&path]).expect(0);
    for shown in
        [path.to_str().unwrap(), &sha256, "owner root (0)", "mode 0640", "import os; os.kill(os.getpid(), 0)", "code:"]
    {
        assert!(done.said.contains(shown), "{shown}: {}", done.said);
    }
    assert_eq!(done.out, format!("approved {}\n", path.display()));
    assert!(stage.is_approved("x.pth", PAYLOAD) && !stage.is_approved("x.pth", "other"));

    let records = stage.records("approval");
    let [record] = records.as_slice() else { panic!("{records:#?}") };
    assert_eq!(record["file"]["path"], path.to_str().unwrap());
    assert_eq!(record["file"]["hash"]["sha256"], sha256.as_str());
    assert_eq!(record["user"]["id"], "0");
    assert!(record["process"]["pid"].as_u64().unwrap() > 1);
    assert_eq!(record["process"]["executable"], env!("CARGO_BIN_EXE_pthguard"));
    assert_eq!(record["process"]["args"][1], "approve");

    // Once more: nothing to do, nothing recorded.
    let done = stage.run(&["approve"], &[&path]).expect(0);
    assert!(done.said.contains("is approved as it is"), "{}", done.said);
    assert_eq!(stage.records("approval").len(), 1);

    fs::write(&path, "/opt/new\n").unwrap();
    let done = stage.run(&["approve", "--yes", "--json"], &[&path]).expect(0);
    assert!(done.said.contains("instead of"), "{}", done.said);
    let items = done.items();
    assert_eq!((&items[0]["content"], &items[0]["approval"]), (&"paths".into(), &"approved".into()));
    assert_eq!(stage.records("approval")[1]["pthguard"]["old_sha256"], sha256.as_str());
}

#[test]
fn without_a_terminal_and_a_yes_nothing_is_approved() {
    let stage = Stage::new();
    let path = stage.write("x.pth", PAYLOAD);
    let done = stage.run(&["approve"], &[&path]).expect(2);
    assert!(done.said.contains("import os") && done.said.contains("--yes"), "{}", done.said);
    assert!(!stage.is_approved("x.pth", PAYLOAD));
    stage.run(&["approve", "--sha256", &"0".repeat(64), "--name", "x.pth"], &[]).expect(2);
    assert_eq!(stage.records("approval").len(), 0);
}

#[test]
fn a_person_is_asked_and_only_yes_is_yes() {
    let stage = Stage::new();
    let path = stage.write("x.pth", PAYLOAD);
    for typed in ["n\n", "\n"] {
        let done = stage.run_on_terminal(&["approve"], &path, typed).expect(1);
        assert!(done.out.contains("approve it? [y/N]") && done.out.contains("nothing was approved"), "{done:#?}");
        assert!(!stage.is_approved("x.pth", PAYLOAD));
    }
    stage.run_on_terminal(&["approve"], &path, "y\n").expect(0);
    assert!(stage.is_approved("x.pth", PAYLOAD));
}

#[test]
fn what_is_no_guarded_startup_file_is_refused_with_a_way_out() {
    let stage = Stage::new();
    let outside = stage.root().join("x.pth");
    fs::write(&outside, PAYLOAD).unwrap();
    fs::create_dir(stage.path("dir.pth")).unwrap();
    nix::unistd::mkfifo(&stage.path("fifo.pth"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    File::create(stage.path("giant.pth")).unwrap().set_len(1 << 40).unwrap();
    symlink("/dev/full", stage.path("device.pth")).unwrap();
    for (path, said) in [
        (outside.clone(), "protect.extra_sites"),
        (stage.site.clone(), "pthguard baseline"),
        (stage.path("dir.pth"), "pthguard baseline"),
        (stage.write("x.txt", ""), "protect.startup"),
        (stage.path("fifo.pth"), "no startup file"),
        (stage.path("device.pth"), "no startup file"),
        (stage.path("giant.pth"), "protect.max_size"),
        (stage.path("none.pth"), "No such file"),
        (stage.root().join("none/x.pth"), "protect.extra_sites"),
        ("/".into(), "pthguard baseline"),
    ] {
        // One that cannot be approved keeps the others from it, too.
        let good = stage.write("good.pth", "");
        let done = stage.run(&["approve", "--yes"], &[&good, &path]).expect(2);
        assert!(done.said.contains(said), "{path:?}: {}", done.said);
        assert!(!stage.is_approved("good.pth", ""), "{path:?}");
    }
}

/// The directory and the bytes are those that were shown, or nothing is approved.
#[test]
fn what_was_exchanged_since_it_was_shown_is_refused() {
    let stage = Stage::new();
    let path = stage.write("x.pth", "/opt/harmless\n");
    let config = config::load(Some(&stage.policy)).unwrap();
    let access = Access::to(&config).unwrap();
    let (desk, by) = (access.desk(), Peer::this_process());
    let shown = Shown::from(&desk.read(&path).unwrap());
    fs::write(&path, PAYLOAD).unwrap();
    assert_eq!(desk.approve(&shown, &by).unwrap_err().why, Why::Changed);
    fs::write(&path, "/opt/harmless\n").unwrap();
    fs::rename(&stage.site, stage.root().join("aside")).unwrap();
    fs::create_dir(&stage.site).unwrap();
    fs::write(&path, "/opt/harmless\n").unwrap();
    assert_eq!(desk.approve(&shown, &by).unwrap_err().why, Why::Changed, "another directory");
    fs::remove_dir_all(&stage.site).unwrap();
    symlink("../../aside", &stage.site).unwrap();
    assert!(desk.approve(&shown, &by).is_err(), "a link in the directory's place");
    fs::remove_file(&stage.site).unwrap();
    fs::rename(stage.root().join("aside"), &stage.site).unwrap();
    fs::write(&path, "/opt/harmless\n").unwrap();
    fs::rename(stage.root().join("lib"), stage.root().join("lib2")).unwrap();
    symlink("lib2", stage.root().join("lib")).unwrap();
    assert!(desk.approve(&shown, &by).is_err(), "a link above it");
    fs::remove_file(stage.root().join("lib")).unwrap();
    fs::rename(stage.root().join("lib2"), stage.root().join("lib")).unwrap();
    fs::write(&path, "/opt/harmless\n").unwrap();
    desk.approve(&shown, &by).unwrap();
    access.finish().unwrap();
}

#[test]
fn paths_may_be_relative_or_lead_through_links_but_the_file_is_never_followed() {
    let stage = Stage::new();
    stage.write("x.pth", "# x\n");
    symlink(&stage.site, stage.root().join("alias")).unwrap();
    stage.run(&["approve", "--yes"], &[&stage.root().join("alias/x.pth")]).expect(0);
    assert!(stage.is_approved("x.pth", "# x\n"));
    stage.write("y.pth", "# y\n");
    let relative = stage.command(&["approve", "--yes", "./y.pth"], &[]).current_dir(&stage.site).output().unwrap();
    assert!(relative.status.success() && stage.is_approved("y.pth", "# y\n"));
    // A link is approved under its own name, with the bytes that it leads to.
    let target = stage.root().join("target.txt");
    fs::write(&target, PAYLOAD).unwrap();
    symlink(&target, stage.path("link.pth")).unwrap();
    let done = stage.run(&["approve", "--yes"], &[&stage.path("link.pth")]).expect(0);
    assert!(done.said.contains(&format!("link to   {}", target.display())), "{}", done.said);
    assert!(stage.is_approved("link.pth", PAYLOAD) && !stage.is_approved("target.txt", PAYLOAD));
    // And a link elsewhere to a startup file is none.
    symlink(stage.write("z.pth", "# z\n"), stage.root().join("z.pth")).unwrap();
    stage.run(&["approve", "--yes"], &[&stage.root().join("z.pth")]).expect(2);
}

#[test]
fn hostile_names_and_lines_do_not_reach_the_terminal() {
    let stage = Stage::new();
    let name = OsStr::from_bytes(b"\x1b[2J\n\xff\"{.pth");
    let path = stage.write(name, "import os; print('\x1b]0;x\x07')\r\u{202e}import b\n");
    let done = stage.run(&["approve", "--yes"], &[&path]).expect(0);
    let list = stage.run(&["approvals"], &[]).expect(0);
    let json = stage.run(&["approvals", "--json"], &[]).expect(0);
    let quiet = |text: &str| !text.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}'));
    assert!([&done.said, &done.out, &list.out, &json.out].into_iter().all(|text| quiet(text)), "{done:#?} {list:#?}");
    assert!(list.out.contains(r#"\x1b[2J\x0a\xff"{.pth"#), "{}", list.out);
    assert_eq!(json.items().len(), 2);
    stage.run(&["revoke"], &[&path]).expect(0);
    assert_eq!(stage.run(&["approvals", "--json"], &[]).items().len(), 1);
}

/// A `.pth` file is approved together with the `.start` file that can be opened beside it (PEP 829).
#[test]
fn a_pair_is_approved_together() {
    let stage = Stage::new();
    let (pth, start) = (stage.write("x.pth", PAYLOAD), stage.write("x.start", "pkg:main\n"));
    let companion = || {
        let store = stage.open_store();
        let (id, _) = stage.directory(&store);
        store.get(id, OsStr::new("x.pth")).unwrap().companion
    };
    stage.run(&["approve", "--yes"], &[&pth]).expect(0);
    assert_eq!(companion(), None, "nobody can open the other one");
    stage.run(&["approve", "--yes"], &[&start]).expect(0);
    assert_eq!(companion(), Some(Sha256::of(b"pkg:main\n")));
    let done = stage.run(&["approve"], &[&pth]).expect(0);
    assert!(done.said.contains("is approved as it is"), "{}", done.said);
    // Without it the .pth file does something else than what was approved, and has to be approved anew.
    fs::remove_file(&start).unwrap();
    stage.run(&["approve"], &[&pth]).expect(2);
    stage.run(&["approve", "--yes"], &[&pth]).expect(0);
    assert_eq!(companion(), None);
}

/// Somebody who is asked may take his time: meanwhile the daemon must be able to start.
#[test]
fn the_state_is_not_locked_while_somebody_is_asked() {
    let stage = Stage::new();
    let path = stage.write("x.pth", PAYLOAD);
    let (mut asking, mut output) = stage.spawn_on_terminal(&["approve"], &path);
    let mut shown = Vec::new();
    while !shown.ends_with(b"[y/N] ") {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&shown));
        shown.push(byte[0]);
    }
    drop(pthguard::approvals::Instance::lock_now(&stage.state).unwrap());
    fs::write(&path, "import other\n").unwrap();
    asking.stdin.take().unwrap().write_all(b"y\n").unwrap();
    output.read_to_end(&mut shown).unwrap();
    assert_eq!(asking.wait().unwrap().code(), Some(2));
    assert!(String::from_utf8_lossy(&shown).contains("it has changed since it was shown"), "{shown:?}");
    assert!(!stage.is_approved("x.pth", PAYLOAD) && !stage.is_approved("x.pth", "import other\n"));
}

#[test]
fn revoking_needs_neither_the_file_nor_its_directory() {
    let stage = Stage::new();
    let path = stage.path("old.pth");
    stage.run(&["revoke"], &[&stage.path("none.pth")]).expect(2);
    fs::remove_dir_all(&stage.site).unwrap();
    let done = stage.run(&["revoke"], &[&path]).expect(0);
    assert!(done.out.starts_with(&format!("revoked {}", path.display())), "{}", done.out);
    fs::create_dir_all(&stage.site).unwrap();
    assert!(stage.run(&["approvals", "--json"], &[]).expect(0).items().is_empty());
    let records = stage.records("revocation");
    let [record] = records.as_slice() else { panic!("{records:#?}") };
    assert_eq!(record["pthguard"]["old_sha256"], Sha256::of(b"/opt/old\n").to_string());
    assert_eq!((&record["user"]["id"], &record["file"]["name"]), (&"0".into(), &"old.pth".into()));
    stage.run(&["revoke"], &[&path]).expect(2);
}

#[test]
fn bytes_can_be_approved_and_revoked_everywhere() {
    let stage = Stage::new();
    let digest = Sha256::of(PAYLOAD.as_bytes()).to_string();
    let everywhere = ["--sha256", &digest, "--name", "x.pth"];
    stage.run(&[&["approve", "--yes"], &everywhere[..]].concat(), &[]).expect(0);
    assert!(stage.is_approved("x.pth", PAYLOAD) && !stage.is_approved("y.pth", PAYLOAD));
    let list = stage.run(&["approvals", "--json"], &[]).expect(0);
    assert!(list.items().iter().any(|item| item["everywhere"] == true && item["approval"] == "administrator"));
    // In one directory alone there is nothing to revoke, and it is said where there is.
    let path = stage.write("x.pth", PAYLOAD);
    let done = stage.run(&["revoke"], &[&path]).expect(2);
    assert!(done.said.contains(&format!("--sha256 {digest} --name x.pth")), "{}", done.said);
    // Both: it must be seen that the file can still be read.
    fs::write(&path, "# other\n").unwrap();
    stage.run(&["approve", "--yes"], &[&path]).expect(0);
    fs::write(&path, PAYLOAD).unwrap();
    let done = stage.run(&["revoke"], &[&path]).expect(1);
    assert!(done.said.contains("can still be read") && done.said.contains(&digest), "{}", done.said);
    let other = Sha256::of(b"# other\n").to_string();
    fs::write(&path, "# other\n").unwrap();
    stage.run(&["approve", "--yes"], &[&path]).expect(0);
    stage.run(&["approve", "--yes", "--sha256", &other, "--name", "x.pth"], &[]).expect(0);
    let done = stage.run(&["revoke"], &[&path]).expect(1);
    assert!(done.said.contains("can still be read"), "{}", done.said);
    // Revoked everywhere is revoked in each directory, too.
    stage
        .run(&["approve", "--yes", "--sha256", &Sha256::of(b"/opt/old\n").to_string(), "--name", "old.pth"], &[])
        .expect(0);
    let revoked = stage.run(&["revoke", "--sha256", &Sha256::of(b"/opt/old\n").to_string(), "--name", "old.pth"], &[]);
    assert_eq!(revoked.expect(0).out.lines().count(), 2);
    assert!(!stage.is_approved("old.pth", "/opt/old\n"));
    stage.run(&[&["revoke"], &everywhere[..]].concat(), &[]).expect(0);
    assert!(!stage.is_approved("x.pth", PAYLOAD));
    for bad in [&["approve", "--yes", "--sha256", "00", "--name", "x.pth"][..], &["approve", "--sha256", &digest]] {
        stage.run(bad, &[]).expect(2);
    }
    for name in ["../x.pth", "x.txt", ""] {
        stage.run(&["approve", "--yes", "--sha256", &digest, "--name", name], &[]).expect(2);
    }
    let both = stage.run(&[&["approve", "--yes"], &everywhere[..]].concat(), &[Path::new("x.pth")]);
    both.expect(2);
}
