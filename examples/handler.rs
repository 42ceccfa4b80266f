//! A server's author tests the code that turns messages into operations: `cargo run --features testing --example handler`.
//!
//! The handler is all that is the server's own. The kit makes up days of traffic, delivers some messages twice and late,
//! and checks after each day the ledger, the promises the shop has made, and that a second delivery changes nothing.

use std::error::Error;

use identity_ledger::testing::chance::Chance;
use identity_ledger::testing::{check, laws};
use identity_ledger::{
    Actor, Appended, DeviceId, DistinctId, EventName, Ledger, Operation, OperationId, Policy, Preset,
    Properties, Request, Tenant, Timestamp,
};

/// What browsers send to the shop.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Made by the browser, the same when it sends again.
    pub(crate) id: u128,
    /// Microseconds since 1970, by the browser's clock.
    pub(crate) at: i64,
    /// The browser's cookie.
    pub(crate) browser: String,
    /// What happened.
    pub(crate) what: What,
}

/// What can happen.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A page was seen.
    Visit,
    /// Somebody signed in.
    SignIn(String),
    /// They signed out.
    SignOut,
}

/// The shop's own code: one message, one operation.
pub(crate) fn handle(ledger: &mut Ledger, message: &Message) -> Result<Appended, Box<dyn Error>> {
    let browser = DeviceId::new(message.browser.as_str())?;
    let request = match &message.what {
        What::Visit => Request::Capture {
            who: Actor::Device(browser),
            event: Some(EventName::new("visit")?),
            properties: Properties::new(),
        },
        What::SignIn(user) => {
            Request::DeviceIdentify { device: browser, user: DistinctId::new(user.as_str())? }
        }
        What::SignOut => Request::Reset { device: browser, reset_device: false, new_id: None },
    };
    // With the message's id a second delivery is a duplicate, whatever happened in between.
    let id = OperationId(uuid::Uuid::from_u128(message.id));
    Ok(ledger.append(Operation::new(Timestamp::from_micros(message.at)?, request).with_id(id))?)
}

/// A handler, so that others can be tried in place of the shop's.
pub(crate) type Handler = fn(&mut Ledger, &Message) -> Result<Appended, Box<dyn Error>>;

/// The shop's policy: a person is one user, and no bug may make anybody larger than a hundred ids.
pub(crate) fn policy() -> Policy {
    Policy { max_ids_per_person: Some(100), ..Policy::preset(Preset::OneUser) }
}

/// A day in the shop: three browsers, four people, everything as mixed up as it comes.
pub(crate) fn traffic(seed: u64) -> Vec<Message> {
    let mut chance = Chance::new(seed);
    let mut day: Vec<Message> = Vec::new();
    for id in 0..60 {
        let what = match chance.below(4) {
            0 => What::SignIn((*chance.pick(&["ann", "bob", "cat", "dora"])).to_owned()),
            1 => What::SignOut,
            _ => What::Visit,
        };
        let browser = (*chance.pick(&["cookie-1", "cookie-2", "cookie-3"])).to_owned();
        let message = Message { id, at: i64::from(chance.one_in(9)) * 1_000, browser, what };
        if chance.one_in(8) && !day.is_empty() {
            day.push(chance.pick(&day.clone()).clone()); // delivered twice
        }
        day.push(message);
    }
    day
}

/// Runs a day through a handler and checks what came of it; gives how many operations were recorded.
pub(crate) fn day(handler: Handler, seed: u64) -> Result<usize, Box<dyn Error>> {
    let mut ledger = Ledger::in_memory(Tenant::default(), policy())?;
    let messages = traffic(seed);
    for message in &messages {
        let _ = handler(&mut ledger, message)?; // the checks below look at the ledger as a whole
    }
    // The ledger is sound: bytes, replay, and the reference model agree.
    let checked = check(ledger.reader())?;
    // The shop's promise: two users are two people.
    for person in ledger.persons() {
        let ids = person?.distinct_ids;
        let users: Vec<&String> =
            ids.iter().filter(|id| ["ann", "bob", "cat", "dora"].contains(&&id[..])).collect();
        if users.len() > 1 {
            return Err(format!("day {seed}: {users:?} became one person").into());
        }
    }
    // The network's promise is that it may deliver twice; ours that it does not matter.
    for message in &messages {
        if handler(&mut ledger, message)?.outcome().is_some() {
            return Err(format!("day {seed}: recorded twice: {message:?}").into());
        }
    }
    match check(ledger.reader())? == checked {
        true => Ok(checked.operations),
        false => Err(format!("day {seed}: the second delivery changed something").into()),
    }
}

/// Checks the handler, and the laws under the shop's own policy.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let mut operations = 0;
    for seed in 0..100 {
        operations += day(handle, seed)?;
    }
    println!("100 days, {operations} operations: the handler keeps its promises");
    laws::hold(&policy(), 0..50)?;
    println!("{} laws hold under the shop's policy", laws::LAWS.len());
    Ok(())
}
