//! Reads the pages of `tests/scenarios/`: what [`notation`](identity_ledger::testing::notation) writes, and a little more.
//!
//! A page is prose, perhaps a policy, numbered requests with what became of each, and who is who in the end. Besides the
//! requests of the notation, `erase ann` forgets a person, `erase id ann` an id, `erase a, b of ann` values, `policy {..}` changes the policy, `what if {..}` asks about another, `preview ..` about a retract or split, `reopen` closes the ledger and opens it again, `who is ..`
//! asks for a person's id, `import ..` is a line that an SDK sent, and `receive TIME ..` the body of a request that arrived then (`receive TIME stamped TIME ..`: with the time of sending in a header).

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::model::{Dialect, TimestampError};
use identity_ledger::*;

/// A page, as far as it is read; what should become of the requests is compared as text.
pub(crate) struct Page {
    /// Everything before the first request, as it stands there.
    pub(crate) head: String,
    pub(crate) policy: Policy,
    pub(crate) requests: Vec<Line>,
}

/// A request, as it stands on its page.
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) request: Asked,
}

pub(crate) enum Asked {
    Operation(Box<Operation>),
    /// An operation that cannot even be asked for: a text is no id.
    Barred(IdError),
    WhoIs(String),
    Policy(Box<Policy>),
    WhatIf(Box<Policy>),
    Preview(Box<Operation>),
    Reopen,
    Erase(ErasureRequest),
    Import(String),
    /// A request that arrived, by the server's clock, and when this attempt says that it was sent.
    Receive(Timestamp, Option<String>, String),
}

/// Reads a page. The error says which line, counted from 1, and what is wrong with it.
pub(crate) fn page(text: &str) -> Result<Page, (usize, String)> {
    let mut page = Page { head: String::new(), policy: Policy::default(), requests: Vec::new() };
    for (at, line) in (1..).zip(text.lines()) {
        let wrong = |what: String| (at, what);
        if line == "finally" {
            break;
        }
        let number = page.requests.len() + 1;
        if let Some(request) = line.strip_prefix(&format!("{number}. ")) {
            let request_of = asked(number, request).map_err(wrong)?;
            page.requests.push(Line { text: request.to_owned(), request: request_of });
        } else if page.requests.is_empty() {
            if let Some(policy) = line.strip_prefix("policy ") {
                page.policy = policy_of(policy).map_err(wrong)?;
            }
            page.head.push_str(line);
            page.head.push('\n');
        } else if !line.starts_with("   ") {
            return Err(wrong(format!("expected `{number}. ` and a request, three spaces, or `finally`")));
        }
    }
    Ok(page)
}

fn asked(number: usize, text: &str) -> Result<Asked, String> {
    if text == "reopen" {
        return Ok(Asked::Reopen);
    }
    if let Some(policy) = text.strip_prefix("policy ") {
        return Ok(Asked::Policy(Box::new(policy_of(policy)?)));
    }
    if let Some(policy) = text.strip_prefix("what if ") {
        return Ok(Asked::WhatIf(Box::new(policy_of(policy)?)));
    }
    if let Some(asked) = text.strip_prefix("preview ") {
        let operation = operation(number, asked).map_err(|unread| format!("{unread:?}"))?;
        return Ok(Asked::Preview(Box::new(operation)));
    }
    if let Some(line) = text.strip_prefix("import ") {
        return Ok(Asked::Import(line.to_owned()));
    }
    if let Some(request) = text.strip_prefix("receive ") {
        let (received, body) = request.split_once(' ').ok_or("expected a time and a body")?;
        let received = received.parse().map_err(|error: TimestampError| error.to_string())?;
        let stamped = body.strip_prefix("stamped ").and_then(|rest| rest.split_once(' '));
        let (stamped, body) =
            stamped.map_or((None, body), |(stamped, body)| (Some(stamped.to_owned()), body));
        return Ok(Asked::Receive(received, stamped, body.to_owned()));
    }
    if let Some(id) = text.strip_prefix("who is ") {
        return Ok(Asked::WhoIs(id.to_owned()));
    }
    if let Some(what) = text.strip_prefix("erase ") {
        return erasure(number, what).map(Asked::Erase);
    }
    match operation(number, text) {
        Ok(operation) => Ok(Asked::Operation(Box::new(operation))),
        Err(Unread::Id(error)) => Ok(Asked::Barred(error)),
        Err(Unread::Line(what)) => Err(what),
    }
}

fn erasure(number: usize, what: &str) -> Result<ErasureRequest, String> {
    let at = Timestamp::from_micros(i64::try_from(number).map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())?;
    let id = |text: &str| DistinctId::new(text).map_err(|error| error.to_string());
    if let Some((keys, of)) = what.split_once(" of ") {
        let keys: Result<Vec<PropertyKey>, IdError> = keys.split(", ").map(PropertyKey::new).collect();
        let keys = keys.map_err(|error| error.to_string())?;
        return Ok(ErasureRequest::new(at, ErasureSubject::PersonOf(id(of)?), "").with_keys(keys));
    }
    let subject = match what.strip_prefix("id ") {
        Some(alone) => ErasureSubject::Ids([id(alone)?].into()),
        None => ErasureSubject::PersonOf(id(what)?),
    };
    Ok(ErasureRequest::new(at, subject, ""))
}

/// Why a request is none.
#[derive(Debug)]
pub(crate) enum Unread {
    Line(String),
    Id(IdError),
}

impl<T: Into<String>> From<T> for Unread {
    fn from(what: T) -> Unread {
        Unread::Line(what.into())
    }
}

fn policy_of(text: &str) -> Result<Policy, String> {
    serde_json::from_str(text).map_err(|error| format!("no policy: {error}"))
}

/// The words that begin changes.
const CHANGES: [&str; 7] = ["with ", "once ", "unset ", "add ", "append ", "union ", "remove "];

/// Reads the `number`th request of a page, without its number.
pub(crate) fn operation(number: usize, text: &str) -> Result<Operation, Unread> {
    let mut scan = Scan { rest: text };
    let verb = scan.word()?;
    let request = match verb.as_str() {
        "capture" => {
            let who = scan.who()?;
            let event = match scan.peek() {
                None | Some('{' | '[') => None,
                _ if CHANGES.iter().any(|word| scan.rest.starts_with(word)) => None,
                _ => Some(EventName::new(scan.word()?).map_err(Unread::Id)?),
            };
            let properties = if scan.eat("with ") { scan.properties()? } else { Properties::new() };
            Request::Capture { who, event, properties }
        }
        "identify" => match scan.who()? {
            Actor::Device(device) if scan.eat("as ") => Request::DeviceIdentify { device, user: scan.id()? },
            who => Request::Identify { who, anonymous: scan.source()? },
        },
        "alias" => Request::Alias { who: scan.who()?, alias: scan.source()? },
        "merge" => Request::Merge { who: scan.who()?, alias: scan.source()? },
        "set" => Request::Set { who: scan.who()? },
        "reset" => {
            let device = scan.device()?;
            let reset_device = scan.eat("its-id");
            let new_id = if scan.eat("to ") { Some(scan.id()?) } else { None };
            Request::Reset { device, reset_device, new_id }
        }
        "retract" => match scan.word()?.as_str() {
            "id" => Request::Retract { target: Target::Operation(operation_id(&scan.word()?)?) },
            "record" => {
                let seq = scan.word()?.parse().map_err(|_| "expected a record's number")?;
                Request::Retract { target: Target::Record(Seq(seq)) }
            }
            other => return Err(format!("expected `id` or `record`, found `{other}`").into()),
        },
        "reclassify" => {
            let id = scan.id()?;
            if !scan.eat("as ") {
                return Err("expected `as` and a class".into());
            }
            let class =
                IdClass::by_name(&scan.word()?).ok_or("expected named, anonymous, unmergeable or shared")?;
            Request::Reclassify { id, class }
        }
        "split" => {
            let id = scan.id()?;
            if !scan.eat("->") {
                return Err("expected `->` and the ids that leave".into());
            }
            let mut ids = std::collections::BTreeSet::from([scan.id()?]);
            while scan.eat(",") {
                ids.insert(scan.id()?);
            }
            let mode = if scan.eat("together") { SplitMode::Together } else { SplitMode::Each };
            Request::Split { id, ids, mode }
        }
        other => return Err(format!("`{other}` is no request").into()),
    };
    let clock = i64::try_from(number).expect("a page is short");
    let mut operation = Operation::new(Timestamp::from_micros(clock).expect("a page is short"), request);
    if scan.peek() == Some('{') {
        operation.changes.set = scan.properties()?;
    }
    if scan.eat("once ") {
        operation.changes.set_once = scan.properties()?;
    }
    if scan.eat("unset ") {
        operation.changes.unset = scan.keys()?;
    }
    let changes = &mut operation.changes;
    for (word, operands) in [
        ("add ", &mut changes.add),
        ("append ", &mut changes.append),
        ("union ", &mut changes.union),
        ("remove ", &mut changes.remove),
    ] {
        if scan.eat(word) {
            *operands = scan.properties()?;
        }
    }
    if scan.eat("[") {
        let options = scan.rest.strip_suffix(']').ok_or("expected `]` at the end of the line")?;
        options.split(", ").try_for_each(|option| apply(option, &mut operation))?;
        scan.rest = "";
    }
    if scan.rest.is_empty() { Ok(operation) } else { Err(format!("nobody knows `{}`", scan.rest).into()) }
}

fn apply(option: &str, operation: &mut Operation) -> Result<(), String> {
    let (name, value) = option.split_once(' ').unwrap_or((option, ""));
    match (name, value) {
        ("processing", "on") => operation.processing = Processing::On,
        ("processing", "off") => operation.processing = Processing::Off,
        ("processing", "invalid") => operation.processing = Processing::Invalid,
        ("browser", "") => operation.sdk.dialect = Some(Dialect::Browser),
        ("core", "") => operation.sdk.dialect = Some(Dialect::Core),
        ("profiles", mode) => {
            let mode = serde_json::from_value(mode.into()).map_err(|error| error.to_string())?;
            operation.sdk.person_profiles = Some(mode);
        }
        ("id", id) => operation.id = Some(operation_id(id)?),
        (time, "") if time.starts_with('@') => {
            let time = &time[1..];
            let small = time.parse().ok().and_then(|micros| Timestamp::from_micros(micros).ok());
            operation.time = match small {
                Some(time) => time,
                None => time.parse().map_err(|error: TimestampError| error.to_string())?,
            };
        }
        _ => return Err(format!("`{option}` is no option")),
    }
    Ok(())
}

/// A small number, or a UUID.
fn operation_id(text: &str) -> Result<OperationId, String> {
    let small = text.parse::<u128>().map(uuid::Uuid::from_u128);
    small.or_else(|_| uuid::Uuid::try_parse(text)).map(OperationId).map_err(|error| error.to_string())
}

/// Reads a line from the left.
struct Scan<'a> {
    rest: &'a str,
}

impl Scan<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    /// Whether `text` stands here; then it is passed.
    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A word: bare, or a JSON text, perhaps many times over.
    fn word(&mut self) -> Result<String, String> {
        if self.peek() == Some('"') {
            let text: String = self.json()?;
            let Some(rest) = self.rest.strip_prefix('*') else { return Ok(text) };
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            self.rest = &rest[digits..];
            return Ok(text.repeat(rest[..digits].parse().map_err(|_| "expected a number after `*`")?));
        }
        let end = self.rest.find([' ', ',', '{', '}', ']']).unwrap_or(self.rest.len());
        // A colon may stand inside an id, but ends a key.
        let word = self.rest[..end].trim_end_matches(':');
        self.rest = &self.rest[word.len()..];
        if word.is_empty() {
            Err(format!("expected a word, found `{}`", self.rest))
        } else {
            Ok(word.to_owned())
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, String> {
        let mut stream = serde_json::Deserializer::from_str(self.rest).into_iter::<T>();
        let value = stream.next().ok_or("expected a value")?.map_err(|error| error.to_string())?;
        self.rest = &self.rest[stream.byte_offset()..];
        Ok(value)
    }

    fn id(&mut self) -> Result<DistinctId, Unread> {
        DistinctId::new(self.word()?).map_err(Unread::Id)
    }

    fn device(&mut self) -> Result<DeviceId, Unread> {
        DeviceId::new(self.word()?).map_err(Unread::Id)
    }

    fn who(&mut self) -> Result<Actor, Unread> {
        Ok(if self.eat("on ") { Actor::Device(self.device()?) } else { Actor::Id(self.id()?) })
    }

    fn source(&mut self) -> Result<Option<Source>, Unread> {
        Ok(if self.eat("<- ") { Some(Source::new(&self.word()?)) } else { None })
    }

    fn key(&mut self) -> Result<PropertyKey, Unread> {
        PropertyKey::new(self.word()?).map_err(Unread::Id)
    }

    fn properties(&mut self) -> Result<Properties, Unread> {
        let mut properties = Properties::new();
        self.listed(|scan| {
            let key = scan.key()?;
            if !scan.eat(":") {
                return Err(format!("expected `:` after `{key}`").into());
            }
            let value = scan.json()?;
            properties.insert(key, value);
            Ok(())
        })?;
        Ok(properties)
    }

    fn keys(&mut self) -> Result<std::collections::BTreeSet<PropertyKey>, Unread> {
        let mut keys = std::collections::BTreeSet::new();
        self.listed(|scan| scan.key().map(|key| keys.extend([key])))?;
        Ok(keys)
    }

    fn listed(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Unread>) -> Result<(), Unread> {
        if !self.eat("{") {
            return Err(format!("expected `{{`, found `{}`", self.rest).into());
        }
        while !self.eat("}") {
            item(self)?;
            if !self.eat(",") && self.peek() != Some('}') {
                return Err(format!("expected `,` or `}}`, found `{}`", self.rest).into());
            }
        }
        Ok(())
    }
}
