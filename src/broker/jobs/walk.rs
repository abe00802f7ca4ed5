//! Retained messages on their way to a new subscriber.

use super::ring::{Job, Order, Progress};
use super::turns::PrincipalIndex;
use crate::broker::context::Context;
use crate::broker::index::SessionIndex;
use crate::broker::router::retained_delivery::Walk;
use crate::broker::slab::Key;

/// Goes on with the walk of a session, if it has one, in the call that the session itself has made.
pub(in crate::broker) fn go_on(cx: &mut Context<'_>, index: SessionIndex) {
    if can_go_on(cx, index) && !cx.work().is_spent() {
        cx.router.advance_walk(cx.sessions, cx.now, index);
    }
}

/// Lets a job go on with the walk of a session, if it has one and takes the next message.
pub(in crate::broker) fn wake(cx: &mut Context<'_>, index: SessionIndex) {
    if !can_go_on(cx, index) {
        return;
    }
    let Some(key) = cx.sessions.key(index) else { return bug!("a session walks while it exists") };
    let Some(session) = cx.sessions.get_mut(index) else { return bug!("a session walks while it exists") };
    let principal = session.principal(); // the subscriber bears the work
    if session.walk_mut().is_none_or(|walk| walk.set_job(true)) {
        return; // a job does
    }
    let is_started = super::start(cx, principal, Order::default(), Job::Walk(key)).is_some();
    if !is_started && let Some(walk) = cx.sessions.get_mut(index).and_then(|session| session.walk_mut()) {
        walk.set_job(false); // 2^32 jobs are open
    }
}

/// Whether a session has a walk, and takes the next message of it as far as is known.
fn can_go_on(cx: &mut Context<'_>, index: SessionIndex) -> bool {
    let Some(session) = cx.sessions.get(index) else { return false };
    let Some(walk) = session.walk() else { return false };
    if session.has_ended() {
        return false;
    }
    let takes = |(qos, size)| session.has_room_for(qos, size);
    // Retained messages come after SUBACK.
    !walk.is_held()
        && !session.server().holds_suback()
        && walk.message().is_none()
        && walk.waiting_for().is_none_or(takes)
}

/// Goes on with a walk that is a job.
pub(super) fn advance(cx: &mut Context<'_>, key: Key) -> Progress {
    // The session may have ended.
    let Some((index, session)) = cx.sessions.get_by_key(key) else { return Progress::Done };
    if session.has_ended() {
        return Progress::Done;
    }
    match cx.router.advance_walk(cx.sessions, cx.now, index) {
        Walk::Turn => Progress::More,
        Walk::Session | Walk::Message(_) => {
            if let Some(walk) = cx.sessions.get_mut(index).and_then(|session| session.walk_mut()) {
                walk.set_job(false);
            }
            Progress::Done
        }
        Walk::Over => Progress::Done,
    }
}

/// A message has gone to all of its subscribers: the walks that have waited for that go on.
pub(in crate::broker) fn wake_waiting(cx: &mut Context<'_>, number: u64) {
    if matches!(advance_waiting(cx, number), Progress::More)
        && super::start(cx, PrincipalIndex::ENDS, Order::default(), Job::Walks(number)).is_none()
    {
        // 2^32 jobs are open: it has to be done now.
        while matches!(advance_waiting(cx, number), Progress::More) {}
    }
}

/// Lets the next walks go on, one at least.
pub(super) fn advance_waiting(cx: &mut Context<'_>, number: u64) -> Progress {
    while let Some(key) = cx.router.next_waiting_walk(number) {
        cx.work().spend(1);
        // The session may have ended.
        if let Some((index, _)) = cx.sessions.get_by_key(key)
            && let Some(walk) = cx.sessions.get_mut(index).and_then(|session| session.walk_mut())
        {
            walk.set_message(None);
            wake(cx, index);
        }
        if cx.work().is_spent() {
            return Progress::More;
        }
    }
    Progress::Done
}
