//! Random numbers from a seed.

/// A generator of pseudo-random numbers that follow from a seed alone: SplitMix64.
///
/// ```
/// # use mqtt_sansio_testkit::Random;
/// let mut random = Random::new(42);
/// let mut other = random.fork(); // for a part of the test that must not shift the numbers of the rest
/// assert!(random.below(6) < 6 && other.index(3) < 3);
/// println!("{} {}", random.number(), other.percent(50));
/// assert_eq!(Random::new(7).number(), Random::new(7).number());
/// ```
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates the generator of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, or 0 if `end` is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        let number = self.number() >> 16;
        match number.checked_rem(end) {
            Some(number) => number,
            None => 0,
        }
    }

    /// Returns an index into a sequence of this length.
    pub const fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Returns `true` with a probability of `chance` percent.
    pub const fn percent(&mut self, chance: u8) -> bool {
        self.below(100) < chance as u64
    }

    /// Returns another generator, whose numbers do not depend on how many are taken from this one later.
    pub const fn fork(&mut self) -> Self {
        Self(self.number())
    }
}
