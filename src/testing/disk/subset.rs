//! Which facts a crash leaves.

use std::fmt;
use std::str::FromStr;

use crate::testing::chance::Chance;

/// Which of the pending facts survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subset {
    pub(super) kept: Vec<bool>,
    /// What becomes of the facts beyond `kept`.
    pub(super) rest: bool,
}

impl Subset {
    /// No fact survives.
    pub fn none() -> Subset {
        Subset { kept: Vec::new(), rest: false }
    }

    /// Every fact survives.
    pub fn all() -> Subset {
        Subset { kept: Vec::new(), rest: true }
    }

    /// Every subset of `facts` facts if they are at most `exhaustive`; else none, all, each fact alone, each fact missing, and
    /// subsets drawn by `seed` until there are `samples`.
    pub fn all_or_some(
        facts: usize,
        exhaustive: usize,
        samples: usize,
        seed: u64,
    ) -> impl Iterator<Item = Subset> {
        let every = facts <= exhaustive.min(63);
        let count = if every { 1 << facts } else { samples };
        let mut chance = Chance::new(seed);
        (0..count).map(move |number| {
            let kept = match number {
                _ if every => (0..facts).map(|fact| number >> fact & 1 == 1).collect(),
                0 => vec![false; facts],
                1 => vec![true; facts],
                _ if number < 2 + 2 * facts => {
                    let (fact, alone) = ((number - 2) / 2, number % 2 == 0);
                    (0..facts).map(|other| (other == fact) == alone).collect()
                }
                _ => (0..facts).map(|_| chance.one_in(2)).collect(),
            };
            Subset { kept, rest: false }
        })
    }

    pub(super) fn keeps(&self, fact: usize) -> bool {
        self.kept.get(fact).copied().unwrap_or(self.rest)
    }
}

impl fmt::Display for Subset {
    /// One digit a fact, `1` for those that survive, and then `+` if all others do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: String = self.kept.iter().map(|kept| if *kept { '1' } else { '0' }).collect();
        write!(f, "[{digits}{}]", if self.rest { "+" } else { "" })
    }
}

impl FromStr for Subset {
    type Err = String;
    fn from_str(text: &str) -> Result<Subset, String> {
        let wrong =
            || format!("{text} is not a subset; expected digits 0 and 1 in brackets, and perhaps a +");
        let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or_else(wrong)?;
        let (digits, rest) = inner.strip_suffix('+').map_or((inner, false), |digits| (digits, true));
        let kept = digits.chars().map(|digit| match digit {
            '0' => Ok(false),
            '1' => Ok(true),
            _ => Err(wrong()),
        });
        Ok(Subset { kept: kept.collect::<Result<_, String>>()?, rest })
    }
}
