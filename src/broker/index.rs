//! Indices that name what they index.

/// The index of a session in [`Sessions`](super::sessions::Sessions). It is used again once the session has been removed, so
/// it is held no longer than the session exists; a timer holds the key instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SessionIndex(u32);

impl SessionIndex {
    #[inline]
    pub(super) const fn new(index: u32) -> Self {
        Self(index)
    }

    #[inline]
    pub(super) const fn get(self) -> u32 {
        self.0
    }
}
