//! Whose a startup file is, after real installers have put it there: wheels that carry another package's files or metadata,
//! installed by pip and by uv, and the packages of this machine's dpkg. rpm's are looked up in `tests/installers`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a test that is left out says so")]
#![allow(dead_code, reason = "the modules are shared with the privileged tests")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pthguard::model::{PackageSource, Sha256};
use pthguard::provenance::{
    DigestKind, Ownership, Packaged, PackagedBytes, distribution_owner, recorded_owner, recorded_owners,
};
use tempfile::TempDir;

#[path = "../guard/site.rs"]
mod site;
#[path = "../guard/sys.rs"]
mod sys;

use site::{interpreters, run};

const NAME: &str = "distutils-precedence.pth";
const HACK: &str = "_distutils_hack/__init__.py";

/// Builds wheels from a list of files: those of the genuine package, and those of one that wants to pass for it.
const BUILD: &str = r#"
import base64, hashlib, sys, zipfile
def row(path, data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()
    return '%s,sha256=%s,%d\n' % (path, digest, len(data))
def wheel(kind, name, version, files, left_out=()):
    info = '%s-%s.dist-info/' % (name, version)
    files = dict(files)
    files[info + 'METADATA'] = ('Metadata-Version: 2.1\nName: %s\nVersion: %s\n' % (name, version)).encode()
    files[info + 'WHEEL'] = b'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
    record = ''.join(row(path, data) for path, data in files.items() if path not in left_out)
    files[info + 'RECORD'] = (record + info + 'RECORD,,\n').encode()
    import os
    os.makedirs(os.path.join(sys.argv[1], kind))
    with zipfile.ZipFile('%s/%s/%s-%s-py3-none-any.whl' % (sys.argv[1], kind, name, version), 'w') as out:
        for path, data in files.items():
            out.writestr(path, data)
line = b"import os; enabled = os.environ.get('SETUPTOOLS_USE_DISTUTILS', 'local') == 'local'; enabled and __import__('_distutils_hack')\n"
genuine = {'distutils-precedence.pth': line, '_distutils_hack/__init__.py': b'genuine = True\n'}
foreign = {'distutils-precedence.pth': line, '_distutils_hack/__init__.py': b'genuine = False\n'}
def claim(where):
    info = 'setuptools-84.0.0.dist-info/'
    metadata = b'Metadata-Version: 2.1\nName: setuptools\nVersion: 84.0.0\n'
    rows = ''.join(row(path, data) for path, data in foreign.items()) + row(info + 'METADATA', metadata)
    return {where + info + 'METADATA': metadata, where + info + 'RECORD': (rows + info + 'RECORD,,\n').encode()}
wheel('genuine', 'setuptools', '84.0.0', genuine)
wheel('bytes', 'evil', '1.0', foreign)
wheel('silent', 'evil', '1.0', foreign, foreign)
for kind, where in {
    'purelib': 'evil-1.0.data/purelib/',
    'data': 'evil-1.0.data/data/lib/python%d.%d/site-packages/' % sys.version_info[:2],
    'lib64': 'evil-1.0.data/data/lib64/python%d.%d/site-packages/' % sys.version_info[:2],
    'root': '',
    'dots': 'x/../',
}.items():
    wheel(kind, 'evil', '1.0', {**foreign, **claim(where)})
    wheel(kind + '-silent', 'evil', '1.0', {**foreign, **claim(where)}, {**foreign, **claim(where)})
"#;

/// The wheels, and the tools that install them.
struct Workshop {
    dir: TempDir,
    pip: PathBuf,
    uv: Option<PathBuf>,
}

fn workshop() -> &'static Workshop {
    static MADE: OnceLock<Workshop> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = tempfile::Builder::new().prefix("pthguard-wheels-").tempdir().unwrap();
        let python = &interpreters().last().unwrap().exe;
        run(Command::new(python).args(["-I", "-S", "-c", BUILD]).arg(dir.path().join("wheels"))).result().unwrap();
        let venv = dir.path().join("tools");
        run(Command::new(python).args(["-I", "-m", "venv"]).arg(&venv)).result().expect("the module venv, with pip");
        let pip = venv.join("bin/pip");
        let mut install = Command::new(&pip);
        install.args(["install", "--quiet", "--disable-pip-version-check", "uv"]);
        let uv = if std::env::var_os("PTHGUARD_WITHOUT_UV").is_some() {
            println!("BLOCKED: PTHGUARD_WITHOUT_UV is set; nothing was tested of uv");
            None
        } else {
            run(&mut install).result().unwrap_or_else(|error| {
                panic!("blocked: uv is not to be had (PTHGUARD_WITHOUT_UV=1 leaves it out): {error}")
            });
            Some(venv.join("bin/uv"))
        };
        Workshop { dir, pip, uv }
    })
}

impl Workshop {
    /// pip, then uv.
    fn installers(&self) -> Vec<(&'static str, &Path)> {
        [Some(("pip", &*self.pip)), self.uv.as_deref().map(|uv| ("uv", uv))].into_iter().flatten().collect()
    }
}

/// An empty virtual environment.
struct Venv {
    _dir: TempDir,
    python: PathBuf,
    site: PathBuf,
}

impl Venv {
    fn new() -> Venv {
        let dir = tempfile::Builder::new().prefix("pthguard-venv-").tempdir().unwrap();
        let newest = interpreters().last().unwrap();
        run(Command::new(&newest.exe).args(["-I", "-m", "venv", "--without-pip"]).arg(dir.path())).result().unwrap();
        let (major, minor) = newest.version;
        let site = dir.path().join(format!("lib/python{major}.{minor}/site-packages"));
        Venv { python: dir.path().join("bin/python3"), site, _dir: dir }
    }

    /// Installs a wheel; whether the installer took it.
    fn install(&self, tool: &Path, kind: &str) -> bool {
        let wheels = workshop().dir.path().join("wheels").join(kind);
        let wheel = fs::read_dir(wheels).unwrap().next().unwrap().unwrap().path();
        let mut command = Command::new(tool);
        if tool.ends_with("pip") {
            command.args(["--disable-pip-version-check", "--python"]).arg(&self.python);
            command.args(["install", "--quiet", "--no-index", "--no-deps"]);
        } else {
            command.args(["pip", "install", "--quiet", "--no-cache", "--no-index", "--no-deps", "--python"]);
            command.arg(&self.python);
        }
        run(command.arg(&wheel)).result().is_ok()
    }

    fn owner(&self, path: &str) -> Ownership {
        let bytes = fs::read(self.site.join(path)).unwrap();
        recorded_owner(File::open(&self.site).unwrap(), OsStr::new(path), Sha256::of(&bytes))
    }

    /// Whether the file would be taken for setuptools'.
    fn passes(&self, path: &str) -> bool {
        matches!(self.owner(path), Ownership::Owned(package) if package.name == "setuptools")
    }
}

const IMPOSTORS: [&str; 7] = ["bytes", "silent", "purelib-silent", "data-silent", "lib64-silent", "root", "dots"];

#[test]
fn a_package_owns_what_pip_and_uv_have_installed_of_it() {
    for (name, tool) in workshop().installers() {
        let venv = Venv::new();
        assert!(venv.install(tool, "genuine"), "{name}");
        assert!(venv.passes(NAME) && venv.passes(HACK), "{name}: {:?}", venv.owner(NAME));
        let Ownership::Owned(package) = venv.owner(NAME) else { panic!("{name}") };
        assert_eq!(package.version.as_deref(), Some("84.0.0"));
    }
}

#[test]
fn a_wheel_with_anothers_startup_file_never_passes_for_it() {
    for (name, tool) in workshop().installers() {
        for kind in IMPOSTORS {
            let venv = Venv::new();
            let took = venv.install(tool, kind);
            // pip and uv both refuse two metadata directories at the root of a wheel.
            assert_eq!(took, !(kind.starts_with("root") || name == "uv" && kind.starts_with("dots")), "{name} {kind}");
            if took {
                assert!(!venv.passes(NAME) && !venv.passes(HACK), "{name} {kind}: {:?}", venv.owner(NAME));
            }
        }
    }
}

#[test]
fn nor_beside_the_genuine_package_in_either_order() {
    for (name, tool) in workshop().installers() {
        for kind in ["silent", "purelib", "lib64-silent"] {
            let venv = Venv::new();
            assert!(venv.install(tool, "genuine") && venv.install(tool, kind), "{name} {kind}");
            assert!(!venv.passes(NAME) && !venv.passes(HACK), "{name} {kind}, after it: {:?}", venv.owner(NAME));
        }
        let venv = Venv::new();
        assert!(venv.install(tool, "silent") && venv.install(tool, "genuine"), "{name}");
        assert!(!venv.passes(NAME), "{name}, before it: {:?}", venv.owner(NAME));
    }
}

/// pip undoes nothing when it fails: what a wheel had brought until then stays, and no RECORD tells of it. The file that
/// runs differs from what the genuine package lists; its startup file does not.
#[test]
fn limit_a_failed_installation_leaves_no_claim() {
    let venv = Venv::new();
    assert!(venv.install(&workshop().pip, "genuine"));
    fs::write(venv.site.join(HACK), "genuine = False\n").unwrap();
    assert!(venv.passes(NAME));
    assert!(matches!(venv.owner(HACK), Ownership::HashDiffers(_)));
}

#[test]
fn dpkg_knows_its_files_and_their_bytes() {
    // A package that every Debian has, with a list of digests; installed where dpkg sees it by its old name, too.
    let path = fs::canonicalize("/usr/share/perl5/Debconf/Gettext.pm");
    let path = path.expect("blocked: no dpkg with debconf on this machine");
    let bytes = fs::read(&path).unwrap();
    let file = distribution_owner(Packaged { path: &path, bytes: &bytes }).expect("debconf's");
    assert_eq!((&*file.package.name, file.package.source), ("debconf", PackageSource::Dpkg));
    assert!(file.package.version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit())));
    assert_eq!(file.bytes, PackagedBytes::Same(DigestKind::Md5));
    let file = distribution_owner(Packaged { path: &path, bytes: b"changed" }).unwrap();
    assert_eq!(file.bytes, PackagedBytes::Different(DigestKind::Md5));
    let nobodys = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(distribution_owner(Packaged { path: nobodys.path(), bytes: b"" }), None);
    assert_eq!(distribution_owner(Packaged { path: Path::new("/usr/share/perl5/Debconf/*"), bytes: b"" }), None);
}

#[test]
fn a_directory_that_is_no_site_directory_has_no_owners() {
    let dir = tempfile::tempdir().unwrap();
    let asked = [(OsStr::new("x.pth"), Sha256::of(b""))];
    assert!(matches!(recorded_owners(File::open(dir.path()).unwrap(), &asked)[..], [Ownership::Nobody]));
}
