//! Records for the tests of this module's neighbours.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::image::Image;
use super::record::Record;
use crate::model::{
    Access, Ancestor, Container, ContentClass, Decision, Mode, Object, Package, PackageSource, Program, Reason, Script,
    Sha256, Subject, Uids, Verdict,
};

pub(super) fn subject(uid: u32, ino: u64) -> Arc<Subject> {
    Arc::new(Subject {
        pid: 4242,
        start_time: 99,
        exe: Program { ino, ..Program::at("/usr/bin/python3.12") },
        argv: vec!["python3".into(), "-m".into(), "pip".into()],
        uids: Uids { real: uid, effective: uid, saved: uid, fs: uid },
        parents: vec![
            Ancestor { pid: 4000, exe: Some("/usr/bin/dash".into()) },
            Ancestor { pid: 3000, exe: None },
            Ancestor { pid: 1, exe: Some("/usr/lib/systemd/systemd".into()) },
        ],
        ..Subject::running("", Script::Module("pip".into()))
    })
}

pub(super) fn denied_write(uid: u32, ino: u64) -> Record {
    let decision = Decision { verdict: Verdict::Deny, rule: None, reason: Reason::NoRule };
    Record::decided(Access::Write, decision, Mode::Enforce)
        .by(subject(uid, ino))
        .on(Object::at("/usr/lib/python3/dist-packages/x.pth".into()))
}

/// Every field set.
pub(super) fn full() -> Record {
    let mut subject = Subject::clone(&subject(1000, 11));
    subject.container = Some(Container { id: "4d".repeat(32), runtime: Some("docker") });
    subject.unit = Some("docker.service".into());
    let decision = Decision { verdict: Verdict::Deny, rule: Some("no-shells".into()), reason: Reason::Rule };
    let record = Record::decided(Access::Rename, decision, Mode::Enforce)
        .at(SystemTime::UNIX_EPOCH + Duration::from_micros(1_774_000_000_123_456))
        .by(Arc::new(subject))
        .on(Object {
            path: "/srv/app/lib/python3.12/site-packages/evil.pth".into(),
            inode: Some(18_446_744_073_709_551_615),
            size: Some(34),
            sha256: Some(Sha256([0xab; 32])),
            content: Some(ContentClass::Code),
            line: Some("import os; os.system(\"x\")".into()),
            package: Some(Package { name: "evil".into(), version: Some("1.0".into()), source: PackageSource::Record }),
        })
        .renamed_from("/srv/app/lib/python3.12/site-packages/evil.txt".into())
        .took(Duration::from_nanos(123_456))
        .under("g7-1f2e3d".into())
        .saying("moved to quarantine")
        .counting(1);
    let image = Image { name: "debian:12".into(), id: Some(format!("sha256:{}", "ef".repeat(32))) };
    Record { image: Some(Arc::new(image)), ..record }
}

/// Names, arguments and script made of bytes that a log reader must never see raw.
pub(super) fn hostile(bytes: &[u8]) -> Record {
    let text = OsString::from_vec(bytes.to_vec());
    let mut subject = Subject::clone(&subject(0, 1));
    subject.exe.path = text.clone().into();
    subject.script = Script::File(Program::at(text.clone()));
    subject.argv = vec![text.clone(); 3];
    subject.parents = vec![Ancestor { pid: 1, exe: Some(text.clone().into()) }];
    let lossy = String::from_utf8_lossy(bytes).into_owned();
    subject.container = Some(Container { id: lossy.clone(), runtime: None });
    subject.unit = Some(lossy.clone());
    let place = PathBuf::from("/site-packages").join(&text);
    let record =
        denied_write(0, 1).by(Arc::new(subject)).on(Object::at(place)).renamed_from(text.into()).saying(lossy.as_str());
    Record { image: Some(Arc::new(Image { name: lossy.clone(), id: Some(lossy) })), ..record }
}
