//! How freed memory is kept.

/// Has the allocator keep what is freed instead of giving it back to the system.
///
/// A turn allocates a batch, frames and replies of some hundred kilobytes and frees them again. With
/// glibc's defaults the end of a thread's heap goes back to the system at 128 KiB: each turn then
/// pays for a system call, and again for faults on the same pages.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the allocator is told by a call into libc")]
pub(super) fn keep_freed_memory() {
    const KEPT_BYTES: i32 = 64 << 20;
    const MAPPED_FROM_BYTES: i32 = 32 << 20;
    // SAFETY: documented for any values, at any time before other threads are started.
    let taken = unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES) == 1
            && libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES) == 1
    };
    if !taken {
        tracing::debug!("the allocator keeps its defaults");
    }
}

/// Other allocators have their own ways.
#[cfg(not(target_env = "gnu"))]
pub(super) fn keep_freed_memory() {}
