//! Where the race is run: two virtual environments of the interpreter that starts fastest, on a file system of the test's
//! own, and one more file system for the targets of links.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::{self, Interpreter, Place, Venv};
use crate::sys;

/// A module in each site directory: whether it can be imported tells whether packages are there.
pub(crate) const PACKAGE: &str = "pthguard_package";

/// The line that attackers want to run.
const EVIL: &str = "import sys; sys.pthguard_evil = 1";
/// Where the approved file has to be cut for the same effect.
pub(crate) const CUT: usize = EVIL.len();
/// As many bytes from its beginning on have to become zero for the same effect.
pub(crate) const HOLE: usize = APPROVED_FIRST.len() - 1;

const APPROVED_FIRST: &str = "import sys; sys.pthguard_evil = 1 if 0 else getattr(sys, 'pthguard_evil', 0)\n";
const APPROVED_REST: &str = "import sys; sys.pthguard_evil = getattr(sys, 'pthguard_evil', 1)\n\
                             import sys; sys.pthguard_victim = 1\n";

/// What `victim.pth` is, which attackers fight over: harmless, unless a part of it is missing.
pub(crate) fn approved() -> Vec<u8> {
    [APPROVED_FIRST, APPROVED_REST].concat().into_bytes()
}

/// What attackers bring: as long as the approved file, so that a single write makes one into the other.
pub(crate) fn payload() -> Vec<u8> {
    let mut text = format!("{EVIL}\n").into_bytes();
    text.resize(approved().len() - 1, b'#');
    text.push(b'\n');
    text
}

/// On which file system the site directories lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fs {
    Tmpfs,
    Ext4,
    Xfs,
    Btrfs,
    Overlay,
}

impl Fs {
    /// `PTHGUARD_RACE_FS`, or tmpfs.
    pub(crate) fn from_environment() -> Fs {
        match std::env::var("PTHGUARD_RACE_FS").as_deref() {
            Err(_) | Ok("tmpfs") => Fs::Tmpfs,
            Ok("ext4") => Fs::Ext4,
            Ok("xfs") => Fs::Xfs,
            Ok("btrfs") => Fs::Btrfs,
            Ok("overlay") => Fs::Overlay,
            Ok(other) => panic!("PTHGUARD_RACE_FS={other}: tmpfs, ext4, xfs, btrfs or overlay"),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Fs::Tmpfs => "tmpfs",
            Fs::Ext4 => "ext4",
            Fs::Xfs => "xfs",
            Fs::Btrfs => "btrfs",
            Fs::Overlay => "overlay",
        }
    }

    /// Whether files can share their blocks (FICLONE).
    pub(crate) fn clones(self) -> bool {
        matches!(self, Fs::Xfs | Fs::Btrfs)
    }

    /// Mount it on a directory that is there; within a private mount namespace.
    fn mount(self, home: &Path, on: &Path) -> io::Result<()> {
        let tmpfs = |on: &Path| sys::mount(Some(Path::new("race")), on, Some("tmpfs"), 0, "size=1g,mode=755");
        let mkfs = match self {
            Fs::Tmpfs => return tmpfs(on),
            Fs::Overlay => {
                let layers = home.join("layers");
                fs::create_dir(&layers)?;
                tmpfs(&layers)?;
                let [lower, upper, work] = ["lower", "upper", "work"].map(|name| layers.join(name));
                for dir in [&lower, &upper, &work] {
                    fs::create_dir(dir)?;
                }
                let options =
                    format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
                return sys::mount(Some(Path::new("race")), on, Some("overlay"), 0, &options);
            }
            Fs::Ext4 => "mkfs.ext4",
            Fs::Xfs => "mkfs.xfs",
            Fs::Btrfs => "mkfs.btrfs",
        };
        let image = home.join("image");
        fs::File::create(&image)?.set_len(1 << 30)?;
        site::run(Command::new(mkfs).arg("-q").arg(&image)).result()?;
        site::run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(on)).result()
    }
}

/// Run `work` with a file system of its own for the site directories, and one more.
pub(crate) fn with_file_systems<T: Send>(fs: Fs, work: impl FnOnce(&Path, &Path) -> T + Send) -> T {
    let home = tempfile::Builder::new().prefix("pthguard-race-").tempdir().expect("a directory");
    let [here, elsewhere] = ["here", "elsewhere"].map(|name| home.path().join(name));
    for dir in [&here, &elsewhere] {
        fs::create_dir(dir).expect("a new directory");
    }
    sys::with_private_mounts(|| {
        fs.mount(home.path(), &here)?;
        Fs::Tmpfs.mount(home.path(), &elsewhere)?;
        Ok(work(&here, &elsewhere))
    })
    .unwrap_or_else(|error| panic!("blocked: {} cannot be mounted: {error}", fs.name()))
}

/// Every CPython 3 at hand.
pub(crate) fn interpreters() -> Vec<Interpreter> {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let versions = fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten();
    let bins = versions.map(|version| version.path().join("bin")).chain([PathBuf::from("/usr/bin")]);
    let programs = bins.flat_map(|bin| fs::read_dir(bin).into_iter().flatten().flatten());
    let interpreter = |path: PathBuf| {
        let minor = path.file_name()?.to_str()?.strip_prefix("python3.")?.parse().ok()?;
        Some(Interpreter { exe: fs::canonicalize(path).ok()?, version: (3, minor) })
    };
    programs.filter_map(|program| interpreter(program.path())).collect()
}

/// `PTHGUARD_RACE_PYTHON`, or the distribution's, which is optimised, or the newest.
fn interpreter() -> Interpreter {
    if let Some(exe) = std::env::var_os("PTHGUARD_RACE_PYTHON").map(PathBuf::from) {
        let name = exe.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let minor = name.strip_prefix("python3.").and_then(|minor| minor.parse().ok());
        let minor = minor.expect("PTHGUARD_RACE_PYTHON ends with python3.N");
        return Interpreter { exe: fs::canonicalize(exe).expect("PTHGUARD_RACE_PYTHON is there"), version: (3, minor) };
    }
    let all = interpreters();
    let distribution = all.iter().find(|one| one.exe.starts_with("/usr/bin"));
    let newest = all.iter().max_by_key(|one| one.version);
    distribution.or(newest).expect("blocked: no CPython 3; install python3").clone()
}

/// Two new environments, with approved files in them; the guard is to guard them and nothing else.
pub(crate) fn place(within: &Path) -> Place {
    many(within, 2)
}

/// The same with this many.
pub(crate) fn many(within: &Path, environments: usize) -> Place {
    with_interpreters(within, &vec![interpreter(); environments])
}

/// The same with one for each of these interpreters.
pub(crate) fn with_interpreters(within: &Path, interpreters: &[Interpreter]) -> Place {
    let mut place = Place::within(within);
    let root = |number: u32| place.path().join(format!("env{number}"));
    place.venvs = (0..).zip(interpreters).map(|(number, one): (u32, _)| Venv::make(&root(number), one)).collect();
    for venv in &place.venvs {
        furnish(&venv.site).expect("a new directory");
    }
    place
}

/// The files that each site directory has from the beginning.
pub(crate) fn furnish(site: &Path) -> io::Result<()> {
    fs::write(site.join("keep.pth"), "import sys; sys.pthguard_keep = 1\n")?;
    fs::write(site.join("victim.pth"), approved())?;
    fs::write(site.join(format!("{PACKAGE}.py")), "")
}
