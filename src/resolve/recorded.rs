//! What a process ran, from what was recorded of it. Nothing is looked up: the record may be of another host.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::environment::program_prefix;
use super::script::{Named, is_python, named_script};
use crate::model::{Program, Script, Subject};

/// A process as a record tells of it, taken for what it seems to be. `exe` is empty where the record is silent; `script`
/// is what the record itself calls the script (as [`Script::display`] does), else the command line tells it.
#[must_use]
pub fn recorded(exe: &str, args: &[&str], script: Option<&str>, uid: u32) -> Subject {
    let exe = Path::new(exe);
    let (script, environment) = if is_python(exe.file_name().unwrap_or_default()) {
        python(exe, args, script)
    } else {
        (Script::None, program_prefix(exe))
    };
    let argv = args.iter().map(OsString::from).collect();
    Subject { environment, argv, ..Subject::supposed(Program::supposed(exe), script, uid) }
}

fn python(exe: &Path, args: &[&str], script: Option<&str>) -> (Script, Option<PathBuf>) {
    let script = script.map_or_else(|| of_command_line(args), of_record);
    let of_script = match &script {
        Script::File(file) => program_prefix(&file.path),
        Script::None | Script::Module(_) | Script::Command | Script::Stdin => None,
    };
    // A virtual environment's python is a link: only the name by which it was called tells it from the base one.
    let called = args.first().map(Path::new);
    let called = called.filter(|called| called.is_absolute() && called.file_name().is_some_and(is_python));
    (script, of_script.or_else(|| program_prefix(called.unwrap_or(exe))))
}

fn of_command_line(args: &[&str]) -> Script {
    let args: Vec<OsString> = args.iter().skip(1).map(OsString::from).collect();
    match named_script(&args) {
        Named::Nothing => Script::None,
        Named::Path(path) => file(&path),
        Named::Module(name) => name.into_string().map_or(Script::None, Script::Module),
        Named::Command => Script::Command,
        Named::Stdin => Script::Stdin,
    }
}

fn of_record(script: &str) -> Script {
    match (script, script.strip_prefix("-m ")) {
        ("-c", _) => Script::Command,
        ("-", _) => Script::Stdin,
        (_, Some(module)) => Script::Module(module.to_owned()),
        (path, None) => file(OsStr::new(path)),
    }
}

fn file(path: &OsStr) -> Script {
    Script::File(Program::supposed(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(exe: &str, args: &[&str], script: Option<&str>) -> (Option<String>, Option<String>) {
        let subject = recorded(exe, args, script, 0);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        (subject.script.display().map(|script| text(Path::new(&script))), subject.environment.as_deref().map(text))
    }

    #[test]
    fn script_and_environment_of_recorded_processes() {
        let own = |script: &str, environment: &str| (Some(script.to_owned()), Some(environment.to_owned()));
        let python = "/usr/bin/python3.11";
        for (args, script, expected) in [
            (&["python3", "/usr/bin/pip", "install", "x"][..], None, own("/usr/bin/pip", "/usr")),
            (&["/srv/venv/bin/python", "-m", "pip"], None, own("-m pip", "/srv/venv")),
            (&["python3", "-c", "x"], None, own("-c", "/usr")),
            (&["python3", "-"], None, own("-", "/usr")),
            (&["python3", "setup.py"], None, own("setup.py", "/usr")),
            (&[], Some("-m pip"), own("-m pip", "/usr")),
            (&[], Some("/srv/venv/bin/pip"), own("/srv/venv/bin/pip", "/srv/venv")),
            (&[], None, (None, Some("/usr".to_owned()))),
        ] {
            assert_eq!(told(python, args, script), expected, "{args:?} {script:?}");
        }
        assert_eq!(told("/usr/bin/dpkg", &["dpkg", "-i"], None), (None, Some("/usr".to_owned())));
        assert_eq!(told("", &[], None), (None, None));
    }
}
