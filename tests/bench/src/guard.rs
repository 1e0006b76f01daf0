//! pthguard as a contestant: a policy, and a start.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::enclosure::must;
use crate::place::{Place, Sites};
use crate::process::{die_with_parent, end};

/// How long a start may take.
const START: Duration = Duration::from_secs(120);

/// Starts the guard on a state that is empty, or on what an earlier one has left.
pub(crate) fn start(program: &Path, mode: &str, place: &Place, sites: Sites) -> Result<(Vec<Child>, Duration)> {
    let policy = write_policy(mode, place, sites)?;
    let socket = place.at("ready");
    let _ = fs::remove_file(&socket); // an earlier one's
    let notices = UnixDatagram::bind(&socket)?;
    notices.set_read_timeout(Some(Duration::from_millis(500)))?;
    let said = place.at("said");
    let begin = Instant::now();
    let mut command = Command::new(program);
    command.args(["run", "--config"]).arg(&policy).env("NOTIFY_SOCKET", &socket);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said)?);
    let mut child = die_with_parent(&mut command).spawn()?;
    let outcome = wait_until_ready(&mut child, &notices, begin).and_then(|ready| {
        // What it could have kept by a service manager is kept by nobody.
        drop(notices);
        if sites == (Sites::Work { others: 0 }) {
            let file = place.work().join("unapproved.pth");
            must(Command::new(program).args(["revoke", "--config"]).arg(&policy).arg(file))?;
        }
        Ok(ready)
    });
    match outcome {
        Ok(ready) => Ok((vec![child], ready)),
        Err(error) => {
            end(&mut child);
            Err(error)
        }
    }
}

/// Removes what a guard has kept: the next start is the first.
pub(crate) fn forget(place: &Place) -> Result<()> {
    match fs::remove_dir_all(place.at("state")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn write_policy(mode: &str, place: &Place, sites: Sites) -> Result<PathBuf> {
    let path = place.at("pthguard.toml");
    let root = place.root.display();
    let globs: Vec<String> = place.globs(sites).iter().map(|glob| format!("\"{}\"", glob.display())).collect();
    // The built-in rules, as on every host, and one more. What other sessions guard is not discovered in this one.
    let text = format!(
        r#"mode = "{mode}"

[protect]
sites = [{globs}]
discover_below = ["{root}"]
discover_except = ["{root}/work", "{root}/venv", "{root}/many", "{root}/pip"]

[log]
syslog = false
json = "{root}/events.ndjson"

[state]
dir = "{root}/state"

[[allow]]
name = "the benchmark's writer"
exe = ["{permitted}"]
scope = "any"
access = ["write"]
content = "any"
"#,
        globs = globs.join(", "),
        permitted = place.program("permitted").display(),
    );
    fs::write(&path, text)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(path)
}

fn wait_until_ready(child: &mut Child, notices: &UnixDatagram, begin: Instant) -> Result<Duration> {
    let mut buffer = [0; 4096];
    while begin.elapsed() < START {
        // Descriptors that come along are dropped by the kernel, as there is no room for them.
        if let Ok(len) = notices.recv(&mut buffer)
            && buffer[..len].split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
        {
            return Ok(begin.elapsed());
        }
        if let Some(status) = child.try_wait()? {
            bail!("pthguard has ended: {status}");
        }
    }
    bail!("pthguard is not ready after {} s", START.as_secs())
}
