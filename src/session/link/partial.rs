//! Delivery in parts: a large message whose payload is delivered as it arrives.

use crate::codec::Delivery;

/// A message whose first part has been delivered.
#[derive(Clone)]
pub(crate) struct Partial {
    delivery: Delivery,
    /// Number of bytes of the payload that have not arrived.
    missing: u32,
    /// Whether the message was delivered before, so that no part of it is reported.
    is_duplicate: bool,
}

impl Partial {
    pub(crate) const fn new(delivery: Delivery, missing: u32, is_duplicate: bool) -> Self {
        Self { delivery, missing, is_duplicate }
    }

    /// Removes the next part of the payload from the input.
    pub(crate) fn take_part<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let (part, rest) = input.split_at_checked(self.missing as usize).unwrap_or((input, &[]));
        *input = rest;
        self.missing = self.missing.saturating_sub(part.len() as u32);
        part
    }

    pub(crate) const fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// Returns the number of bytes of the payload that have not arrived.
    pub(crate) const fn missing(&self) -> u32 {
        self.missing
    }

    /// Returns whether the message was delivered before.
    pub(crate) const fn is_duplicate(&self) -> bool {
        self.is_duplicate
    }
}
