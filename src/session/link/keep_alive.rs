//! Keep-alive (section 3.1.2.10): when something has to be sent, and when too much time has passed without an answer.

use crate::time::Instant;

/// When a client has last sent something, and heard something, and whether it waits for an answer to a PINGREQ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    /// In seconds; 0 for none.
    interval: u16,
    /// Whether an answer is missing.
    has_asked: bool,
    /// Since when nothing has been sent.
    idle_since: Instant,
    /// Since when nothing has been heard. If an answer is missing: since when its packet has left, or if it has not, since
    /// when no byte of the stream has.
    silent_since: Instant,
    /// How many bytes are to leave until the packet has left whose answer is missing.
    ahead: u32,
}

impl KeepAlive {
    pub(crate) const fn new(interval: u16, now: Instant) -> Self {
        Self { interval, has_asked: false, idle_since: now, silent_since: now, ahead: 0 }
    }

    /// Something was sent at this time or later.
    #[inline]
    pub(crate) const fn sent(&mut self, at: Instant) {
        self.idle_since = at;
    }

    /// Something was received: the other end is there, whether it is PINGRESP or something that had to go before it.
    #[inline]
    pub(crate) const fn received(&mut self, now: Instant) {
        self.has_asked = false;
        self.silent_since = now;
    }

    /// A packet that is to be answered is now the last of so many bytes that are still to leave.
    pub(crate) fn ask(&mut self, now: Instant, ahead: u64) {
        self.idle_since = now;
        if !self.has_asked {
            self.has_asked = true;
            self.silent_since = now;
            self.ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        }
    }

    /// Whether a packet that is to be answered has not left.
    #[inline]
    pub(crate) const fn awaits_departure(&self) -> bool {
        self.has_asked && self.ahead != 0
    }

    /// So many bytes have left. The time for an answer begins when the last byte of the question has
    /// left; until then, bytes that leave show that the link is alive. Bytes that leave behind the question show nothing:
    /// where nobody is there any more, a transport still takes as much as its buffers hold.
    #[inline]
    pub(crate) fn left(&mut self, count: u64, now: Instant) {
        if self.awaits_departure() {
            self.silent_since = now;
            self.ahead = self.ahead.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// An answer could not be heard until now: input was not being taken.
    pub(crate) const fn excuse(&mut self, now: Instant) {
        self.silent_since = now;
    }

    /// When a PINGREQ is due: an eighth of the interval, but no more than a second, before it ends, so that the server
    /// has something from us in every interval even if the caller is a little late \[MQTT-3.1.2-20\]. Also if nothing has
    /// come for as long, though something was sent: the other end may be gone without a word.
    pub(crate) fn ping_at(&self) -> Option<Instant> {
        let early = (u64::from(self.interval).saturating_mul(125_000)).min(1_000_000);
        let micros = u64::from(self.interval).saturating_mul(1_000_000).saturating_sub(early);
        let since = if self.has_asked { self.idle_since } else { self.idle_since.min(self.silent_since) };
        let due = Instant::from_micros(since.as_micros().saturating_add(micros));
        if self.interval == 0 { None } else { due.unless_never() }
    }

    /// When the connection is given up, if nothing comes until then. A timeout of 0 seconds is none.
    pub(crate) fn dead_at(&self, timeout: u16) -> Option<Instant> {
        (self.has_asked && timeout != 0).then(|| self.silent_since.after_seconds(u32::from(timeout)))
    }
}
