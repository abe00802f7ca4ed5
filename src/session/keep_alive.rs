//! Keep-alive (section 3.1.2.10): when something has to be sent, and when too much time has passed without an answer.

use crate::time::Instant;

/// When a client has last sent something, and whether it waits for an answer to a PINGREQ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    /// In seconds; 0 for none.
    interval: u16,
    /// Since when nothing has been sent.
    idle_since: Instant,
    /// Since when an answer is missing; [`Instant::NEVER`] if none is.
    asked: Instant,
}

impl KeepAlive {
    pub(crate) const fn new(interval: u16, now: Instant) -> Self {
        Self { interval, idle_since: now, asked: Instant::NEVER }
    }

    /// Something was sent at this time or later.
    #[inline]
    pub(crate) const fn sent(&mut self, at: Instant) {
        self.idle_since = at;
    }

    /// Something was received: the other end is there, whether it is PINGRESP or something that had to go before it.
    #[inline]
    pub(crate) const fn received(&mut self) {
        self.asked = Instant::NEVER;
    }

    /// PINGREQ was put into the stream.
    pub(crate) fn ask(&mut self, now: Instant) {
        self.asked = self.asked.min(now);
        self.idle_since = now;
    }

    /// When a PINGREQ is due: an eighth of the interval, but no more than a second, before it ends, so that the server
    /// has something from us in every interval even if the caller is a little late \[MQTT-3.1.2-20\].
    pub(crate) fn ping_at(&self) -> Option<Instant> {
        let early = (u64::from(self.interval).saturating_mul(125_000)).min(1_000_000);
        let micros = u64::from(self.interval).saturating_mul(1_000_000).saturating_sub(early);
        let due = Instant::from_micros(self.idle_since.as_micros().saturating_add(micros));
        (self.interval != 0).then_some(due)
    }

    /// When the connection is given up, if nothing comes until then. A timeout of 0 seconds is none.
    pub(crate) fn dead_at(&self, timeout: u16) -> Option<Instant> {
        (timeout != 0).then_some(self.asked.unless_never()?.after_seconds(timeout))
    }
}
