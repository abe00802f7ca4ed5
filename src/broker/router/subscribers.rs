//! Subscribers, with the options of their subscriptions.

use super::ordered::Item;
use crate::broker::index::SessionIndex;
use crate::codec::{QoS, Subscription};

/// A session that is subscribed, and the options of its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Subscriber {
    pub(in crate::broker) session: SessionIndex,
    /// The subscription identifier, or 0.
    pub(in crate::broker) identifier: u32,
    pub(in crate::broker) options: SubscriptionOptions,
}

/// The subscription options that a delivery depends on (section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct SubscriptionOptions {
    pub(in crate::broker) qos: QoS,
    pub(in crate::broker) no_local: bool,
    pub(in crate::broker) retain_as_published: bool,
}

impl Item for Subscriber {
    type Key = SessionIndex;

    #[inline]
    fn key(&self) -> SessionIndex {
        self.session
    }
}

impl Subscriber {
    pub(super) fn new(session: SessionIndex, subscription: &Subscription<'_>, identifier: u32) -> Self {
        let Subscription { qos, no_local, retain_as_published, .. } = *subscription;
        Self { session, identifier, options: SubscriptionOptions { qos, no_local, retain_as_published } }
    }

    /// The new options of this subscription, for retained messages that were requested under the old options: No Local keeps
    /// away what the client has published itself if either asks for it \[MQTT-3.8.3-3\].
    pub(super) const fn renewed(self, new: Self) -> Self {
        let no_local = self.options.no_local || new.options.no_local;
        Self { options: SubscriptionOptions { no_local, ..new.options }, ..new }
    }
}
