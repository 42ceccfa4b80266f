//! Seeded chance: SplitMix64 (Steele, Lea, Flood 2014). The same from the same seed on every machine; no dependency, whole
//! numbers only.

/// A source of chance that repeats itself from the same seed.
///
/// ```
/// use identity_ledger::testing::chance::Chance;
/// let (mut a, mut b) = (Chance::new(7), Chance::new(7));
/// assert_eq!(a.below(6), b.below(6));
/// assert!(["ann", "bob"].contains(a.pick(&["ann", "bob"])));
/// ```
#[derive(Clone, Debug)]
pub struct Chance(u64);

/// 2^64 over the golden ratio, odd.
pub(super) const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Chance {
    /// From a seed; any number will do.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mixed(self.0)
    }

    /// A number below `bound`, or 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let drawn = below(bound as u64, self.draw());
        usize::try_from(drawn).expect("it is below a usize")
    }

    /// Returns true with probability one in `of`.
    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// One of a list.
    ///
    /// # Panics
    /// When the list is empty.
    pub fn pick<'l, T>(&mut self, list: &'l [T]) -> &'l T {
        &list[self.below(list.len())]
    }

    /// Draws `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.draw().to_le_bytes()[7]).collect()
    }
}

/// SplitMix64's mixing: one to one, each bit of the number decides about every bit of the result.
pub(super) fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// A number below `bound`, or 0 when that is 0, from a drawn one: the high half of their product.
pub(super) fn below(bound: u64, drawn: u64) -> u64 {
    let product = u128::from(bound) * u128::from(drawn);
    u64::try_from(product >> 64).expect("the high half has 64 bits")
}
