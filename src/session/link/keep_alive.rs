//! Keep Alive (section 3.1.2.10): the times at which a PINGREQ is due and at which an unanswered connection is given
//! up.

use core::num::NonZeroU16;

use crate::time::Instant;

/// The Keep Alive state of a client: the times of its last output and input, and whether an answer to PINGREQ is
/// outstanding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    /// The Keep Alive interval, in seconds; `None` turns the mechanism off.
    interval: Option<NonZeroU16>,
    /// Whether an answer is outstanding.
    has_asked: bool,
    /// The time of the last output.
    idle_since: Instant,
    /// The time of the last input. While an answer is outstanding: the time at which the packet to be answered was
    /// taken from the output or, until then, the time at which bytes were last taken.
    silent_since: Instant,
    /// Number of bytes to take from the output until the packet to be answered has been taken.
    ahead: u32,
}

impl KeepAlive {
    pub(crate) const fn new(interval: Option<NonZeroU16>, now: Instant) -> Self {
        Self { interval, has_asked: false, idle_since: now, silent_since: now, ahead: 0 }
    }

    /// Records output. `at` may be earlier than the output.
    #[inline]
    pub(crate) const fn sent(&mut self, at: Instant) {
        self.idle_since = at;
    }

    /// Records input. Any input shows that the peer is alive, since PINGRESP may have to wait behind other packets.
    #[inline]
    pub(crate) const fn received(&mut self, now: Instant) {
        self.has_asked = false;
        self.silent_since = now;
    }

    /// Records that a packet to be answered was put into the output, as the last of `ahead` bytes that are to be taken.
    pub(crate) fn ask(&mut self, now: Instant, ahead: u64) {
        self.idle_since = now;
        if !self.has_asked {
            self.has_asked = true;
            self.silent_since = now;
            self.ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        }
    }

    /// Returns whether a packet to be answered is still in the output.
    #[inline]
    pub(crate) const fn awaits_departure(&self) -> bool {
        self.has_asked && self.ahead != 0
    }

    /// Records that `count` bytes have been taken from the output.
    ///
    /// The time for an answer begins when the last byte of the packet to be answered has been taken; until then, every
    /// taken byte shows that the link is alive. Bytes behind that packet show nothing: without a peer, a transport
    /// still takes as many bytes as its buffers hold.
    #[inline]
    pub(crate) fn left(&mut self, count: u64, now: Instant) {
        if self.awaits_departure() {
            self.silent_since = now;
            self.ahead = self.ahead.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// Restarts the time for an answer, because the session took no input until now.
    pub(crate) const fn restart(&mut self, now: Instant) {
        self.silent_since = now;
    }

    /// Returns the time at which a PINGREQ is due: an eighth of the interval, but at most one second, before the
    /// interval ends. So the server receives a packet in every interval even if the caller is a little late
    /// \[MQTT-3.1.2-20\].
    ///
    /// The interval counts from the last output or the last input, whichever is earlier: without input for an interval,
    /// the peer may be gone without having closed the connection, although packets were sent. While an answer is
    /// outstanding, only the output counts.
    pub(crate) fn ping_at(&self) -> Option<Instant> {
        let interval = u64::from(self.interval?.get());
        let early = interval.saturating_mul(125_000).min(1_000_000);
        let micros = interval.saturating_mul(1_000_000).saturating_sub(early);
        let since = if self.has_asked { self.idle_since } else { self.idle_since.min(self.silent_since) };
        Instant::from_micros(since.as_micros().saturating_add(micros)).unless_never()
    }

    /// Returns the time at which the connection is given up unless input arrives earlier.
    pub(crate) fn dead_at(&self, timeout: Option<NonZeroU16>) -> Option<Instant> {
        let seconds = timeout.filter(|_| self.has_asked)?;
        Some(self.silent_since.after_seconds(seconds.get().into()))
    }
}
