//! Keys and values in memory.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::batch::{Batch, Change};

/// Keys and values in memory: what a store contains after some batches. It serves programs that keep their batches in a
/// file, and tests.
///
/// ```
/// # use mqtt_sansio::store::{Pairs, batches};
/// # let file: Vec<u8> = Vec::new();
/// let mut pairs = Pairs::default();
/// for batch in batches(&file) {
///     pairs.apply(&batch?);
/// }
/// # Ok::<(), mqtt_sansio::store::Damage>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pairs(BTreeMap<Vec<u8>, Vec<u8>>);

impl Pairs {
    /// Applies the changes of a batch.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::store::Pairs;
    /// # let mut client = ClientSession::new(ClientConfig { durable: true, ..ClientConfig::default() });
    /// let mut pairs = Pairs::default();
    /// while let Some(batch) = client.changes() {
    ///     pairs.apply(&batch);
    /// }
    /// # assert!(pairs.iter().count() > 0);
    /// ```
    pub fn apply(&mut self, batch: &Batch) {
        for change in batch.changes() {
            match change {
                Change::Put { key, value, .. } => drop(self.0.insert(key.into(), value.into())),
                Change::Remove { key } => drop(self.0.remove(key)),
            }
        }
    }

    /// Returns the pairs, in the order of their keys.
    ///
    /// ```
    /// # use mqtt_sansio::client::{ClientConfig, ClientSession};
    /// # use mqtt_sansio::store::Pairs;
    /// # use mqtt_sansio::Instant;
    /// # let (pairs, now) = (Pairs::default(), Instant::EPOCH);
    /// let client = ClientSession::restore(ClientConfig::default(), now, pairs.iter())?;
    /// # Ok::<(), mqtt_sansio::store::RestoreError>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (&key[..], &value[..]))
    }
}
