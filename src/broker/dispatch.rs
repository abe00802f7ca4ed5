//! Bytes, time and decisions come in, and what follows from them is done.

use super::admission;
use super::connections::Step;
use super::context::Context;
use super::counters::DropReason;
use super::index::SessionIndex;
use super::lifecycle;
use super::pending_decisions::PendingDecision;
use super::policy::{Answer, ConnectionId, DecisionId, Ended, UnknownDecision};
use super::resume;
use super::slab::Key;
use super::timers::Due;
use super::{publish, subscribe};
use crate::codec::Packet;
use crate::server::{AcceptorAction, Action, SubscribeRequest};
use crate::session::{MessageRef, Outcome};
use crate::time::Instant;

/// Takes input of a connection, as far as the connection takes input.
pub(super) fn take_input(cx: &mut Context<'_>, id: ConnectionId, input: &mut &[u8]) {
    loop {
        match cx.connections.step(id) {
            Step::Over => return *input = &[],
            Step::Waiting => return,
            Step::Connecting(connecting) => match connecting.acceptor().poll(cx.now, input) {
                Some(action) => act_for_connecting(cx, id, action),
                None => return lifecycle::schedule_connection(cx, id),
            },
            Step::Attached(index) => {
                let Some(action) = cx.sessions.poll(index, cx.now, input) else { return };
                act(cx, index, action);
            }
        }
    }
}

/// Does what an acceptor asks for.
fn act_for_connecting(cx: &mut Context<'_>, id: ConnectionId, action: AcceptorAction<'_>) {
    match action {
        AcceptorAction::Connect(connect) => admission::receive_connect(cx, id, &connect),
        AcceptorAction::Auth(auth) => admission::receive_auth(cx, id, &auth),
        AcceptorAction::Close(why) => lifecycle::end_connecting(cx, id, Ended::Close(why)),
    }
}

/// Does what a session asks for.
fn act(cx: &mut Context<'_>, index: SessionIndex, action: Action<'_>) {
    match action {
        Action::Message(message) => publish::receive(cx, index, &message),
        Action::Subscribe(request) => subscribe::receive(cx, index, &request),
        Action::Unsubscribe(request) => subscribe::receive_unsubscribe(cx, index, &request),
        Action::Done { outcome, .. } => match outcome {
            Outcome::Abandoned(loss) => cx.sessions.drop_stored(index, loss),
            outcome if !outcome.is_success() => cx.sessions.drop_copy(index, DropReason::RefusedByClient),
            _ => {}
        },
        Action::Auth(auth) => admission::receive_reauthentication(cx, index, &auth),
        Action::Will(will) => publish::publish_will(cx, index, &will),
        Action::Close(why) => lifecycle::end_connection(cx, index, Ended::Close(why)),
        Action::Expired => lifecycle::remove_session(cx, index),
        Action::Payload(_) => bug!("the sessions of a broker deliver no messages in parts"),
    }
}

/// Runs a timer.
pub(super) fn run_timer(cx: &mut Context<'_>, at: Instant, due: Due) {
    match due {
        Due::Connection(key) => {
            let id = ConnectionId::new(key);
            // A decision that takes long is not the client's fault: while the connection waits for one nothing is due.
            if cx.connections.connecting(id).is_some() {
                take_input(cx, id, &mut &[][..]);
            }
        }
        Due::Session(key) => run_session(cx, key, at),
        Due::Retained(reference) => cx.router.remove_expired(cx.sessions, reference),
        Due::Status => super::sys::publish(cx),
    }
}

/// Runs the timer of a session.
fn run_session(cx: &mut Context<'_>, key: Key, at: Instant) {
    // The session may have been removed since the timer was set.
    let Some((index, _)) = cx.sessions.get_by_key(key) else { return };
    let Some(session) = cx.sessions.get_mut(index) else { return bug!("a session that was found exists") };
    if !session.take_timer(at) {
        return; // an earlier timer was set since
    }
    let (timeout, connection) = (session.server().timeout(), session.connection());
    cx.sessions.mark_changed(index);
    if timeout > cx.now {
        return; // it was put off
    }
    let is_waiting = connection.is_some_and(|id| cx.connections.is_waiting(id));
    // `Action::Expired` removes the session.
    while let Some(session) = cx.sessions.get_mut(index) {
        if is_waiting {
            return session.server_mut().reset_keep_alive(cx.now);
        }
        let Some(action) = session.server_mut().poll_timeout(cx.now) else { return };
        act(cx, index, action);
    }
}

/// Looks at all sessions that something has happened to, and tells the policy about drops.
pub(super) fn process_changes(cx: &mut Context<'_>) {
    while let Some(index) = cx.sessions.next_changed() {
        process_session(cx, index);
    }
    if cx.sessions.drop_count() != 0 {
        lifecycle::notify_drops(cx);
    }
}

fn process_session(cx: &mut Context<'_>, index: SessionIndex) {
    loop {
        // The session may be removed by one of its actions.
        let Some(session) = cx.sessions.get_mut(index) else { return };
        match session.server_mut().advance_output(cx.now) {
            Some(action) => act(cx, index, action),
            None if cx.router.advance_walk(cx.sessions, cx.now, index) => {}
            None => break,
        }
    }
    if let Some(at) = cx.sessions.finish_changes(index)
        && let Some(key) = cx.sessions.key(index)
    {
        lifecycle::schedule(cx, at, Due::Session(key));
    }
}

/// Puts more output into the stream of a connection that the caller is looking at, so that it is not made ready again.
pub(super) fn refill(cx: &mut Context<'_>, id: ConnectionId, index: SessionIndex) {
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
}

/// Takes a decision of the policy that comes later. The connection goes on from there.
pub(super) fn answer(cx: &mut Context<'_>, id: DecisionId, answer: Answer) -> Result<(), UnknownDecision> {
    let connection = id.connection();
    let is_it = |pending: &PendingDecision| pending.is_answered_by(id, &answer);
    let pending = cx.connections.take_pending(connection, is_it).ok_or(UnknownDecision)?;
    let session = cx.connections.session(connection);
    if let Some(index) = session
        && let Some(session) = cx.sessions.get_mut(index)
    {
        // The input of the client was not taken meanwhile.
        session.server_mut().reset_keep_alive(cx.now);
        cx.sessions.mark_changed(index);
    }
    match (pending, answer) {
        (PendingDecision::Connect(_), Answer::Connect(admission)) => admission::admit(cx, connection, admission),
        (PendingDecision::Reauthenticate(_), Answer::Connect(admission)) => {
            admission::admit_again(cx, session.ok_or(UnknownDecision)?, admission);
        }
        (PendingDecision::TakeOver { owner, grant, .. }, Answer::TakeOver(reason_code)) => {
            if let Some(grant) = resume::claimed(cx, connection, owner, reason_code, grant) {
                admission::accept(cx, connection, grant);
            }
        }
        (PendingDecision::Resubscribe { filters, mut decisions, mut grant }, Answer::Subscribe(code)) => {
            decisions.set(id, code);
            if decisions.is_complete() {
                let codes = decisions.codes().iter().flatten().copied();
                grant.add_decisions(filters.into_iter().zip(codes));
                admission::accept(cx, connection, grant);
            } else {
                cx.connections.wait(connection, PendingDecision::Resubscribe { filters, decisions, grant });
            }
        }
        (PendingDecision::Publish { packet, ack_handle, since, .. }, Answer::Publish(reason_code)) => {
            let index = session.ok_or(UnknownDecision)?;
            match packet.decode() {
                Some(Packet::Publish(message)) => {
                    publish::finish_since(cx, index, MessageRef::of(&message), ack_handle, reason_code, since);
                }
                _ => bug!("a message waits as a PUBLISH packet"),
            }
        }
        (PendingDecision::Subscribe { packet, request, mut decisions }, Answer::Subscribe(code)) => {
            decisions.set(id, code);
            if !decisions.is_complete() {
                cx.connections.wait(connection, PendingDecision::Subscribe { packet, request, decisions });
            } else {
                let index = session.ok_or(UnknownDecision)?;
                match packet.decode() {
                    Some(Packet::Subscribe(packet)) => {
                        let request = SubscribeRequest::new(request, &packet);
                        subscribe::finish(cx, index, &request, decisions.codes());
                    }
                    _ => bug!("subscriptions wait as a SUBSCRIBE packet"),
                }
            }
        }
        _ => bug!("the answer is of the kind of the decision"),
    }
    Ok(())
}
