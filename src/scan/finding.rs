//! What is remarkable about a startup file or its directory.

use serde::Serialize;

/// Whether somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Good to know; ordinary installations have it.
    Note,
    /// Somebody should look.
    Finding,
}

/// A kind of remark. Its word is part of the JSON interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// It runs code that no listed package owns, and nobody has approved it.
    UnknownCode,
    /// The guard lets nobody read it.
    Held,
    /// Its bytes stop some interpreter from starting.
    Broken,
    /// It cannot be read.
    Unreadable,
    /// It is larger than a startup file may be.
    TooLarge,
    /// A FIFO, socket, device or directory under a startup name.
    SpecialFile,
    /// A symbolic link under a startup name: its bytes are those of another file.
    Symlink,
    /// Others than root and the owner of the directory can change it.
    Writable,
    /// Its bytes are not those that its package lists.
    HashDiffers,
    /// Several packages say that it is theirs, or a package has written another's metadata.
    Contested,
    /// A module that it runs is not the one that its package lists.
    ModuleChanged,
    /// A `.start` file switches off what the `.pth` file of the same stem runs, and belongs to somebody else.
    Pair,
    /// A directory that it adds holds a `sitecustomize` or `usercustomize`, which every interpreter imports.
    TargetCustomize,
    /// A directory that it adds can be changed by others than root and the owner of the site directory.
    TargetWritable,
    /// A directory that it adds is reached through somebody else's symbolic link.
    TargetForeignLink,
    /// What it adds cannot be looked at.
    TargetUnknown,
    /// A namespace that it prepares has an extension module of its name, which is loaded with it.
    NamespaceExtension,
    /// No package says that it is its own.
    Unowned,
    /// What it adds is not there.
    TargetMissing,
    /// A directory that it adds is named relative to the site directory.
    TargetRelative,
    /// A directory that it adds lies outside of the environment.
    TargetOutside,
    /// A directory that it adds is reached through a symbolic link of root's or the owner's.
    TargetLink,
    /// What it adds is a file; an archive may hold modules.
    TargetArchive,
    /// It has further names, by which it can be changed: uv's cache, say.
    HardLinked,
}

impl Finding {
    /// All of them, for descriptions.
    pub const ALL: [Finding; 24] = [
        Finding::UnknownCode,
        Finding::Held,
        Finding::Broken,
        Finding::Unreadable,
        Finding::TooLarge,
        Finding::SpecialFile,
        Finding::Symlink,
        Finding::Writable,
        Finding::HashDiffers,
        Finding::Contested,
        Finding::ModuleChanged,
        Finding::Pair,
        Finding::TargetCustomize,
        Finding::TargetWritable,
        Finding::TargetForeignLink,
        Finding::TargetUnknown,
        Finding::NamespaceExtension,
        Finding::Unowned,
        Finding::TargetMissing,
        Finding::TargetRelative,
        Finding::TargetOutside,
        Finding::TargetLink,
        Finding::TargetArchive,
        Finding::HardLinked,
    ];

    /// The word in JSON and SARIF.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Finding::UnknownCode => "unknown-code",
            Finding::Held => "held",
            Finding::Broken => "broken",
            Finding::Unreadable => "unreadable",
            Finding::TooLarge => "too-large",
            Finding::SpecialFile => "special-file",
            Finding::Symlink => "symlink",
            Finding::Writable => "writable",
            Finding::HashDiffers => "hash-differs",
            Finding::Contested => "contested",
            Finding::ModuleChanged => "module-changed",
            Finding::Pair => "pair",
            Finding::TargetCustomize => "target-customize",
            Finding::TargetWritable => "target-writable",
            Finding::TargetForeignLink => "target-foreign-link",
            Finding::TargetUnknown => "target-unknown",
            Finding::NamespaceExtension => "namespace-extension",
            Finding::Unowned => "unowned",
            Finding::TargetMissing => "target-missing",
            Finding::TargetRelative => "target-relative",
            Finding::TargetOutside => "target-outside",
            Finding::TargetLink => "target-link",
            Finding::TargetArchive => "target-archive",
            Finding::HardLinked => "hard-linked",
        }
    }

    /// Whether somebody should look.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Finding::UnknownCode
            | Finding::Held
            | Finding::Broken
            | Finding::Unreadable
            | Finding::TooLarge
            | Finding::SpecialFile
            | Finding::Symlink
            | Finding::Writable
            | Finding::HashDiffers
            | Finding::Contested
            | Finding::ModuleChanged
            | Finding::Pair
            | Finding::TargetCustomize
            | Finding::TargetWritable
            | Finding::TargetForeignLink
            | Finding::TargetUnknown
            | Finding::NamespaceExtension => Severity::Finding,
            Finding::Unowned
            | Finding::TargetMissing
            | Finding::TargetRelative
            | Finding::TargetOutside
            | Finding::TargetLink
            | Finding::TargetArchive
            | Finding::HardLinked => Severity::Note,
        }
    }
}
