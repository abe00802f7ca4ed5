//! The memory that a broker takes, what each principal is charged for, and whether there is room for more.

use super::account::Account;
use super::connections::Connections;
use super::context::Context;
use super::counters::MemoryUse;
use super::index::SessionIndex;
use super::jobs::ring::Jobs;
use super::jobs::turns::{JobId, PrincipalIndex};
use super::policy::ConnectionId;
use super::registry::Registry;
use super::router::Router;
use super::sessions::Sessions;
use super::timers::Timers;

/// The memory that there is, by what takes it.
pub(super) fn memory(
    connections: &Connections,
    sessions: &Sessions,
    registry: &Registry,
    router: &Router,
    timers: &Timers,
    jobs: &Jobs,
) -> MemoryUse {
    let account = sessions.account();
    MemoryUse {
        connections: connections
            .bytes()
            .saturating_add(sessions.ready_bytes() as u64)
            .saturating_add(timers.bytes() as u64),
        sessions: sessions.allocated().saturating_add(registry.bytes() as u64),
        subscriptions: router.subscriptions_allocated(),
        retained: router.retained_allocated(),
        stored: account.stored(),
        jobs: jobs.bytes().saturating_add(account.bytes() as u64),
    }
}

/// The size of connections, sessions, subscriptions and jobs, in bytes.
fn state(cx: &Context<'_>) -> u64 {
    let memory = memory(cx.connections, cx.sessions, cx.registry, cx.router, cx.timers, cx.jobs);
    memory.total().saturating_sub(memory.retained).saturating_sub(memory.stored)
}

/// Whether connections, sessions, subscriptions and jobs may take this much more, all of them and those of a principal; those
/// of a new principal if there is none.
pub(super) fn has_room(cx: &mut Context<'_>, principal: Option<PrincipalIndex>, size: u64) -> bool {
    if cx.sessions.account().is_far_below(size) {
        return true;
    }
    let state = state(cx);
    let account = cx.sessions.account_mut();
    account.set_state(state);
    account.has_room_for_state(principal, size)
}

/// Counts a connection again, and charges its principal.
pub(super) fn count_connection(cx: &mut Context<'_>, id: ConnectionId) {
    // The connection may be closed by now.
    if let Some((principal, old, new)) = cx.connections.recount(id) {
        cx.sessions.account_mut().charge_state(principal, old, new);
    }
}

/// Counts a job again, and charges its principal.
pub(super) fn count_job(cx: &mut Context<'_>, id: JobId) {
    if let Some((principal, old, new)) = cx.jobs.recount(id) {
        cx.sessions.account_mut().charge_state(principal, old, new);
    }
}

/// A connection and the session of its client are those of this principal from now on.
pub(super) fn enter_principal(cx: &mut Context<'_>, id: ConnectionId, index: SessionIndex, principal: PrincipalIndex) {
    let turns = cx.jobs.turns_mut();
    turns.enter_again(principal);
    if let Some((before, charge)) = cx.connections.set_principal(id, principal) {
        charge_other(cx.sessions.account_mut(), (before, principal), charge);
        turns.leave(before);
    }
    turns.enter_again(principal);
    if let Some(before) = cx.sessions.set_principal(index, principal) {
        turns.leave(before);
    }
}

fn charge_other(account: &mut Account, (before, after): (PrincipalIndex, PrincipalIndex), charge: u64) {
    account.charge_state(before, charge, 0);
    account.charge_state(after, 0, charge);
}

/// Retained messages are those of other principals: these exist while something is theirs.
pub(super) fn count_publishers(cx: &mut Context<'_>) {
    while let Some((new, old)) = cx.sessions.account_mut().next_publishers() {
        let turns = cx.jobs.turns_mut();
        if let Some(new) = new {
            turns.enter_again(new);
        }
        if let Some(old) = old {
            turns.leave(old);
        }
    }
}
