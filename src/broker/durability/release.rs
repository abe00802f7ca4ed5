//! Sessions and connections go on that have waited for batches.

use super::commits::Released;
use crate::broker::context::Context;
use crate::broker::index::SessionIndex;
use crate::broker::lifecycle;

/// Batches are stored; see [`Broker::committed`](crate::broker::Broker::committed).
pub(in crate::broker) fn committed(cx: &mut Context<'_>, number: u64) {
    if let Some(commits) = cx.sessions.commits_mut() {
        commits.committed(number);
    }
    go_on(cx);
}

/// Lets sessions and connections go on that have waited for batches, as far as the budget of the call goes.
pub(in crate::broker) fn go_on(cx: &mut Context<'_>) {
    while !cx.work().is_spent()
        && let Some(released) = cx.sessions.commits_mut().and_then(|commits| commits.next_released())
    {
        match released {
            Released::Session(index) => release(cx, index),
            Released::Connection(id) => {
                match cx.connections.session(id) {
                    Some(index) => release(cx, index),
                    None => {
                        cx.work().spend(1);
                        // The driver comes with the packet before the client is given up.
                        lifecycle::postpone_connection(cx, id);
                    }
                }
                cx.sessions.ready_mut().push(id);
            }
        }
    }
}

fn release(cx: &mut Context<'_>, index: SessionIndex) {
    let now = cx.now;
    let Some(bytes) = cx.sessions.with(index, |session| session.release(now)) else {
        return cx.work().spend(1); // the session is gone
    };
    cx.work().spend_bytes(bytes);
    cx.sessions.mark_changed(index);
}
