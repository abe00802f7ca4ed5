//! A session that has ended is taken apart.

use super::ring::{Job, Order, Progress};
use super::turns::PrincipalIndex;
use crate::broker::context::Context;
use crate::broker::index::SessionIndex;
use crate::broker::slab::Key;
use crate::server::Remains;
use crate::session::AbandonReason;

/// Lets a job take a session apart that has ended.
pub(in crate::broker) fn start(cx: &mut Context<'_>, index: SessionIndex) {
    let Some(key) = cx.sessions.key(index) else { return bug!("a session that ends exists") };
    if super::start(cx, PrincipalIndex::ENDS, Order::default(), Job::Teardown(key)).is_none() {
        // 2^32 jobs are open: it has to be done now.
        while matches!(advance(cx, key), Progress::More) {}
    }
}

/// Takes a session apart that has ended, one item at least: its subscriptions, then its messages. Those that came by shared
/// subscriptions go to other members.
pub(in crate::broker) fn advance(cx: &mut Context<'_>, key: Key) -> Progress {
    let Some((index, _)) = cx.sessions.get_by_key(key) else {
        bug!("a session is taken apart once");
        return Progress::Done;
    };
    loop {
        cx.work().spend(1);
        cx.sessions.begin_step(cx.now);
        if !step(cx, index) {
            break;
        }
        if cx.work().is_spent() {
            cx.sessions.count_stored(index);
            return Progress::More;
        }
    }
    cx.sessions.count_stored(index);
    cx.notify_drops();
    match cx.sessions.remove(index) {
        Some(session) => cx.jobs.turns_mut().leave(session.principal()),
        None => bug!("a session is removed once"),
    }
    Progress::Done
}

/// Takes one item out of a session; returns whether there was one.
fn step(cx: &mut Context<'_>, index: SessionIndex) -> bool {
    if cx.router.unsubscribe_next(cx.sessions, index) {
        return true;
    }
    let Some(message) = cx.sessions.with(index, |session| session.take_apart()).flatten() else { return false };
    match message {
        Remains::Marked(message) => {
            // The other members may use the memory of the message.
            cx.sessions.count_stored(index);
            cx.router.pass_on(cx.sessions, cx.now, index, &message);
            cx.sessions.release_message(message.message.stored.in_store().number);
        }
        Remains::Abandoned => cx.sessions.drop_stored(index, AbandonReason::Session),
        Remains::Reported => {}
    }
    true
}
