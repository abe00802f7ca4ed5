//! An allocator that counts for each thread separately, because the test harness runs threads of its own.

#![allow(dead_code)] // each test uses only some of these items

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// The number of allocations by this thread.
    pub(crate) static CALLS: Cell<usize> = const { Cell::new(0) };
    /// The size of its largest allocation, in bytes.
    pub(crate) static LARGEST: Cell<usize> = const { Cell::new(0) };
    /// The number of bytes this thread has allocated and not freed.
    pub(crate) static LIVE: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(calls: usize, size: usize, bytes: isize) {
    CALLS.set(CALLS.get() + calls);
    LARGEST.set(LARGEST.get().max(size));
    LIVE.set(LIVE.get() + bytes);
}

// SAFETY: every call is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), layout.size() as isize);
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, 0, -(layout.size() as isize));
        // SAFETY: the caller upholds the contract of `dealloc`, and the pointer comes from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(1, new_size, new_size as isize - layout.size() as isize);
        // SAFETY: the caller upholds the contract of `realloc`, and the pointer comes from the system's allocator.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
