//! What a ledger tells `tracing`: its work, what it lost, what stops it, and nothing of a person.

use std::fmt::Debug;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use identity_ledger::erase::{ErasureRequest, ErasureSubject};
use identity_ledger::storage::{Memory, Storage};
use identity_ledger::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::failing::{Failing, NEVER};
use crate::support::short::{at, id};

/// Keeps a line for each event: level, message, fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.0.push_str(&format!(" {value:?}")),
            "ledger" => {} // chance
            name => self.0.push_str(&format!(" {name}={value:?}")),
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "identity_ledger" && *metadata.level() <= Level::DEBUG
    }
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// What is told of some work when it is done again. Another test's thread may come to a place for the first time just when this subscriber
/// does, and `tracing` then takes it for one that no subscriber listens to, until it is asked to look again.
fn told(work: impl Fn()) -> Vec<String> {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        work();
        tracing::callsite::rebuild_interest_cache();
        lines.0.lock().unwrap().clear();
        work();
    });
    lines.0.lock().unwrap().clone()
}

#[test]
fn a_ledger_tells_of_its_work_and_of_no_person() {
    let lines = told(|| {
        let disk: Arc<dyn Storage> = Arc::new(Memory::new());
        let options = || LedgerOptions::new().seeded(1);
        let mut ledger = options().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
        let sign_in = Operation::identify(at(1), id("ann"), Some(Source::new("phone")));
        ledger.append(sign_in.set("city", "Bonn").unwrap()).unwrap().seq().unwrap();
        ledger.snapshot().unwrap();
        let subject = ErasureSubject::Ids([id("ann")].into());
        ledger.erase(&[ErasureRequest::new(at(2), subject, "asked by ann")]).unwrap();
        drop(ledger);
        drop(options().open_in(disk).unwrap());
    });
    let text = lines.join("\n");
    for told in [
        "DEBUG frame written first_seq=",
        "DEBUG durable records=",
        "INFO snapshot made",
        "INFO erasing",
        "INFO erased",
        "INFO opened",
    ] {
        assert!(text.contains(told), "{told:?} is missing in:\n{text}");
    }
    for secret in ["ann", "phone", "Bonn", "city"] {
        assert!(!text.contains(secret), "{secret:?} in:\n{text}");
    }
}

#[test]
fn a_disk_that_does_not_sync_is_an_error_once() {
    let lines = told(|| {
        let disk = Arc::new(Failing::at(Memory::new(), NEVER));
        let mut ledger =
            LedgerOptions::new().create_in(disk.clone(), Tenant::default(), Policy::default()).unwrap();
        disk.calls_left.store(1, Ordering::SeqCst);
        ledger.append(Operation::identify(at(1), id("ann"), None)).unwrap_err();
        disk.calls_left.store(NEVER, Ordering::SeqCst);
        ledger.append(Operation::identify(at(2), id("ann"), None)).unwrap_err();
    });
    let errors: Vec<&String> = lines.iter().filter(|line| line.starts_with("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{lines:#?}");
    assert!(errors[0].contains("nothing is written any more"), "{errors:?}");
}
