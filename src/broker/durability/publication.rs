//! A publication in the store: what is stored when the message has gone to all subscribers.

use crate::session::{MessageRef, WillInStore};
use crate::time::Instant;

/// What is stored, or removed, when a message has gone to all subscribers: in one batch, so that all of it happens once.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::broker) struct StoredPublication {
    /// The number of the message; 0 as long as nothing refers to it.
    message: u64,
    /// The number of the retained message that it replaces; 0 for none.
    replaced: u64,
    /// The will that the message was.
    will: Option<WillInStore>,
}

impl StoredPublication {
    pub(in crate::broker) const fn of_will(will: Option<WillInStore>) -> Self {
        Self { message: 0, replaced: 0, will }
    }

    /// The publication with the number that its message has by now.
    pub(super) const fn with_message(self, message: u64) -> Self {
        Self { message, ..self }
    }

    /// The number of the message; 0 as long as nothing refers to it.
    pub(super) const fn message(&self) -> u64 {
        self.message
    }

    /// The number of the retained message that is replaced; 0 for none.
    pub(in crate::broker) const fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Notes the number of a retained message that is replaced; returns whether it is the first.
    pub(super) const fn replace(&mut self, number: u64) -> bool {
        let is_first = self.replaced == 0;
        if is_first {
            self.replaced = number;
        }
        is_first
    }

    /// The will that the message was.
    pub(super) const fn will(&self) -> Option<WillInStore> {
        self.will
    }
}

/// The content of a message that is stored.
pub(in crate::broker) struct Content<'a> {
    pub(in crate::broker) message: MessageRef<'a>,
    /// The payload, which may be apart from the message.
    pub(in crate::broker) payload: &'a [u8],
    /// When the message was accepted, and how long it lives, in seconds.
    pub(in crate::broker) since: Instant,
    pub(in crate::broker) expires_after: u32,
}
