//! The rate limits of a client: packets that arrive faster wait until they are due.

use std::num::NonZeroU32;

use mqtt_sansio::Instant;

/// Maximum number of messages and bytes that a client may send per second. `None` means no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    pub(crate) messages: Option<NonZeroU32>,
    pub(crate) bytes: Option<NonZeroU32>,
}

/// Releases the packets of one client at its rate.
pub(crate) struct Meter {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    position: Position,
}

/// The position of the next byte in its packet.
#[derive(Clone, Copy)]
enum Position {
    First,
    /// In the Remaining Length.
    Length {
        value: u64,
        shift: u32,
    },
    /// Behind the Remaining Length: the number of bytes that are left.
    Rest(u64),
}

/// A token bucket. It holds the tokens of one second at most, and is full at first.
struct Bucket {
    /// Tokens per second.
    rate: u64,
    /// The tokens, in millionths.
    level: u64,
    at: Instant,
}

const MILLION: u64 = 1_000_000;

impl Meter {
    /// Returns `None` if there is no limit.
    pub(crate) fn new(rates: Rates, now: Instant) -> Option<Self> {
        let bucket = |rate: NonZeroU32| Bucket::new(rate, now);
        let (messages, bytes) = (rates.messages.map(bucket), rates.bytes.map(bucket));
        (messages.is_some() || bytes.is_some()).then_some(Self { messages, bytes, position: Position::First })
    }

    /// Returns how many of the next bytes of the client are released now, and takes the tokens for them.
    pub(crate) fn release(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let mut buckets = [&mut self.messages, &mut self.bytes].map(Option::as_mut);
        buckets.iter_mut().flatten().for_each(|bucket| bucket.fill(now));
        let [mut messages, limit] = buckets;
        let room = limit.as_ref().map_or(u64::MAX, |bucket| bucket.whole());
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let released = self.position.advance(&bytes[..room], || messages.as_mut().is_none_or(|bucket| bucket.take(1)));
        if let Some(limit) = limit {
            limit.take(released as u64);
        }
        released
    }

    /// Returns the time at which the tokens of a tenth of a second are there: fewer are not worth a turn.
    pub(crate) fn next(&self) -> Instant {
        [&self.messages, &self.bytes].into_iter().flatten().map(Bucket::next).max().unwrap_or_default()
    }
}

impl Position {
    /// Advances over bytes, up to the first PUBLISH that `may_begin` refuses. Returns the number of these bytes.
    fn advance(&mut self, bytes: &[u8], mut may_begin: impl FnMut() -> bool) -> usize {
        const PUBLISH: u8 = 3;
        let mut count = 0;
        while let Some(&byte) = bytes.get(count) {
            match self {
                Self::First if byte >> 4 == PUBLISH && !may_begin() => break,
                Self::First => {
                    *self = Self::Length { value: 0, shift: 0 };
                    count += 1;
                }
                Self::Length { value, shift } => {
                    let value = *value | u64::from(byte & 0x7f) << *shift;
                    // A fifth byte is an error, which the broker detects.
                    let is_last = byte & 0x80 == 0 || *shift == 21;
                    *self = match is_last {
                        false => Self::Length { value, shift: *shift + 7 },
                        true if value == 0 => Self::First,
                        true => Self::Rest(value),
                    };
                    count += 1;
                }
                Self::Rest(rest) => {
                    let taken = (bytes.len() - count).min(usize::try_from(*rest).unwrap_or(usize::MAX));
                    *rest -= taken as u64;
                    count += taken;
                    if *rest == 0 {
                        *self = Self::First;
                    }
                }
            }
        }
        count
    }
}

impl Bucket {
    fn new(rate: NonZeroU32, now: Instant) -> Self {
        let rate = u64::from(rate.get());
        Self { rate, level: rate * MILLION, at: now }
    }

    /// Adds the tokens of the time since the last call.
    fn fill(&mut self, now: Instant) {
        let micros = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        self.at = now.max(self.at);
        self.level = self.level.saturating_add(micros.saturating_mul(self.rate)).min(self.rate * MILLION);
    }

    const fn whole(&self) -> u64 {
        self.level / MILLION
    }

    /// Takes this number of tokens, unless there are fewer.
    const fn take(&mut self, count: u64) -> bool {
        match self.level.checked_sub(count.saturating_mul(MILLION)) {
            Some(level) => {
                self.level = level;
                true
            }
            None => false,
        }
    }

    fn next(&self) -> Instant {
        let wanted = (self.rate / 10).max(1) * MILLION;
        let micros = wanted.saturating_sub(self.level).div_ceil(self.rate);
        self.at + std::time::Duration::from_micros(micros)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn meter(messages: u32, bytes: u32) -> Meter {
        let rates = Rates { messages: NonZeroU32::new(messages), bytes: NonZeroU32::new(bytes) };
        Meter::new(rates, Instant::EPOCH).unwrap()
    }

    /// Releases all bytes, and returns the times and numbers of the releases.
    fn release_all(meter: &mut Meter, mut now: Instant, mut bytes: &[u8], piece: usize) -> Vec<(Instant, usize)> {
        let mut released = Vec::new();
        while !bytes.is_empty() {
            let count = meter.release(now, &bytes[..piece.min(bytes.len())]);
            bytes = &bytes[count..];
            if count == 0 {
                assert!(meter.next() > now, "it makes progress");
                now = meter.next();
            } else {
                released.push((now, count));
            }
        }
        released
    }

    fn until(released: &[(Instant, usize)], time: Duration) -> usize {
        released.iter().filter(|(at, _)| *at <= Instant::EPOCH + time).map(|(_, count)| count).sum()
    }

    #[test]
    fn messages_are_released_at_their_rate_and_other_packets_at_once() {
        let (publish, ping) = (b"\x32\x06\0\x01t\0\x01!", b"\xc0\x00");
        for piece in [1, 3, usize::MAX] {
            let packets = [&publish.repeat(100)[..], &ping.repeat(50)].concat();
            let mut meter = meter(10, 0);
            let released = release_all(&mut meter, Instant::EPOCH, &packets, piece);
            for seconds in 0..9 {
                assert_eq!(until(&released, SECOND * seconds), 8 * 10 * (seconds as usize + 1), "{piece} {seconds}");
            }
            assert_eq!(until(&released, SECOND * 9), packets.len(), "pings are no messages");
        }
    }

    #[test]
    fn bytes_are_released_at_their_rate_however_large_a_packet_is() {
        let mut packet = b"\x30\xff\xff\xff\x7f\0\x01t".to_vec();
        packet.resize(100_000, 0);
        let mut meter = meter(0, 10_000);
        let released = release_all(&mut meter, Instant::EPOCH, &packet, 65_536);
        for seconds in 0..9 {
            assert_eq!(until(&released, SECOND * seconds), 10_000 * (seconds as usize + 1));
        }
        assert!(released.len() <= 100, "no more turns than ten in a second");
    }

    #[test]
    fn both_limits_hold_and_a_pause_is_worth_one_second() {
        let publish = b"\x30\x04\0\x01t!".repeat(1000);
        let mut meter = meter(100, 60);
        assert_eq!(meter.release(Instant::EPOCH, &publish), 60, "bytes for ten messages");
        let later = Instant::EPOCH + SECOND * 3600;
        assert_eq!(meter.release(later, &publish), 60);
        assert_eq!(meter.release(later, &publish), 0);
        // Time does not go back.
        assert_eq!(meter.release(Instant::EPOCH, &publish), 0);
        assert!(Meter::new(Rates::default(), later).is_none());
    }

    #[test]
    fn malformed_input_is_released() {
        let mut meter = meter(1, 0);
        let bytes = [0xff; 1000];
        assert_eq!(meter.release(Instant::EPOCH, &bytes), 1000);
    }
}
