//! The interpreters at hand, and how one is asked.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde::Deserialize;

/// `timeout` and its arguments: how long an interpreter may take.
const TIMEOUT: [&str; 3] = ["timeout", "--kill-after=1", "120"];

/// A command that is killed when it takes too long.
pub(crate) fn limited(program: &Path) -> Command {
    let mut command = Command::new(TIMEOUT[0]);
    command.args(&TIMEOUT[1..]).arg(program);
    command
}

/// A locale, as an interpreter is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Locale {
    Utf8,
    Latin1,
    /// The locale is Latin-1, but the names of files are UTF-8 (`-X utf8`, the default from 3.15 on).
    Mixed,
}

/// An interpreter.
#[derive(Clone, Debug)]
pub(crate) struct Python {
    pub(crate) program: PathBuf,
    /// `3.11`
    pub(crate) version: String,
    /// `3.11.2`
    pub(crate) release: String,
    /// Whether the program is only what starts it, elsewhere maybe.
    pub(crate) wrapped: bool,
}

/// What it did with a case.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) case: String,
    /// A mark for each line that was executed.
    pub(crate) seen: Vec<u8>,
    /// What it took for paths, each byte a character.
    paths: Vec<String>,
    /// The exception that nobody caught: `site` fails with it, and the interpreter does not start.
    pub(crate) refused: Option<String>,
}

impl Answer {
    pub(crate) fn paths(&self) -> impl Iterator<Item = Vec<u8>> {
        self.paths.iter().map(|path| path.chars().map(|c| u8::try_from(c).unwrap()).collect())
    }
}

/// One of each minor version: the system's, those of pyenv, and the programs that `PTHGUARD_PYTHONS` names (`:` between).
pub(crate) fn all() -> Vec<Python> {
    let mut programs = vec![PathBuf::from("/usr/bin/python3")];
    if let Some(home) = env::var_os("HOME")
        && let Ok(versions) = fs::read_dir(Path::new(&home).join(".pyenv/versions"))
    {
        programs.extend(
            versions.map(|version| version.unwrap().path().join("bin/python3")).filter(|program| program.exists()),
        );
    }
    let mut found: Vec<Python> = programs.into_iter().map(|program| Python::at(program, false)).collect();
    if let Some(more) = env::var_os("PTHGUARD_PYTHONS") {
        found.extend(env::split_paths(&more).map(|program| Python::at(program, true)));
    }
    found.sort_by_key(|python| python.version.split('.').map(|part| part.parse::<u32>().unwrap()).collect::<Vec<_>>());
    found.dedup_by(|a, b| a.version == b.version);
    found
}

impl Python {
    fn at(program: PathBuf, wrapped: bool) -> Python {
        let script = "import sys; print('%d.%d.%d' % sys.version_info[:3])";
        let output = limited(&program).args(["-I", "-S", "-c", script]).output();
        let output = output.unwrap_or_else(|error| panic!("blocked: {}: {error}", program.display()));
        let release = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let version =
            release.rsplit_once('.').unwrap_or_else(|| panic!("blocked: {} is no Python 3", program.display())).0;
        Python { version: version.to_owned(), release, program, wrapped }
    }

    /// Start it on the cases below `root`; the answers go to a file beside it.
    pub(crate) fn ask(&self, root: &Path, locales: &Path, locale: Locale) -> Running {
        let answers = root.with_file_name(format!("answers-{}-{locale:?}", self.version));
        let mut command = limited(&self.program);
        command.args(["-I", "-S", "-B", "-X", if locale == Locale::Latin1 { "utf8=0" } else { "utf8=1" }]);
        command.args([&root.with_file_name("runner.py"), root, &answers]);
        command.stdout(Stdio::null()).stderr(fs::File::create(errors_of(&answers)).unwrap());
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
        match locale {
            Locale::Utf8 => command.env("LC_ALL", "C.UTF-8"),
            Locale::Latin1 | Locale::Mixed => command.env("LC_ALL", "xx_XX.ISO-8859-1").env("LOCPATH", locales),
        };
        Running { child: command.spawn().unwrap(), answers, python: self.clone(), locale }
    }
}

/// An interpreter at work.
pub(crate) struct Running {
    child: Child,
    answers: PathBuf,
    pub(crate) python: Python,
    pub(crate) locale: Locale,
}

impl Running {
    pub(crate) fn answers(mut self) -> Vec<Answer> {
        let who = format!("{} {:?}", self.python.release, self.locale);
        let status = self.child.wait().unwrap();
        // Most of what it says is of lines that fail.
        let errors = fs::read(errors_of(&self.answers)).unwrap();
        let last = errors[errors.len().saturating_sub(2000)..].escape_ascii();
        assert!(status.success(), "{who}: {status} (124: took too long): {last}");
        let text = fs::read_to_string(&self.answers).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A locale with Latin-1 in a directory of its own. Needs `localedef` and the sources of locales (Debian: `locales`).
pub(crate) fn latin_1(directory: &Path) {
    let output = Command::new("localedef")
        .args(["-c", "-i", "en_US", "-f", "ISO-8859-1"])
        .arg(directory.join("xx_XX.ISO-8859-1"))
        .output()
        .unwrap_or_else(|error| panic!("blocked: localedef: {error}"));
    assert!(
        directory.join("xx_XX.ISO-8859-1/LC_CTYPE").exists(),
        "blocked: localedef: {}",
        output.stderr.escape_ascii()
    );
}

/// Where an interpreter's errors go, beside its answers.
fn errors_of(answers: &Path) -> PathBuf {
    let mut name = answers.as_os_str().to_owned();
    name.push(".errors");
    PathBuf::from(name)
}
