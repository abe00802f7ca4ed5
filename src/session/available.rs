//! Kinds of subscriptions that a server may not support (section 3.2.2.3.11 to 3.2.2.3.13).

use crate::codec::{ReasonCode, SubscribeProperties, Subscription};

/// The kinds of subscriptions that a server supports.
#[derive(Clone, Copy)]
pub(crate) struct Available {
    pub(crate) wildcards: bool,
    pub(crate) identifiers: bool,
    pub(crate) shared: bool,
}

impl Available {
    /// Returns the reason code for the first requested kind of subscription that is not supported.
    pub(crate) fn missing<'a>(
        self,
        subscriptions: impl IntoIterator<Item = Subscription<'a>>,
        properties: &SubscribeProperties<'_>,
    ) -> Option<ReasonCode> {
        if properties.subscription_identifier.is_some() && !self.identifiers {
            return Some(ReasonCode::SubscriptionIdentifiersNotSupported);
        }
        if self.shared && self.wildcards {
            return None;
        }
        subscriptions.into_iter().map(|subscription| subscription.filter).find_map(|filter| {
            if filter.share_name().is_some() && !self.shared {
                return Some(ReasonCode::SharedSubscriptionsNotSupported);
            }
            let has_wildcard = filter.levels().any(|level| matches!(level, b"+" | b"#"));
            (has_wildcard && !self.wildcards).then_some(ReasonCode::WildcardSubscriptionsNotSupported)
        })
    }
}
