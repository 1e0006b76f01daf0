//! Packages as they are published, installed by real pip and real dpkg: each startup file is approved or held, and why.
//! What came out is held against `docs/content.md`.
//!
//! An ordinary run installs a few. With `PTHGUARD_CORPUS` set to a directory of samples (`pypi/NAME-VERSION/` and
//! `debian/NAME_VERSION_ARCH/`, each with the startup files that the package brings) every package that is named there is
//! fetched from its index and installed; with `PTHGUARD_CONTENT_WRITE` as well, the table is written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::arena::{Arena, With, arena};
use crate::environment::{Env, tool};
use crate::guarded::Guarded;
use crate::harness::{SOON, field};
use crate::material;
use crate::site::{run_for, wait_for};

/// Installed in an ordinary run: listed ones, an idiom, and one that nobody lists.
const ORDINARY: &[&str] = &[
    "setuptools==84.2.1",
    "coverage==7.17.3",
    "coloredlogs==15.0.1",
    "autowrapt==2.0.0",
    "zope.event==4.6",
    "clusop==0.0.17",
];

const BEGIN: &str = "<!-- installs:begin -->";
const END: &str = "<!-- installs:end -->";

/// All packages of a corpus, one after the other.
const LONG: Duration = Duration::from_secs(1800);
const STEP: Duration = Duration::from_secs(120);

/// What became of one startup file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    package: String,
    installer: String,
    file: String,
    class: String,
    outcome: String,
    why: String,
}

impl Row {
    fn line(&self) -> String {
        let Row { package, installer, file, class, outcome, why } = self;
        format!("| {package} | {installer} | `{file}` | {class} | {outcome} | {why} |")
    }
}

/// What the guard says of a file that has been installed.
fn row(guarded: &Guarded, package: &str, installer: &str, file: &Path) -> Row {
    let path = file.to_str().unwrap();
    let about = |r: &serde_json::Value| {
        field(r, "file.path") == path && ["held", "approval"].contains(&field(r, "event.action"))
    };
    let record =
        wait_for(&format!("what became of {path}"), SOON, || guarded.guard.records().into_iter().rev().find(about));
    let readable = fs::read(file).is_ok();
    let outcome = match (field(&record, "event.action"), readable) {
        ("held", false) => "held",
        ("approval", true) => "approved",
        (_, true) => "readable, not approved",
        (_, false) => "unreadable, not held",
    };
    let word = |name: &str| field(&record, name).to_owned();
    let owner = format!("{} {}", word("package.name"), word("package.version"));
    let why = match (outcome, owner.trim()) {
        ("approved", "") => word("pthguard.message"),
        ("approved", owner) => format!("{}; owner: {owner}", word("pthguard.message")),
        _ => word("pthguard.message"),
    };
    Row {
        package: package.to_owned(),
        installer: installer.to_owned(),
        file: file.file_name().unwrap().to_string_lossy().into_owned(),
        class: word("pthguard.content"),
        outcome: outcome.to_owned(),
        why: why.replace('|', "\\|"),
    }
}

fn startup_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "pth" || e == "start")).collect();
    files.sort();
    files
}

/// A package of the index with the interpreter that takes it.
struct Published {
    requirement: String,
    wheel: PathBuf,
    env: Env,
}

fn install_all(guarded: &Guarded, packages: &[Published]) -> Vec<Row> {
    let mut rows = Vec::new();
    for Published { requirement, wheel, env } in packages {
        let before = startup_files(&env.site);
        let done = run_for(env.pip().arg(wheel), STEP);
        assert!(done.status.success(), "pip install {requirement}: {}", done.stderr);
        let files = startup_files(&env.site);
        rows.extend(
            files.iter().filter(|file| !before.contains(file)).map(|file| row(guarded, requirement, "pip", file)),
        );
    }
    rows
}

#[test]
fn published_packages_come_to_what_the_table_says() {
    let corpus = std::env::var_os("PTHGUARD_CORPUS").map(PathBuf::from);
    let wanted = corpus.as_deref().map(requirements).unwrap_or_default();
    let fetched: Vec<Fetched> = wanted.iter().filter_map(|requirement| fetch(requirement)).collect();
    let samples = corpus.as_deref().map(|corpus| names(&corpus.join("debian"))).unwrap_or_default();
    let mut rows = Vec::new();
    arena(With::default(), |arena| {
        for one in &fetched {
            // Out of the build directory, which may not be seen from here.
            fs::create_dir_all("/srv/corpus").unwrap();
            fs::write(Path::new("/srv/corpus").join(&one.name), &one.bytes).unwrap();
        }
        let mut packages: Vec<Published> =
            fetched.iter().enumerate().map(|(number, one)| one.place(arena, number)).collect();
        for (number, requirement) in ORDINARY.iter().enumerate() {
            if !wanted.iter().any(|one| one == requirement) {
                let env = arena.environment(&format!("ordinary{number}"));
                packages.push(Published { requirement: (*requirement).into(), wheel: arena.wheel(requirement), env });
            }
        }
        let archives = debian(&samples);
        let guarded = arena.guard_for(if corpus.is_some() { LONG } else { Duration::from_secs(120) });
        rows = install_all(&guarded, &packages);
        rows.extend(archives.iter().flat_map(|archive| dpkg(&guarded, archive)));
        for row in &rows {
            println!("{}", row.line());
            let settled = ["held", "approved"].contains(&row.outcome.as_str());
            arena.check(&format!("neither held nor approved: {}", row.line()), settled);
            let idiom = row.file.ends_with("-nspkg.pth") && row.outcome != "approved";
            arena.check(&format!("an idiom that is not known: {}", row.line()), !idiom);
            let signed = row.installer == "dpkg" && row.outcome != "approved";
            arena.check(&format!("a signed package's file: {}", row.line()), !signed);
        }
    });
    rows.sort();
    let differences = reconcile(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/content.md"), &rows);
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("blocked: {}: {error}", dir.display()));
    let mut names: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into()).collect();
    names.sort();
    names
}

/// `NAME==VERSION` of each package; what is built from projects of one's own has no index.
fn requirements(corpus: &Path) -> Vec<String> {
    let published = names(&corpus.join("pypi")).into_iter().filter(|name| !name.starts_with("editable-"));
    published.filter_map(|name| name.rsplit_once('-').map(|(name, version)| format!("{name}=={version}"))).collect()
}

/// A wheel, and the interpreter that it is for.
struct Fetched {
    requirement: String,
    name: String,
    bytes: Vec<u8>,
    python: PathBuf,
}

impl Fetched {
    fn place(&self, arena: &Arena, number: usize) -> Published {
        let env = arena.environment_of(&format!("corpus{number}"), &self.python);
        Published { requirement: self.requirement.clone(), wheel: Path::new("/srv/corpus").join(&self.name), env }
    }
}

/// Debian's interpreter, and older ones for wheels that it does not take.
fn interpreters() -> Vec<(String, PathBuf)> {
    let mut found = vec![fs::canonicalize("/usr/bin/python3").unwrap()];
    let versions = fs::read_dir("/root/.pyenv/versions").into_iter().flatten().flatten();
    let mut more: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let minor: u32 = entry.file_name().to_str()?.split('.').nth(1)?.parse().ok()?;
            let python = fs::canonicalize(entry.path().join(format!("bin/python3.{minor}"))).ok()?;
            (minor >= 7).then_some((minor, python))
        })
        .collect();
    more.sort_by_key(|(minor, _)| std::cmp::Reverse(*minor));
    found.extend(more.into_iter().map(|(_, python)| python));
    let version =
        |python: &PathBuf| python.file_name().unwrap().to_str().unwrap().trim_start_matches("python").to_owned();
    found.into_iter().map(|python| (version(&python), python)).collect()
}

fn fetch(requirement: &str) -> Option<Fetched> {
    const PLATFORMS: &[&str] =
        &["manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64"];
    for (version, python) in interpreters() {
        let mut options = vec!["--python-version", &version];
        options.extend(PLATFORMS.iter().flat_map(|platform| ["--platform", platform]));
        let name = format!("corpus-{version}");
        let directory = match material::try_fetch(&name, &[requirement], &options) {
            Ok(directory) => directory,
            Err(said) if said.contains("No matching distribution") => continue,
            Err(said) => panic!("blocked: {requirement} cannot be downloaded: {said}"),
        };
        let wheel = material::find(&directory, requirement).expect("the wheel that has been downloaded");
        let name = wheel.file_name().unwrap().to_string_lossy().into_owned();
        return Some(Fetched { requirement: requirement.into(), name, bytes: fs::read(wheel).unwrap(), python });
    }
    println!("{requirement}: no wheel for Linux and the interpreters that are here");
    None
}

/// The archives of these packages, `NAME_VERSION_ARCH`, from the machine's mirror.
fn debian(samples: &[String]) -> Vec<PathBuf> {
    if samples.is_empty() {
        return Vec::new();
    }
    let work = Path::new("/srv/debian");
    fs::create_dir(work).unwrap();
    let apt = |command: &mut Command| {
        let done = run_for(command.current_dir(work), LONG);
        assert!(done.status.success(), "blocked: {command:?}: {}{}", done.stdout, done.stderr);
    };
    apt(tool("apt-get").args(["update", "-qq"]));
    let packages = samples.iter().filter_map(|sample| sample.split('_').next());
    apt(tool("apt-get").args(["download", "-qq", "-o", "APT::Sandbox::User=root"]).args(packages));
    let mut archives: Vec<PathBuf> = fs::read_dir(work).unwrap().flatten().map(|entry| entry.path()).collect();
    archives.sort();
    archives
}

/// Install one archive, without what it depends on.
fn dpkg(guarded: &Guarded, archive: &Path) -> Vec<Row> {
    let site = Path::new("/usr/lib/python3/dist-packages");
    let before = startup_files(site);
    let done = run_for(tool("dpkg").args(["--force-depends", "-i"]).arg(archive), STEP);
    let name = archive.file_stem().unwrap().to_string_lossy();
    let package = name.split('_').take(2).collect::<Vec<_>>().join(" ");
    if !done.status.success() {
        println!("dpkg -i {package}: {}", done.stderr.trim());
    }
    let files = startup_files(site);
    files.iter().filter(|file| !before.contains(file)).map(|file| row(guarded, &package, "dpkg", file)).collect()
}

/// Write the rows into the document, or hold them against it: what differs. Rows that did not run stay as they are.
fn reconcile(file: &Path, rows: &[Row]) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| rest.split_once(END).map(|(table, after)| (before, table, after)));
    let Some((before, table, after)) = parts else {
        return vec![format!("{} has no {BEGIN} … {END}", file.display())];
    };
    let key = |line: &str| line.splitn(5, '|').take(4).map(str::trim).collect::<Vec<_>>().join("|");
    let written: BTreeMap<String, String> =
        table.lines().filter(|line| line.contains('`')).map(|line| (key(line), line.to_owned())).collect();
    let now: BTreeMap<String, String> = rows.iter().map(|row| (key(&row.line()), row.line())).collect();
    if std::env::var_os("PTHGUARD_CONTENT_WRITE").is_none() {
        let differs = |(key, line): (&String, &String)| match written.get(key) {
            Some(old) if old == line => None,
            Some(old) => Some(format!("in the table: {old}\nnow:          {line}")),
            None => Some(format!("not in the table: {line}")),
        };
        return now.iter().filter_map(differs).collect();
    }
    let mut all = written;
    all.extend(now);
    let head = "| package | installed by | file | class | came to | why |\n| --- | --- | --- | --- | --- | --- |\n";
    let body: String = all.values().map(|line| format!("{line}\n")).collect();
    fs::write(file, format!("{before}{BEGIN}\n{head}{body}{END}{after}")).unwrap();
    println!("wrote {}", file.display());
    Vec::new()
}
