//! The embedding program subscribes, and takes messages.
//!
//! Each subscription has a session of its own, which has no client: messages wait there until the program takes them.

use super::context::Context;
use super::dispatch;
use super::jobs::turns::PrincipalIndex;
use super::jobs::walk;
use super::lifecycle;
use super::local::{LocalMessage, LocalSubscription, SubscribeError, SubscribeOptions};
use super::memory_use;
use super::router::Router;
use super::session::Session;
use super::slab::{Key, Slab};
use crate::codec::{SubAckReasonCode, Subscription};
use crate::server::ServerSession;
use crate::topic::TopicFilter;

/// Subscribes the embedding program; see [`Broker::subscribe`](super::Broker::subscribe).
pub(super) fn subscribe(
    cx: &mut Context<'_>,
    filter: &str,
    options: SubscribeOptions,
) -> Result<LocalSubscription, SubscribeError> {
    let filter = TopicFilter::new(filter)?;
    if options.no_local && filter.share_name().is_some() {
        return Err(SubscribeError::NoLocalOnShared);
    }
    cx.work().spend_text(filter.as_bytes().len());
    let size =
        (Slab::<Session>::SLOT_SIZE as u64).saturating_add(Router::charge_of_filter(filter).unsigned_abs().into());
    if !memory_use::has_room(cx, Some(PrincipalIndex::BROKER), size) {
        return Err(SubscribeError::QuotaExceeded);
    }
    let config = cx.sessions.inbox_mut().config(&cx.config.server);
    let session = Session::local(ServerSession::without_client(config));
    // The slab of sessions may be full (2^32 sessions).
    let index = cx.sessions.insert(session).ok_or(SubscribeError::QuotaExceeded)?;
    let Some(key) = cx.sessions.key(index) else {
        bug!("a session that was added exists");
        return Err(SubscribeError::QuotaExceeded);
    };
    let SubscribeOptions { qos, no_local, retain_as_published, retain_handling } = options;
    let subscription = Subscription { filter, qos, no_local, retain_as_published, retain_handling };
    if let Err(reason_code) = cx.router.subscribe(cx.sessions, index, &subscription, qos.into(), 0) {
        cx.sessions.remove(index);
        return Err(match reason_code {
            SubAckReasonCode::QuotaExceeded => SubscribeError::QuotaExceeded,
            SubAckReasonCode::TopicFilterInvalid => SubscribeError::TooManyLevels,
            reason_code => SubscribeError::NotSupported(reason_code),
        });
    }
    cx.jobs.turns_mut().enter_again(PrincipalIndex::BROKER);
    cx.sessions.inbox_mut().add();
    cx.sessions.mark_changed(index);
    walk::go_on(cx, index);
    Ok(LocalSubscription::new(key))
}

/// Ends a subscription; see [`Broker::unsubscribe`](super::Broker::unsubscribe).
pub(super) fn unsubscribe(cx: &mut Context<'_>, key: Key) -> bool {
    let is_open = |session: &Session| session.is_local() && !session.has_ended();
    let Some((index, _)) = cx.sessions.get_by_key(key).filter(|(_, session)| is_open(session)) else { return false };
    cx.work().spend(1);
    cx.sessions.inbox_mut().remove(index);
    cx.sessions.end(index);
    lifecycle::take_apart(cx, index, key);
    true
}

/// Takes the next message; see [`Broker::next_message`](super::Broker::next_message).
pub(super) fn next_message(cx: &mut Context<'_>) -> Option<(LocalSubscription, LocalMessage)> {
    cx.sessions.inbox_mut().set_unfinished(false);
    while let Some(index) = cx.sessions.inbox_mut().next() {
        let (now, most) = (cx.now, u32::try_from(cx.work().left()).unwrap_or(u32::MAX));
        let mut expired = 0;
        let taken = cx.sessions.with(index, |session| session.take_message(now, most, &mut expired)).flatten();
        cx.work().spend_each(expired, 1);
        cx.work().spend(1);
        if cx.sessions.get(index).is_none_or(|session| !session.server().has_queued()) {
            cx.sessions.inbox_mut().set_empty(index);
        }
        // Its messages are counted again, and retained ones may find room.
        cx.sessions.mark_changed(index);
        let message = taken.and_then(|waiting| {
            cx.work().spend_more_bytes(waiting.stored.bytes().len());
            LocalMessage::new(waiting, now)
        });
        dispatch::process_changes(cx);
        if let Some(message) = message {
            return Some((LocalSubscription::new(cx.sessions.key(index)?), message));
        }
        if cx.work().is_spent() {
            cx.sessions.inbox_mut().set_unfinished(true);
            return None;
        }
    }
    None
}
