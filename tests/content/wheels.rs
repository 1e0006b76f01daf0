//! Wheels made on the spot, with a RECORD that is correct unless a test wants it otherwise.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::run;

/// What a wheel says of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// Each file with its digest and size.
    Correctly,
    /// All but the startup files.
    WithoutStartupFiles,
    /// Each startup file with the digest of something else.
    Wrongly,
}

impl Recorded {
    fn word(self) -> &'static str {
        match self {
            Recorded::Correctly => "correctly",
            Recorded::WithoutStartupFiles => "without",
            Recorded::Wrongly => "wrongly",
        }
    }
}

/// A wheel to be built.
#[derive(Clone, Debug)]
pub(crate) struct Wheel {
    name: String,
    version: String,
    files: Vec<(String, Vec<u8>)>,
    recorded: Recorded,
}

impl Wheel {
    pub(crate) fn new(name: &str, version: &str) -> Wheel {
        let (name, version) = (name.to_owned(), version.to_owned());
        Wheel { name, version, files: Vec::new(), recorded: Recorded::Correctly }
    }

    /// Add a file; wheels are unpacked in this order.
    pub(crate) fn file(mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Wheel {
        self.files.push((path.into(), bytes.into()));
        self
    }

    /// Add a file by way of the wheel's `.data` directory, which can lead anywhere in the environment.
    pub(crate) fn data(self, path: &str, bytes: impl Into<Vec<u8>>) -> Wheel {
        let path = format!("{}-{}.data/{path}", self.name, self.version);
        self.file(path, bytes)
    }

    pub(crate) fn recorded(self, recorded: Recorded) -> Wheel {
        Wheel { recorded, ..self }
    }

    /// Write the wheel into a new directory below `dir`.
    pub(crate) fn build(&self, dir: &Path) -> PathBuf {
        const BUILD: &str = r#"
import base64, hashlib, os, sys, zipfile
tree, order, target, info, how = sys.argv[1:]
def digest(data):
    return 'sha256=' + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()
rows = []
with zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED) as wheel:
    for name in open(order).read().split('\n'):
        data = open(os.path.join(tree, name), 'rb').read()
        wheel.writestr(name, data)
        startup = name.endswith(('.pth', '.start')) or 'customize' in name
        if startup and how == 'without':
            continue
        rows.append('%s,%s,%d' % (name, digest(b'another' if startup and how == 'wrongly' else data), len(data)))
    rows.append(info + '/RECORD,,')
    wheel.writestr(info + '/RECORD', '\n'.join(rows) + '\n')
"#;
        let Wheel { name, version, .. } = self;
        let info = format!("{name}-{version}.dist-info");
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
        let wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
        let mut files = self.files.clone();
        files.push((format!("{info}/METADATA"), metadata.into_bytes()));
        files.push((format!("{info}/WHEEL"), wheel.into()));
        let work = tempfile::Builder::new().prefix("wheel-").tempdir_in(dir).unwrap().keep();
        let tree = work.join("tree");
        for (path, bytes) in &files {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let order = work.join("order");
        fs::write(&order, files.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>().join("\n")).unwrap();
        let target = work.join(format!("{name}-{version}-py3-none-any.whl"));
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-I", "-S", "-c", BUILD]).arg(&tree).arg(&order).arg(&target).arg(info).arg(self.recorded.word());
        run(&mut python).result().unwrap();
        target
    }
}
