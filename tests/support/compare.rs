//! What was told beside what was found, told in cases with names where ids are generated.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A comparison on its way.
#[derive(Default)]
pub(crate) struct Comparison {
    pub(crate) names: Names,
    /// How much was compared: a case that compares nothing does not pass.
    pub(crate) count: usize,
    differences: Vec<String>,
}

impl Comparison {
    /// All differences, generated ids under their names.
    pub(crate) fn differences(&self) -> Vec<String> {
        self.differences.iter().map(|difference| self.names.name(difference)).collect()
    }

    pub(crate) fn value(&mut self, place: &str, what: &str, expected: &Value, found: &Value) {
        self.count += 1;
        if !self.names.same(expected, found) {
            self.differences.push(format!("{place}, {what}: expected {expected}, found {found}"));
        }
    }

    pub(crate) fn events(&mut self, place: &str, expected: &[Value], found: &[Value]) {
        self.count += 1;
        if expected.len() != found.len() {
            let names = |events: &[Value]| events.iter().map(event_name).collect::<Vec<_>>().join(", ");
            let (expected, found) = (names(expected), names(found));
            self.differences.push(format!("{place}: expected events [{expected}], found [{found}]"));
            return;
        }
        for (expected, found) in expected.iter().zip(found) {
            self.event(place, expected, found);
        }
    }

    /// One event. An expectation may be a name, a name with a remark, or an event with some of its properties.
    fn event(&mut self, place: &str, expected: &Value, found: &Value) {
        let name = event_name(expected);
        self.value(place, "event", &json!(name), &found["event"]);
        let properties = &found["properties"];
        if let Some(text) = expected.as_str() {
            self.remark(place, text[name.len()..].trim(), properties);
            return;
        }
        for (key, expected) in expected.as_object().into_iter().flatten() {
            match key.as_str() {
                "properties" => self.properties(place, name, expected, properties),
                "top" => {
                    self.value(place, "$set", &expected["$set"], &properties["$set"]);
                    self.value(place, "$set_once", &expected["$set_once_includes"], &properties["$set_once"]);
                }
                "top_level_$set" => self.value(place, "$set", expected, &properties["$set"]),
                // On `$set` the SDK repeats its attribution here; the caller's properties are in the event.
                "top_level_$set_once_keys_excluding_attribution" if name == "$identify" => {
                    self.value(place, "$set_once", expected, &properties["$set_once"]);
                }
                key => {
                    // Keys without a point are about transport and attribution.
                    if let Some((of, key)) = key.split_once('.') {
                        self.value(place, key, expected, &properties[of][key]);
                    }
                }
            }
        }
        let linked = |event: &Value| event["properties"].get("$anon_distinct_id").is_some();
        if expected.get("properties").is_some() && !linked(expected) && linked(found) {
            self.value(place, "$anon_distinct_id", &Value::Null, &properties["$anon_distinct_id"]);
        }
    }

    /// What the cases say in words behind an event's name.
    fn remark(&mut self, place: &str, remark: &str, properties: &Value) {
        let anonymous = &properties["$anon_distinct_id"];
        match remark {
            "" => {}
            "empty" => {
                self.value(place, "$set", &json!({}), &properties["$set"]);
                self.value(place, "$set_once", &json!({}), &properties["$set_once"]);
            }
            "user-123 with anon id" => {
                self.value(place, "distinct_id", &json!("user-123"), &properties["distinct_id"]);
                self.value(place, "an anonymous id", &json!(true), &json!(anonymous.is_string()));
            }
            remark => {
                let id = remark.strip_prefix("with $anon_distinct_id ").unwrap_or(remark);
                self.value(place, "$anon_distinct_id", &json!(id), anonymous);
            }
        }
    }

    pub(crate) fn properties(&mut self, place: &str, event: &str, expected: &Value, found: &Value) {
        for (key, expected) in expected.as_object().into_iter().flatten() {
            match key.as_str() {
                "distinct_id"
                | "$anon_distinct_id"
                | "alias"
                | "$device_id"
                | "$is_identified"
                | "$process_person_profile"
                | "$set"
                | "$set_once" => {
                    self.value(place, &format!("{key} of {event}"), expected, &found[key]);
                }
                "$unset" => self.value(place, "$unset", &sorted(expected), &sorted(&found[key])),
                "$session_id" | "$user_id" | "$groups" => {} // local to the SDK
                key => match key.split_once('.') {
                    Some((of, key)) => self.value(place, key, expected, &found[of][key]),
                    None => self.value(place, key, expected, &found[key]),
                },
            }
        }
    }

    /// An id at the end: a text, or how it is compared with the one at the start.
    pub(crate) fn id(&mut self, what: &str, expected: &Value, start: &str, end: &str) {
        self.count += 1;
        let fresh = || start != end && uuid::Uuid::try_parse(end).is_ok_and(|id| id.get_version_num() == 7);
        let holds = match expected.as_str() {
            Some("unchanged") => start == end,
            Some("changed" | "new uuid") => fresh(),
            Some("generated") => uuid::Uuid::try_parse(end).is_ok(),
            Some(text) if text.starts_with("!= ") => end != &text[3..] && fresh(),
            _ => expected == end,
        };
        if !holds {
            self.differences.push(format!("the end, {what}: expected {expected}, was {start}, is {end}"));
        }
    }
}

/// A list of keys, in which order says nothing.
fn sorted(keys: &Value) -> Value {
    let mut keys = keys.as_array().cloned().unwrap_or_default();
    keys.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    Value::Array(keys)
}

/// The name of an event, or of an expectation that may be a name with a remark (SDK names are one word).
pub(crate) fn event_name(event: &Value) -> &str {
    match event.as_str() {
        Some(text) if text.starts_with('$') => text.split(' ').next().unwrap_or(text),
        Some(text) => text,
        None => event["event"].as_str().unwrap_or_default(),
    }
}

/// Which generated id stands for which name (`<uuid7#1>`, `A`), found out while comparing: one id a name, one name an id.
#[derive(Default)]
pub(crate) struct Names {
    ids: BTreeMap<String, String>,
}

impl Names {
    pub(crate) fn bind(&mut self, name: &str, id: &str) -> bool {
        if let Some(bound) = self.ids.get(name) {
            return bound == id;
        }
        let free = self.ids.values().all(|bound| bound != id);
        let generated = uuid::Uuid::try_parse(id).is_ok();
        if free && generated {
            self.ids.insert(name.to_owned(), id.to_owned());
        }
        free && generated
    }

    fn same(&mut self, expected: &Value, found: &Value) -> bool {
        match (expected, found) {
            (Value::String(name), Value::String(id))
                if name.starts_with("<uuid7#") || ["A", "B"].contains(&&name[..]) =>
            {
                name == id || self.bind(name, id)
            }
            (Value::Array(expected), Value::Array(found)) => {
                let same = expected.len() == found.len();
                same && expected.iter().zip(found).all(|(expected, found)| self.same(expected, found))
            }
            _ => expected == found,
        }
    }

    /// The text with every bound id replaced by its name.
    fn name(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(id, name))
    }

    /// The text with every bound name replaced by its id.
    pub(crate) fn replace(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    }
}
