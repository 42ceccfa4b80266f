//! The few words of JavaScript that the SDK cases are written in: one call, with literal arguments.
//!
//! `posthog.identify('user-1',{plan:'pro'})` and its like are read; anything else is refused with the place it was found.

use serde_json::{Map, Value};

/// Reads one call of the SDK: its name and arguments. `undefined` is null. `ask` answers calls among the arguments.
pub(crate) fn call(
    code: &str,
    ask: &dyn Fn(&str, &[Value]) -> Option<Value>,
) -> Result<(String, Vec<Value>), String> {
    let mut reader = Reader { rest: code, ask };
    let call = reader.call()?;
    if reader.rest.is_empty() { Ok(call) } else { Err(reader.unknown("the end")) }
}

struct Reader<'a> {
    rest: &'a str,
    ask: &'a dyn Fn(&str, &[Value]) -> Option<Value>,
}

impl Reader<'_> {
    fn unknown(&self, expected: &str) -> String {
        format!("expected {expected} at `{}`", self.rest)
    }

    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(self.unknown(token)) }
    }

    /// The longest run of characters of one kind; not empty.
    fn run(&mut self, what: &str, of: impl Fn(char) -> bool) -> Result<String, String> {
        let text = self.rest.trim_start();
        let end = text.find(|c| !of(c)).unwrap_or(text.len());
        if end == 0 {
            return Err(self.unknown(what));
        }
        self.rest = &text[end..];
        Ok(text[..end].to_owned())
    }

    fn word(&mut self) -> Result<String, String> {
        self.run("a name", |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
    }

    fn call(&mut self) -> Result<(String, Vec<Value>), String> {
        if !self.eat("posthog.") {
            self.expect("ph.")?;
        }
        let name = self.word()?;
        self.expect("(")?;
        Ok((name, self.list(")")?))
    }

    fn list(&mut self, end: &str) -> Result<Vec<Value>, String> {
        let mut values = Vec::new();
        while !self.eat(end) {
            if !values.is_empty() {
                self.expect(",")?;
            }
            values.push(self.sum()?);
        }
        Ok(values)
    }

    /// Texts may be joined with `+`.
    fn sum(&mut self) -> Result<Value, String> {
        let mut sum = self.value()?;
        while self.eat("+") {
            let (Value::String(left), Value::String(right)) = (sum, self.value()?) else {
                return Err(self.unknown("texts to join"));
            };
            sum = Value::String(left + &right);
        }
        Ok(sum)
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.rest.trim_start().chars().next() {
            Some('\'') => self.text().map(Value::String),
            Some('{') => self.object(),
            Some('[') => {
                self.expect("[")?;
                self.list("]").map(Value::Array)
            }
            Some('0'..='9') => {
                let digits = self.run("a number", |c| c.is_ascii_digit())?;
                digits.parse::<u64>().map(Value::from).map_err(|_| self.unknown("a number"))
            }
            _ if self.rest.starts_with("posthog.") => {
                let (name, arguments) = self.call()?;
                (self.ask)(&name, &arguments).ok_or_else(|| self.unknown("a question with an answer"))
            }
            _ => match self.word()?.as_str() {
                "null" | "undefined" => Ok(Value::Null),
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(self.unknown("a value")),
            },
        }
    }

    /// A text without escapes, perhaps repeated: `'z'.repeat(300)`.
    fn text(&mut self) -> Result<String, String> {
        self.expect("'")?;
        let end = self.rest.find(['\'', '\\']).filter(|end| self.rest[*end..].starts_with('\''));
        let Some(end) = end else { return Err(self.unknown("a text without escapes")) };
        let text = self.rest[..end].to_owned();
        self.rest = &self.rest[end + 1..];
        if !self.eat(".repeat(") {
            return Ok(text);
        }
        let count = self.run("a number", |c| c.is_ascii_digit())?;
        self.expect(")")?;
        Ok(text.repeat(count.parse().map_err(|_| self.unknown("a number"))?))
    }

    fn object(&mut self) -> Result<Value, String> {
        self.expect("{")?;
        let mut members = Map::new();
        while !self.eat("}") {
            if !members.is_empty() {
                self.expect(",")?;
            }
            let key = self.word()?;
            self.expect(":")?;
            members.insert(key, self.sum()?);
        }
        Ok(Value::Object(members))
    }
}

#[test]
fn calls_are_read_and_other_code_is_refused() {
    let ask = |name: &str, _: &[Value]| (name == "get_distinct_id").then(|| Value::from("me"));
    let read = |code| call(code, &ask).map(|(name, arguments)| (name, Value::Array(arguments).to_string()));
    let good = |name: &str, arguments: &str| Ok((name.to_owned(), arguments.to_owned()));
    assert_eq!(read("posthog.reset()"), good("reset", "[]"));
    assert_eq!(
        read("ph.identify('u', {a:1,$set:{b:[true]}}, undefined)"),
        good("identify", r#"["u",{"$set":{"b":[true]},"a":1},null]"#)
    );
    assert_eq!(read("posthog.alias('a'+posthog.get_distinct_id())"), good("alias", r#"["ame"]"#));
    assert_eq!(read("posthog.identify('z'.repeat(3))"), good("identify", r#"["zzz"]"#));
    for other in [
        "reset()",
        "posthog.reset(",
        "posthog.reset();",
        "posthog.a(b)",
        "posthog.a('\\'')",
        "posthog.a(1+1)",
    ] {
        assert!(read(other).is_err(), "{other}");
    }
    assert!(read("posthog.capture('x',{},{timestamp:new Date('2024')})").is_err());
}
