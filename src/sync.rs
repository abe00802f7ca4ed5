//! Shared ownership, on targets with and without atomic compare-and-swap.
//!
//! `portable-atomic` replaces the types of the standard library only where the standard library does not have them, so that
//! the feature changes no type on any other target. `cfg(mqtt_sansio_portable_arc)` replaces them everywhere, for the tests.

#[cfg(not(all(feature = "portable-atomic", any(not(target_has_atomic = "ptr"), mqtt_sansio_portable_arc))))]
pub(crate) use {alloc::sync::Arc, core::sync::atomic::AtomicUsize};

#[cfg(all(feature = "portable-atomic", any(not(target_has_atomic = "ptr"), mqtt_sansio_portable_arc)))]
pub(crate) use {portable_atomic::AtomicUsize, portable_atomic_util::Arc};
