//! Packages with a startup file, small enough to be made on the spot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::run;

/// Build a wheel of `demo` with a `demo.pth` at its root that holds `line`: a zip file with the metadata files that
/// every installer reads.
pub(crate) fn wheel(dir: &Path, python: &Path, version: &str, line: &str) -> PathBuf {
    const BUILD: &str = "
import sys, zipfile
path, version, line = sys.argv[1:]
info = 'demo-%s.dist-info/' % version
files = {
    'demo.pth': line + '\\n',
    'demo.py': 'def main(): pass\\n',
    info + 'METADATA': 'Metadata-Version: 2.1\\nName: demo\\nVersion: %s\\n' % version,
    info + 'WHEEL': 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n',
    info + 'entry_points.txt': '[console_scripts]\\ndemo = demo:main\\n',
}
files[info + 'RECORD'] = ''.join(name + ',,\\n' for name in [*files, info + 'RECORD'])
with zipfile.ZipFile(path, 'w') as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
";
    let file = dir.join(format!("demo-{version}-py3-none-any.whl"));
    run(Command::new(python).args(["-S", "-c", BUILD]).arg(&file).args([version, line])).result().unwrap();
    file
}

/// Build a Debian package of `demo` with a `demo.pth` in Debian's own site directory.
pub(crate) fn deb(dir: &Path, version: &str, line: &str) -> PathBuf {
    let tree = dir.join(format!("deb-{version}"));
    let site = tree.join("usr/lib/python3/dist-packages");
    fs::create_dir_all(&site).unwrap();
    fs::create_dir(tree.join("DEBIAN")).unwrap();
    fs::write(site.join("demo.pth"), format!("{line}\n")).unwrap();
    let control = format!(
        "Package: demo\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n\
         Description: a startup file\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let file = dir.join(format!("demo_{version}.deb"));
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(&tree).arg(&file)).result().expect("dpkg-deb");
    file
}
