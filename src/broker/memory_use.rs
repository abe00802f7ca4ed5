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
    let connecting = [connections.bytes(), sessions.ready_bytes(), timers.bytes()];
    MemoryUse {
        connections: connecting.into_iter().fold(0, usize::saturating_add) as u64,
        sessions: sessions.allocated().saturating_add(registry.bytes() as u64),
        subscriptions: router.subscriptions_allocated(),
        retained: router.retained_allocated(),
        stored: sessions.memory().used(),
    }
}

/// Whether connections, sessions and subscriptions take all the memory that they may.
pub(super) fn is_full(cx: &Context<'_>) -> bool {
    let memory = memory(cx.connections, cx.sessions, cx.registry, cx.router, cx.timers);
    let state = memory.connections.saturating_add(memory.sessions).saturating_add(memory.subscriptions);
    cx.config.max_state_memory.is_some_and(|max| state >= max.get())
}
