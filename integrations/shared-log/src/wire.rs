//! Operations and erasures as JSON: the shapes of the message format, each beside the library's type that it stands for.
//!
//! A field that the library adds does not compile here before it has a place in the format. What stands here never changes: every follower
//! of a stream must read a message alike, whichever release it runs.

use std::collections::BTreeSet;

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::model::{Dialect, ImportFixups, PersonProfiles, Sdk};
use identity_ledger::{
    Actor, Changes, DeviceId, DistinctId, EventName, IdClass, Operation, OperationId, PersonId, Processing,
    Properties, PropertyKey, Request, Seq, Source, SplitMode, Target, Timestamp,
};
use serde::{Deserialize, Serialize};

/// One operation of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct WireOperation(#[serde(with = "OperationShape")] pub(crate) Operation);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Operation", deny_unknown_fields)]
struct OperationShape {
    time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<OperationId>,
    #[serde(default, skip_serializing_if = "is_default")]
    derived_id: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    time_by_arrival: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    is_copy: bool,
    #[serde(with = "RequestShape")]
    request: Request,
    #[serde(default, with = "ChangesShape", skip_serializing_if = "is_default")]
    changes: Changes,
    #[serde(default, with = "ProcessingShape", skip_serializing_if = "is_default")]
    processing: Processing,
    #[serde(default, with = "FixupsShape", skip_serializing_if = "is_default")]
    bent: ImportFixups,
    #[serde(default, with = "SdkShape", skip_serializing_if = "is_default")]
    sdk: Sdk,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Request", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
enum RequestShape {
    Capture {
        #[serde(with = "ActorShape")]
        who: Actor,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<EventName>,
        #[serde(default, skip_serializing_if = "Properties::is_empty")]
        properties: Properties,
    },
    Identify {
        #[serde(with = "ActorShape")]
        who: Actor,
        #[serde(default, with = "source", skip_serializing_if = "Option::is_none")]
        anonymous: Option<Source>,
    },
    DeviceIdentify {
        device: DeviceId,
        user: DistinctId,
    },
    Alias {
        #[serde(with = "ActorShape")]
        who: Actor,
        #[serde(default, with = "source", skip_serializing_if = "Option::is_none")]
        alias: Option<Source>,
    },
    Merge {
        #[serde(with = "ActorShape")]
        who: Actor,
        #[serde(default, with = "source", skip_serializing_if = "Option::is_none")]
        alias: Option<Source>,
    },
    Set {
        #[serde(with = "ActorShape")]
        who: Actor,
    },
    Reset {
        device: DeviceId,
        reset_device: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        new_id: Option<DistinctId>,
    },
    Retract {
        #[serde(with = "TargetShape")]
        target: Target,
    },
    Split {
        id: DistinctId,
        ids: BTreeSet<DistinctId>,
        #[serde(with = "SplitModeShape")]
        mode: SplitMode,
    },
    Reclassify {
        id: DistinctId,
        #[serde(with = "IdClassShape")]
        class: IdClass,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Actor", rename_all = "snake_case")]
enum ActorShape {
    Id(DistinctId),
    Device(DeviceId),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Source", rename_all = "snake_case")]
enum SourceShape {
    Id(DistinctId),
    Unstorable,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Target", rename_all = "snake_case")]
enum TargetShape {
    Record(Seq),
    Operation(OperationId),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SplitMode", rename_all = "snake_case")]
enum SplitModeShape {
    Each,
    Together,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "IdClass", rename_all = "snake_case")]
enum IdClassShape {
    Named,
    Anonymous,
    Unmergeable,
    Shared,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Processing", rename_all = "snake_case")]
enum ProcessingShape {
    Unsaid,
    On,
    Off,
    Invalid,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Changes", deny_unknown_fields)]
struct ChangesShape {
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    set: Properties,
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    set_once: Properties,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    unset: BTreeSet<PropertyKey>,
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    add: Properties,
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    append: Properties,
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    union: Properties,
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    remove: Properties,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ImportFixups", deny_unknown_fields)]
struct FixupsShape {
    shortened_id: bool,
    replaced_nul: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    clamped_time: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Sdk", deny_unknown_fields)]
struct SdkShape {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dialect: Option<Dialect>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person_profiles: Option<PersonProfiles>,
}

/// One erasure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct WireErasure(#[serde(with = "ErasureShape")] pub(crate) ErasureRequest);

#[derive(Serialize, Deserialize)]
#[serde(remote = "ErasureRequest", deny_unknown_fields)]
struct ErasureShape {
    #[serde(with = "SubjectShape")]
    subject: ErasureSubject,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    keys: BTreeSet<PropertyKey>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
    at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ErasureSubject", rename_all = "snake_case")]
enum SubjectShape {
    Person(PersonId),
    PersonOf(DistinctId),
    Ids(BTreeSet<DistinctId>),
    ReasonOf(Seq),
}

/// An optional [`Source`]: serde has no `with` for what stands in an option.
mod source {
    use super::{Source, SourceShape};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Shape(#[serde(with = "SourceShape")] Source);

    pub(super) fn serialize<S: Serializer>(
        source: &Option<Source>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        source.clone().map(Shape).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Source>, D::Error> {
        Ok(Option::<Shape>::deserialize(deserializer)?.map(|shape| shape.0))
    }
}
