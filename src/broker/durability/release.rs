//! Sessions go on that have waited for batches.

use crate::broker::context::Context;
use crate::broker::session::Session;

/// Batches are stored; see [`Broker::committed`](crate::broker::Broker::committed).
pub(in crate::broker) fn committed(cx: &mut Context<'_>, number: u64) {
    if let Some(commits) = cx.sessions.commits_mut() {
        commits.committed(number);
    }
    go_on(cx);
}

/// Lets sessions go on that have waited for batches, as far as the budget of the call goes.
pub(in crate::broker) fn go_on(cx: &mut Context<'_>) {
    while !cx.work().is_spent()
        && let Some((index, is_stalled)) = cx.sessions.commits_mut().and_then(|commits| commits.next_released())
    {
        let now = cx.now;
        // The session may be gone by now.
        let Some(bytes) = cx.sessions.with(index, |session| session.release(now)) else { continue };
        cx.work().spend_bytes(bytes);
        cx.sessions.mark_changed(index);
        if is_stalled && let Some(connection) = cx.sessions.get(index).and_then(Session::connection) {
            cx.sessions.ready_mut().push(connection);
        }
    }
}
