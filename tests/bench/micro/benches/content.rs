//! What a startup file can do, read off its bytes.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pthguard::content::classify;

const PRECEDENCE: &str = "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'stdlib') == 'local'; \
                          enabled and __import__('_distutils_hack').add_shim(); \n";
const NAMESPACE: &str = "import sys, types, os;has_mfs = sys.version_info > (3, 5);p = os.path.join(sys._getframe(1)\
                         .f_locals['sitedir'], *('google',));importlib = has_mfs and __import__('importlib.util');\
                         has_mfs and __import__('importlib.machinery');m = has_mfs and sys.modules.setdefault('google', \
                         importlib.util.module_from_spec(importlib.machinery.PathFinder.find_spec('google', \
                         [os.path.dirname(p)])));m = m or sys.modules.setdefault('google', types.ModuleType('google'));\
                         mp = (m or []) and m.__dict__.setdefault('__path__',[]);(p not in mp) and mp.append(p)\n";
const COVERAGE: &str =
    "import sys; exec('try:\\n import coverage\\nexcept ImportError: pass\\nelse: coverage.process_startup()')\n";

fn files() -> Vec<(&'static str, &'static [u8], Vec<u8>)> {
    let mut paths = String::new();
    while paths.len() < 1024 {
        paths.push_str("/srv/app/src/package-of-somebody/lib\n");
    }
    vec![
        ("empty", b"x.pth", Vec::new()),
        ("one path", b"x.pth", b"/srv/app/src\n".to_vec()),
        ("1 KiB of paths", b"x.pth", paths.into_bytes()),
        ("setuptools' hook", b"x.pth", PRECEDENCE.into()),
        ("setuptools' namespace", b"x.pth", NAMESPACE.into()),
        ("coverage", b"x.pth", COVERAGE.into()),
        ("entry points", b"x.start", b"acme.tracer:start\nother.module:begin\n".to_vec()),
    ]
}

fn content(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("classify");
    for (what, name, bytes) in &files() {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(*what, |bencher| bencher.iter(|| classify(black_box(name), black_box(bytes))));
    }
    group.finish();
}

criterion_group!(benches, content);
criterion_main!(benches);
