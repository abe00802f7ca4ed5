//! What an operator is told of messages that were dropped or refused: from time to time, how many. RUST_LOG=debug tells
//! each.

use std::time::Duration;

use mqtt_sansio::broker::Counters;
use tracing::warn;

use crate::driver::Driver;

/// How often.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// What was told so far.
#[derive(Default)]
pub(crate) struct Drops(Counters);

impl Drops {
    /// Tells what was dropped or refused since the last time, if there is something.
    pub(crate) fn tell(&mut self, driver: &Driver) {
        let now = *driver.broker.borrow().counters();
        let before = std::mem::replace(&mut self.0, now);
        // What is taken back, because it was dropped for one member of a share only, is no news.
        let news = |now: u64, before: u64| Some(now.saturating_sub(before)).filter(|&count| count != 0);
        if let Some(count) = news(now.messages_refused, before.messages_refused) {
            warn!(count, "messages were refused");
        }
        let (now, before) = (now.dropped, before.dropped);
        if now == before {
            return;
        }
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
}
