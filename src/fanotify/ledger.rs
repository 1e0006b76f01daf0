//! What was read from permission groups and is not answered yet, written down where a successor finds it.
//!
//! A group lives as long as anybody holds a descriptor of it, a service manager for instance. If its reader dies between
//! reading an event and answering it, the opener stays frozen until somebody answers *the number that the event's
//! descriptor had in the dead process*: the kernel compares bare integers (`process_access_response`, Linux 6.18). So that
//! a successor can do better than to guess, each event is noted with its number, its opener and the file's handle in a
//! memfd, for as long as it is unanswered. The buffer that read(2) fills lies in there, too: what the kernel has handed
//! over is known from the first instant.
//!
//! The memory is written by nobody but the process that reads the groups, one after the other; its fields are atomics
//! all the same, for the threads of that process share them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::handle::{FileId, Handle};
use super::wire::Events;

/// Changes with the layout: a successor of another version does not read what it does not understand.
const MAGIC: u64 = u64::from_be_bytes(*b"pthgrd01");

/// Event descriptors up to this number are noted; as many as the daemon may have open.
pub const NUMBERS: usize = 65_536;
/// Groups that can be told apart.
pub const GROUPS: usize = 8;
/// Room for the events of one read(2).
pub(super) const BUFFER: usize = 16 * 1024;
/// Handles are at most so long on the file systems that have them (btrfs: 40 bytes); a longer one is not noted.
const HANDLE: usize = 88;

/// An event that is not answered.
#[repr(C, align(128))]
struct Slot {
    /// [`FREE`], or the group's number plus one.
    group: AtomicU32,
    thread: AtomicU32,
    kind: AtomicI32,
    /// Of the handle, in bytes; [`NO_HANDLE`] if there is none.
    len: AtomicU32,
    fsid: AtomicU64,
    handle: [AtomicU64; HANDLE / 8],
}

const FREE: u32 = 0;
const NO_HANDLE: u32 = u32::MAX;

#[repr(C, align(4096))]
struct Memory {
    magic: AtomicU64,
    /// The highest number that was ever noted.
    highest: AtomicU32,
    buffers: [[u8; BUFFER]; GROUPS],
    slots: [Slot; NUMBERS],
}

/// The notes. They end with the last process that holds their descriptor.
#[derive(Debug)]
pub struct Ledger {
    memfd: OwnedFd,
    memory: NonNull<Memory>,
}

// SAFETY: the memory is reached through atomics, but for the buffers, each of which belongs to the one thread that reads
// its group (see `buffer`).
unsafe impl Send for Ledger {}
// SAFETY: as above.
unsafe impl Sync for Ledger {}

/// An event that a dead process has read and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Of the descriptor that the event had there: what the kernel wants to hear.
    pub number: i32,
    /// Of which group.
    pub group: u32,
    /// Who waits: its thread id.
    pub thread: u32,
    /// What it opens; `None` if the process died before it could look.
    pub file: Option<FileId>,
}

impl Ledger {
    /// Begins new notes.
    ///
    /// # Errors
    /// What memfd_create(2), ftruncate(2) and mmap(2) say.
    pub fn new() -> io::Result<Self> {
        let file = File::from(memfd_create(c"pthguard-ledger", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(size_of::<Memory>() as u64)?;
        let ledger = Self::map(file.into())?;
        ledger.memory().magic.store(MAGIC, Ordering::Release);
        Ok(ledger)
    }

    /// Takes over the notes of a process that has ended.
    ///
    /// # Errors
    /// They are not of this version (`InvalidData`), or cannot be mapped.
    pub fn adopt(memfd: OwnedFd) -> io::Result<Self> {
        let file = File::from(memfd);
        if file.metadata()?.len() != size_of::<Memory>() as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let ledger = Self::map(file.into())?;
        if ledger.memory().magic.load(Ordering::Acquire) != MAGIC {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(ledger)
    }

    fn map(memfd: OwnedFd) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; the file is as long as the mapping, and nobody who
        // could shorten it is not root.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Memory>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                memfd.as_raw_fd(),
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory: NonNull<Memory> =
            NonNull::new(memory.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // What read(2) fills must be mapped before: in a process that is being killed the kernel maps nothing any more, and
        // denies whoever it was about to hand over.
        let slots = std::mem::offset_of!(Memory, slots);
        // SAFETY: a part of the mapping; populating it changes nothing in it. Linux before 5.14 does not do it (EINVAL).
        unsafe { libc::madvise(memory.as_ptr().cast(), slots, libc::MADV_POPULATE_WRITE) };
        Ok(Ledger { memfd, memory })
    }

    fn memory(&self) -> &Memory {
        // SAFETY: mapped, aligned to pages, as large as `Memory`, of which every bit pattern is valid, until `drop`. The
        // buffers in it are never read or written through this reference.
        unsafe { self.memory.as_ref() }
    }

    fn slot(&self, number: i32) -> Option<&Slot> {
        usize::try_from(number).ok().and_then(|number| self.memory().slots.get(number))
    }

    /// Where a group's events are read to: the only reference to it, for the one thread that reads this group.
    ///
    /// # Safety
    /// No other reference to this group's buffer may live as long as this one.
    #[allow(clippy::mut_from_ref, reason = "the caller has seen to it that it is the only one")]
    #[allow(clippy::deref_addrof, reason = "no reference to the whole memory is made on the way")]
    pub(super) unsafe fn buffer(&self, group: u32) -> &mut [u8; BUFFER] {
        let group = group as usize % GROUPS;
        // SAFETY: within the mapping; exclusive by the caller's promise.
        unsafe { &mut *(&raw mut (*self.memory.as_ptr()).buffers[group]) }
    }

    /// Notes an event that has been read.
    pub(super) fn note(&self, group: u32, number: i32, thread: u32, file: Option<&FileId>) {
        let Some(slot) = self.slot(number) else { return };
        self.memory().highest.fetch_max(number.cast_unsigned(), Ordering::Relaxed);
        slot.thread.store(thread, Ordering::Relaxed);
        let file = file.filter(|file| file.handle.bytes().len() <= HANDLE);
        slot.len.store(file.map_or(NO_HANDLE, |file| file.handle.bytes().len() as u32), Ordering::Relaxed);
        if let Some(FileId { fsid, handle }) = file {
            slot.fsid.store(*fsid, Ordering::Relaxed);
            slot.kind.store(handle.kind(), Ordering::Relaxed);
            for (word, bytes) in slot.handle.iter().zip(handle.bytes().chunks(8)) {
                let mut whole = [0; 8];
                whole[..bytes.len()].copy_from_slice(bytes);
                word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
            }
        }
        slot.group.store(group + 1, Ordering::Release);
    }

    /// An event has been answered.
    pub(super) fn clear(&self, number: i32) {
        if let Some(slot) = self.slot(number) {
            slot.group.store(FREE, Ordering::Release);
        }
    }

    /// Whether everything that was read is answered.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        let highest = self.memory().highest.load(Ordering::Relaxed) as usize;
        self.memory().slots.iter().take(highest + 1).all(|slot| slot.group.load(Ordering::Acquire) == FREE)
    }

    /// No event has had a number beyond this, but for those of the last read(2).
    #[must_use]
    pub fn highest(&self) -> i32 {
        self.memory().highest.load(Ordering::Relaxed).cast_signed()
    }

    /// What is not answered. Only before anything is read.
    #[must_use]
    pub fn left(&self) -> Vec<Left> {
        let mut left: Vec<Left> =
            (0..).zip(&self.memory().slots).filter_map(|(number, slot)| slot.read(number)).collect();
        for group in 0..GROUPS as u32 {
            // SAFETY: nobody reads the groups yet, and the copy is made before the next look.
            let buffer = *unsafe { self.buffer(group) };
            for event in Events::new(&buffer).map_while(Result::ok).take_while(|event| event.mask != 0) {
                let is_known = left.iter().any(|one| one.number == event.fd);
                if event.fd >= 0 && !is_known {
                    let thread = u32::try_from(event.pid).unwrap_or(0);
                    left.push(Left { number: event.fd, group, thread, file: None });
                }
            }
        }
        left
    }
}

/// Keeps a descriptor number free of others. `None` if it is taken already.
#[must_use]
pub fn reserve(number: i32) -> Option<OwnedFd> {
    let null = File::open("/dev/null").ok()?;
    // SAFETY: F_GETFD touches no memory, whatever the number.
    if number < 0 || number == null.as_raw_fd() || unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0 {
        return None;
    }
    // SAFETY: the number was free just now, and nothing is opened by another thread yet.
    if unsafe { libc::dup3(null.as_raw_fd(), number, libc::O_CLOEXEC) } < 0 {
        return None;
    }
    // SAFETY: the descriptor has just been made, and nobody else knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

impl Slot {
    fn read(&self, number: i32) -> Option<Left> {
        let group = self.group.load(Ordering::Acquire).checked_sub(1)?;
        let len = self.len.load(Ordering::Relaxed);
        let mut bytes = [0; HANDLE];
        for (word, bytes) in self.handle.iter().zip(bytes.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        let handle = bytes.get(..len as usize).and_then(|bytes| Handle::new(self.kind.load(Ordering::Relaxed), bytes));
        let file = handle.map(|handle| FileId { fsid: self.fsid.load(Ordering::Relaxed), handle });
        Some(Left { number, group, thread: self.thread.load(Ordering::Relaxed), file })
    }
}

impl AsFd for Ledger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // SAFETY: this mapping, which nobody refers to any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), size_of::<Memory>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(seed: u8, len: usize) -> FileId {
        FileId { fsid: 0x0102_0304 << 8 | u64::from(seed), handle: Handle::new(-2, &vec![seed; len]).unwrap() }
    }

    #[test]
    fn a_successor_finds_what_was_not_answered() {
        let ledger = Ledger::new().unwrap();
        let short = file(7, 13);
        ledger.note(5, 40, 1234, Some(&short));
        ledger.note(0, 41, 1235, Some(&file(8, HANDLE)));
        ledger.note(1, 42, 1236, Some(&file(9, HANDLE + 1)));
        ledger.note(2, 70_000, 1, None);
        ledger.clear(41);
        assert!(!ledger.is_clear());
        let successor = Ledger::adopt(ledger.as_fd().try_clone_to_owned().unwrap()).unwrap();
        drop(ledger);
        assert_eq!(successor.highest(), 42);
        let expected = [
            Left { number: 40, group: 5, thread: 1234, file: Some(short) },
            Left { number: 42, group: 1, thread: 1236, file: None },
        ];
        assert_eq!(successor.left(), expected);
        expected.iter().for_each(|left| successor.clear(left.number));
        assert!(successor.left().is_empty() && successor.is_clear());
    }

    #[test]
    fn what_the_kernel_has_just_handed_over_is_found_too() {
        let ledger = Ledger::new().unwrap();
        ledger.note(3, 50, 99, None);
        let mut bytes = Vec::new();
        for (number, thread) in [(50_i32, 1_i32), (51, 2), (-9, 3)] {
            bytes.extend(24_u32.to_ne_bytes());
            bytes.extend([3, 0, 24, 0]);
            bytes.extend(0x10000_u64.to_ne_bytes());
            bytes.extend(number.to_ne_bytes());
            bytes.extend(thread.to_ne_bytes());
        }
        // SAFETY: nobody else reads here.
        let buffer = unsafe { ledger.buffer(3) };
        buffer[..bytes.len()].copy_from_slice(&bytes);
        let left: Vec<_> = ledger.left().iter().map(|left| (left.number, left.thread)).collect();
        assert_eq!(left, [(50, 99), (51, 2)]);
    }

    #[test]
    fn other_memory_is_not_taken_for_notes() {
        let short = tempfile::tempfile().unwrap();
        short.set_len(4096).unwrap();
        assert!(Ledger::adopt(short.into()).is_err());
        let blank = tempfile::tempfile().unwrap();
        blank.set_len(size_of::<Memory>() as u64).unwrap();
        assert!(Ledger::adopt(blank.into()).is_err());
    }
}
