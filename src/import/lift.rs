//! Lifting: event properties that PostHog also writes to the person (E7).
//!
//! The ledger knows nothing of it. It happens here, once, and the log then says what was written.

use crate::model::id::PropertyKey;
use crate::model::operation::Changes;
use crate::model::value::{Properties, Value};

/// Fills `$set` and `$initial_*` in `$set_once` from an event's properties, where the sender did not set them
/// explicitly.
pub(super) fn lift(event: &str, properties: &Properties, changes: &mut Changes) {
    if !lifts(event) {
        return;
    }
    let lifted = properties.iter().filter(|(key, _)| is_lifted(key.as_str()));
    lift_all(lifted.map(|(key, value)| (key.clone(), value.clone())), is_server(properties), changes);
}

/// Recordings of the screen say nothing new about the person, and an event about a group changes none (E3).
pub(super) fn lifts(event: &str) -> bool {
    !matches!(event, "$snapshot" | "$performance_event" | "$groupidentify")
}

fn is_server(properties: &Properties) -> bool {
    properties.iter().any(|(key, value)| key.as_str() == "$is_server" && *value == Value::Bool(true))
}

/// Lifts these properties, all of which [`is_lifted`] has named. On a server `$os` is the host's, not the person's.
pub(super) fn lift_all(
    lifted: impl Iterator<Item = (PropertyKey, Value)>,
    is_server: bool,
    changes: &mut Changes,
) {
    let mut os_name = None;
    for (key, value) in lifted {
        match key.as_str() {
            "$os" | "$os_version" | "$os_name" if is_server => {}
            "$os_name" if is_something(&value) => os_name = Some(value),
            _ => lift_one(key, value, changes),
        }
    }
    if let Some(os) = os_name {
        lift_os_name(os, changes);
    }
}

fn lift_one(key: PropertyKey, value: Value, changes: &mut Changes) {
    let is_free = |key: &PropertyKey| changes.relative().all(|(_, operands)| !operands.contains_key(key));
    let (twin, free) = (initial(&key), is_free(&key));
    if value != Value::Null && is_free(&twin) {
        changes.set_once.entry(twin).or_insert_with(|| value.clone()); // a null is not a first touch
    }
    if free {
        changes.set.entry(key).or_insert(value);
    }
}

/// `$os_name` is how some SDKs say `$os`: it stands in for it, and is itself no person property.
fn lift_os_name(os: Value, changes: &mut Changes) {
    let [name, os_key] = ["$os_name", "$os"].map(known_key);
    changes.set.remove(&name);
    changes.set_once.remove(&initial(&name));
    for (properties, key) in [(&mut changes.set_once, initial(&os_key)), (&mut changes.set, os_key)] {
        let slot = properties.entry(key).or_insert(Value::Null);
        if *slot == Value::Null {
            *slot = os.clone();
        }
    }
}

/// What JavaScript holds for true, among the values an SDK gives `$os_name`.
fn is_something(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false) | Value::Int(0)) && *value != Value::Text(String::new())
}

fn initial(key: &PropertyKey) -> PropertyKey {
    known_key(&format!("$initial_{}", key.as_str().replacen('$', "", 1)))
}

fn known_key(key: &str) -> PropertyKey {
    PropertyKey::new(key).expect("lifted keys are short")
}

/// PostHog's list: what the device and app are, where the visit came from.
pub(super) fn is_lifted(key: &str) -> bool {
    matches!(
        key,
        "$app_build"
            | "$app_name"
            | "$app_namespace"
            | "$app_version"
            | "$browser"
            | "$browser_version"
            | "$current_url"
            | "$device_type"
            | "$os"
            | "$os_name"
            | "$os_version"
            | "$pathname"
            | "$raw_user_agent"
            | "$referrer"
            | "$referring_domain"
            | "$screen_height"
            | "$screen_width"
            | "$viewport_height"
            | "$viewport_width"
            | "_kx"
            | "dclid"
            | "epik"
            | "fbclid"
            | "gad_source"
            | "gbraid"
            | "gclid"
            | "gclsrc"
            | "igshid"
            | "irclid"
            | "li_fat_id"
            | "mc_cid"
            | "msclkid"
            | "qclid"
            | "rdt_cid"
            | "sccid"
            | "ttclid"
            | "twclid"
            | "utm_campaign"
            | "utm_content"
            | "utm_medium"
            | "utm_name"
            | "utm_source"
            | "utm_term"
            | "wbraid"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(json: &str) -> Properties {
        serde_json::from_str(json).unwrap()
    }

    /// What an event with these properties and changes writes: `set`, then `set_once`.
    fn lifted(event: &str, from: &str, set: &str, set_once: &str) -> (String, String) {
        let mut changes =
            Changes { set: properties(set), set_once: properties(set_once), ..Changes::default() };
        lift(event, &properties(from), &mut changes);
        (serde_json::to_string(&changes.set).unwrap(), serde_json::to_string(&changes.set_once).unwrap())
    }

    #[test]
    fn lifting_fills_what_nobody_wrote_e7() {
        #[rustfmt::skip]
        let table = [
            // event, properties, $set, $set_once -> $set, $set_once
            ("x", r#"{"$browser":"Chrome","title":"t"}"#, "{}", "{}",
                r#"{"$browser":"Chrome"}"#, r#"{"$initial_browser":"Chrome"}"#),
            ("x", r#"{"utm_source":"a"}"#, r#"{"utm_source":"b"}"#, r#"{"$initial_utm_source":"c"}"#,
                r#"{"utm_source":"b"}"#, r#"{"$initial_utm_source":"c"}"#),
            ("x", r#"{"gclid":null}"#, "{}", "{}", r#"{"gclid":null}"#, "{}"),
            ("x", r#"{"_kx":"k"}"#, "{}", "{}", r#"{"_kx":"k"}"#, r#"{"$initial__kx":"k"}"#),
            ("x", r#"{"$os_name":"iOS"}"#, "{}", "{}", r#"{"$os":"iOS"}"#, r#"{"$initial_os":"iOS"}"#),
            ("x", r#"{"$os_name":"iOS","$os":"Mac"}"#, "{}", "{}", r#"{"$os":"Mac"}"#, r#"{"$initial_os":"Mac"}"#),
            ("x", r#"{"$os_name":"iOS","$os":null}"#, "{}", "{}", r#"{"$os":"iOS"}"#, r#"{"$initial_os":"iOS"}"#),
            ("x", r#"{"$is_server":true,"$os":"Linux","$os_version":"6","$os_name":"L","$browser":"b"}"#, "{}", "{}",
                r#"{"$browser":"b"}"#, r#"{"$initial_browser":"b"}"#),
            ("x", r#"{"$is_server":false,"$os":"Linux"}"#, "{}", "{}", r#"{"$os":"Linux"}"#, r#"{"$initial_os":"Linux"}"#),
            ("$snapshot", r#"{"$os":"Linux"}"#, "{}", "{}", "{}", "{}"),
            ("$performance_event", r#"{"$os":"Linux"}"#, r#"{"a":1}"#, "{}", r#"{"a":1}"#, "{}"),
            ("$groupidentify", r#"{"$os":"Linux"}"#, r#"{"a":1}"#, "{}", r#"{"a":1}"#, "{}"),
        ];
        for (event, from, set, set_once, expected_set, expected_once) in table {
            let expected = (expected_set.to_owned(), expected_once.to_owned());
            assert_eq!(lifted(event, from, set, set_once), expected, "{event} {from} {set} {set_once}");
        }
    }
}
