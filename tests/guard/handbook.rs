//! The command lines of docs/operations.md, one after the other, beside a guard that runs.

use std::fs;
use std::process::Command;

use crate::harness::Config;
use crate::site::{Place, run};

const HANDBOOK: &str = include_str!("../../docs/operations.md");
/// The site directory of the handbook.
const SITE: &str = "/srv/app/venv/lib/python3/site-packages";

#[test]
fn its_command_lines_do_what_it_says() {
    let place = Place::new();
    let site = place.venvs[0].site.clone();
    let config = Config::new(&place);
    let guard = config.start();
    // What somebody brought while the guard only watched.
    fs::write(place.outside.join("new.pth"), "import os\n").unwrap();
    let mut lines = HANDBOOK.lines().map(str::trim_start).filter(|line| line.starts_with("pthguard ")).peekable();
    assert!(lines.peek().is_some());
    let mut count = 0;
    for line in lines {
        let words = line.replace(SITE, site.to_str().unwrap());
        let words = words.replace("/var/log/pthguard/events.ndjson", guard.events().to_str().unwrap());
        let words: Vec<&str> = words.split_whitespace().skip(1).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pthguard"));
        command.args(&words);
        let config_file = place.path().join("pthguard.toml");
        command.arg("--config").arg(config_file);
        let done = run(&mut command);
        let status = done.status.code();
        // 1 is a finding: something denied, something held.
        assert!(matches!(status, Some(0 | 1)), "{line}: {status:?}\n{}{}", done.stdout, done.stderr);
        count += 1;
        if line.starts_with("pthguard mode audit") {
            fs::rename(place.outside.join("new.pth"), site.join("new.pth")).unwrap();
            assert!(fs::read(site.join("new.pth")).is_ok(), "it only watches");
        } else if line == "pthguard mode enforce" {
            assert!(fs::read(site.join("new.pth")).is_err());
        } else if line.starts_with("pthguard approve ") {
            assert_eq!(status, Some(0), "{}", done.stderr);
            assert!(fs::read(site.join("new.pth")).is_ok());
        } else if line.starts_with("pthguard revoke ") {
            assert!(fs::read(site.join("new.pth")).is_err());
        }
    }
    assert!(count >= 15, "{count}");
}
