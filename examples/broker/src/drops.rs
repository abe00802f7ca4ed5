//! The log of dropped and refused messages and of refused connections: their numbers, at an interval, together with the status
//! of the broker. With RUST_LOG=debug each message is logged.

use std::time::Duration;

use mqtt_sansio::broker::Counters;
use tracing::{info, warn};

use crate::driver::Driver;

/// The interval.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// The counters that were logged last.
#[derive(Default)]
pub(crate) struct Drops {
    counters: Counters,
    turned_away: u64,
}

impl Drops {
    /// Logs the numbers of messages and connections dropped or refused since the last call, and then the status. Returns whether
    /// there were any.
    pub(crate) fn log(&mut self, driver: &Driver) -> bool {
        let now = *driver.broker.borrow().counters();
        let before = std::mem::replace(&mut self.counters, now);
        // A counter may decrease when a message that one member of a share has dropped is delivered to another. That is
        // not logged.
        let increase = |now: u64, before: u64| Some(now.saturating_sub(before)).filter(|&count| count != 0);
        let turned_away = driver.origins.refused();
        let turned_away = increase(turned_away, std::mem::replace(&mut self.turned_away, turned_away));
        if let Some(count) = turned_away {
            warn!(count, "connections were closed because of the limits of their addresses");
        }
        if let Some(count) = increase(now.connections_refused, before.connections_refused) {
            warn!(count, "connections were closed because there are too many");
        }
        if let Some(count) = increase(now.messages_refused, before.messages_refused) {
            warn!(count, "messages were refused");
        }
        let has_dropped = now.dropped != before.dropped;
        if has_dropped {
            let (now, before) = (now.dropped, before.dropped);
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
        let has_logged = has_dropped || turned_away.is_some() || now.messages_refused != before.messages_refused;
        if has_logged {
            log_status(driver);
        }
        has_logged
    }
}

/// Logs the numbers of the items that take memory, and their sizes in bytes.
pub(crate) fn log_status(driver: &Driver) {
    let status = driver.broker.borrow().status();
    info!(
        connections = status.connections,
        clients = status.clients,
        sessions = status.sessions,
        subscriptions = status.subscriptions,
        stored = status.stored,
        stored_bytes = status.stored_bytes,
        retained = status.retained,
        retained_bytes = status.retained_bytes,
        incomplete_bytes = driver.origins.held(),
        "status"
    );
}
