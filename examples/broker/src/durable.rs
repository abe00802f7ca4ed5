//! A broker whose state is in a database.

use std::path::Path;

use mqtt_sansio::Instant;
use mqtt_sansio::broker::{Broker, BrokerConfig};
use mqtt_sansio::store::Batch;
use tracing::info;

use crate::access::Access;
use crate::store::committer::{Committer, Sync};
use crate::store::redb::RedbStore;
use crate::store::{Store, StoreError};

/// Restores a broker from the database in a directory, and starts the thread that commits its changes. Creates an empty database
/// if there is none.
///
/// # Errors
///
/// Those of [`RedbStore::open`], and [`StoreError::Damaged`] if the database does not hold the state of a broker.
pub(crate) fn open(
    dir: &Path,
    sync: Sync,
    config: BrokerConfig,
    access: Access,
    now: Instant,
) -> Result<(Broker<Access>, Committer<Batch>), StoreError> {
    let store = RedbStore::open(dir)?;
    // What is late on the disk is acknowledged before.
    let config = BrokerConfig { waits_for_commits: sync == Sync::Always, ..config };
    let broker = restore(&store, dir, config, access, now)?;
    let status = broker.status();
    info!(sessions = status.sessions, stored = status.stored, retained = status.retained, %sync, "the database is open");
    let committer = Committer::start(store, sync).map_err(|error| StoreError::Io { path: dir.to_path_buf(), error })?;
    Ok((broker, committer))
}

/// Restores a broker from a database. Errors name this path.
fn restore(
    store: &impl Store,
    path: &Path,
    config: BrokerConfig,
    access: Access,
    now: Instant,
) -> Result<Broker<Access>, StoreError> {
    let mut failure = None;
    let pairs = store.pairs()?.map_while(|pair| pair.map_err(|error| failure = Some(error)).ok());
    let restored = Broker::restore(config, access, now, pairs);
    if let Some(error) = failure {
        return Err(error);
    }
    restored.map_err(|error| StoreError::Damaged { path: path.to_path_buf(), reason: error.to_string() })
}

#[cfg(test)]
mod tests;
