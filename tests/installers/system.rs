//! The distributions' package managers, and a restore of a backup.

use std::fs;
use std::path::{Path, PathBuf};

use crate::matrix::{Case, End, Matrix, Target};
use crate::packages;
use crate::tools::{Tools, prepare, tool, version};
use pthguard::model::PackageSource;
use pthguard::provenance::{DigestKind, Packaged, PackagedBytes, distribution_owner};

pub(crate) fn operations(matrix: &mut Matrix, tools: &Tools) {
    matrix.group("dpkg", |matrix| dpkg(matrix, tools));
    matrix.group("rpm", |matrix| rpm(matrix, tools));
    matrix.group("pacman", |matrix| pacman(matrix, tools));
    matrix.group("restic", |matrix| restic(matrix, tools));
    if tools.all {
        matrix.group("nix", |matrix| nix(matrix, tools));
        matrix.group("debootstrap", |matrix| debootstrap(matrix, tools));
    }
}

/// Where packages of the distribution put startup files.
fn distribution(tools: &Tools) -> Target {
    Target { site: "/usr/lib/python3/dist-packages".into(), python: tools.python.clone(), uid: 0 }
}

/// The package that the database names for the startup file that has just been installed.
fn assert_owner(target: &Target, package: &str, source: PackageSource, as_packaged: PackagedBytes) {
    let path = target.site.join("demo.pth");
    let bytes = fs::read(&path).unwrap();
    let file = distribution_owner(Packaged { path: &path, bytes: &bytes }).expect("a package's file");
    assert_eq!((&*file.package.to_string(), file.package.source, file.bytes), (package, source, as_packaged));
}

fn dpkg(matrix: &mut Matrix, tools: &Tools) {
    let target = distribution(tools);
    let work = Path::new("/srv/deb");
    fs::create_dir(work).unwrap();
    let [one, two] = ["1.0", "2.0"].map(|version| packages::deb(work, version, &format!("/srv/demo-{version}")));
    let apt = version(tool("apt-get").arg("--version"));
    let dpkg = version(tool("dpkg").arg("--version"));
    matrix.run(&Case::honest("dpkg", &dpkg, "-i", &target), tool("dpkg").arg("-i").arg(&one));
    // The package brings no digests; dpkg has taken them itself.
    assert_owner(&target, "demo 1.0", PackageSource::Dpkg, PackagedBytes::Same(DigestKind::Md5));
    let case = Case { end: End::Obeyed("/srv/demo-2.0"), ..Case::honest("apt", &apt, "install, an upgrade", &target) };
    matrix.run(&case, tool("apt-get").args(["install", "-y", "-qq"]).arg(&two));
    let case = Case { end: End::Absent, ..Case::honest("apt", &apt, "remove", &target) };
    matrix.run(&case, tool("apt-get").args(["remove", "-y", "-qq", "demo"]));

    if !tools.all {
        return; // a real package does the same, in ten seconds
    }
    prepare(tool("apt-get").args(["install", "-y", "-qq", "--download-only", "python3-zope.interface"]));
    let install = |more: &[&str]| {
        let mut command = tool("apt-get");
        command.args(["install", "-y", "-qq"]).args(more).arg("python3-zope.interface");
        command
    };
    let archives = fs::read_dir("/var/cache/apt/archives").unwrap().flatten().map(|entry| entry.path());
    let of_zope = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("python3-zope.interface_");
    let archive = archives.into_iter().find(of_zope).expect("the downloaded package");
    let contents = prepare(tool("dpkg-deb").arg("-c").arg(archive));
    let file =
        contents.split_whitespace().find(|word| word.ends_with(".pth")).expect("a startup file of zope.interface");
    let file = Path::new(file).file_name().unwrap().to_str().unwrap();
    let case = |operation, end| Case { name: file, end, ..Case::honest("apt", &apt, operation, &target) };
    matrix.run(&case("install python3-zope.interface", End::Readable), &mut install(&[]));
    // The same bytes under the same name: nothing to decide.
    let again = Case { verdict: "-", ..case("install --reinstall python3-zope.interface", End::Readable) };
    matrix.run(&again, &mut install(&["--reinstall"]));
    let mut remove = tool("apt-get");
    matrix.run(
        &case("remove python3-zope.interface", End::Absent),
        remove.args(["remove", "-y", "-qq", "python3-zope.interface"]),
    );
}

/// Build a package for rpm.
fn rpm_package(work: &Path, release: &str, line: &str) -> PathBuf {
    let spec = format!(
        "Name: demo\nVersion: {release}\nRelease: 1\nSummary: a startup file\nLicense: none\nBuildArch: noarch\n\
         %description\nA startup file.\n%install\nmkdir -p %{{buildroot}}/usr/lib/python3/dist-packages\n\
         echo {line} > %{{buildroot}}/usr/lib/python3/dist-packages/demo.pth\n%files\n\
         /usr/lib/python3/dist-packages/demo.pth\n"
    );
    let file = work.join("demo.spec");
    fs::write(&file, spec).unwrap();
    let top = format!("_topdir {}", work.display());
    prepare(tool("rpmbuild").args(["-bb", "--quiet", "--define", &top]).arg(&file));
    work.join(format!("RPMS/noarch/demo-{release}-1.noarch.rpm"))
}

fn rpm(matrix: &mut Matrix, tools: &Tools) {
    let target = distribution(tools);
    let work = Path::new("/srv/rpm");
    fs::create_dir(work).unwrap();
    // Where rpm's own distributions have the database; Debian's rpm has one for each user, in the home directory.
    fs::create_dir_all("/etc/rpm").unwrap();
    fs::write("/etc/rpm/macros", "%_dbpath /var/lib/rpm\n").unwrap();
    let [one, two] = ["1.0", "2.0"].map(|version| rpm_package(work, version, &format!("/srv/demo-{version}")));
    let rpm = version(tool("rpm").arg("--version"));
    let program = || {
        let mut command = tool("rpm");
        // Where distributions that use rpm have the database; Debian's would be in the caller's home.
        command.args(["--nodeps", "--force-debian", "--dbpath", "/var/lib/rpm"]);
        command
    };
    matrix.run(&Case::honest("rpm", &rpm, "-U", &target), program().arg("-U").arg(&one));
    assert_owner(&target, "demo 1.0-1", PackageSource::Rpm, PackagedBytes::Same(DigestKind::Sha256));
    let case = Case { end: End::Obeyed("/srv/demo-2.0"), ..Case::honest("rpm", &rpm, "-U, an upgrade", &target) };
    matrix.run(&case, program().arg("-U").arg(&two));
    let case = Case { end: End::Absent, ..Case::honest("rpm", &rpm, "-e", &target) };
    matrix.run(&case, program().args(["-e", "demo"]));

    let dnf = version(tool("dnf").arg("--version"));
    let program = || {
        let mut command = tool("dnf");
        command.args(["-y", "-q", "--disablerepo=*", "--nogpgcheck"]);
        command
    };
    matrix.run(&Case::honest("dnf 4", &dnf, "install", &target), program().arg("install").arg(&one));
    let case = Case { end: End::Obeyed("/srv/demo-2.0"), ..Case::honest("dnf 4", &dnf, "upgrade", &target) };
    matrix.run(&case, program().arg("upgrade").arg(&two));
    let case = Case { end: End::Absent, ..Case::honest("dnf 4", &dnf, "remove", &target) };
    matrix.run(&case, program().args(["remove", "demo"]));
}

fn pacman(matrix: &mut Matrix, tools: &Tools) {
    let target = distribution(tools);
    let work = Path::new("/srv/pacman");
    let package = |release: &str| {
        let tree = work.join(release);
        let site = tree.join("usr/lib/python3/dist-packages");
        fs::create_dir_all(&site).unwrap();
        fs::write(site.join("demo.pth"), format!("/srv/demo-{release}\n")).unwrap();
        let info = format!(
            "pkgname = demo\npkgbase = demo\npkgver = {release}-1\npkgdesc = a startup file\nsize = 14\narch = any\n"
        );
        fs::write(tree.join(".PKGINFO"), info).unwrap();
        let file = work.join(format!("demo-{release}-1-any.pkg.tar"));
        prepare(tool("tar").arg("-C").arg(&tree).arg("-cf").arg(&file).args([".PKGINFO", "usr"]));
        file
    };
    let [one, two] = ["1.0", "2.0"].map(package);
    let config = work.join("pacman.conf");
    fs::write(&config, "[options]\nArchitecture = auto\nSigLevel = Never\n").unwrap();
    for dir in ["local", "sync"] {
        fs::create_dir_all(Path::new("/var/lib/pacman").join(dir)).unwrap();
    }
    let pacman = version(tool("pacman").arg("--version"));
    let program = || {
        let mut command = tool("pacman");
        command.arg("--noconfirm").arg("--config").arg(&config);
        command
    };
    matrix.run(&Case::honest("pacman", &pacman, "-U", &target), program().arg("-U").arg(&one));
    let case = Case { end: End::Obeyed("/srv/demo-2.0"), ..Case::honest("pacman", &pacman, "-U, an upgrade", &target) };
    matrix.run(&case, program().arg("-U").arg(&two));
    let case = Case { end: End::Absent, ..Case::honest("pacman", &pacman, "-R", &target) };
    matrix.run(&case, program().args(["-R", "demo"]));
}

fn restic(matrix: &mut Matrix, tools: &Tools) {
    let target = tools.bare("/opt/restic");
    let file = target.site.join("demo.pth");
    fs::write(&file, "/srv/demo-1.0\n").unwrap();
    let program = || {
        let mut command = tool("restic");
        command.args(["-q", "-r", "/srv/backup", "--cache-dir", "/srv/restic-cache"]).env("RESTIC_PASSWORD", "none");
        command
    };
    prepare(program().arg("init"));
    prepare(program().arg("backup").arg(&file));
    fs::remove_file(&file).unwrap();
    let restic = version(tool("restic").arg("version"));
    matrix.run(
        &Case::honest("restic", &restic, "restore", &target),
        program().args(["restore", "latest", "--target", "/"]),
    );
}

/// A store directory is new with every package, so this is a guarded one whose files are replaced by links.
fn nix(matrix: &mut Matrix, tools: &Tools) {
    let source = Path::new("/srv/nix/lib/python3/site-packages");
    fs::create_dir_all(source).unwrap();
    fs::write(source.join("demo.pth"), "/srv/demo-1.0\n").unwrap();
    let stored = prepare(tool("nix-store").args(["--add", "/srv/nix"]));
    let site = Path::new(stored.trim()).join("lib/python3/site-packages");
    let target = Target { site: site.clone(), python: tools.python.clone(), uid: 0 };
    let nix = version(tool("nix-store").arg("--version"));
    // The name gets another inode with the bytes that were approved: nothing that a rule has to allow.
    let case = Case {
        end: End::Readable,
        verdict: "-",
        extra_sites: vec![site],
        ..Case::honest("nix", &nix, "store --optimise", &target)
    };
    matrix.run(&case, tool("nix-store").arg("--optimise"));
}

/// The new system's site directory is there when the guard starts; its dpkg is the new system's, too, and has a rule in
/// a drop-in.
fn debootstrap(matrix: &mut Matrix, tools: &Tools) {
    prepare(tool("apt-get").args(["install", "-y", "-qq", "--no-install-recommends", "debootstrap"]));
    let root = Path::new("/srv/debian");
    let site = root.join("usr/lib/python3/dist-packages");
    fs::create_dir_all(&site).unwrap();
    let target = Target { site: site.clone(), python: tools.python.clone(), uid: 0 };
    let debootstrap = version(tool("debootstrap").arg("--version"));
    let case = Case {
        name: "distutils-precedence.pth",
        end: End::Readable,
        extra_sites: vec![site],
        rules: include_str!("../../policy/drop-ins/distribution.toml"),
        ..Case::honest("debootstrap", &debootstrap, "--include python3-setuptools, with the drop-in", &target)
    };
    let mut command = tool("debootstrap");
    command.args(["--variant=minbase", "--include=python3-setuptools", "bookworm"]).arg(root);
    matrix.perform(&case, |_| crate::site::run_for(&mut command, std::time::Duration::from_secs(900)));
}
