//! The questions that a ledger passes on: those that a server asks all day. All others are methods of [`Reader`](crate::query::reader::Reader).

/// Gives a type with a field `reader` the method `reader()`, and the questions that are asked most.
macro_rules! pass_questions_on {
    ($ledger:ty) => {
        impl $ledger {
            /// The reader of this ledger: every question that can be asked of it.
            #[must_use]
            pub fn reader(&self) -> &crate::query::reader::Reader {
                &self.reader
            }
        }

        $crate::ledger::questions::pass_questions_on! { $ledger:
            /// The person that an id belongs to now.
            #[must_use]
            resolve(distinct_id: &str) -> Option<crate::query::reader::Resolution>;
            /// The profile of the person that an id belongs to now.
            profile(distinct_id: &str) -> Result<Option<crate::query::answer::Profile>, crate::store::segments::Fault>;
            /// All persons, in the order of their founding.
            #[must_use]
            persons() -> crate::query::reader::Persons<'_>;
            /// An event, and the person that it belongs to now.
            event(event_id: crate::model::id::OperationId)
                -> Result<Option<crate::query::answer::EventAnswer>, crate::store::segments::Fault>;
            /// The records that make two ids one person.
            explain(a: &str, b: &str)
                -> Result<Option<crate::query::explain::ids::Explanation>, crate::store::segments::Fault>;
            /// The record that gave a property its value, and those that did not.
            why_property(distinct_id: &str, key: &str)
                -> Result<Option<crate::query::explain::property::WhyProperty>, crate::store::segments::Fault>;
            /// What keeps two ids apart.
            why_not(a: &str, b: &str)
                -> Result<Option<crate::query::explain::why_not::WhyNot>, crate::store::segments::Fault>;
            /// The number of records, and the hash of the last.
            #[must_use]
            checkpoint() -> crate::log::chain::Checkpoint;
            /// Whose ledger this is.
            #[must_use]
            tenant() -> &crate::model::id::Tenant;
            /// The policy that holds for the next operation.
            #[must_use]
            policy() -> &crate::model::policy::Policy;
        }
    };
    ($ledger:ty: $($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl $ledger {
            $(
                $(#[$doc])*
                #[doc = ""]
                #[doc = concat!("The same as [`Reader::", stringify!($name), "`](crate::query::reader::Reader::", stringify!($name), "), which tells more.")]
                pub fn $name(&self $(, $arg: $type)*) -> $answer {
                    self.reader.$name($($arg),*)
                }
            )*
        }
    };
}
pub(crate) use pass_questions_on;
