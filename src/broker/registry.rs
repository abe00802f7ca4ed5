//! Which session belongs to which client identifier.

use alloc::format;
use alloc::string::String;

use super::index::SessionIndex;
use super::secret::{KeyedHash, Secret, Use};
use super::sessions::Sessions;
use super::table::Table;

/// The sessions by client identifier, and the client identifiers that the broker assigns. The identifiers are in the
/// sessions: this holds indices alone.
pub(super) struct Registry {
    table: Table,
    hash: KeyedHash,
    /// Makes assigned identifiers out of `assigned`, so that no client can tell the others from its own.
    assign: KeyedHash,
    /// The number of identifiers that were assigned.
    assigned: u64,
}

impl Registry {
    pub(super) fn new(secret: &Secret) -> Self {
        Self {
            table: Table::new(),
            hash: secret.keyed_hash(Use::ClientIds),
            assign: secret.keyed_hash(Use::AssignedIds),
            assigned: 0,
        }
    }

    /// How many client identifiers have a session.
    pub(super) const fn len(&self) -> u32 {
        self.table.len()
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.table.bytes()
    }

    /// The session of a client.
    pub(super) fn find(&self, sessions: &Sessions, client_id: &str) -> Option<SessionIndex> {
        let is_it = |index| sessions.client_id(SessionIndex::new(index)) == Some(client_id);
        self.table.find(self.hash.hash(client_id.as_bytes()), is_it).map(SessionIndex::new)
    }

    /// Adds a session under the identifier of its client.
    pub(super) fn insert(&mut self, sessions: &Sessions, index: SessionIndex) {
        let Some(client_id) = sessions.client_id(index) else {
            return bug!("a session is registered while it exists");
        };
        self.table.insert(self.hash.hash(client_id.as_bytes()), index.get());
    }

    /// Removes a session that still exists.
    pub(super) fn remove(&mut self, sessions: &Sessions, index: SessionIndex) {
        let Some(client_id) = sessions.client_id(index) else {
            return bug!("a session is unregistered while it exists");
        };
        if !self.table.remove(self.hash.hash(client_id.as_bytes()), index.get()) {
            bug!("each session is registered");
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
