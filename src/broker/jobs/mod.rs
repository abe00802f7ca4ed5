//! Work that outlives a call: jobs, and input that waits for its turn.
//!
//! A call does at most [`work_per_call`](super::BrokerConfig::work_per_call) units of work. What does not finish is a job of
//! the broker, which [`Broker::poll`](super::Broker::poll) goes on with, one budget a call; so the driver serves its
//! transports between two budgets. Jobs of one client identifier run one after the other, and the connection of this client
//! takes no input meanwhile: its packets are worked on in order \[MQTT-4.6.0-5\].
//!
//! What a job holds over calls it holds by key, that is by index *and* generation: an index is used again.

pub(super) mod input;
pub(super) mod members;
pub(super) mod moving;
pub(super) mod publication;
pub(super) mod request;
pub(super) mod resuming;
pub(super) mod ring;
pub(super) mod run;
pub(super) mod teardown;
pub(super) mod turns;
pub(super) mod walk;
pub(super) mod work;

use self::ring::{Job, Order};
use self::turns::{Entry, JobId, PrincipalIndex};
use super::context::Context;
use super::index::SessionIndex;
use super::memory_use;
use super::policy::ConnectionId;

/// Adds a job. It runs when the earlier jobs of its [`Order`] have ended; the connection of its client takes no input before
/// the last of them has.
///
/// Returns `None` if no more jobs can be held.
pub(super) fn start(cx: &mut Context<'_>, principal: PrincipalIndex, order: Order<'_>, job: Job) -> Option<JobId> {
    let id = cx.jobs.push(principal, order, job)?;
    memory_use::count_job(cx, id);
    // They are copied, and the client identifier is hashed.
    let bytes = order.client_id.map_or(0, str::len).saturating_mul(2);
    cx.work().spend_more_bytes(bytes.saturating_add(order.retained.map_or(0, |topic| topic.as_bytes().len())));
    if let Some(client_id) = order.client_id
        && let Some(index) = cx.registry.find(cx.sessions, client_id)
        && let Some(session) = cx.sessions.get_mut(index)
    {
        session.set_busy(true);
    }
    Some(id)
}

/// A job has ended. After the last one of a client identifier the input of the client is taken again.
fn end(cx: &mut Context<'_>, id: JobId) {
    if let Some((principal, charge)) = cx.jobs.charge(id) {
        cx.sessions.account_mut().charge_state(principal, charge, 0);
    }
    let Some(client_id) = cx.jobs.remove(id) else { return };
    cx.work().spend_more_bytes(client_id.len()); // it is hashed
    // The session may have ended.
    if let Some(index) = cx.registry.find(cx.sessions, &client_id)
        && let Some(session) = cx.sessions.get_mut(index)
    {
        session.set_busy(false);
        // The input of the client was not taken meanwhile.
        session.server_mut().reset_keep_alive(cx.now);
        let connection = session.connection();
        cx.sessions.mark_changed(index);
        if let Some(id) = connection {
            cx.sessions.ready_mut().push(id);
        }
    }
}

/// Input that is taken now.
pub(super) struct Begun {
    /// The principal that bears the work.
    principal: PrincipalIndex,
    /// The session that takes it, if that is known.
    pub(super) session: Option<SessionIndex>,
}

/// Whether input of a connection is taken now. If it is the turn of others first, the connection waits for its own.
#[inline]
pub(super) fn begin_input(cx: &mut Context<'_>, id: ConnectionId, input: &[u8]) -> Option<Begun> {
    let Some((turn, session)) = cx.connections.input(id) else {
        // It is over, and its input void.
        return Some(Begun { principal: PrincipalIndex::BROKER, session: None });
    };
    let begun = Begun { principal: turn.principal(), session };
    if input.is_empty() {
        return Some(begun);
    }
    match turn.is_granted() {
        None if cx.jobs.turns_mut().may_work(begun.principal, cx.now) => {}
        None => {
            wait(cx, id);
            return None;
        }
        Some(true) => {
            let estimate = turn.take_grant();
            cx.jobs.turns_mut().charge(begun.principal, i64::from(estimate).saturating_neg());
        }
        Some(false) => return None,
    }
    Some(begun)
}

/// Counts the work that the input of a connection was. If input is left because the budget is spent, the connection waits
/// for its next turn.
#[inline]
pub(super) fn end_input(cx: &mut Context<'_>, id: ConnectionId, begun: &Begun, units: u64, is_left: bool) {
    cx.jobs.turns_mut().charge(begun.principal, i64::try_from(units).unwrap_or(i64::MAX));
    if is_left {
        if let Some(turn) = cx.connections.turn_mut(id) {
            turn.set_last(units);
        }
        wait(cx, id);
    }
}

/// Lets the input of a connection wait for its turn.
#[cold]
fn wait(cx: &mut Context<'_>, id: ConnectionId) {
    if let Some(turn) = cx.connections.turn_mut(id) {
        turn.wait();
        let principal = turn.principal();
        cx.jobs.turns_mut().push(principal, Entry::Input(id));
    }
}
