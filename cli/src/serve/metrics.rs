//! Metrics in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use identity_ledger::sharing::SyncCounts;

use crate::serve::tenants::Tenant;
use crate::serve::tokens::TenantName;

/// What a server counts beside what its ledgers count.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    /// By status: how many, and how long they took.
    requests: BTreeMap<u16, (u64, Duration)>,
    /// By tenant and what became of them.
    events: BTreeMap<(TenantName, &'static str), u64>,
    /// Requests that waited for the disk, and how long.
    waits: (u64, Duration),
}

impl Metrics {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count_request(&self, status: StatusCode, took: Duration) {
        let mut counted = self.counted();
        let (count, time) = counted.requests.entry(status.as_u16()).or_default();
        *count += 1;
        *time += took;
    }

    pub(crate) fn count_events(&self, tenant: &TenantName, result: &'static str, events: usize) {
        if events > 0 {
            *self.counted().events.entry((tenant.clone(), result)).or_default() += events as u64;
        }
    }

    pub(crate) fn count_wait(&self, took: Duration) {
        let mut counted = self.counted();
        counted.waits.0 += 1;
        counted.waits.1 += took;
    }

    /// All of it as text, and what the tenants whose ledgers are open count.
    pub(crate) fn text(&self, tenants: &[(TenantName, Arc<Tenant>)]) -> String {
        let counts: Vec<(&TenantName, SyncCounts)> =
            tenants.iter().map(|(name, tenant)| (name, tenant.ledger.sync_counts())).collect();
        let mut out = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
            writeln!(out, "# HELP identity_ledger_{name} {help}\n# TYPE identity_ledger_{name} {kind}").ok();
            for (labels, value) in values {
                writeln!(out, "identity_ledger_{name}{labels} {value}").ok(); // a String takes everything
            }
        };
        let Counted { requests, events, waits } = &*self.counted();
        let by_status = |value: fn(&(u64, Duration)) -> f64| -> Vec<_> {
            requests
                .iter()
                .map(|(status, counted)| (format!("{{status=\"{status}\"}}"), value(counted)))
                .collect()
        };
        metric(
            "requests_total",
            "counter",
            "Requests with events, by the status of the answer.",
            &by_status(|(count, _)| *count as f64),
        );
        metric(
            "request_seconds_total",
            "counter",
            "Time that they took, all together.",
            &by_status(|(_, time)| time.as_secs_f64()),
        );
        // A tenant's name has no character that the format would have to escape.
        let by_result: Vec<_> = events
            .iter()
            .map(|((tenant, result), count)| {
                (format!("{{tenant=\"{tenant}\",result=\"{result}\"}}"), *count as f64)
            })
            .collect();
        metric("events_total", "counter", "Events, by what became of them.", &by_result);
        metric(
            "durability_waits_total",
            "counter",
            "Requests that waited for a disk.",
            &[(String::new(), waits.0 as f64)],
        );
        metric(
            "durability_wait_seconds_total",
            "counter",
            "Time that they waited, all together.",
            &[(String::new(), waits.1.as_secs_f64())],
        );
        metric("open_ledgers", "gauge", "Ledgers that are open.", &[(String::new(), counts.len() as f64)]);
        let mut each = |name: &str, kind: &str, help: &str, value: fn(&SyncCounts) -> f64| {
            let values: Vec<_> = counts
                .iter()
                .map(|(tenant, counts)| (format!("{{tenant=\"{tenant}\"}}"), value(counts)))
                .collect();
            metric(name, kind, help, &values);
        };
        each("syncs_total", "counter", "Syncs of a ledger since it was opened.", |counts| {
            counts.syncs as f64
        });
        each("synced_records_total", "counter", "Records that these syncs made durable.", |counts| {
            counts.records as f64
        });
        each("waiting_records", "gauge", "Records that are written and not durable yet.", |counts| {
            counts.waiting_records as f64
        });
        each("failed", "gauge", "1 if a ledger stopped writing after a failure.", |counts| {
            f64::from(u8::from(counts.failed))
        });
        for (tenant, open) in tenants {
            for (name, help, value) in open.recorder.gauges() {
                metric(name, "gauge", help, &[(format!("{{tenant=\"{tenant}\"}}"), value)]);
            }
        }
        out
    }
}
