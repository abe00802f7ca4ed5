//! What the broker publishes about itself under `$SYS/broker/`.

use alloc::format;

use super::connections::Connections;
use super::context::Context;
use super::counters::{Counters, Status};
use super::jobs;
use super::jobs::ring::{Job, Jobs, Order, Progress};
use super::jobs::turns::PrincipalIndex;
use super::memory_use::memory;
use super::publish::{self, Publishing};
use super::registry::Registry;
use super::router::Router;
use super::sessions::Sessions;
use super::timers::{Due, Timers};
use crate::session::Message;
use crate::topic::TopicName;

/// What there is now.
pub(super) fn status(
    connections: &Connections,
    sessions: &Sessions,
    registry: &Registry,
    router: &Router,
    timers: &Timers,
    jobs: &Jobs,
) -> Status {
    Status {
        memory: memory(connections, sessions, registry, router, timers, jobs),
        connections: connections.len(),
        clients: sessions.clients(),
        sessions: sessions.len(),
        subscriptions: router.subscriptions(),
        shared_subscriptions: router.shared_subscriptions(),
        local_subscriptions: sessions.inbox().len(),
        retained: router.retained(),
        retained_bytes: router.retained_bytes(),
        stored: sessions.account().stored_messages(),
        stored_bytes: sessions.account().stored_bytes(),
    }
}

/// Sets the timer of the first publication.
pub(super) fn start(cx: &mut Context<'_>) {
    if cx.config.sys_interval.is_some() {
        cx.timers.set(cx.now, Due::Status);
    }
}

/// Begins to publish the status and the counters as retained messages, and sets the timer of the next time.
pub(super) fn publish(cx: &mut Context<'_>) {
    if jobs::start(cx, PrincipalIndex::ENDS, Order::default(), Job::Status(0)).is_none() {
        bug!("fewer than 2^32 jobs are open");
    }
    if let Some(seconds) = cx.config.sys_interval {
        let next = cx.now.after_seconds(seconds.get());
        cx.timers.set(next, Due::Status);
    }
}

/// Publishes the next values, `count` of which were published.
pub(super) fn advance(cx: &mut Context<'_>, count: &mut usize) -> Progress {
    loop {
        if !publish_next(cx, *count) {
            return Progress::Done;
        }
        *count = count.saturating_add(1);
        if cx.work().is_spent() {
            return Progress::More;
        }
    }
}

/// Publishes the value with this number; returns whether there is one.
fn publish_next(cx: &mut Context<'_>, number: usize) -> bool {
    let counters = *cx.sessions.counters();
    let status = status(cx.connections, cx.sessions, cx.registry, cx.router, cx.timers, cx.jobs);
    let uptime = cx.now.since(cx.started).as_secs();
    match number {
        0 => publish_value(cx, "version", &format!("mqtt-sansio {}", env!("CARGO_PKG_VERSION"))),
        1 => publish_value(cx, "uptime", &format!("{uptime} seconds")),
        number => {
            let Some(&(name, value)) = numbers(&counters, &status).get(number.saturating_sub(2)) else { return false };
            publish_value(cx, name, &format!("{value}"));
        }
    }
    true
}

/// The status and the counters, by topic.
fn numbers(counters: &Counters, status: &Status) -> [(&'static str, u64); 34] {
    [
        ("clients/connected", u64::from(status.clients)),
        ("clients/disconnected", u64::from(status.sessions.saturating_sub(status.clients))),
        ("clients/total", u64::from(status.sessions)),
        ("clients/refused", counters.clients_refused),
        ("clients/taken over", counters.sessions_taken_over),
        ("clients/timed out", counters.timeouts),
        ("connections/open", u64::from(status.connections)),
        ("connections/total", counters.connections),
        ("bytes/received", counters.bytes_received),
        ("bytes/sent", counters.bytes_sent),
        ("publish/messages/received", counters.messages_received),
        ("publish/messages/sent", counters.messages_forwarded),
        ("publish/messages/refused", counters.messages_refused),
        ("publish/messages/dropped", counters.dropped.total()),
        ("publish/messages/dropped/queue full", counters.dropped.queue_full),
        ("publish/messages/dropped/memory", counters.dropped.memory),
        ("publish/messages/dropped/expired", counters.dropped.expired),
        ("publish/messages/dropped/not supported", counters.dropped.not_supported),
        ("publish/messages/dropped/session ended", counters.dropped.session_ended),
        ("publish/messages/dropped/connection lost", counters.dropped.connection_lost),
        ("publish/messages/dropped/refused by client", counters.dropped.refused_by_client),
        ("store/messages/count", status.stored),
        ("store/messages/bytes", status.stored_bytes),
        ("memory/total", status.memory.total()),
        ("memory/connections", status.memory.connections),
        ("memory/sessions", status.memory.sessions),
        ("memory/subscriptions", status.memory.subscriptions),
        ("memory/retained", status.memory.retained),
        ("memory/stored", status.memory.stored),
        ("memory/jobs", status.memory.jobs),
        ("retained messages/count", u64::from(status.retained)),
        ("retained messages/bytes", status.retained_bytes),
        ("subscriptions/count", u64::from(status.subscriptions)),
        ("shared_subscriptions/count", u64::from(status.shared_subscriptions)),
    ]
}

fn publish_value(cx: &mut Context<'_>, name: &str, value: &str) {
    let topic = format!("$SYS/broker/{name}");
    let Ok(topic) = TopicName::new(&topic) else { return bug!("the names of values are topics") };
    let payload = value.as_bytes();
    let message = Message::new(&topic, payload).retain(true);
    let Ok(publish) = message.checked() else { return bug!("a value is a message that can be published") };
    // It fails if there is no room to retain the message.
    let _ = publish::begin(cx, Publishing::Broker, &publish, None);
}
