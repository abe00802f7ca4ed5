//! A session that has got or lost its connection moves in its groups.

use super::moving::Moving;
use super::ring::{Job, Order, Progress};
use crate::broker::context::Context;
use crate::broker::index::SessionIndex;

/// A session has got a connection, or lost it: in each of its groups it moves to the members that are connected, or to those
/// that are not. That is done at once as far as the budget goes, and then by a job.
pub(in crate::broker) fn start(cx: &mut Context<'_>, index: SessionIndex) {
    let Some(session) = cx.sessions.get(index) else { return bug!("a session exists while its connection changes") };
    // Most sessions share no subscription.
    if session.shared_subscription_before(None).is_none() || session.is_moving() {
        return;
    }
    let (principal, is_connected) = (session.principal(), session.server().is_connected());
    let Some(session) = cx.sessions.key(index) else { return bug!("a session exists while its connection changes") };
    let mut moving = Moving { session, is_connected, last: None };
    if matches!(go_on(cx, index, &mut moving), Progress::Done) {
        return;
    }
    cx.sessions.set_moving(index, true);
    if super::start(cx, principal, Order::default(), Job::Members(moving)).is_none() {
        bug!("there are fewer than 2^32 jobs");
    }
}

/// Goes on with a session that moves, one group at least.
pub(super) fn advance(cx: &mut Context<'_>, moving: &mut Moving) -> Progress {
    // A session that has ended leaves its groups.
    let Some((index, session)) = cx.sessions.get_by_key(moving.session).filter(|(_, session)| !session.has_ended())
    else {
        return Progress::Done;
    };
    let is_connected = session.server().is_connected();
    if is_connected != moving.is_connected {
        // It moves back in all groups.
        (moving.is_connected, moving.last) = (is_connected, None);
    }
    let progress = go_on(cx, index, moving);
    if matches!(progress, Progress::Done) {
        cx.sessions.set_moving(index, false);
    }
    progress
}

fn go_on(cx: &mut Context<'_>, index: SessionIndex, moving: &mut Moving) -> Progress {
    let next = |cx: &Context<'_>, last| cx.sessions.get(index)?.shared_subscription_before(last);
    while let Some(list) = next(cx, moving.last) {
        moving.last = Some(list);
        cx.router.set_connected(cx.sessions, index, list, moving.is_connected);
        cx.work().spend(1);
        if cx.work().is_spent() && next(cx, moving.last).is_some() {
            return Progress::More;
        }
    }
    Progress::Done
}
