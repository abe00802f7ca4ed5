//! Bytes, time and decisions come in, and what follows from them is done.

use super::accept;
use super::admission;
use super::connections::Step;
use super::context::Context;
use super::durability::commits::Commits;
use super::durability::release;
use super::index::SessionIndex;
use super::jobs;
use super::lifecycle;
use super::memory_use;
use super::pending_decisions::{Grant, PendingDecision};
use super::policy::{Answer, ConnectionId, DecisionId, Ended, UnknownDecision};
use super::resume;
use super::sessions::Look;
use super::timers::Due;
use super::{publish, subscribe};
use crate::codec::Packet;
use crate::server::{AcceptorAction, Action};
use crate::session::MessageRef;
use crate::time::Instant;

/// Takes what a transport has read; see [`Broker::receive`](super::Broker::receive).
pub(super) fn receive(cx: &mut Context<'_>, id: ConnectionId, input: &mut &[u8]) {
    let Some(begun) = jobs::begin_input(cx, id) else { return };
    let (before, work_before) = (input.len(), cx.work().done());
    cx.work().spend(1); // input can come byte by byte
    let own = take_input_of(cx, id, begun.session, input);
    let taken = before.saturating_sub(input.len());
    let received = &mut cx.sessions.counters_mut().bytes_received;
    *received = received.wrapping_add(taken as u64);
    let is_left = !input.is_empty() && cx.work().is_spent();
    process_changes_with(cx, own);
    let units = cx.work().done().saturating_sub(work_before);
    jobs::end_input(cx, id, &begun, units, is_left);
}

/// Runs the timers that are due, and goes on with jobs; see [`Broker::poll`](super::Broker::poll).
pub(super) fn poll(cx: &mut Context<'_>) {
    cx.sessions.inbox_mut().set_unfinished(false); // the caller takes messages after this
    if cx.sessions.commits().is_some_and(Commits::has_released) {
        let left = cx.work().left();
        let limit = cx.work().narrow(left.div_ceil(2));
        release::go_on(cx);
        process_changes(cx);
        cx.work().widen(limit);
    }
    // Neither timers nor jobs hold the others up.
    let (is_waiting, left) = (cx.jobs.is_waiting(), cx.work().left());
    let limit = cx.work().narrow(if is_waiting { left.div_ceil(2) } else { left });
    while !cx.work().is_spent()
        && let Some((at, due)) = cx.timers.pop(cx.now)
    {
        cx.work().spend(1);
        cx.sessions.begin_step(cx.now);
        run_timer(cx, at, due);
        process_changes(cx);
    }
    cx.work().widen(limit);
    jobs::run::run(cx);
    process_changes(cx);
}

/// Takes input of a connection, as far as the connection takes input and the budget of the call goes.
pub(super) fn take_input(cx: &mut Context<'_>, id: ConnectionId, input: &mut &[u8]) {
    take_input_of(cx, id, None, input);
}

/// As [`take_input`]; the session of the connection is given if it is known that it takes the input. Returns the session that
/// has taken input, if one has.
fn take_input_of(
    cx: &mut Context<'_>,
    id: ConnectionId,
    session: Option<SessionIndex>,
    input: &mut &[u8],
) -> Option<SessionIndex> {
    let (mut known, mut has_taken) = (session, None);
    loop {
        let step = match known.take() {
            Some(index) => Step::Attached(index),
            None => cx.connections.step(id),
        };
        match step {
            Step::Over => {
                *input = &[];
                break;
            }
            Step::Waiting => break,
            Step::Connecting(connecting) => {
                if !input.is_empty() && cx.sessions.stall_connection(id) {
                    break;
                }
                let before = input.len();
                let action = connecting.acceptor().poll(cx.now, input);
                if action.is_none() {
                    connecting.note_left(!input.is_empty());
                }
                cx.sessions.work_mut().spend_bytes(before.saturating_sub(input.len()));
                if let Some(action) = &action {
                    act_for_connecting(cx, id, action);
                }
                if action.is_none() || cx.work().is_spent() {
                    lifecycle::schedule_connection(cx, id);
                    return None;
                }
            }
            Step::Attached(index) => {
                cx.sessions.begin_step(cx.now);
                let mut timer = None;
                let action = cx.sessions.poll(index, cx.now, input, &mut timer);
                let Some(action) = &action else {
                    if let Some(at) = timer {
                        cx.timers.set(at, Due::Session(index));
                    }
                    return Some(index);
                };
                has_taken = Some(index);
                act(cx, index, action);
                if cx.work().is_spent() {
                    break;
                }
            }
        }
    }
    if let Some(index) = has_taken {
        cx.sessions.look_at_later(index);
    }
    has_taken
}

/// Does what an acceptor asks for.
fn act_for_connecting(cx: &mut Context<'_>, id: ConnectionId, action: &AcceptorAction<'_>) {
    match action {
        AcceptorAction::Connect(connect) => admission::receive_connect(cx, id, connect),
        AcceptorAction::Auth(auth) => admission::receive_auth(cx, id, auth),
        AcceptorAction::Close(why) => lifecycle::end_connecting(cx, id, Ended::Close(*why)),
    }
}

/// Does what a session asks for.
// Actions are large, and not moved.
fn act(cx: &mut Context<'_>, index: SessionIndex, action: &Action<'_>) {
    match action {
        Action::Message(message) => publish::receive(cx, index, message),
        Action::Subscribe(request) => {
            cx.sessions.unsettle(index);
            subscribe::receive(cx, index, request);
        }
        Action::Unsubscribe(request) => {
            cx.sessions.unsettle(index);
            subscribe::receive_unsubscribe(cx, index, request);
        }
        Action::Done { outcome, .. } => cx.sessions.count_outcome(index, outcome),
        Action::Auth(auth) => {
            cx.sessions.unsettle(index);
            admission::receive_reauthentication(cx, index, auth);
        }
        Action::Will(will) => publish::publish_will(cx, index, will),
        Action::Close(why) => lifecycle::end_connection(cx, index, Ended::Close(*why)),
        Action::Expired => lifecycle::remove_session(cx, index),
        Action::Payload(_) => bug!("the sessions of a broker deliver no messages in parts"),
    }
}

/// Runs a timer.
pub(super) fn run_timer(cx: &mut Context<'_>, at: Instant, due: Due) {
    match due {
        Due::Connection(index) => {
            // A decision that takes long is not the client's fault: while the connection waits for one nothing is due. Only time in
            // which its input is taken counts against it.
            let Some(id) = cx.connections.take_timer(index) else { return };
            if cx.connections.waits_for_turn(id) || cx.sessions.is_connection_stalled(id) {
                lifecycle::postpone_connection(cx, id);
            } else {
                take_input(cx, id, &mut &[][..]);
            }
        }
        Due::Session(index) => run_session(cx, index, at),
        Due::Retained(topic) => {
            if let Some(expires_at) = cx.router.remove_expired(cx.sessions, topic, cx.now) {
                cx.timers.set(expires_at, due);
            }
            memory_use::count_publishers(cx);
        }
        Due::Status => super::sys::publish(cx),
    }
}

/// Runs the timer of a session.
fn run_session(cx: &mut Context<'_>, index: SessionIndex, at: Instant) {
    let Some(session) = cx.sessions.get_mut(index) else { return bug!("the timer of a session ends with it") };
    if !session.take_timer(at) {
        bug!("a session knows when its timer runs");
    }
    let (timeout, connection, is_busy) = (session.server().timeout(), session.connection(), session.is_busy());
    let holds_connack = session.server().holds_connack();
    cx.sessions.mark_changed(index);
    if timeout > cx.now {
        return; // it was put off
    }
    // Only time in which the input of a client is taken counts against it.
    let is_waiting = is_busy
        || holds_connack
        || cx.sessions.is_stalled(index)
        || connection.is_some_and(|id| cx.connections.is_waiting(id) || cx.connections.waits_for_turn(id));
    let now = cx.now;
    if is_waiting {
        return cx.sessions.with(index, |session| session.reset_keep_alive(now)).unwrap_or_default();
    }
    // `Action::Expired` removes the session.
    while let Some(action) = &cx.sessions.with(index, |session| session.poll_timeout(now)).flatten() {
        act(cx, index, action);
    }
}

/// Looks at all sessions that something has happened to, and tells the policy about drops.
pub(super) fn process_changes(cx: &mut Context<'_>) {
    process_changes_with(cx, None);
}

/// As [`process_changes`]; the walk of `own`, whose client has called, goes on at once.
fn process_changes_with(cx: &mut Context<'_>, own: Option<SessionIndex>) {
    loop {
        while let Some(index) = cx.sessions.next_changed() {
            process_session(cx, index, own == Some(index));
        }
        if !cx.sessions.has_excessive() {
            break;
        }
        lifecycle::end_excessive(cx); // that changes sessions
    }
    if cx.sessions.drop_count() != 0 {
        cx.notify_drops();
    }
}

fn process_session(cx: &mut Context<'_>, index: SessionIndex, is_own: bool) {
    let mut look = Look::default();
    // The session may be removed by one of its actions.
    while let Some(action) = &cx.sessions.advance_output(index, cx.now, &mut look) {
        act(cx, index, action);
    }
    if let Some(at) = look.timer {
        cx.timers.set(at, Due::Session(index));
    }
    // Most sessions do not walk.
    if look.is_walking {
        if is_own {
            jobs::walk::go_on(cx, index);
        }
        jobs::walk::wake(cx, index);
    }
}

/// Puts more output into the stream of a connection that the caller is looking at, so that it is not made ready again.
pub(super) fn refill(cx: &mut Context<'_>, id: ConnectionId, index: SessionIndex) {
    let Some(begun) = jobs::begin_output(cx, id) else { return };
    let work_before = cx.work().done();
    let was_ready = cx.sessions.ready_mut().mark(id);
    cx.sessions.mark_changed(index);
    process_changes(cx);
    if !was_ready {
        cx.sessions.ready_mut().unmark(id);
        if cx.connections.is_over(id) {
            // The caller does not know this yet.
            cx.sessions.ready_mut().push(id);
        }
    }
    let units = cx.work().done().saturating_sub(work_before);
    jobs::end_output(cx, begun, units);
}

/// Takes a decision of the policy that comes later. The connection goes on from there.
pub(super) fn answer(cx: &mut Context<'_>, id: DecisionId, answer: Answer) -> Result<(), UnknownDecision> {
    let connection = id.connection();
    let is_it = |pending: &PendingDecision| pending.is_answered_by(id, &answer);
    let pending = cx.connections.take_pending(connection, is_it).ok_or(UnknownDecision)?;
    let session = cx.connections.session(connection);
    if let Some(index) = session {
        // The input of the client was not taken meanwhile.
        let now = cx.now;
        if cx.sessions.with(index, |session| session.reset_keep_alive(now)).is_some() {
            cx.sessions.mark_changed(index);
        }
    }
    match (pending, answer) {
        (PendingDecision::Connect(_), Answer::Connect(admission)) => admission::admit(cx, connection, admission),
        (PendingDecision::Reauthenticate(_), Answer::Connect(admission)) => {
            admission::admit_again(cx, session.ok_or(UnknownDecision)?, admission);
        }
        (PendingDecision::TakeOver { owner, grant, .. }, Answer::TakeOver(reason_code)) => {
            if let Some(grant) = resume::claimed(cx, connection, owner, reason_code, grant) {
                accept::accept(cx, connection, grant);
            }
        }
        (PendingDecision::Resubscribe { mut decisions, grant }, Answer::Subscribe(code)) => {
            decisions.set(id, code);
            match grant {
                Some(grant) if decisions.is_complete() => {
                    accept::accept(cx, connection, Grant { decisions, ..grant });
                }
                grant => lifecycle::wait(cx, connection, PendingDecision::Resubscribe { decisions, grant }),
            }
        }
        (PendingDecision::Publish { packet, ack_handle, since, .. }, Answer::Publish(reason_code)) => {
            let index = session.ok_or(UnknownDecision)?;
            cx.work().spend_bytes(packet.len());
            match packet.decode() {
                Some(Packet::Publish(message)) => {
                    publish::finish_since(cx, index, MessageRef::of(&message), ack_handle, reason_code, since);
                }
                _ => bug!("a message waits as a PUBLISH packet"),
            }
        }
        (PendingDecision::Subscribe { request, mut decisions }, Answer::Subscribe(code)) => {
            decisions.set(id, code);
            match request {
                Some(request) if decisions.is_complete() => subscribe::decided(cx, request, decisions),
                request => lifecycle::wait(cx, connection, PendingDecision::Subscribe { request, decisions }),
            }
        }
        _ => bug!("the answer is of the kind of the decision"),
    }
    Ok(())
}
