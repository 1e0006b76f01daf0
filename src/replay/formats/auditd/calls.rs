//! Which system call a number is.

/// A call that gives, changes or removes a name, and where its arguments are that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// An open whose flags are argument `flags`; of `openat2` they are in a record of their own.
    Open {
        /// Its place among the arguments.
        flags: Option<usize>,
    },
    /// `creat`
    Creat,
    /// `rename` and the like.
    Rename,
    /// `link`, `linkat`
    Link,
    /// `symlink`, `symlinkat`
    Symlink,
    /// `mknod`, `mknodat`
    Mknod {
        /// The place of the mode among the arguments.
        mode: usize,
    },
    /// `truncate`
    Truncate,
    /// `unlink`, `unlinkat`
    Unlink,
}

/// Each call with the argument that holds the directory which the new name is relative to, if it has one, and with its
/// numbers on x86-64, 64-bit Arm and 32-bit x86.
const CALLS: &[(Call, Option<usize>, Numbers)] = &[
    (Call::Open { flags: Some(1) }, None, [Some(2), None, Some(5)]),
    (Call::Open { flags: Some(2) }, Some(0), [Some(257), Some(56), Some(295)]),
    (Call::Open { flags: None }, Some(0), [Some(437), Some(437), Some(437)]),
    (Call::Creat, None, [Some(85), None, Some(8)]),
    (Call::Rename, None, [Some(82), None, Some(38)]),
    (Call::Rename, Some(2), [Some(264), Some(38), Some(302)]),
    (Call::Rename, Some(2), [Some(316), Some(276), Some(353)]),
    (Call::Link, None, [Some(86), None, Some(9)]),
    (Call::Link, Some(2), [Some(265), Some(37), Some(303)]),
    (Call::Symlink, None, [Some(88), None, Some(83)]),
    (Call::Symlink, Some(1), [Some(266), Some(36), Some(304)]),
    (Call::Mknod { mode: 1 }, None, [Some(133), None, Some(14)]),
    (Call::Mknod { mode: 2 }, Some(0), [Some(259), Some(33), Some(297)]),
    (Call::Truncate, None, [Some(76), Some(45), Some(92)]),
    (Call::Truncate, None, [None, None, Some(193)]),
    (Call::Unlink, None, [Some(87), None, Some(10)]),
    (Call::Unlink, Some(0), [Some(263), Some(35), Some(301)]),
];

type Numbers = [Option<u64>; 3];

/// `AUDIT_ARCH_*` of the columns above.
const ARCHITECTURES: Numbers = [Some(0xc000_003e), Some(0xc000_00b7), Some(0x4000_0003)];
/// Set in the number of a call that a 64-bit x86 program makes with 32-bit addresses.
const X32: u64 = 0x4000_0000;

/// The call with this number on this architecture, and where its directory is; `Err` if the architecture is not known.
pub(super) fn call(architecture: u64, number: u64) -> Result<Option<(Call, Option<usize>)>, ()> {
    let column = ARCHITECTURES.iter().position(|known| *known == Some(architecture)).ok_or(())?;
    let number = if column == 0 { number & !X32 } else { number };
    let found = CALLS.iter().find(|(_, _, numbers)| numbers[column] == Some(number));
    Ok(found.map(|(call, directory, _)| (*call, *directory)))
}
