//! Kinds of subscriptions that a server may not have (section 3.2.2.3.11 to 3.2.2.3.13).

use crate::codec::{ReasonCode, SubscribeProperties, Subscription};

/// Which kinds of subscriptions there are.
#[derive(Clone, Copy)]
pub(crate) struct Available {
    pub(crate) wildcards: bool,
    pub(crate) identifiers: bool,
    pub(crate) shared: bool,
}

impl Available {
    /// The reason code for the first thing that is asked for and not there.
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
