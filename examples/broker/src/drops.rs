//! The log of dropped and refused messages: their numbers, at an interval. With RUST_LOG=debug each message is logged.

use std::time::Duration;

use mqtt_sansio::broker::Counters;
use tracing::warn;

use crate::driver::Driver;

/// The interval.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// The counters that were logged last.
#[derive(Default)]
pub(crate) struct Drops(Counters);

impl Drops {
    /// Logs the number of messages dropped or refused since the last call, if there are any.
    pub(crate) fn tell(&mut self, driver: &Driver) {
        let now = *driver.broker.borrow().counters();
        let before = std::mem::replace(&mut self.0, now);
        // A counter may decrease when a message that one member of a share has dropped is delivered to another. That is
        // not logged.
        let increase = |now: u64, before: u64| Some(now.saturating_sub(before)).filter(|&count| count != 0);
        if let Some(count) = increase(now.messages_refused, before.messages_refused) {
            warn!(count, "messages were refused");
        }
        let (now, before) = (now.dropped, before.dropped);
        if now == before {
            return;
        }
        warn!(
            queue_full = increase(now.queue_full, before.queue_full),
            memory = increase(now.memory, before.memory),
            expired = increase(now.expired, before.expired),
            not_supported = increase(now.not_supported, before.not_supported),
            session_ended = increase(now.session_ended, before.session_ended),
            connection_lost = increase(now.connection_lost, before.connection_lost),
            refused_by_client = increase(now.refused_by_client, before.refused_by_client),
            "messages were dropped"
        );
    }
}
