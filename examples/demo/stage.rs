//! Where the demonstration happens: an environment, a guard, attempts and what they leave.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::Attack;
use crate::child::{COMMAND_LIMIT, Guard, die_with_us, run};

/// How long to wait for the package index before a package of our own takes its place.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(25);

pub(crate) struct Row {
    pub(crate) got: String,
    pub(crate) left: &'static str,
    pub(crate) ran: bool,
}

/// Where it all happens.
pub(crate) struct Stage {
    dir: PathBuf,
    venv: PathBuf,
    python: PathBuf,
    pub(crate) site: PathBuf,
    pub(crate) evil: PathBuf,
    canary: PathBuf,
}

impl Stage {
    pub(crate) fn set(dir: &Path) -> Result<Stage> {
        let venv = dir.join("venv");
        let made = run(Command::new("python3").args(["-m", "venv"]).arg(&venv), COMMAND_LIMIT)?;
        ensure!(made.status.success(), "python3 -m venv (Debian: apt-get install python3-venv): {}", made.said);
        let python = venv.join("bin/python3");
        let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let asked = run(Command::new(&python).args(["-c", ask]), COMMAND_LIMIT)?;
        let site = PathBuf::from(asked.said.trim());
        let site = site.canonicalize().with_context(|| format!("its site directory {}", site.display()))?;
        let evil = site.join("evil.pth");
        Ok(Stage { dir: dir.to_owned(), venv, python, site, evil, canary: dir.join("the-line-ran") })
    }

    pub(crate) fn payload(&self) -> String {
        format!("import os; os.close(os.open({:?}, os.O_CREAT))\n", self.canary.display().to_string())
    }

    /// A new file with the payload, outside of the site directory.
    pub(crate) fn source(&self) -> Result<PathBuf> {
        let source = self.dir.join("payload.txt");
        remove(&source)?;
        fs::write(&source, self.payload())?;
        Ok(source)
    }

    pub(crate) fn shell(&self, script: &str) -> Result<String> {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(self.source()?).arg(&self.evil);
        Ok(run(&mut shell, COMMAND_LIMIT)?.outcome())
    }

    /// Start the environment's interpreter: whether it executed the planted line.
    fn start_runs_it(&self) -> Result<bool> {
        remove(&self.canary)?;
        let started = run(Command::new(&self.python).args(["-c", "pass"]), COMMAND_LIMIT)?;
        ensure!(started.status.success(), "an interpreter start failed: {}", started.said);
        Ok(self.canary.exists())
    }

    pub(crate) fn runs_without_guard(&self, attack: &Attack) -> Result<bool> {
        (attack.plant)(self)?;
        let ran = self.start_runs_it()?;
        remove(&self.evil)?;
        Ok(ran)
    }

    fn quarantined(&self) -> usize {
        fs::read_dir(self.dir.join("state/quarantine")).map_or(0, Iterator::count)
    }

    pub(crate) fn attack(&self, attack: &Attack) -> Result<Row> {
        let quarantined = self.quarantined();
        let got = (attack.plant)(self)?;
        let ran = self.start_runs_it()?;
        // What cannot be refused is undone; give that a moment, then look.
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.evil.symlink_metadata().is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = match (self.evil.symlink_metadata(), File::open(&self.evil)) {
            (Err(_), _) if self.quarantined() > quarantined => "nothing, it is in quarantine",
            (Err(_), _) => "nothing",
            (Ok(_), Ok(_)) => "there, readable",
            (Ok(_), Err(_)) => "there, unreadable",
        };
        let ran = ran | self.start_runs_it()?;
        remove(&self.evil)?;
        Ok(Row { got, left, ran })
    }

    /// Starts this program again as the guard: the same code as `pthguard run`, whether that was built or not.
    pub(crate) fn start_guard(&self) -> Result<Guard> {
        let (config, socket_path) = (self.dir.join("pthguard.toml"), self.dir.join("notify"));
        let base = fs::canonicalize(&self.python)?;
        let text = format!(
            "include_default = false\nmode = \"enforce\"\n\
             [protect]\nsites = [{site:?}]\n\
             [log]\nsyslog = false\njson = {json:?}\n\
             [state]\ndir = {state:?}\n\
             [[allow]]\nname = \"pip\"\nexe = [{base:?}]\nmodule = [\"pip\"]\nscript = [{script:?}]\nuid = \"any\"\n\
             scope = \"any\"\naccess = [\"write\", \"rename\", \"link\"]\ncontent = \"any\"\n",
            site = self.site,
            json = self.dir.join("events.ndjson"),
            state = self.dir.join("state"),
            script = self.venv.join("bin/pip*"),
        );
        fs::write(&config, text)?;
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600))?;
        let socket = UnixDatagram::bind(&socket_path)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(crate::AS_GUARD).arg(&config).env("NOTIFY_SOCKET", &socket_path);
        // It tells each decision there, too, which would tear the table apart.
        let said = self.dir.join("guard.stderr");
        command.stdin(Stdio::null()).stderr(fs::File::create(&said)?);
        let child = die_with_us(&mut command).spawn().context("starting the guard")?;
        let mut guard = Guard(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        println!("$ pthguard run --mode enforce --config {}", config.display());
        loop {
            let mut buffer = [0; 1024];
            if socket.recv(&mut buffer).is_ok_and(|n| String::from_utf8_lossy(&buffer[..n]).contains("READY=1")) {
                println!("{}", fs::read_to_string(&said)?);
                return Ok(guard);
            }
            if let Some(status) = guard.0.try_wait()? {
                bail!("the guard ended at once: {status}\n{}", fs::read_to_string(&said)?);
            }
            ensure!(Instant::now() < deadline, "the guard was not ready within 20 s");
        }
    }

    /// A permitted installer does its work: whether the package's startup file is there and active.
    pub(crate) fn install(&self) -> Result<bool> {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
        let mut real = Command::new(&self.python);
        real.args(pip).args(["--retries", "0", "--timeout", "8", "coverage"]);
        let installed = run(&mut real, DOWNLOAD_LIMIT)?;
        let (package, file, check) = if installed.status.success() && self.site.join("a1_coverage.pth").exists() {
            println!("pip install coverage     ok; it brought a1_coverage.pth, which holds code");
            ("coverage", "a1_coverage.pth", "import sys; sys.exit('coverage' not in sys.modules)")
        } else {
            println!(
                "pip install coverage     not possible here ({}); a wheel made on the spot instead",
                installed.last_line()
            );
            let wheel = self.make_wheel()?;
            let done = run(Command::new(&self.python).args(pip).arg("--no-index").arg(&wheel), COMMAND_LIMIT)?;
            println!("pip install {:<13}{}", "demo.whl", done.outcome());
            ("demo", "demo.pth", "import sys; sys.exit(not hasattr(sys, 'demo_is_active'))")
        };
        let path = self.site.join(file);
        let readable = fs::read(&path).is_ok();
        let mut start = Command::new(&self.python);
        // Not from here: coverage writes its data file where it is started.
        start.args(["-c", check]).env("COVERAGE_PROCESS_START", "/dev/null").current_dir(&self.dir);
        let active = run(&mut start, COMMAND_LIMIT)?.status.success();
        println!("{file:<25}{}", if readable { "readable" } else { "NOT READABLE" });
        println!("{:<25}{}", "an interpreter start", if active { "executed it" } else { "did NOT execute it" });
        let removed =
            run(Command::new(&self.python).args(["-m", "pip", "uninstall", "--yes", package]), COMMAND_LIMIT)?;
        println!("pip uninstall {package:<11}{}", removed.outcome());
        Ok(readable && active && removed.status.success() && !path.exists())
    }

    fn make_wheel(&self) -> Result<PathBuf> {
        const BUILD: &str = "
import sys, zipfile
info = 'demo-1.0.dist-info/'
files = {'demo.pth': 'import sys; sys.demo_is_active = True\\n',
         info + 'METADATA': 'Metadata-Version: 2.1\\nName: demo\\nVersion: 1.0\\n',
         info + 'WHEEL': 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'}
files[info + 'RECORD'] = ''.join(name + ',,\\n' for name in [*files, info + 'RECORD'])
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
";
        let wheel = self.dir.join("demo-1.0-py3-none-any.whl");
        let built = run(Command::new(&self.python).args(["-c", BUILD]).arg(&wheel), COMMAND_LIMIT)?;
        ensure!(built.status.success(), "making a wheel: {}", built.said);
        Ok(wheel)
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
