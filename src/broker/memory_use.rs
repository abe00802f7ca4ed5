//! The memory that a broker takes, and whether that is all it may take.

use super::connections::Connections;
use super::context::Context;
use super::counters::MemoryUse;
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
) -> MemoryUse {
    MemoryUse {
        connections: of_connections(connections, sessions, timers),
        sessions: of_sessions(sessions, registry),
        subscriptions: router.subscriptions_allocated(),
        retained: router.retained_allocated(),
        stored: sessions.memory().used(),
    }
}

fn of_connections(connections: &Connections, sessions: &Sessions, timers: &Timers) -> u64 {
    let parts = [connections.bytes(), sessions.ready_bytes(), timers.bytes()];
    parts.into_iter().fold(0, usize::saturating_add) as u64
}

fn of_sessions(sessions: &Sessions, registry: &Registry) -> u64 {
    sessions.allocated().saturating_add(registry.bytes() as u64)
}

/// Whether connections, sessions and subscriptions take all the memory that they may.
pub(super) fn is_full(cx: &Context<'_>) -> bool {
    !has_room(cx, 0)
}

/// Whether connections, sessions and subscriptions may take more than this much more.
pub(super) fn has_room(cx: &Context<'_>, size: u64) -> bool {
    let Some(max) = cx.config.max_state_memory else { return true };
    let state = of_connections(cx.connections, cx.sessions, cx.timers)
        .saturating_add(of_sessions(cx.sessions, cx.registry))
        .saturating_add(cx.router.subscriptions_allocated());
    state.saturating_add(size) < max.get()
}
