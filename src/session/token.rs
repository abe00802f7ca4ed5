//! Names for what was asked of an engine.

use core::fmt;
use core::num::NonZeroU64;

/// The name of an operation: what `publish`, `subscribe` and `unsubscribe` return, and what their outcome is reported
/// under. Every token has exactly one outcome.
///
/// Tokens ascend in the order in which the operations were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(NonZeroU64);

impl Token {
    pub(crate) const FIRST: Self = Self(NonZeroU64::MIN);

    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1)) // five centuries at a thousand a microsecond
    }

    /// The number, for a table or a log. Also kept in the journal, so that a message is known again after a restart.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    pub(crate) fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
