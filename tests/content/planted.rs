//! The code of an attacker, in the forms that an interpreter takes; it makes a mark and nothing else.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::site::run;

/// The file that planted code makes.
pub(crate) const MARK: &str = "/srv/mark";

/// The code of an attacker, as a Python expression.
pub(crate) fn payload() -> String {
    format!("open({MARK:?}, 'a').close()")
}

/// A line of a `.pth` file that runs it.
pub(crate) fn line() -> String {
    format!("import os; {}\n", payload())
}

/// An extension module whose initialisation is the payload, without Python's headers.
pub(crate) fn extension(module: &str) -> Vec<u8> {
    let source = Path::new("/srv").join(format!("{module}.c"));
    let object = source.with_extension("built");
    let text = format!(
        "#include <fcntl.h>\n#include <unistd.h>\n\
         void *PyInit_{module}(void) {{ close(open(\"/srv/mark\", O_CREAT | O_WRONLY, 0600)); return 0; }}\n"
    );
    fs::write(&source, text).unwrap();
    let done = run(Command::new("gcc").args(["-shared", "-fPIC", "-o"]).arg(&object).arg(&source));
    assert!(done.status.success(), "blocked: gcc (with libc6-dev) is needed: {}", done.stderr);
    fs::read(object).unwrap()
}
pub(crate) fn forget_mark() {
    if let Err(error) = fs::remove_file(MARK) {
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }
}
