//! What lies on the benchmark's file system. Whatever is guarded is in here, and nothing else of the machine.
//!
//! ```text
//! bin/opener, permitted, denied     this program, three times
//! elsewhere/                        guarded by nobody
//! work/…/site-packages              for single opens
//! venv/…/site-packages              an environment with five startup files, and a package of 200 modules
//! many/COUNT/N/site-packages        COUNT directories with a startup file each
//! pip/…/site-packages, wheels/      an environment with pip, and what is installed there
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::enclosure::must;
use crate::opener::Made;
use crate::responder::Marks;

/// The interpreter: the distribution's, which the built-in policy knows.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
/// This program's names there: who is permitted to write is told by the path.
const OPENERS: [&str; 3] = ["opener", "permitted", "denied"];
/// Modules of the package that is imported.
const MODULES: usize = 200;
/// Packages that pip installs.
const PACKAGES: usize = 20;
/// What each of them is called, with a number behind it.
const PACKAGE: &str = "benchwheel";
/// Writes the wheels.
const WHEELS: &str = include_str!("../wheels.py");

/// The file system, and where things are on it.
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    /// `python3.11`, as in `lib/python3.11/site-packages`.
    version: String,
}

impl Place {
    /// Puts onto the file system what every session needs.
    pub(crate) fn furnish(root: &Path) -> Result<Place> {
        let place = Place { root: root.to_owned(), version: python_version()? };
        for directory in ["bin", "elsewhere", "tmp"] {
            fs::create_dir(place.at(directory))?;
        }
        for name in OPENERS {
            fs::copy("/proc/self/exe", place.at("bin").join(name))?;
        }
        fs::write(place.unguarded(), "# nobody asks for this\n")?;
        place.furnish_work()?;
        place.furnish_venv()?;
        Ok(place)
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn site_of(&self, environment: &str) -> PathBuf {
        self.at(environment).join("lib").join(&self.version).join("site-packages")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.site_of("work")
    }

    pub(crate) fn venv(&self) -> PathBuf {
        self.site_of("venv")
    }

    pub(crate) fn pip(&self) -> PathBuf {
        self.site_of("pip")
    }

    pub(crate) fn unguarded(&self) -> PathBuf {
        self.at("elsewhere/module.py")
    }

    /// The program that opens in the name of `who`.
    pub(crate) fn program(&self, who: &str) -> PathBuf {
        self.at("bin").join(who)
    }

    pub(crate) fn python(&self, environment: &str) -> PathBuf {
        self.at(environment).join("bin/python3")
    }

    fn furnish_work(&self) -> Result<()> {
        let site = self.work();
        fs::create_dir_all(site.join("package"))?;
        for name in ["approved.pth", "unapproved.pth", "written.pth", "denied.pth"] {
            fs::write(site.join(name), "import os\n")?;
        }
        fs::write(site.join("six.py"), "VERSION = 6\n")?;
        fs::write(site.join("package/deep.py"), "DEPTH = 2\n")?;
        Ok(())
    }

    /// Five startup files as they are found in the wild: a hook of setuptools, an editable installation, two that run a
    /// module of the standard library, one that says nothing.
    fn furnish_venv(&self) -> Result<()> {
        must(Command::new(PYTHON).args(["-m", "venv", "--without-pip"]).arg(self.at("venv")))?;
        let (site, source) = (self.venv(), self.editable());
        fs::create_dir(&source)?;
        fs::write(source.join("editable.py"), "")?;
        for (name, text) in [
            (
                "distutils-precedence.pth",
                "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'stdlib') == 'local'; \
                 enabled and __import__('_distutils_hack').add_shim(); \n",
            ),
            ("editable.pth", &format!("{}\n", source.display())),
            ("tracer.pth", "import sys\n"),
            ("coverage.pth", "import os, sys; os.environ.get('COVERAGE_PROCESS_START')\n"),
            ("comment.pth", "# nothing\n"),
        ] {
            fs::write(site.join(name), text)?;
        }
        let package = site.join("wide");
        fs::create_dir(&package)?;
        fs::write(package.join("__init__.py"), "from . import everything\n")?;
        let names = (0..MODULES).map(|number| format!("m{number:03}"));
        let imports: String = names.clone().map(|name| format!("from . import {name}\n")).collect();
        fs::write(package.join("everything.py"), imports)?;
        for name in names {
            fs::write(package.join(name + ".py"), "X = 1\n")?;
        }
        // Bytecode, as after the first import.
        must(Command::new(self.python("venv")).args(["-m", "compileall", "-q"]).arg(&package))
    }

    /// Where a path line of the environment leads.
    fn editable(&self) -> PathBuf {
        self.at("venv/editable")
    }

    /// Makes so many site directories with a startup file each.
    pub(crate) fn furnish_many(&self, count: usize) -> Result<()> {
        for number in 0..count {
            let site = self.many(count).join(number.to_string()).join("site-packages");
            fs::create_dir_all(&site)?;
            fs::write(site.join("x.pth"), "# nothing\n")?;
        }
        Ok(())
    }

    fn many(&self, count: usize) -> PathBuf {
        self.at("many").join(count.to_string())
    }

    /// Makes an environment with pip, and the wheels that it is to install.
    pub(crate) fn furnish_pip(&self) -> Result<()> {
        must(Command::new(PYTHON).args(["-m", "venv"]).arg(self.at("pip")))?;
        fs::create_dir(self.wheels())?;
        must(Command::new(PYTHON).args(["-c", WHEELS, PACKAGE, &PACKAGES.to_string()]).arg(self.wheels()))
    }

    fn wheels(&self) -> PathBuf {
        self.at("wheels")
    }

    /// What the environment's interpreter is told to install them all.
    pub(crate) fn pip_arguments(&self) -> Vec<String> {
        let wheels = self.wheels().display().to_string();
        let quiet = ["-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check"];
        let mut arguments: Vec<String> = quiet.map(str::to_owned).to_vec();
        arguments.extend(["--root-user-action=ignore", "--no-index", "--find-links", &wheels].map(str::to_owned));
        arguments.extend((0..PACKAGES).map(|number| format!("{PACKAGE}{number}")));
        arguments
    }

    /// What it makes: two directories for each package, and the startup file of one.
    pub(crate) fn installed() -> Made {
        Made { beginning: PACKAGE.to_owned(), count: 2 * PACKAGES + 1 }
    }

    /// The site directories of a session, as globs of the policy.
    pub(crate) fn globs(&self, sites: Sites) -> Vec<PathBuf> {
        let mut globs = vec![match sites {
            Sites::Venv => self.venv(),
            Sites::Pip => self.pip(),
            Sites::Work { .. } => self.work(),
        }];
        if let Sites::Work { others: others @ 1.. } = sites {
            globs.push(self.many(others).join("*/site-packages"));
        }
        globs
    }

    /// What stops anybody in a session: the site directories, where their path lines lead, and the startup files.
    pub(crate) fn marks(&self, sites: Sites) -> Result<Marks> {
        let mut directories: Vec<PathBuf> = match sites {
            Sites::Venv => vec![self.venv(), self.editable()],
            Sites::Pip => vec![self.pip()],
            Sites::Work { others } => {
                let others = (0..others).map(|number| self.many(others).join(number.to_string()).join("site-packages"));
                std::iter::once(self.work()).chain(others).collect()
            }
        };
        directories.sort();
        let mut files = Vec::new();
        for directory in &directories {
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "pth") {
                    files.push(path);
                }
            }
        }
        Ok(Marks { directories, files })
    }
}

/// What is guarded in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sites {
    /// The directory for single opens, and others beside it.
    Work { others: usize },
    /// The environment.
    Venv,
    /// The environment with pip.
    Pip,
}

fn python_version() -> Result<String> {
    let output = Command::new(PYTHON).args(["-c", "import sys; print('python%d.%d' % sys.version_info[:2])"]).output();
    let output = output.with_context(|| format!("blocked: {PYTHON}"))?;
    if !output.status.success() {
        bail!("{PYTHON}: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
