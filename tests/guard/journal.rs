//! Records in a journal of systemd: a real one, in a mount namespace of its own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{Config, SOON};
use crate::site::{Place, run, wait_for};
use crate::sys;

/// It reads neither the kernel's log nor its audit records, which are the machine's.
const CONFIGURATION: &str = "[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\nForwardToSyslog=no\nForwardToWall=no\nRateLimitIntervalSec=0\n";

struct Journal(Child);

impl Journal {
    /// Starts one on a `/run` of its own; within [`sys::with_private_mounts`] only.
    fn start() -> Journal {
        let binary = "/lib/systemd/systemd-journald";
        assert!(Path::new(binary).exists(), "blocked: {binary} is not there (Debian: systemd)");
        sys::mount(None, Path::new("/run"), Some("tmpfs"), 0, "mode=755").unwrap();
        for directory in ["/run/systemd/journal", "/run/log/journal", "/run/systemd/journald.conf.d"] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write("/run/systemd/journald.conf.d/test.conf", CONFIGURATION).unwrap();
        let mut command = Command::new(binary);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env_remove("NOTIFY_SOCKET");
        let journal = Journal(sys::die_with_parent(&mut command).spawn().unwrap());
        let socket = Path::new("/run/systemd/journal/socket");
        wait_for("the journal's socket", SOON, || socket.exists().then_some(()));
        journal
    }

    /// The entries that match.
    fn entries(matches: &[&str]) -> Vec<Value> {
        let done =
            run(Command::new("journalctl").args(["-D", "/run/log/journal", "-q", "-a", "-o", "json"]).args(matches));
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        self.0.wait().expect("our own child");
    }
}

#[test]
fn records_are_entries_with_their_facts_as_fields() {
    let place = Place::new();
    sys::with_private_mounts(|| {
        let _journal = Journal::start();
        // What the service manager tells of itself, the notification socket, is there.
        let guard = Config::new(&place).log("syslog = true").start();
        let name: &[u8] = b"a\nPTHGUARD_VERDICT=allow\n\xff\x1b[2J.pth";
        let path = place.venvs[0].site.join(OsStr::from_bytes(name));
        assert_eq!(fs::write(&path, "x").unwrap_err().raw_os_error(), Some(libc::EPERM));
        let entry = wait_for("the denial's entry", SOON, || Journal::entries(&["PTHGUARD_VERDICT=deny"]).pop());
        let bytes: Vec<u8> = serde_json::from_value(entry["PTHGUARD_PATH"].clone()).unwrap();
        assert_eq!(bytes, path.as_os_str().as_bytes(), "{entry}");
        let exe = std::env::current_exe().unwrap();
        for (field, expected) in [
            ("_PID", guard.pid().to_string().as_str()),
            ("_TRANSPORT", "journal"),
            ("SYSLOG_IDENTIFIER", "pthguard"),
            ("PRIORITY", "4"),
            ("PTHGUARD_ACTION", "creation"),
            ("PTHGUARD_REASON", "no-rule"),
            ("PTHGUARD_UID", "0"),
            ("PTHGUARD_PID", std::process::id().to_string().as_str()),
            ("PTHGUARD_EXE", exe.to_str().unwrap()),
        ] {
            assert_eq!(entry[field], expected, "{field} in {entry}");
        }
        let message = entry["MESSAGE"].as_str().unwrap();
        assert!(
            message.starts_with("deny write ") && message.contains(r"a\x0aPTHGUARD_VERDICT=allow\x0a"),
            "{message}"
        );
        assert!(Journal::entries(&["PTHGUARD_VERDICT=allow"]).is_empty(), "a name has made a field");
        let of_its_kind = Journal::entries(&[&format!("MESSAGE_ID={}", entry["MESSAGE_ID"].as_str().unwrap())]);
        assert!(of_its_kind.contains(&entry) && of_its_kind.iter().all(|one| one["PTHGUARD_ACTION"] == "creation"));
        let start = Journal::entries(&["PTHGUARD_ACTION=start"]);
        assert_eq!((start.len(), &start[0]["PRIORITY"]), (1, &Value::from("6")));
        assert_eq!(guard.stop().0.code(), Some(0));
        assert_eq!(Journal::entries(&["PTHGUARD_ACTION=stop"]).len(), 1);
        Ok(())
    })
    .unwrap();
}
