//! A value as relative changes make it (E9), one after the other.

use std::collections::BTreeMap;

use crate::log::body::Verb;
use crate::model::limits::MAX_VALUE_BYTES;
use crate::model::value::Value;

/// A value while relative changes are applied to it. A list costs what is added to it and taken from it, not its length each time.
#[derive(Debug, Default)]
pub(crate) struct Accumulator {
    /// `None` before the first change of a key that has no value.
    value: Option<Value>,
    list: Option<List>,
}

/// A list value in the making.
#[derive(Debug)]
struct List {
    /// `None` where an element was removed.
    elements: Vec<Option<Value>>,
    /// Where equal elements stand, by their canonical bytes.
    places: BTreeMap<Vec<u8>, Vec<usize>>,
    /// The canonical bytes of the list.
    bytes: usize,
}

/// The canonical bytes of an empty list.
const EMPTY_LIST_BYTES: usize = 5;

impl Accumulator {
    /// Begins with a value that was written.
    pub(crate) fn of(value: Value) -> Accumulator {
        Accumulator { value: Some(value), list: None }
    }

    /// Applies a change. `false` if it does not fit; then the value is as it was.
    pub(crate) fn apply(&mut self, verb: Verb, operand: &Value) -> bool {
        if verb == Verb::ADD {
            let sum = match (&self.list, &self.value) {
                (Some(_), _) => None,
                (None, value) => sum(value.as_ref().unwrap_or(&Value::Int(0)), operand),
            };
            let fits = sum.is_some();
            self.value = sum.or(self.value.take());
            return fits;
        }
        let Value::List(operand) = operand else { return false };
        let list = match &mut self.list {
            Some(list) => list,
            None => match self.value.take() {
                None => self.list.insert(List::of(Vec::new())),
                Some(Value::List(elements)) => self.list.insert(List::of(elements)),
                other => {
                    self.value = other;
                    return false;
                }
            },
        };
        list.apply(verb, operand)
    }

    /// The value; `None` if nothing was ever applied.
    pub(crate) fn finish(self) -> Option<Value> {
        match self.list {
            Some(list) => Some(Value::List(list.elements.into_iter().flatten().collect())),
            None => self.value,
        }
    }
}

impl List {
    fn of(elements: Vec<Value>) -> List {
        let mut list = List { elements: Vec::new(), places: BTreeMap::new(), bytes: EMPTY_LIST_BYTES };
        elements.into_iter().for_each(|element| list.push(element.to_canonical_bytes(), element));
        list
    }

    fn push(&mut self, bytes: Vec<u8>, element: Value) {
        self.bytes += bytes.len();
        self.places.entry(bytes).or_default().push(self.elements.len());
        self.elements.push(Some(element));
    }

    fn apply(&mut self, verb: Verb, operand: &[Value]) -> bool {
        let keyed = operand.iter().map(|element| (element.to_canonical_bytes(), element));
        if verb == Verb::REMOVE {
            for (bytes, _) in keyed {
                for at in self.places.remove(&bytes).unwrap_or_default() {
                    self.elements[at] = None;
                    self.bytes -= bytes.len();
                }
            }
            return true;
        }
        let mut added: Vec<(Vec<u8>, &Value)> = keyed.collect();
        if verb == Verb::UNION {
            let mut seen = std::collections::BTreeSet::new();
            added.retain(|(bytes, _)| !self.places.contains_key(bytes) && seen.insert(bytes.clone()));
        }
        let more: usize = added.iter().map(|(bytes, _)| bytes.len()).sum();
        let fits = more == 0 || self.bytes + more <= MAX_VALUE_BYTES;
        if fits {
            added.into_iter().for_each(|(bytes, element)| self.push(bytes, element.clone()));
        }
        fits
    }
}

/// The sum of two numbers, exact as far as whole numbers are in it; `None` if one is not a number, or the sum is not one.
fn sum(a: &Value, b: &Value) -> Option<Value> {
    let whole = |value: &Value| match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::UInt(number) => Some(i128::from(*number)),
        _ => None,
    };
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        let sum = a + b; // of two that fit 65 bits
        let signed = i64::try_from(sum).map(Value::Int);
        return signed.or_else(|_| u64::try_from(sum).map(Value::UInt)).ok();
    }
    let float = |value: &Value| match value {
        Value::Float(number) => Some(*number),
        value => {
            let exact = whole(value)?;
            Some(exact as f64).filter(|float| *float as i128 == exact) // nothing is rounded (E4)
        }
    };
    Value::float(float(a)? + float(b)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(numbers: &[i64]) -> Value {
        Value::List(numbers.iter().copied().map(Value::Int).collect())
    }

    #[test]
    fn numbers_add_up_exactly_or_not_at_all_e9() {
        let float = |number| Value::float(number).unwrap();
        #[rustfmt::skip]
        let table = [
            (None, Value::Int(5), Some(Value::Int(5))),
            (None, float(-0.0), Some(float(0.0))),
            (Some(Value::Int(1)), Value::Int(-3), Some(Value::Int(-2))),
            (Some(Value::Int(i64::MAX)), Value::Int(1), Some(Value::UInt(1 << 63))),
            (Some(Value::UInt(u64::MAX)), Value::Int(-1), Some(Value::UInt(u64::MAX - 1))),
            (Some(Value::UInt(u64::MAX)), Value::Int(1), None),
            (Some(Value::Int(i64::MIN)), Value::Int(-1), None),
            (Some(Value::Int(1)), float(0.5), Some(float(1.5))),
            (Some(Value::Int((1 << 53) + 1)), float(0.5), None),
            (Some(float(f64::MAX)), float(f64::MAX), None),
            (Some(Value::text("1")), Value::Int(1), None),
            (Some(Value::Null), Value::Int(1), None),
            (Some(list(&[])), Value::Int(1), None),
            (Some(Value::Int(1)), Value::text("1"), None),
        ];
        for (base, operand, expected) in table {
            let mut value = base.clone().map_or_else(Accumulator::default, Accumulator::of);
            assert_eq!(value.apply(Verb::ADD, &operand), expected.is_some(), "{base:?} + {operand}");
            assert_eq!(value.finish(), expected.or(base));
        }
    }

    #[test]
    fn lists_take_and_lose_elements_in_order_e9() {
        let mut value = Accumulator::of(list(&[1, 2, 1]));
        for (verb, operand, fits) in [
            (Verb::UNION, list(&[2, 3, 3]), true),
            (Verb::APPEND, list(&[1, 4]), true),
            (Verb::REMOVE, list(&[1, 9]), true),
            (Verb::UNION, list(&[1]), true),
            (Verb::APPEND, Value::Int(5), false),
            (Verb::ADD, Value::Int(5), false),
        ] {
            assert_eq!(value.apply(verb, &operand), fits, "{verb:?} {operand}");
        }
        assert_eq!(value.finish(), Some(list(&[2, 3, 4, 1])));
        let mut text = Accumulator::of(Value::text("x"));
        assert!(!text.apply(Verb::APPEND, &list(&[1])), "a text is not a list");
        assert_eq!(text.finish(), Some(Value::text("x")));
        let mut nothing = Accumulator::default();
        assert!(nothing.apply(Verb::REMOVE, &list(&[1])));
        assert_eq!(nothing.finish(), Some(list(&[])));
    }

    #[test]
    fn a_list_grows_to_the_bound_of_a_value_and_no_further_e9() {
        let text = |len: usize| Value::List(vec![Value::text("x".repeat(len - 5))]);
        let room = MAX_VALUE_BYTES - EMPTY_LIST_BYTES;
        let mut value = Accumulator::default();
        assert!(
            value.apply(Verb::APPEND, &text(room / 2)) && value.apply(Verb::APPEND, &text(room - room / 2))
        );
        assert!(!value.apply(Verb::APPEND, &Value::List(vec![Value::Null])), "one byte more");
        assert!(value.apply(Verb::UNION, &text(room / 2)), "it is there already");
        assert!(value.apply(Verb::REMOVE, &text(room - room / 2)));
        assert!(value.apply(Verb::APPEND, &text(room - room / 2)), "there is room again");
        assert_eq!(value.finish().unwrap().check(), Ok(MAX_VALUE_BYTES));
    }
}
