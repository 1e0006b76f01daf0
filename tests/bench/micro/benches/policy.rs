//! A decision: by the built-in policy, and by one of a thousand rules, which are the most that are asked.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pthguard::config::{Config, Source};
use pthguard::model::{Access, Program, Request, Script, Site, Subject};
use pthguard::policy::Policy;

fn built_in() -> Policy {
    Config::from_sources(&[]).expect("the built-in policy is valid").policy
}

/// The built-in rules, and before them those of programs that do not ask here.
fn thousand() -> Policy {
    let mut text = String::new();
    for number in 0..1000 - built_in().rules().len() {
        let _ = write!(
            text,
            "[[allow]]\nname = \"tool {number}\"\nexe = [\"/opt/tool{number}/bin/deploy\"]\nscope = \"any\"\naccess = [\"write\"]\n\
             content = [\"empty\", \"paths\"]\n"
        );
    }
    let source = Source { name: "thousand.toml".to_owned(), text };
    Config::from_sources(&[source]).expect("a thousand valid rules").policy
}

fn askers() -> [(&'static str, Subject); 4] {
    let of = |exe: &str, script, environment: &str| {
        let mut subject = Subject::supposed(Program::supposed(exe), script, 0);
        subject.environment = Some(environment.into());
        subject
    };
    [
        ("dpkg", of("/usr/bin/dpkg", Script::None, "/usr")),
        ("pip", of("/usr/bin/python3.11", Script::File(Program::supposed("/srv/app/bin/pip")), "/srv/app")),
        ("a script", of("/usr/bin/python3.11", Script::File(Program::supposed("/tmp/update.py")), "/usr")),
        ("a shell", of("/usr/bin/bash", Script::None, "/usr")),
    ]
}

fn decide(criterion: &mut Criterion) {
    let site = Site { path: "/srv/app/lib/python3.11/site-packages".into(), prefix: "/srv/app".into(), owner: 0 };
    for (rules, policy) in [("built-in", built_in()), ("1,000 rules", thousand())] {
        let mut group = criterion.benchmark_group(format!("decide, {rules}"));
        for (name, subject) in &askers() {
            let request = Request::new(subject, &site, OsStr::new("x.pth"), Access::Write);
            group.bench_function(*name, |bencher| bencher.iter(|| policy.decide(black_box(&request))));
        }
        group.finish();
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);
