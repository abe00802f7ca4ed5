//! Numbers that look random, from a seed.

/// SplitMix64: good enough to choose by, and the same wherever it starts from the same seed.
#[derive(Clone)]
pub(super) struct Random(u64);

/// A seed for one purpose. Who has seen what comes of it can tell neither the seed nor that for another purpose: the halves of
/// the product cannot be told from their difference.
pub(super) const fn derive(seed: u64, purpose: u64) -> u64 {
    let mixed = Random(seed ^ purpose.wrapping_mul(0xA076_1D64_78BD_642F)).next();
    let product = (mixed as u128).wrapping_mul((mixed ^ 0xE703_7ED1_A0B4_28DB) as u128);
    (product >> 64) as u64 ^ product as u64
}

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub(super) const fn below(&mut self, end: u32) -> u32 {
        ((self.next() >> 32).wrapping_mul(end as u64) >> 32) as u32
    }
}
