//! What a Python command line says that the interpreter runs (`python --help`, CPython's `Modules/getopt` rules).
//! Pure functions over bytes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A script as the command line names it, before it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// No script: an interactive session.
    Nothing,
    /// A path, perhaps relative to the working directory.
    Path(OsString),
    /// `-m MODULE`
    Module(OsString),
    /// `-c COMMAND`
    Command,
    /// `-`
    Stdin,
}

/// Options of `-X` that say what is imported: whatever the script is, other code runs.
const IMPORTING: [&[u8]; 2] = [b"pycache_prefix", b"presite"];

/// Reads the arguments after `argv[0]`.
///
/// An option that this list does not know is taken to have no argument; what then looks like the script was not run
/// as one by any known version, and no rule should name it.
pub(super) fn named_script(args: &[OsString]) -> Named {
    let mut args = args.iter().map(|arg| arg.as_bytes());
    while let Some(arg) = args.next() {
        match arg {
            b"-" => return Named::Stdin,
            b"--" => return args.next().map_or(Named::Nothing, path),
            b"--check-hash-based-pycs" => {
                args.next();
            }
            [b'-', b'-', ..] => {}
            [b'-', flags @ ..] => {
                for (at, flag) in flags.iter().enumerate() {
                    let attached = &flags[at + 1..];
                    match flag {
                        b'c' => return Named::Command,
                        b'm' if attached.is_empty() => return args.next().map_or(Named::Nothing, module),
                        b'm' => return module(attached),
                        // It goes on with standard input after the script.
                        b'i' => return Named::Stdin,
                        b'W' | b'X' => {
                            let value = if attached.is_empty() { args.next().unwrap_or_default() } else { attached };
                            if *flag == b'X' && IMPORTING.iter().any(|option| value.starts_with(option)) {
                                return Named::Nothing;
                            }
                            break;
                        }
                        _ => {}
                    }
                }
            }
            script => return path(script),
        }
    }
    Named::Nothing
}

fn path(bytes: &[u8]) -> Named {
    Named::Path(OsStr::from_bytes(bytes).to_owned())
}

fn module(bytes: &[u8]) -> Named {
    Named::Module(OsString::from_vec(bytes.to_vec()))
}

/// Whether an executable of this name takes a Python command line.
pub(super) fn is_python(exe_name: &OsStr) -> bool {
    let name = exe_name.as_bytes();
    // platform-python is what RHEL 8 runs dnf with.
    [&b"python"[..], b"pypy", b"platform-python"].iter().any(|python| name.starts_with(python))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(args: &[&str]) -> Named {
        named_script(&args.iter().map(Into::into).collect::<Vec<OsString>>())
    }

    #[test]
    fn the_forms_that_installers_use() {
        let pip = || Named::Module("pip".into());
        assert_eq!(named(&["-m", "pip", "install", "x"]), pip());
        assert_eq!(named(&["-mpip", "install"]), pip());
        assert_eq!(named(&["-u", "-m", "pip"]), pip());
        assert_eq!(named(&["-Im", "ensurepip"]), Named::Module("ensurepip".into()));
        assert_eq!(named(&["-W", "ignore", "-X", "utf8", "-m", "pip"]), pip());
        assert_eq!(named(&["-Wignore", "-m", "pip"]), pip());
        assert_eq!(named(&["/usr/bin/pip", "-m", "x"]), Named::Path("/usr/bin/pip".into()));
        assert_eq!(named(&["-I", "-c", "import x", "/usr/bin/pip"]), Named::Command);
        assert_eq!(named(&["-Ic", "import x"]), Named::Command);
        assert_eq!(named(&["-", "/usr/bin/pip"]), Named::Stdin);
        assert_eq!(named(&["--", "setup.py"]), Named::Path("setup.py".into()));
        assert_eq!(named(&["--check-hash-based-pycs", "never", "a.py"]), Named::Path("a.py".into()));
        assert_eq!(named(&["-i", "/usr/bin/pip"]), Named::Stdin);
        assert_eq!(named(&["-Xpycache_prefix=/tmp", "-m", "pip"]), Named::Nothing);
        assert_eq!(named(&["-X", "presite=x", "/usr/bin/pip"]), Named::Nothing);
        assert_eq!(named(&[]), Named::Nothing);
        assert_eq!(named(&["-m"]), Named::Nothing);
    }

    proptest! {
        #[test]
        fn total_on_any_arguments(args in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..8)) {
            let args: Vec<OsString> = args.into_iter().map(OsString::from_vec).collect();
            let _ = named_script(&args);
        }
    }
}
