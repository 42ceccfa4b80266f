//! Rows that say who is who: a vendor's own word on whose an id is, and what it knows of the person.
//!
//! PostHog's persons model, pages of its persons API, Mixpanel's table of identities, and Amplitude's events, which name the user that
//! Amplitude made of their ids. Read as operations they assert that state; read as a mapping they can be compared with a ledger.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::envelope::Envelope;
use super::json::{Json, Object};
use super::ops::{properties, string, wrong};
use super::rejection::Rejection;
use super::vendor::{device_text, distinct_id, id_text, member_id, row_time};
use crate::log::digest::{Hasher, Purpose};
use crate::model::id::DistinctId;
use crate::model::operation::{Actor, Changes, Operation, Request, Source};
use crate::model::time::Timestamp;

/// What is looked at in a row.
const ROW: [&str; 13] = [
    "person_id",
    "uuid",
    "id",
    "distinct_id",
    "distinct_ids",
    "properties",
    "created_at",
    "person_distinct_id_version",
    "is_deleted",
    "resolved_distinct_id",
    "amplitude_id",
    "user_id",
    "device_id",
];

/// Whose an id is, as a vendor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The id.
    pub distinct_id: String,
    /// The vendor's name of the person; `None` if it was deleted.
    pub person: Option<String>,
    /// How new the statement is; of two about one id the greater one holds, and of equals the later.
    pub version: u64,
}

/// A row, read.
struct Row<'a> {
    person: Cow<'a, str>,
    /// At least one.
    ids: Vec<DistinctId>,
    properties: Option<Json<'a>>,
    at: Option<Timestamp>,
    version: u64,
    is_deleted: bool,
}

/// Reads rows, and knows under which id each person was first named: some 60 bytes a person.
#[derive(Default)]
pub(super) struct Persons {
    /// By half a digest of the person's name.
    first_ids: BTreeMap<[u8; 16], DistinctId>,
}

impl Persons {
    /// The operations that make a row's statement true, and the statement itself. There is a statement also where the row cannot be asserted.
    pub(super) fn read(
        &mut self,
        json: Json<'_>,
        envelope: &Envelope,
    ) -> (Result<Vec<Operation>, Rejection>, Vec<Mapped>) {
        let row = match Row::read(json) {
            Ok(row) => row,
            Err(rejection) => return (Err(rejection), Vec::new()),
        };
        let mapped = row.mapped();
        (self.operations(&row, envelope), mapped)
    }

    fn operations(&mut self, row: &Row<'_>, envelope: &Envelope) -> Result<Vec<Operation>, Rejection> {
        if row.is_deleted {
            return Err(Rejection::DeletedPerson);
        }
        let at = row.at.or(envelope.received).ok_or(Rejection::Missing { key: "created_at" })?;
        let set =
            row.properties.map_or_else(|| Ok(Default::default()), |json| properties("properties", json))?;
        let first = self.first_ids.entry(name_digest(&row.person)).or_insert_with(|| row.ids[0].clone());
        let asked = row.ids.iter().map(|id| {
            let who = Actor::Id(first.clone());
            let request = match id == first {
                true => Request::Set { who },
                false => Request::Merge { who, alias: Some(Source::Id(id.clone())) },
            };
            Operation::new(at, request)
        });
        let mut operations: Vec<_> = asked.collect();
        operations[0].changes = Changes { set, ..Changes::default() };
        operations[0].bent.replaced_nul = row.properties.is_some_and(Json::has_half_pair);
        Ok(operations)
    }
}

fn name_digest(person: &str) -> [u8; 16] {
    let mut hasher = Hasher::new(Purpose::OperationId);
    hasher.field(b"person").field(person.as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finish().0[..16]);
    half
}

impl<'a> Row<'a> {
    fn read(json: Json<'a>) -> Result<Row<'a>, Rejection> {
        let members = json.object(&ROW).ok_or(Rejection::NotAnEvent { found: json.kind() })??;
        json.check_depth()?; // bounds every recursion into it
        let (person, ids) = if let Some(resolved) = member_id(&members, "resolved_distinct_id")? {
            let person = id_text("resolved_distinct_id", resolved)?;
            let own = DistinctId::new(person.as_ref());
            let own = own.map_err(|source| Rejection::Id { key: "resolved_distinct_id", source })?;
            (person, [vec![own], listed(&members)?].concat())
        } else if let Some(user) = member_id(&members, "amplitude_id")? {
            (id_text("amplitude_id", user)?, of_amplitude(&members)?)
        } else {
            (named(&members)?, listed(&members)?)
        };
        if ids.is_empty() {
            return Err(Rejection::Missing { key: "distinct_id" });
        }
        let version = members.some("person_distinct_id_version").map(|json| version(json)).transpose()?;
        Ok(Row {
            person,
            ids,
            properties: members.some("properties").filter(|json| !json.is_nothing()),
            at: members.some("created_at").map(|json| row_time("created_at", json)).transpose()?,
            version: version.unwrap_or_default(),
            is_deleted: members.some("is_deleted").is_some_and(|json| matches!(json.text(), "true" | "1")),
        })
    }

    fn mapped(&self) -> Vec<Mapped> {
        let person = (!self.is_deleted).then(|| self.person.to_string());
        let mapped = |id: &DistinctId| Mapped {
            distinct_id: id.as_str().to_owned(),
            person: person.clone(),
            version: self.version,
        };
        self.ids.iter().map(mapped).collect()
    }
}

/// The name of a person of PostHog: the column of an export, or the UUID of the persons API, whose `id` is a number of its own.
fn named<'a>(members: &Object<'a>) -> Result<Cow<'a, str>, Rejection> {
    for key in ["person_id", "uuid", "id"] {
        if let Some(json) = member_id(members, key)? {
            return id_text(key, json);
        }
    }
    Err(Rejection::Missing { key: "person_id" })
}

/// The ids of `distinct_id` or `distinct_ids`, each once.
fn listed(members: &Object<'_>) -> Result<Vec<DistinctId>, Rejection> {
    let mut ids = Vec::new();
    if let Some(json) = member_id(members, "distinct_id")? {
        ids.push(distinct_id("distinct_id", json)?);
    }
    if let Some(json) = members.some("distinct_ids") {
        const KEY: &str = "distinct_ids";
        for json in json.elements().ok_or_else(|| wrong(KEY, json, "an array of ids"))? {
            let text = string(KEY, json)?;
            ids.push(DistinctId::new(text).map_err(|source| Rejection::Id { key: KEY, source })?);
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    Ok(ids)
}

fn of_amplitude(members: &Object<'_>) -> Result<Vec<DistinctId>, Rejection> {
    let mut ids = Vec::new();
    if let Some(user) = member_id(members, "user_id")? {
        ids.push(distinct_id("user_id", user)?);
    }
    if let Some(device) = member_id(members, "device_id")? {
        let device = DistinctId::new(device_text("device_id", device)?);
        ids.push(device.map_err(|source| Rejection::Id { key: "device_id", source })?);
    }
    Ok(ids)
}

/// A count of changes.
fn version(json: Json<'_>) -> Result<u64, Rejection> {
    json.text()
        .trim_matches('"')
        .parse()
        .map_err(|_| wrong("person_distinct_id_version", json, "a whole number"))
}

#[cfg(test)]
mod tests {
    use super::super::importer::tests::import;
    use super::super::{Format, FutureTimes, Importer, Options};

    const PERSONS: Options = Options {
        format: Format::Persons,
        lift: true,
        keep_event_properties: false,
        future_times: FutureTimes::Clamp,
    };

    /// A row of the persons model, as PostHog's batch exports write it.
    fn row(id: &str, rest: &str) -> String {
        format!(
            r#"{{"team_id":1,"distinct_id":"{id}","person_id":"p1","person_version":2,"created_at":"2026-01-01 00:00:00.000000"{rest}}}"#
        )
    }

    #[test]
    fn rows_are_read_as_operations_that_assert_them() {
        let page = r#"{"next":null,"results":[{"id":7,"uuid":"p2","distinct_ids":["b1","bob"],"properties":{"plan":"pro"},"created_at":"2026-01-01T00:00:00Z"}]}"#;
        #[rustfmt::skip]
        let table = [
            (row("a1", r#","properties":{"plan":"pro"}"#), vec![r#"1 set a1 set{"plan":"pro"}"#]),
            (row("a1", "") + "\n" + &row("ann", r#","properties":"{\"plan\":\"pro\"}""#), vec!["1 set a1", r#"2 merge a1 <- ann set{"plan":"pro"}"#]),
            (page.to_owned(), vec![r#"1[0] set b1 set{"plan":"pro"}"#, "1[0] merge b1 <- bob"]),
            (r#"{"person_id":"p3","distinct_ids":["c","c"],"created_at":"2026-01-01T00:00:00Z"}"#.to_owned(), vec!["1 set c"]),
            (row("a1", r#","is_deleted":true"#), vec!["1 the person was deleted; nothing is asserted of it"]),
            (r#"{"person_id":"p3","distinct_id":"c"}"#.to_owned(), vec!["1 `created_at` is missing"]),
            (r#"{"distinct_id":"c"}"#.to_owned(), vec!["1 `person_id` is missing"]),
            (r#"{"person_id":"p3"}"#.to_owned(), vec!["1 `distinct_id` is missing"]),
            (r#"{"person_id":"p3","distinct_ids":"c"}"#.to_owned(), vec!["1 `distinct_ids` is a string; expected an array of ids"]),
        ];
        for (input, expected) in table {
            assert_eq!(import(input.as_bytes(), &PERSONS), expected, "{input}");
        }
    }

    #[test]
    fn rows_say_whose_each_id_is() {
        let rows = [
            row("a1", r#","person_distinct_id_version":3"#),
            row("a2", r#","is_deleted":true"#),
            r#"{"distinct_id":"d1","resolved_distinct_id":"ann"}"#.to_owned(),
            r#"{"amplitude_id":77,"user_id":"bob","device_id":"d2","event_type":"x"}"#.to_owned(),
        ];
        let mut importer = Importer::new(std::io::Cursor::new(rows.join("\n")), PERSONS.clone());
        let mut said = Vec::new();
        while importer.next().is_some() {
            let mapped = importer.mapped();
            said.extend(
                mapped.map(|mapped| (mapped.distinct_id, mapped.person.unwrap_or_default(), mapped.version)),
            );
        }
        let said: Vec<_> =
            said.iter().map(|(id, person, version)| (&id[..], &person[..], *version)).collect();
        let expected = [
            ("a1", "p1", 3),
            ("a2", "", 0),
            ("ann", "ann", 0),
            ("d1", "ann", 0),
            ("bob", "77", 0),
            ("$device:d2", "77", 0),
        ];
        assert_eq!(said, expected);
    }
}
