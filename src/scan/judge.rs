//! What is remarkable about what was seen. Nothing is decided here that the guard decides.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::finding::Finding;
use super::held::{self, Daemon};
use super::item::Item;
use super::look::{Content, Site, StartupFile};
use crate::audit::{escape, escape_path};
use crate::content::{Findings, KnownFiles, KnownOwner, Listed, classify};
use crate::model::{ContentClass, Origin, Package, PackageSource, Sha256, Writers};
use crate::provenance::{
    DistributionFile, Ownership, PackagedBytes, TargetFinding, TargetKind, examine, extension_of_namespace,
    foreign_modules, normalized,
};

/// The directory, if it is remarkable, and its startup files.
pub(super) fn items(site: &Site, known: &KnownFiles) -> Vec<Item> {
    let shown = escape_path(&site.path).into_owned();
    let mut directory = Item { path: shown.clone(), directory: shown, ..Item::default() };
    if let Err(error) = &site.dir {
        directory.add(Finding::Unreadable, &format!("the directory cannot be looked at: {error}"));
    } else if !trusts(site, site.writers) {
        directory.add(
            Finding::Writable,
            "others than root and its owner can put startup files into the directory: chmod go-w",
        );
    }
    let files = site.files.iter().map(|file| item(site, file, known));
    let directory = Some(directory).filter(|directory| !directory.finding.is_empty());
    directory.into_iter().chain(files).map(Item::in_order).collect()
}

fn trusts(site: &Site, writers: Writers) -> bool {
    match writers {
        Writers::Root => true,
        Writers::User(user) => user == site.owner,
        Writers::Others => false,
    }
}

fn item(site: &Site, file: &StartupFile, known: &KnownFiles) -> Item {
    let path = site.path.join(&file.name);
    let mut item = Item {
        path: escape_path(&path).into_owned(),
        directory: escape_path(&site.path).into_owned(),
        name: Some(escape(file.name.as_bytes()).into_owned()),
        size: Some(file.size),
        ..Item::default()
    };
    // A link's own mode says nothing.
    if file.links > 1 {
        let others = file.links - 1;
        let names = if others == 1 { "another name" } else { "other names" };
        item.add(Finding::HardLinked, &format!("it has {others} {names}: who writes there changes what runs here"));
    }
    if !trusts(site, file.writers) && !matches!(file.content, Content::Symlink(_)) {
        item.add(Finding::Writable, "others than root and the owner of the directory can change it: chmod go-w");
    }
    match &file.content {
        Content::Bytes(bytes, sha256) => bytes_of(&mut item, site, file, bytes, *sha256, known),
        Content::TooLarge => {
            item.add(Finding::TooLarge, "it is larger than protect.max_size: the guard never approves it")
        }
        Content::Special => item.add(Finding::SpecialFile, "a FIFO, socket or device under a startup name"),
        Content::Directory => {
            item.content = Some(ContentClass::Code.as_str());
            item.add(Finding::UnknownCode, "a directory that an interpreter takes for a package, or a startup name");
        }
        Content::Symlink(target) => {
            let target = target.to_string_lossy();
            item.add(
                Finding::Symlink,
                &format!("a symbolic link to {target}: who can write there changes what runs here"),
            );
        }
        Content::Held(seen) => {
            if let Some(owner) = owner(&mut item, file) {
                own(&mut item, &owner);
            }
            held::describe(&mut item, seen);
        }
        Content::Unreadable(error) => {
            let why = if Daemon::is_denial(error) {
                "the guard holds it back: its bytes are not approved"
            } else {
                "what it does is not known"
            };
            item.add(Finding::Unreadable, &format!("it cannot be read ({error}): {why}"));
        }
    }
    item
}

fn bytes_of(item: &mut Item, site: &Site, file: &StartupFile, bytes: &[u8], sha256: Sha256, known: &KnownFiles) {
    item.sha256 = Some(sha256.to_string());
    item.approval = Some(file.approval.as_str());
    let owner = owner(item, file);
    if let Some(owner) = &owner {
        own(item, owner);
    }
    let said = classify(file.name.as_bytes(), bytes);
    let mut class = said.class;
    if targets(item, site, &said) && class == ContentClass::Paths {
        class = ContentClass::Imports;
    }
    namespaces(item, site, &said);
    let listed = known.look_up(&file.name, sha256);
    let mut has_foreign = false;
    if let (ContentClass::Imports | ContentClass::Code, Some(line)) = (said.class, &said.line) {
        // All lines of a listed file, as the guard asks it; of others there may be too many.
        let told = if listed.is_some() { bytes } else { &line.text };
        has_foreign = modules(item, site, owner.as_ref(), told);
        if !has_foreign && listed.is_some_and(|listed| is_known(listed, file)) {
            class = ContentClass::Known;
        }
    }
    item.content = Some(class.as_str());
    if let Some(line) = &said.line {
        item.line = Some(line.excerpt());
        item.line_number = Some(line.number);
    }
    if matches!(class, ContentClass::Imports | ContentClass::Code) && file.approval.origins().is_empty() {
        let imports = class == ContentClass::Imports;
        let what = if imports { "it runs a module of the environment" } else { "it runs code" };
        let who = match listed {
            Some(_) if has_foreign => "its bytes are listed, but not what it runs",
            Some(Listed { owner: KnownOwner::Writers(_) }) => {
                "its bytes are listed, for an installer that has not been seen to write it"
            }
            Some(Listed { owner: KnownOwner::Package { .. } }) => {
                "its bytes are listed, for a package that does not own it"
            }
            None => "no list knows it",
        };
        item.add(Finding::UnknownCode, &format!("{what} when Python starts, and {who}"));
    }
    if class == ContentClass::Broken {
        item.add(Finding::Broken, "some Python does not start with these bytes");
    }
    pair(item, site, file);
    if file.approval.origins().iter().any(|origin| matches!(origin, Origin::Administrator { .. })) {
        item.settle(&ANSWERED);
    }
}

/// What an administrator has answered by approving these bytes in this place: what they are. What others can do to the
/// file, or to what it runs, can be new every day.
const ANSWERED: [Finding; 4] = [Finding::UnknownCode, Finding::Broken, Finding::HashDiffers, Finding::Pair];

fn own(item: &mut Item, owner: &Package) {
    item.owner = Some(escape(owner.to_string().as_bytes()).into_owned());
    item.owner_source = Some(owner.source.as_str());
}

/// Whether a listed file came from whom the list names, as the guard asks it.
fn is_known(listed: &Listed, file: &StartupFile) -> bool {
    match (&listed.owner, &file.ownership) {
        (KnownOwner::Package { .. }, Ownership::Owned(package)) => listed.is_owned_by(package),
        (KnownOwner::Package { .. }, Ownership::Nobody) => {
            let packaged = file.packaged.as_ref();
            packaged.is_some_and(|file| !is_different(file) && listed.is_owned_by(&file.package))
        }
        // What an installer makes itself no package lists. Which rule let the installer in, the approval remembers.
        (KnownOwner::Writers(_), Ownership::Nobody) => file.approval.origins().iter().any(|origin| match origin {
            Origin::Writer(rule) => listed.is_written_under(rule),
            Origin::Baseline | Origin::Found | Origin::Administrator { .. } => false,
        }),
        _ => false,
    }
}

/// The package, where there is no doubt; doubts are findings.
fn owner(item: &mut Item, file: &StartupFile) -> Option<Package> {
    if let Some(package) = file.ownership.package() {
        return Some(package.clone());
    }
    if let Some(packaged) = &file.packaged {
        if !is_different(packaged) {
            return Some(packaged.package.clone());
        }
        item.add(Finding::HashDiffers, &format!("not the bytes that {} came with", packaged.package));
        return None;
    }
    match &file.ownership {
        Ownership::Owned(package) => return Some(package.clone()),
        Ownership::Contested(packages) => {
            let names: Vec<_> = packages.iter().map(ToString::to_string).collect();
            item.add(Finding::Contested, &format!("whose it is, is contested: {}", names.join(", ")));
        }
        Ownership::HashDiffers(package) => {
            item.add(Finding::HashDiffers, &format!("not the bytes that {package} lists for it"));
        }
        Ownership::Unproven(package) => {
            item.add(Finding::Unowned, &format!("{package} lists it, without proof"));
        }
        Ownership::Nobody => item.add(Finding::Unowned, "no package lists it"),
        Ownership::Unreadable(error) => {
            item.add(Finding::Unowned, &format!("whose it is cannot be read: {error}"));
        }
    }
    None
}

fn is_different(file: &DistributionFile) -> bool {
    match file.bytes {
        PackagedBytes::Same(_) | PackagedBytes::Untold => false,
        PackagedBytes::Different(_) => true,
    }
}

/// Whether a path line leads to a directory that could run code.
fn targets(item: &mut Item, site: &Site, said: &Findings) -> bool {
    let mut harmful = false;
    for line in &said.paths {
        let target = examine(&site.path, site.owner, line);
        let path = target.path.to_string_lossy();
        for finding in &target.findings {
            let (word, text) = match finding {
                TargetFinding::Missing => (Finding::TargetMissing, format!("{path} is not there")),
                TargetFinding::Relative => (Finding::TargetRelative, format!("{path} is named relative to here")),
                TargetFinding::Outside => (Finding::TargetOutside, format!("{path} lies outside of the environment")),
                TargetFinding::Writable(at) => {
                    (Finding::TargetWritable, format!("{path}: others can change {}", at.display()))
                }
                TargetFinding::Link(at) => (Finding::TargetLink, format!("{path}: {} is a link", at.display())),
                TargetFinding::ForeignLink(at) => {
                    (Finding::TargetForeignLink, format!("{path}: {} is somebody else's link", at.display()))
                }
                TargetFinding::Customize(name) => {
                    (Finding::TargetCustomize, format!("{path} holds {}, which every Python imports", name.display()))
                }
                TargetFinding::NoDirectory => (Finding::TargetArchive, format!("{path} is no directory")),
                TargetFinding::Unknown(why) => (Finding::TargetUnknown, format!("{path}: {why}")),
            };
            harmful |= word.severity() == super::Severity::Finding;
            item.add(word, &text);
        }
        harmful |= !target.harmless && target.kind != TargetKind::Missing;
    }
    harmful
}

fn namespaces(item: &mut Item, site: &Site, said: &Findings) {
    let Ok(dir) = &site.dir else { return };
    for namespace in &said.namespaces {
        match extension_of_namespace(dir.as_fd(), namespace) {
            Ok(None) => {}
            Ok(Some(path)) => {
                let path = Path::new(&path).display();
                item.add(Finding::NamespaceExtension, &format!("with the namespace {namespace} {path} is loaded"));
            }
            Err(error) => item.add(Finding::NamespaceExtension, &format!("namespace {namespace}: {error}")),
        }
    }
}

/// Whether a startup file that is as it should be runs what has been put in the place of its package's module.
fn modules(item: &mut Item, site: &Site, owner: Option<&Package>, bytes: &[u8]) -> bool {
    let Some(owner) = owner.filter(|owner| owner.source == PackageSource::Record) else { return false };
    let Ok(dir) = &site.dir else { return false };
    match foreign_modules(dir.as_fd(), owner, bytes) {
        Ok(modules) => {
            for module in &modules {
                let path = module.path.to_string_lossy();
                item.add(Finding::ModuleChanged, &format!("{path}, which it may run, is not what {owner} lists"));
            }
            !modules.is_empty()
        }
        Err(error) => {
            item.add(Finding::ModuleChanged, &format!("the modules that it runs cannot be read: {error}"));
            true
        }
    }
}

/// A `.start` file beside the `.pth` file of the same stem.
fn pair(item: &mut Item, site: &Site, file: &StartupFile) {
    let Some(stem) = file.name.as_bytes().strip_suffix(b".start") else { return };
    let beside = [stem, b".pth"].concat();
    let Some(other) = site.files.iter().find(|other| other.name.as_bytes() == beside) else { return };
    let package = |file: &StartupFile| {
        let package = file.ownership.package().or(file.packaged.as_ref().map(|file| &file.package));
        package.map(|package| normalized(&package.name))
    };
    if package(file).is_none() || package(file) != package(other) {
        let other = other.name.to_string_lossy();
        item.add(Finding::Pair, &format!("it switches off what {other} runs, from Python 3.15 on"));
    }
}
