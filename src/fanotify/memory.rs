//! What the C library keeps of memory that was given back. glibc alone can be told; others give it back by themselves.

/// How many heaps the threads share. glibc gives each thread one of its own, up to eight for each processor, and what a
/// thread gives back stays in its heap: some thirty threads that do little each kept their share.
#[cfg(target_env = "gnu")]
const HEAPS: libc::c_int = 2;

/// Has the threads share a few heaps. Before the first thread.
pub fn share_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: two integers; nobody else allocates yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

/// Gives memory back to the system that nobody uses. Whoever allocates meanwhile waits, some milliseconds at most.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only touches memory that is not in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
