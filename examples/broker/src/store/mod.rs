//! The database behind a durable broker: what it must do, and the thread that writes to it.
//!
//! The broker's state is a set of keys and values. It changes by batches, each of which is in the database as a whole or not at
//! all, in the order of their numbers. The database mirrors memory, so it is read once, when the broker starts.

pub(crate) mod committer;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod redb;

#[cfg(test)]
mod damage;
#[cfg(test)]
pub(crate) mod disk;
#[cfg(test)]
mod killed;
#[cfg(test)]
pub(crate) mod power;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use self::error::StoreError;

/// A change of one key: the key and its new value, or `None` to remove the key.
pub(crate) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// A database of keys and values.
pub(crate) trait Store: Send + Sized + 'static {
    /// Applies changes as a whole. They have survived a power failure at any later time when this returns `Ok`. A key may occur
    /// more than once: its last change counts.
    ///
    /// # Errors
    ///
    /// None of the changes is in the database. If the error [may be retried](StoreError::may_retry), the same changes may be
    /// committed again by a later call. After another error the store must be dropped: whether the changes will be there when
    /// the database is opened again is not known.
    fn commit<'a>(&mut self, changes: impl Iterator<Item = Change<'a>>) -> Result<(), StoreError>;

    /// Returns all keys and values in the order of the keys.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] and [`StoreError::Io`], also as an item. An error is the last item.
    fn pairs(&self) -> Result<impl Iterator<Item = Result<Pair, StoreError>>, StoreError>;

    /// Closes the database, so that it need not be repaired when it is opened the next time. What was committed is safe without this.
    fn close(self) -> Result<(), StoreError>;
}
