//! The account of the messages and requests that a session stores.

/// The number and the size of the messages and requests that a session has queued and in flight. After PUBREC a message
/// of QoS 2 counts without its bytes until PUBCOMP arrives.
#[derive(Clone, Copy, Default)]
pub(crate) struct Budget {
    count: u32,
    bytes: u32,
}

/// Limits of a [`Budget`].
#[derive(Clone, Copy)]
pub(crate) struct BudgetLimits {
    pub(crate) count: u32,
    /// In bytes. If nothing is stored, one packet of any size fits; otherwise a packet that both endpoints support
    /// could never be delivered.
    pub(crate) bytes: u32,
}

impl Budget {
    /// Returns the number of messages and requests.
    #[inline]
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Returns the size of the messages and requests, in bytes.
    #[inline]
    pub(crate) const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Adds a message or request of this size.
    #[inline]
    pub(crate) const fn add(&mut self, bytes: usize) {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes as u32);
    }

    /// Removes a message or request of this size.
    #[inline]
    pub(crate) const fn remove(&mut self, bytes: usize) {
        self.count = self.count.saturating_sub(1);
        self.remove_bytes(bytes);
    }

    /// Removes the bytes of a message whose delivery continues without them.
    #[inline]
    pub(crate) const fn remove_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes as u32);
    }

    /// Sets the size of all messages and requests.
    pub(crate) fn set_bytes(&mut self, bytes: usize) {
        self.bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Returns the size of the largest packet that is certain to fit; `None` if the maximum number is reached.
    #[inline]
    pub(crate) const fn room(&self, limits: BudgetLimits) -> Option<u32> {
        if self.count < limits.count { Some(limits.bytes.saturating_sub(self.bytes)) } else { None }
    }

    /// Returns whether a packet of this size fits if `dropped`, a number of messages and their size, is dropped for it.
    pub(crate) fn fits(&self, limits: BudgetLimits, bytes: usize, dropped: (u32, u32)) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let all = self.bytes.saturating_sub(dropped.1).checked_add(bytes);
        self.count.saturating_sub(dropped.0) < limits.count
            && (self.bytes == 0 || all.is_some_and(|all| all <= limits.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BudgetLimits = BudgetLimits { count: 3, bytes: 100 };

    #[test]
    fn a_packet_fits_by_number_and_by_size() {
        let mut budget = Budget::default();
        assert!(budget.fits(LIMITS, 101, (0, 0)), "where nothing is stored, one of any size fits");
        budget.add(60);
        assert!(budget.fits(LIMITS, 40, (0, 0)) && !budget.fits(LIMITS, 41, (0, 0)));
        assert!(budget.fits(LIMITS, 100, (1, 60)), "in place of another one");
        assert!(!budget.fits(LIMITS, 101, (1, 60)), "others do not make room for one that is too large");
        budget.add(1);
        budget.add(1);
        assert!(!budget.fits(LIMITS, 1, (0, 0)) && budget.fits(LIMITS, 1, (1, 1)));
        assert_eq!((budget.count(), budget.bytes(), budget.room(LIMITS)), (3, 62, None));
        budget.remove(60);
        assert_eq!((budget.count(), budget.bytes(), budget.room(LIMITS)), (2, 2, Some(98)));
    }
}
