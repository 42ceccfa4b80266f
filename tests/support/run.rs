//! Runs one SDK case: its calls against a device, its expectations against what the device did.
//!
//! Cases come in three kinds: recordings of calls, deep links from a web page into an app, and tests told anew.

use identity_ledger::Policy;
use identity_ledger::model::Dialect;
use serde_json::{Value, json};

use super::compare::{Comparison, event_name};
use super::js;
use super::sdk::{Standing, Undrivable, World};
use crate::sdk_cases::Case;

/// Runs a case and gives everything in which the ledger is not as told.
pub(crate) fn run(case: &Case) -> Result<Vec<String>, Undrivable> {
    let mut run = Run::default();
    if case.expect.contains_key("ids_after_each_call") {
        run.deep_link(case)?;
    } else if case.expect.contains_key("steps") {
        run.observed(case)?;
    } else {
        run.restated(case)?;
    }
    run.world.check();
    if run.compared.count == 0 {
        return Err("it tells nothing about identity".to_owned());
    }
    Ok(run.compared.differences())
}

/// The one client of most cases.
const WEB: &str = "web";
/// The other client of deep links; it speaks as the mobile core.
const MOBILE: &str = "mobile";

/// A case on its way.
#[derive(Default)]
struct Run {
    world: World,
    /// What was sent so far.
    events: Vec<Value>,
    compared: Comparison,
}

impl Run {
    /// A recording of calls, with ids, state and events after each.
    fn observed(&mut self, case: &Case) -> Result<(), Undrivable> {
        let steps = case.expect["steps"].as_array().ok_or("steps that are no list")?;
        assert_eq!(steps.len(), case.calls.len(), "`{}`: one step a call", case.name);
        for (call, step) in case.calls.iter().zip(steps) {
            let sent = match call["code"].as_str() {
                Some(code) => self.call(WEB, code)?,
                None => self.init(&call["config"])?,
            };
            let after = self.world.standing(WEB);
            let place = format!("after {}", step["after"].as_str().unwrap_or_default());
            self.compared.value(&place, "distinct_id", &step["distinct_id"], &json!(after.distinct_id));
            self.compared.value(&place, "$device_id", &step["$device_id"], &json!(after.device_id));
            self.compared.value(&place, "$user_state", &step["$user_state"], &json!(user_state(&after)));
            if let Some(flag) = step.get("person_processing_flag") {
                self.compared.value(
                    &place,
                    "person processing",
                    &json!(flag == true),
                    &json!(after.profiled),
                );
            }
            self.compared.events(&place, step["emitted"].as_array().ok_or("no list of events")?, &sent);
        }
        Ok(())
    }

    /// A web page and an app: all events in order of arrival, and the ids after each call.
    fn deep_link(&mut self, case: &Case) -> Result<(), Undrivable> {
        self.world.add(WEB, Dialect::Browser, None)?;
        let mut sent: Vec<Value> =
            self.world.call(WEB, "capture", &[json!("$pageview")])?.into_iter().collect();
        let ids = case.expect["ids_after_each_call"].as_array().ok_or("no list of ids")?;
        assert_eq!(ids.len(), case.calls.len(), "`{}`: one step a call", case.name);
        let web = self.world.standing(WEB).distinct_id;
        self.compared.names.bind("<uuid7#1>", &web);
        self.world.add(MOBILE, Dialect::Core, None)?;
        if ["deeplink/C-", "deeplink/F-"].iter().any(|scenario| case.name.starts_with(scenario)) {
            self.world.begin_as(MOBILE, &web)?; // the app was installed by the link and starts with its id
        }
        for (call, ids) in case.calls.iter().zip(ids) {
            let client = if call["device"] == MOBILE { MOBILE } else { WEB };
            let code = self.compared.names.replace(call["code"].as_str().ok_or("a call without code")?);
            sent.extend(self.call(client, &code)?);
            let after = self.world.standing(client);
            let place = format!("after {code}");
            self.compared.value(&place, "distinct_id", &ids["distinct_id"], &json!(after.distinct_id));
            if let Some(anonymous_id) = ids.get("anonymous_id") {
                self.compared.value(&place, "anonymous_id", anonymous_id, &json!(after.anonymous_id));
            }
        }
        let mut expected =
            case.expect["wire_events_in_arrival_order"].as_array().ok_or("no list of events")?.clone();
        for event in &mut expected {
            let top_level = event["top_level_distinct_id"].clone();
            if !top_level.is_null() {
                event["properties"]["distinct_id"] = top_level; // before any id that a link put into the properties
            }
        }
        self.compared.events("on the wire", &expected, &sent);
        Ok(())
    }

    /// A test of the SDK restated: calls as arrays, and a few expectations of many kinds.
    fn restated(&mut self, case: &Case) -> Result<(), Undrivable> {
        let mut start = None;
        if !matches!(case.calls[0][0].as_str(), Some("init" | "given")) {
            drop(self.init(&json!({}))?);
            start = Some(self.world.standing(WEB));
        }
        if case.expect.get("events").is_some_and(|events| events[0] == "$pageview") {
            let sent = self.world.call(WEB, "capture", &[json!("$pageview")])?;
            self.events.extend(sent);
        }
        for call in &case.calls {
            let call = call.as_array().ok_or("a call that is no list")?;
            let name = call[0].as_str().ok_or("a call without a name")?;
            let config = call.get(1).cloned().unwrap_or_else(|| json!({}));
            let sent = match name {
                "given" => self.given(&config)?,
                "init" | "init_again" => self.init(&config)?,
                "restart" => self.world.restart(WEB).map(|()| Vec::new())?,
                _ => self.world.call(WEB, name, &call[1..])?.into_iter().collect(),
            };
            self.events.extend(sent);
            if start.is_none() {
                let begun = self.world.standing(WEB);
                if let Some(init) = case.expect.get("init") {
                    self.compare_start(init, &begun);
                }
                start = Some(begun);
            }
        }
        let start = start.ok_or("no calls")?;
        for (key, expected) in &case.expect {
            if !(self.compare_sent(key, expected, &start) || self.compare_end(key, expected, &start)?) {
                return Err(format!("it expects `{key}`, which nothing here looks at"));
            }
        }
        Ok(())
    }

    // -- beginnings ------------------------------------------------------------------------------------------------

    /// A page is loaded: the first makes the device, a later one finds it as it was.
    fn init(&mut self, config: &Value) -> Result<Vec<Value>, Undrivable> {
        let bootstrap = &config["bootstrap"];
        let id = bootstrap.get("distinctID").or_else(|| bootstrap.get("distinctId")).and_then(Value::as_str);
        let identified = bootstrap["isIdentifiedID"] == true;
        let first = !self.world.has(WEB);
        match (first, id) {
            (true, id) if !identified => self.world.add(WEB, Dialect::Browser, id)?,
            (false, None) => self.world.restart(WEB)?,
            (false, Some(_)) if identified && !self.world.standing(WEB).identified => {
                self.world.restart(WEB)?
            }
            _ => return Err("the SDK starts with an id that the ledger did not see identified".to_owned()),
        }
        for (key, value) in config.as_object().into_iter().flatten() {
            match key.as_str() {
                "person_profiles" => {
                    self.world.set_person_profiles(WEB, value.as_str().unwrap_or_default())?
                }
                "persistence" if value == "memory" => self.world.set_forgetful(WEB),
                // How events travel, what else is sent, and what is told by other calls.
                "bootstrap"
                | "persistence"
                | "request_batching"
                | "disable_compression"
                | "capture_pageview"
                | "capture_pageleave"
                | "advanced_disable_feature_flags"
                | "disable_external_dependency_loading"
                | "get_device_id"
                | "reuseAnonymousId" => {}
                other => return Err(format!("option `{other}` is not about identity")),
            }
        }
        let mut sent = Vec::new();
        if config["capture_pageview"] == true {
            sent.extend(self.world.call(WEB, "capture", &[json!("$pageview")])?);
        }
        if let (false, Some(id)) = (first, id) {
            sent.extend(self.world.call(WEB, "identify", &[json!(id)])?);
        }
        Ok(sent)
    }

    /// A stored state, brought about by what would have led to it.
    fn given(&mut self, state: &Value) -> Result<Vec<Value>, Undrivable> {
        let text = |key: &str| state.get(key).and_then(Value::as_str);
        let current = text("distinct_id");
        let identified =
            text("$user_state") == Some("identified") || text("anonymous_id").is_some() && current.is_some();
        let device = text("$device_id").or(text("device_id")).or(text("anonymous_id"));
        let device = device.or(current.filter(|_| !identified));
        self.world.add(WEB, Dialect::Browser, device)?;
        match current {
            Some(id) if identified => drop(self.world.call(WEB, "identify", &[json!(id)])?),
            Some(id) if Some(id) != device => self.world.begin_as(WEB, id)?,
            _ => {}
        }
        Ok(Vec::new())
    }

    fn call(&mut self, client: &str, code: &str) -> Result<Vec<Value>, Undrivable> {
        let Standing { distinct_id, device_id, .. } = self.world.standing(client);
        let ask = |name: &str, arguments: &[Value]| match (name, arguments) {
            ("get_distinct_id", []) => Some(json!(distinct_id)),
            ("get_property", [property]) if property == "$device_id" => Some(json!(device_id)),
            _ => None,
        };
        let (name, arguments) = js::call(code, &ask)?;
        Ok(self.world.call(client, &name, &arguments)?.into_iter().collect())
    }

    // -- expectations of restated tests ----------------------------------------------------------------------------

    fn compare_start(&mut self, expected: &Value, found: &Standing) {
        for (key, expected) in expected.as_object().into_iter().flatten() {
            let found = match key.as_str() {
                "distinct_id" => json!(found.distinct_id),
                "$device_id" => json!(found.device_id),
                "$user_state" => json!(user_state(found)),
                _ => Value::Null,
            };
            self.compared.value("init", key, expected, &found);
        }
    }

    /// What is expected of all events together; `false` if `key` is not about events.
    fn compare_sent(&mut self, key: &str, expected: &Value, start: &Standing) -> bool {
        let Run { events, compared, .. } = self;
        let of_all =
            |property: &str| events.iter().map(|event| event["properties"][property].clone()).collect();
        let found: Value = match key {
            "events" => {
                compared.events("events", expected.as_array().map_or(&[], Vec::as_slice), events);
                return true;
            }
            "properties" => {
                compared.properties("the event", "it", expected, &events[0]["properties"]);
                return true;
            }
            "anon_ids" => {
                let anonymous = |at: &String| {
                    let event = at.parse::<usize>().ok().and_then(|at| events.get(at));
                    event.map_or(Value::Null, |event| event["properties"]["$anon_distinct_id"].clone())
                };
                let ids = expected.as_object().into_iter().flatten();
                ids.for_each(|(at, id)| compared.value("all", "$anon_distinct_id", id, &anonymous(at)));
                return true;
            }
            "event" => events.iter().map(event_name).collect::<String>().into(),
            "event_count" => events.len().into(),
            "$set" | "$identify" | "$identify_count" => {
                let name = key.trim_end_matches("_count");
                events.iter().filter(|event| event["event"] == name).count().into()
            }
            "$process_person_profile" | "$is_identified" => of_all(key),
            "distinct_ids" => of_all("distinct_id"),
            "device_ids" => {
                let here = |event: &Value| event["properties"]["$device_id"] == start.device_id.as_str();
                if events.iter().all(here) { "one value for all" } else { "several" }.into()
            }
            _ => return false,
        };
        compared.value("all", key, expected, &found);
        true
    }

    /// What is expected of the device in the end; `false` if nobody knows `key`.
    fn compare_end(&mut self, key: &str, expected: &Value, start: &Standing) -> Result<bool, Undrivable> {
        let end = self.world.standing(WEB);
        let found: Value = match key {
            "$device_id" if expected == "same value" => {
                self.compared.value("the end", key, &json!(end.distinct_id), &json!(end.device_id));
                return Ok(true);
            }
            "distinct_id" | "$device_id" | "device_id" | "anonymous_id" => {
                let id = |standing: &Standing| match key {
                    "distinct_id" => standing.distinct_id.clone(),
                    "anonymous_id" => standing.anonymous_id.clone(),
                    _ => standing.device_id.clone(),
                };
                self.compared.id(key, expected, &id(start), &id(&end));
                return Ok(true);
            }
            "registered" => json!([{"$user_id": end.distinct_id}, {"distinct_id": end.distinct_id}]),
            "$user_state" => user_state(&end).into(),
            "$user_id" | "current_distinct_id" => end.distinct_id.into(),
            "non_empty" => (!end.anonymous_id.is_empty()).into(),
            "persisted" => {
                self.world.restart(WEB)?;
                (self.world.standing(WEB) == end).into()
            }
            "person_profiles" => json!(Policy::default().person_profiles),
            // Compared after the first call; flags, logs, exceptions; groups and super properties.
            "init"
            | "flags_anon_id"
            | "flags_reloaded"
            | "flag_call_reported_cleared"
            | "critical_log"
            | "error_log"
            | "warning"
            | "warned"
            | "throws"
            | "groups"
            | "super" => return Ok(true),
            _ => return Ok(false),
        };
        self.compared.value("the end", key, expected, &found);
        Ok(true)
    }
}

fn user_state(standing: &Standing) -> &'static str {
    if standing.identified { "identified" } else { "anonymous" }
}
