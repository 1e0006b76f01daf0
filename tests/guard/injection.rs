//! Honest programs that are made to run somebody else's code: by their environment, their options, a tracer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::site::run;
use crate::stage::{EVERYBODY, Stage, as_root, as_user, system_python};

const CP: &str = "exe = [\"/usr/bin/cp\"]\nuid = \"any\"";

/// An honest script; what it imports is what the attacks replace.
const WRITE: &str = "import sys, hashlib, shutil; shutil.copyfile(sys.argv[-2], sys.argv[-1])\n";

/// Compiles a module to what the interpreter will take for shutil's, whatever shutil's source says.
const COMPILE: &str = "
import importlib.util, py_compile, shutil, sys
to = importlib.util.cache_from_source(shutil.__file__)
py_compile.compile(sys.argv[1], to, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
";

/// Writes before anything but built-in modules can be imported.
const PLANT: &str = "import posix, sys
source, target = posix.read(posix.open('/proc/self/cmdline', 0), 65536).split(b'\\0')[-3:-1]
try:
    text = posix.read(posix.open(source, 0), 4096)
    posix.write(posix.open(target, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL, 0o644), text)
except PermissionError:
    posix.write(2, target + b': Operation not permitted')
    posix._exit(1)

posix._exit(0)
";

/// A provider for the cryptography that hashlib brings in.
const OPENSSL: &str = "
openssl_conf = init
[init]
providers = list
[list]
evil = evil_section
[evil_section]
module = MODULE
activate = 1
";

/// The dynamic loader runs whatever its environment names, in the honest program's process.
#[test]
fn code_that_the_dynamic_loader_brings() {
    let stage = Stage::new();
    let planter = stage.planter(&stage.home.join("planter.so"));
    let (honest, evil) = (stage.path("lib/libplugin.so"), stage.home.join("libplugin.so"));
    let tool = stage.forger_with_library(&stage.path("bin/tool"), &honest);
    fs::copy(&planter, &evil).unwrap();
    let subject = format!("exe = [\"/usr/bin/cp\", {tool:?}]\nuid = \"any\"\nowner = \"any\"");
    let preload = |as_whom: fn(&'static str) -> Command| {
        let mut command = as_whom("/usr/bin/cp");
        command.env("LD_PRELOAD", &planter);
        command
    };
    let words = ["loader-environment"];

    let trial = stage.guard(&subject);
    trial.honest("cp", &mut as_user("/usr/bin/cp"));
    trial.honest("the tool with its own library", as_user(&tool).arg("write"));
    trial.refused("LD_PRELOAD", &words, &mut preload(as_user));
    trial.refused("LD_AUDIT", &words, as_user("/usr/bin/cp").env("LD_AUDIT", &planter));
    let mut library = as_user(&tool);
    trial.refused("LD_LIBRARY_PATH", &words, library.arg("write").env("LD_LIBRARY_PATH", &stage.home));
    // Root's environment is root's own doing.
    trial.honest("LD_PRELOAD, as root", &mut preload(as_root));
    trial.finish();

    let stage = Stage::new();
    let trial = stage.guard(&format!("{subject}\nenvironment = \"clean\""));
    trial.honest("clean, as root", &mut as_root("/usr/bin/cp"));
    trial.refused("clean, LD_PRELOAD, as root", &words, &mut preload(as_root));
    trial.refused("clean, LD_PRELOAD, as user", &words, &mut preload(as_user));
    trial.finish();

    let stage = Stage::new();
    let trial = stage.guard(&format!("{subject}\nenvironment = \"any\""));
    trial.honest("any, LD_PRELOAD, as user", &mut preload(as_user));
    trial.finish();
}

/// The environment that /proc shows is the process's own memory, and the library runs first; but it is mapped.
#[test]
fn a_library_that_erases_how_it_was_loaded() {
    let stage = Stage::new();
    let planter = stage.planter(&stage.home.join("planter.so"));
    let trial = stage.guard(CP);
    trial.honest("cp", &mut as_user("/usr/bin/cp"));
    let mut command = as_user("/usr/bin/cp");
    trial.refused("LD_PRELOAD, erased", &["foreign-code"], command.env("LD_PRELOAD", &planter).env("ERASE", "1"));
    trial.finish();
}

/// A limit: the same in an interpreter, which may load extensions from anywhere.
#[test]
fn limit_a_library_can_erase_how_it_was_loaded_into_an_interpreter() {
    let stage = Stage::new();
    let planter = stage.planter(&stage.home.join("planter.so"));
    let python = system_python();
    let tool = stage.script(&stage.path("bin/tool"), WRITE);
    let trial = stage.guard(&format!("exe = [{python:?}]\nscript = [{tool:?}]"));
    let mut command = as_user(&python);
    trial.not_told_apart("LD_PRELOAD, erased", command.env("LD_PRELOAD", &planter).env("ERASE", "1").arg(&tool));
    trial.finish();
}

/// The same for an interpreter and a script that itself is honest.
#[test]
fn code_that_the_interpreters_environment_brings() {
    let stage = Stage::new();
    let python = system_python();
    let version = python.file_name().unwrap().to_str().unwrap();
    let tool = stage.script(&stage.path("bin/tool"), WRITE);
    let plant = |at: PathBuf| stage.script(&at, PLANT);
    let (modules, prefix, user) = (stage.home.join("modules"), stage.home.join("prefix"), stage.home.join("user"));
    let evil = plant(modules.join("shutil.py"));
    plant(prefix.join("lib").join(version).join("encodings/__init__.py"));
    plant(user.join("lib").join(version).join("site-packages/usercustomize.py"));
    let openssl = stage.home.join("openssl.cnf");
    fs::write(&openssl, OPENSSL.replace("MODULE", stage.planter(&stage.home.join("planter.so")).to_str().unwrap()))
        .unwrap();
    let cache = compile(&python, &evil, stage.home.join("cache"));
    let subject = format!("exe = [{python:?}]\nscript = [{tool:?}]\nuid = \"any\"\nowner = \"any\"");
    let table = [
        ("PYTHONPATH", &modules),
        ("PYTHONHOME", &prefix),
        ("PYTHONUSERBASE", &user),
        ("PYTHONPYCACHEPREFIX", &cache),
        ("OPENSSL_CONF", &openssl),
        // Of no effect on a script, and nothing that an honest installer is started with.
        ("PYTHONSTARTUP", &evil),
    ];

    let trial = stage.guard(&subject);
    trial.honest("the script", as_user(&python).arg(&tool));
    for (variable, value) in table {
        trial.refused(variable, &["loader-environment"], as_user(&python).arg(&tool).env(variable, value));
    }
    trial.honest("PYTHONPATH, as root", as_root(&python).arg(&tool).env("PYTHONPATH", &modules));
    trial.finish();

    let stage = Stage::new();
    let trial = stage.guard(&format!("{subject}\nenvironment = \"any\""));
    trial.honest("any, PYTHONPATH", as_user(&python).arg(&tool).env("PYTHONPATH", &modules));
    trial.finish();

    let stage = Stage::new();
    let trial = stage.guard(&format!("{subject}\nenvironment = \"clean\""));
    for (variable, value) in table {
        let mut command = as_root(&python);
        trial.refused(
            &format!("clean, {variable}, as root"),
            &["loader-environment"],
            command.arg(&tool).env(variable, value),
        );
    }
    trial.finish();
}

/// Who traces a program decides what it does.
#[test]
fn a_program_that_is_traced() {
    const TRACE: &str = "
import ctypes, os, signal, sys
ptrace = ctypes.CDLL(None).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
TRACEME, CONT = 0, 7
child = os.fork()
if child == 0:
    ptrace(TRACEME, 0, None, None)
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        sys.exit(os.WEXITSTATUS(status))
    stop = os.WSTOPSIG(status)
    ptrace(CONT, child, None, None if stop == signal.SIGTRAP else stop)
";
    let stage = Stage::new();
    let tool = stage.forger(&stage.path("bin/tool"));
    let trial = stage.guard(&format!("exe = [\"/usr/bin/cp\", {tool:?}]\nuid = \"any\"\nowner = \"any\""));
    for as_whom in EVERYBODY {
        trial.honest("cp", &mut as_whom(Path::new("/usr/bin/cp")));
        let mut tracer = as_whom(&system_python());
        trial.refused("traced", &["traced"], tracer.args(["-c", TRACE, "/usr/bin/cp"]));
        trial.honest("the tool's thread", as_whom(&tool).args(["thread", "write"]));
        // The tracer has the main thread only; the memory is the same.
        let mut tracer = as_whom(&system_python());
        let words = ["traced"];
        trial.refused(
            "another thread is traced",
            &words,
            tracer.args(["-c", TRACE]).arg(&tool).args(["thread", "write"]),
        );
    }
    trial.finish();
}

/// Options do what the environment does, for every user: the script's name on the command line is still true.
#[test]
fn code_that_the_interpreters_options_bring() {
    let stage = Stage::new();
    let python = system_python();
    let tool = stage.script(&stage.path("bin/tool"), WRITE);
    let idle = stage.script(&stage.path("bin/idle"), "");
    let evil = stage.script(&stage.home.join("shutil.py"), PLANT);
    let cache = compile(&python, &evil, stage.home.join("cache"));
    let trial =
        stage.guard(&format!("exe = [{python:?}]\nscript = [{tool:?}, {idle:?}]\nuid = \"any\"\nowner = \"any\""));
    let words = ["no-rule", "loader-environment"];
    trial.honest("the script", as_user(&python).arg(&tool));
    trial.honest("harmless options", as_user(&python).args(["-u", "-X", "utf8", "-W", "ignore"]).arg(&tool));
    let mut cached = as_user(&python);
    trial.refused("-X pycache_prefix", &words, cached.arg("-X").arg(cache_option(&cache)).arg(&tool));
    // Goes on with standard input when the script is done.
    let mut interactive = as_user("sh");
    interactive.args(["-c", "exec \"$0\" -i \"$@\" < \"$SCRIPT\""]).env("SCRIPT", &evil).arg(&python).arg(&idle);
    trial.refused("-i", &words, &mut interactive);
    trial.finish();
}

fn cache_option(cache: &Path) -> String {
    format!("pycache_prefix={}", cache.display())
}

/// Put a module's bytecode where shutil's is looked up.
fn compile(python: &Path, module: &Path, cache: PathBuf) -> PathBuf {
    run(as_root(python).arg("-X").arg(cache_option(&cache)).args(["-c", COMPILE]).arg(module)).result().unwrap();
    cache
}

/// A limit: the user's own startup files are among what every interpreter runs, and HOME says where they are.
#[test]
fn limit_the_users_own_startup_code_runs_in_every_interpreter() {
    let stage = Stage::new();
    let python = system_python();
    let version = python.file_name().unwrap().to_str().unwrap();
    let tool = stage.script(&stage.path("bin/tool"), WRITE);
    let site = stage.home.join(".local/lib").join(version).join("site-packages");
    stage.script(&site.join("usercustomize.py"), PLANT);
    let trial = stage.guard(&format!("exe = [{python:?}]\nscript = [{tool:?}]\nuid = \"any\"\nowner = \"any\""));
    trial.not_told_apart("usercustomize", as_user(&python).arg(&tool).env("HOME", &stage.home));
    trial.finish();
}
