//! The installers themselves, and what they install: put into the private root before any guard runs.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::matrix::Target;
use crate::packages;
use crate::site::run_for;

/// Packages come over the network.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);

/// What the operations use.
pub(crate) struct Tools {
    /// Everything that can be had, however long it takes.
    pub(crate) all: bool,
    /// Debian's interpreter, by its real path.
    pub(crate) python: PathBuf,
    pub(crate) wheel: PathBuf,
    pub(crate) wheel2: PathBuf,
    /// One whose startup file is a line of code that nobody knows.
    pub(crate) unknown: PathBuf,
}

/// A command with the environment of a root login: nothing of the build's, of pyenv's or of a virtual environment's.
pub(crate) fn tool(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["PYENV", "PYTHON", "CARGO", "RUST", "VIRTUAL_ENV", "UV_", "PTHGUARD", "XDG", "LD_"]
            .iter()
            .any(|p| text.starts_with(p))
        {
            command.env_remove(&name);
        }
    }
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
    command.env("DEBIAN_FRONTEND", "noninteractive").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    command.env("PIP_ROOT_USER_ACTION", "ignore").current_dir("/srv");
    command
}

/// Run what prepares an operation; without it there is nothing to test.
pub(crate) fn prepare(command: &mut Command) -> String {
    let done = run_for(command, DOWNLOAD_LIMIT);
    assert!(done.status.success(), "blocked: {command:?}: {}\n{}{}", done.status, done.stdout, done.stderr);
    done.stdout
}

/// The first line that `program --version` or the like prints, reduced to its first word that looks like a version.
pub(crate) fn version(command: &mut Command) -> String {
    let text = prepare(command);
    let like = |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    let words = text.split(|c: char| c.is_whitespace() || "(),'".contains(c));
    words.map(|word| word.trim_start_matches('v')).find(like).unwrap_or("?").to_owned()
}

impl Tools {
    pub(crate) fn install(all: bool) -> Tools {
        let begin = Instant::now();
        prepare(tool("apt-get").args(["update", "-qq"]));
        let packages = [
            "python3-pip",
            "python3-venv",
            "rsync",
            "rpm",
            "dnf",
            "createrepo-c",
            "pacman-package-manager",
            "restic",
            "nix-bin",
            "git",
            "vim-tiny",
        ];
        prepare(tool("apt-get").args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages));
        println!("Debian packages: {:.1?}", begin.elapsed());
        let python = fs::canonicalize("/usr/bin/python3").unwrap();
        // Directories that the startup files of the packages add to `sys.path`.
        for version in ["1.0", "2.0"] {
            fs::create_dir(format!("/srv/demo-{version}")).unwrap();
        }
        let wheel = |version: &str| packages::wheel("/srv".as_ref(), &python, version, &format!("/srv/demo-{version}"));
        let code = "import sys; sys.path.append('/srv/demo-1.0')";
        fs::create_dir("/srv/unknown").unwrap();
        let unknown = packages::wheel("/srv/unknown".as_ref(), &python, "1.0", code);
        let tools = Tools { all, wheel: wheel("1.0"), wheel2: wheel("2.0"), unknown, python: python.clone() };
        let begin = Instant::now();
        tools.python_tools();
        println!("Python tools: {:.1?}", begin.elapsed());
        tools
    }

    /// Each tool into an environment of its own under /opt, with the versions in `requirements/`.
    fn python_tools(&self) {
        let bootstrap = Path::new("/opt/bootstrap");
        prepare(tool(&self.python).args(["-m", "venv"]).arg(bootstrap));
        prepare(tool(bootstrap.join("bin/pip")).args(["install", "-q", "-r"]).arg(pinned("uv")));
        fs::copy(bootstrap.join("bin/uv"), "/usr/local/bin/uv").unwrap();
        for name in ["virtualenv", "poetry", "pdm", "hatch", "pipx"] {
            let home = Path::new("/opt").join(name);
            prepare(tool(&self.python).args(["-m", "venv", "--without-pip"]).arg(&home));
            let python = home.join("bin/python3");
            prepare(tool("uv").args(["pip", "install", "-q", "--python"]).arg(python).arg("-r").arg(pinned(name)));
        }
    }

    /// A new environment of Debian's interpreter at `root`, without anything in it.
    pub(crate) fn bare(&self, root: impl AsRef<Path>) -> Target {
        bare(&self.python, root.as_ref())
    }

    /// A new environment of Debian's interpreter at `root`, with pip.
    pub(crate) fn with_pip(&self, root: impl AsRef<Path>) -> Target {
        let target = self.bare(root);
        // Debian's version, in a tenth of the time that ensurepip takes.
        prepare(tool("uv").args(["pip", "install", "-q", "pip==23.0.1", "--python"]).arg(&target.python));
        target
    }

    /// Where Debian's pip installs as root.
    pub(crate) fn system(&self) -> Target {
        let minor = self.python.file_name().unwrap().to_str().unwrap();
        let site = Path::new("/usr/local/lib").join(minor).join("dist-packages");
        Target { site, python: self.python.clone(), uid: 0 }
    }
}

/// The file with the versions that go into the environment `name`, as pip and uv read it.
pub(crate) fn pinned(name: &str) -> PathBuf {
    let text = match name {
        "uv" => include_str!("requirements/uv.txt"),
        "virtualenv" => include_str!("requirements/virtualenv.txt"),
        "poetry" => include_str!("requirements/poetry.txt"),
        "pdm" => include_str!("requirements/pdm.txt"),
        "hatch" => include_str!("requirements/hatch.txt"),
        "pipx" => include_str!("requirements/pipx.txt"),
        "legacy" => include_str!("requirements/legacy.txt"),
        _ => panic!("no list of versions for {name}"),
    };
    let file = Path::new("/srv").join(format!("requirements-{name}.txt"));
    fs::write(&file, text).unwrap();
    file
}

/// An environment without pip.
pub(crate) fn bare(python: &Path, root: &Path) -> Target {
    prepare(tool(python).args(["-m", "venv", "--without-pip"]).arg(root));
    target(root)
}

/// The environment at `root`.
pub(crate) fn target(root: &Path) -> Target {
    let lib = fs::read_dir(root.join("lib")).unwrap().flatten().map(|entry| entry.path());
    let python = lib.into_iter().find(|path| path.join("site-packages").is_dir()).expect("a site directory");
    Target { site: python.join("site-packages"), python: root.join("bin/python3"), uid: 0 }
}
