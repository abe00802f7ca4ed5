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
mod topic_jobs;
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
        let connection = session.connection();
        // The input of the client was not taken meanwhile.
        let now = cx.now;
        cx.sessions.with(index, |session| session.reset_keep_alive(now));
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
    /// What was reserved for the input, if it has waited for its turn.
    reserved: Option<u32>,
}

/// Whether input of a connection is taken now, also none: what waits for the client is sent with it. If it is the turn of others first, the connection waits for its own.
#[inline]
pub(super) fn begin_input(cx: &mut Context<'_>, id: ConnectionId) -> Option<Begun> {
    let Some((turn, session)) = cx.connections.input(id) else {
        // It is over, and its input void.
        return Some(Begun { principal: PrincipalIndex::BROKER, session: None, reserved: None });
    };
    let mut begun = Begun { principal: turn.principal(), session, reserved: None };
    match turn.is_granted() {
        None if cx.jobs.turns_mut().may_work(begun.principal, cx.now) => {}
        None => {
            wait(cx, id);
            return None;
        }
        Some(true) => {
            let estimate = turn.take_grant();
            let Some(most) = cx.jobs.turns_mut().take_grant(begun.principal, estimate, estimate) else {
                wait_again(cx, id);
                return None;
            };
            cx.work().narrow(most);
            begun.reserved = Some(estimate);
        }
        Some(false) => return None,
    }
    Some(begun)
}

/// Counts the work that the input of a connection was. If input is left because the budget is spent, the connection waits
/// for its next turn.
#[inline]
pub(super) fn end_input(cx: &mut Context<'_>, id: ConnectionId, begun: &Begun, units: u64, is_left: bool) {
    let work = i64::try_from(units).unwrap_or(i64::MAX);
    cx.jobs.turns_mut().charge(begun.principal, work);
    if let Some(reserved) = begun.reserved {
        cx.jobs.turns_mut().spend_granted(work, reserved);
        if let Some(turn) = cx.connections.turn_mut(id) {
            turn.set_last((!is_left).then_some(units));
        }
    }
    if is_left {
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

/// Lets input wait that has had its turn: the input before it has taken all.
#[cold]
fn wait_again(cx: &mut Context<'_>, id: ConnectionId) {
    cx.work().spend(1);
    if let Some(turn) = cx.connections.turn_mut(id) {
        turn.set_last(None);
        turn.wait();
        let principal = turn.principal();
        let turns = cx.jobs.turns_mut();
        turns.push_front(principal, Entry::Input(id));
        turns.charge(principal, 1);
    }
}

/// What output that was held back is estimated to be: as much as a stream takes by default (`ServerConfig::transmit_limit`).
const OUTPUT: u32 = 256;

/// Whether more output of a connection is made now; returns the principal that bears the work, and whether the output has
/// waited. If it is the turn of others first, the connection waits for its own.
pub(super) fn begin_output(cx: &mut Context<'_>, id: ConnectionId) -> Option<(PrincipalIndex, bool)> {
    let turn = cx.connections.turn_mut(id)?;
    let principal = turn.principal();
    match turn.is_output_granted() {
        None if cx.jobs.turns_mut().may_work(principal, cx.now) => Some((principal, false)),
        Some(true) => {
            turn.take_output();
            // A client may not read for long: nothing is reserved until it does.
            if let Some(most) = cx.jobs.turns_mut().take_grant(principal, OUTPUT, 0) {
                cx.work().narrow(most);
                return Some((principal, true));
            }
            wait_for_output(cx, id);
            None
        }
        None => {
            wait_for_output(cx, id);
            None
        }
        Some(false) => None,
    }
}

/// Counts the work that output of a connection was.
pub(super) fn end_output(cx: &mut Context<'_>, (principal, has_waited): (PrincipalIndex, bool), units: u64) {
    let units = i64::try_from(units).unwrap_or(i64::MAX);
    let turns = cx.jobs.turns_mut();
    turns.charge(principal, units);
    if has_waited {
        turns.spend_granted(units, 0);
    }
}

/// Lets the output of a connection wait for its turn.
#[cold]
fn wait_for_output(cx: &mut Context<'_>, id: ConnectionId) {
    if let Some(turn) = cx.connections.turn_mut(id) {
        turn.wait_output();
        let principal = turn.principal();
        cx.jobs.turns_mut().push(principal, Entry::Output(id));
    }
}

/// Does what a client has caused by other means than its input, such as its end, for its principal: at once if that may work,
/// and if not as little as can be done, so that the rest is jobs.
pub(super) fn work_for<T>(
    cx: &mut Context<'_>,
    principal: Option<PrincipalIndex>,
    work: impl FnOnce(&mut Context<'_>) -> T,
) -> T {
    // The connection may be gone.
    let Some(principal) = principal else { return work(cx) };
    let now = cx.now;
    let turns = cx.jobs.turns_mut();
    turns.enter_again(principal);
    if !turns.may_work(principal, now) {
        cx.work().narrow(0);
    }
    let before = cx.work().done();
    cx.work().spend(1); // the connection
    let done = work(cx);
    let units = cx.work().done().saturating_sub(before);
    let turns = cx.jobs.turns_mut();
    turns.charge(principal, i64::try_from(units).unwrap_or(i64::MAX));
    turns.leave(principal);
    done
}
