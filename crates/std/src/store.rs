//! Where a durable client stores its session.

use std::io;

use mqtt_sansio::store::{Batch, Pairs};

/// The store of one durable session, used by the driving thread alone: a database, or a [`FileStore`](crate::FileStore).
///
/// ```
/// # use std::io;
/// # use mqtt_sansio::store::{Batch, Pairs};
/// # use mqtt_sansio_std::Store;
/// /// A store for tests, which forgets everything with the process.
/// #[derive(Default)]
/// struct InMemory(Pairs);
///
/// impl Store for InMemory {
///     fn load(&mut self) -> io::Result<Pairs> {
///         Ok(self.0.clone())
///     }
///
///     fn commit(&mut self, batch: &Batch) -> io::Result<()> {
///         self.0.apply(batch);
///         Ok(())
///     }
/// }
/// ```
pub trait Store: Send {
    /// Returns everything that is stored. Called once, before all other methods.
    ///
    /// # Errors
    ///
    /// What was stored cannot be read, or is damaged. The client does not start.
    fn load(&mut self) -> io::Result<Pairs>;

    /// Stores a batch, atomically and durably: it survives a loss of power. Batches come in the order of their numbers.
    ///
    /// # Errors
    ///
    /// The batch may or may not be stored. The client disconnects and ends; nothing that depends on the batch was sent.
    fn commit(&mut self, batch: &Batch) -> io::Result<()>;

    /// Returns whether [`replace`](Self::replace) is to be called with the present state, because the store has become
    /// large. Asked after each batch. The default is never.
    fn is_long(&self) -> bool {
        false
    }

    /// Stores a batch that takes the place of everything stored before, atomically. The default [commits](Self::commit)
    /// it.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    fn replace(&mut self, snapshot: &Batch) -> io::Result<()> {
        self.commit(snapshot)
    }
}
