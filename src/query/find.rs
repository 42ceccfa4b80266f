//! Finding: which persons have a property value. Where a request to be forgotten begins: with an e-mail address, not with an id.

use crate::log::body::KeyNo;
use crate::model::id::PropertyKey;
use crate::model::value::Value;
use crate::query::answer::Profile;
use crate::query::reader::{PERSONS_AT_A_TIME, Reader};
use crate::store::segments::Fault;

impl Reader {
    /// Persons whose property `key` has a value now that `is` accepts, in the order of their founding.
    ///
    /// Every such value is read: there is no index, so nothing of an erased one is left in an index. Values that a person had
    /// once and has no more are not looked at, nor are event properties.
    ///
    /// ```
    /// use identity_ledger::{DistinctId, Ledger, Operation, Policy, PropertyKey, Tenant, Timestamp, Value};
    /// let mut ledger = Ledger::in_memory(Tenant::default(), Policy::default())?;
    /// let (at, email) = (Timestamp::from_micros(0)?, PropertyKey::new("email")?);
    /// let mut operation = Operation::properties(at, DistinctId::new("u-1")?);
    /// operation.changes.set.insert(email.clone(), Value::from("ann@example.com"));
    /// let _ = ledger.append(operation)?;
    /// let found = ledger.reader().find(&email, |value| *value == Value::from("ann@example.com"))?;
    /// assert_eq!(found[0].distinct_ids, ["u-1"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Fault`] when values cannot be read back from the log.
    pub fn find(&self, key: &PropertyKey, mut is: impl FnMut(&Value) -> bool) -> Result<Vec<Profile>, Fault> {
        let Some(key) = self.dictionaries.keys.find(key.as_str()).map(KeyNo) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut having = self.state().persons().filter_map(|view| Some((view, view.standing_of(key)?)));
        loop {
            let (views, properties): (Vec<_>, Vec<_>) = having.by_ref().take(PERSONS_AT_A_TIME).unzip();
            if views.is_empty() {
                return Ok(found);
            }
            let answers = self.values(&properties)?;
            let matching = views
                .into_iter()
                .zip(answers)
                .filter(|(_, answer)| answer.value.as_ref().is_some_and(&mut is));
            found.extend(self.profiles(matching.map(|(view, _)| view).collect())?);
        }
    }
}
