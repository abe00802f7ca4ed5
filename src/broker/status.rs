//! What the broker says of itself under `$SYS/broker/`.

use alloc::format;

use super::core::Broker;
use super::policy::Policy;
use super::timers::Due;
use crate::session::Message;
use crate::topic::TopicName;

impl<P: Policy> Broker<P> {
    pub(super) fn schedule_status(&mut self) {
        if self.config.sys_interval != 0 {
            self.schedule(self.now, Due::Status);
        }
    }

    /// Publishes, retained, what there is and what has happened.
    pub(super) fn publish_status(&mut self) {
        let (counters, status) = (*self.counters(), self.status());
        let uptime = self.now.since(self.since.unwrap_or(self.now)).as_secs();
        self.publish_value("version", &format!("mqtt-sansio {}", env!("CARGO_PKG_VERSION")));
        self.publish_value("uptime", &format!("{uptime} seconds"));
        let numbers = [
            ("clients/connected", u64::from(status.clients)),
            ("clients/disconnected", u64::from(status.sessions.saturating_sub(status.clients))),
            ("clients/total", u64::from(status.sessions)),
            ("clients/refused", counters.clients_refused),
            ("clients/taken over", counters.taken_over),
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
            ("store/messages/count", status.kept),
            ("store/messages/bytes", status.kept_bytes),
            ("retained messages/count", u64::from(status.retained)),
            ("retained messages/bytes", status.retained_bytes),
            ("subscriptions/count", u64::from(status.subscriptions)),
            ("shared_subscriptions/count", u64::from(status.shared_subscriptions)),
        ];
        for (name, number) in numbers {
            self.publish_value(name, &format!("{number}"));
        }
        let next = self.now.after_seconds(self.config.sys_interval);
        self.schedule(next, Due::Status);
    }

    fn publish_value(&mut self, name: &str, value: &str) {
        let topic = format!("$SYS/broker/{name}");
        let Ok(topic) = TopicName::new(&topic) else { return };
        let payload = value.as_bytes();
        let message = Message::new(&topic, payload).retain(true);
        let Ok(publish) = message.checked() else { return };
        let _ = self.publish_from(None, &publish, None); // with no room to retain it, it is not told
    }
}
