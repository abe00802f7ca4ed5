//! What an operator is told of messages that were dropped or refused, and of connections that were turned away: from time
//! to time, how many, and what is held then. RUST_LOG=debug tells each.

use std::time::Duration;

use mqtt_sansio::broker::Counters;
use tracing::{info, warn};

use crate::driver::Driver;

/// How often.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// What was told so far.
#[derive(Default)]
pub(crate) struct Drops {
    counters: Counters,
    turned_away: u64,
}

impl Drops {
    /// Tells what was dropped or refused since the last time, and what is held now. Returns whether there was something.
    pub(crate) fn tell(&mut self, driver: &Driver) -> bool {
        let now = *driver.broker.borrow().counters();
        let before = std::mem::replace(&mut self.counters, now);
        // What is taken back, because it was dropped for one member of a share only, is no news.
        let news = |now: u64, before: u64| Some(now.saturating_sub(before)).filter(|&count| count != 0);
        let turned_away = driver.origins.refused();
        let turned_away = news(turned_away, std::mem::replace(&mut self.turned_away, turned_away));
        if let Some(count) = turned_away {
            warn!(count, "connections were closed because of the limits of their addresses");
        }
        if let Some(count) = news(now.connections_refused, before.connections_refused) {
            warn!(count, "connections were closed because there are too many");
        }
        if let Some(count) = news(now.messages_refused, before.messages_refused) {
            warn!(count, "messages were refused");
        }
        let has_dropped = now.dropped != before.dropped;
        if has_dropped {
            let (now, before) = (now.dropped, before.dropped);
            warn!(
                queue_full = news(now.queue_full, before.queue_full),
                memory = news(now.memory, before.memory),
                expired = news(now.expired, before.expired),
                not_supported = news(now.not_supported, before.not_supported),
                session_ended = news(now.session_ended, before.session_ended),
                connection_lost = news(now.connection_lost, before.connection_lost),
                refused_by_client = news(now.refused_by_client, before.refused_by_client),
                "messages were dropped"
            );
        }
        let is_news = has_dropped || turned_away.is_some() || now.messages_refused != before.messages_refused;
        if is_news {
            tell_status(driver);
        }
        is_news
    }
}

/// Tells how many there are of what takes memory, and how much of it, in bytes.
pub(crate) fn tell_status(driver: &Driver) {
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
