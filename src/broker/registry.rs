//! Which session belongs to which client identifier.

use alloc::format;
use alloc::string::String;
use core::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::index::SessionIndex;
use super::sessions::Sessions;
use crate::random::{Random, derive};

/// The sessions by client identifier, and the client identifiers that the broker assigns. The identifiers are in the
/// sessions: this holds indices alone.
pub(super) struct Registry {
    table: HashTable<SessionIndex>,
    /// Keyed with the seed, so that no client can choose identifiers that collide.
    hasher: FixedState,
    random: Random,
}

impl Registry {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            table: HashTable::new(),
            hasher: FixedState::with_seed(derive(seed, 1)),
            random: Random::new(derive(seed, 4)),
        }
    }

    /// How many client identifiers have a session.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The session of a client.
    pub(super) fn find(&self, sessions: &Sessions, client_id: &str) -> Option<SessionIndex> {
        let is_it = |&index: &SessionIndex| sessions.client_id(index) == Some(client_id);
        self.table.find(hash(&self.hasher, client_id), is_it).copied()
    }

    /// Adds a session under the identifier of its client.
    pub(super) fn insert(&mut self, sessions: &Sessions, index: SessionIndex) {
        let Some(client_id) = sessions.client_id(index) else {
            return bug!("a session is registered while it exists");
        };
        let hasher = &self.hasher;
        self.table.insert_unique(hash(hasher, client_id), index, |&index| {
            hash(hasher, sessions.client_id(index).unwrap_or_default())
        });
    }

    /// Removes a session that still exists.
    pub(super) fn remove(&mut self, sessions: &Sessions, index: SessionIndex) {
        let Some(client_id) = sessions.client_id(index) else {
            return bug!("a session is unregistered while it exists");
        };
        match self.table.find_entry(hash(&self.hasher, client_id), |&other| other == index) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => bug!("each session is registered"),
        }
    }

    /// Makes a client identifier that no session has \[MQTT-3.2.2-16\] and that cannot be guessed without the seed.
    pub(super) fn assign(&mut self, sessions: &Sessions) -> String {
        loop {
            let client_id = format!("auto-{:016x}", derive(self.random.number(), 5));
            if self.find(sessions, &client_id).is_none() {
                return client_id;
            }
        }
    }
}

fn hash(hasher: &FixedState, client_id: &str) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(client_id.as_bytes());
    state.finish()
}
