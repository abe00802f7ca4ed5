//! Which session belongs to which client identifier.

use alloc::format;
use alloc::string::String;

use hashbrown::HashTable;

use super::index::SessionIndex;
use super::secret::{KeyedHash, Secret, Use};
use super::sessions::Sessions;

/// The sessions by client identifier, and the client identifiers that the broker assigns. The identifiers are in the
/// sessions: this holds indices alone.
pub(super) struct Registry {
    table: HashTable<SessionIndex>,
    hash: KeyedHash,
    /// Makes assigned identifiers out of `assigned`, so that no client can tell the others from its own.
    assign: KeyedHash,
    /// The number of identifiers that were assigned.
    assigned: u64,
}

impl Registry {
    pub(super) fn new(secret: &Secret) -> Self {
        Self {
            table: HashTable::new(),
            hash: secret.keyed_hash(Use::ClientIds),
            assign: secret.keyed_hash(Use::AssignedIds),
            assigned: 0,
        }
    }

    /// How many client identifiers have a session.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The session of a client.
    pub(super) fn find(&self, sessions: &Sessions, client_id: &str) -> Option<SessionIndex> {
        let is_it = |&index: &SessionIndex| sessions.client_id(index) == Some(client_id);
        self.table.find(self.hash.hash(client_id.as_bytes()), is_it).copied()
    }

    /// Adds a session under the identifier of its client.
    pub(super) fn insert(&mut self, sessions: &Sessions, index: SessionIndex) {
        let Some(client_id) = sessions.client_id(index) else {
            return bug!("a session is registered while it exists");
        };
        let hash = &self.hash;
        self.table.insert_unique(hash.hash(client_id.as_bytes()), index, |&index| {
            hash.hash(sessions.client_id(index).unwrap_or_default().as_bytes())
        });
    }

    /// Removes a session that still exists.
    pub(super) fn remove(&mut self, sessions: &Sessions, index: SessionIndex) {
        let Some(client_id) = sessions.client_id(index) else {
            return bug!("a session is unregistered while it exists");
        };
        match self.table.find_entry(self.hash.hash(client_id.as_bytes()), |&other| other == index) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => bug!("each session is registered"),
        }
    }

    /// Makes a client identifier that no session has \[MQTT-3.2.2-16\] and that cannot be guessed without the secret.
    pub(super) fn assign(&mut self, sessions: &Sessions) -> String {
        loop {
            self.assigned = self.assigned.wrapping_add(1);
            let client_id = format!("auto-{:016x}", self.assign.hash(&self.assigned.to_le_bytes()));
            if self.find(sessions, &client_id).is_none() {
                return client_id;
            }
        }
    }
}
