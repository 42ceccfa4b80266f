//! What each operation names, as numbers: by them a job finds components. A function of one row alone.

use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Int64Builder, ListBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};
use identity_ledger::import::Options;
use identity_ledger::{Actor, Policy, Request, Source, Target};

use super::error::ComponentsError;
use super::fold::{Asked, asked};
use super::input::{Input, Row, tenant};
use super::output::failed;

/// What is named: two texts that are equal may be an id and a device, which are of one component then (F1).
enum Name<'a> {
    Text(&'a str),
    Operation(&'a [u8; 16]),
}

/// Writes the input with what each operation names.
pub(super) fn name(mut input: Input<impl std::io::Read>, out: impl Write) -> Result<(), ComponentsError> {
    let mut fields = input.schema().fields().to_vec();
    let node = Arc::new(Field::new("item", DataType::Int64, false));
    for (name, kind, nullable) in [
        ("home", DataType::Int64, false),
        ("nodes", DataType::List(Arc::clone(&node)), false),
        ("id_node", DataType::Int64, true),
        ("retracts", DataType::Boolean, false),
        ("erases", DataType::Boolean, false),
    ] {
        fields.push(Arc::new(Field::new(name, kind, nullable)));
    }
    let schema = Arc::new(Schema::new(fields));
    let mut writer = StreamWriter::try_new(out, &schema).map_err(failed)?;
    let options = Options::from(&Policy::default()); // no option changes what is named
    while let Some((first, batch)) = input.batch()? {
        let mut nodes = ListBuilder::new(Int64Builder::new()).with_field(Arc::clone(&node));
        let [mut homes, mut ids] = [(); 2].map(|()| Int64Builder::new());
        let [mut retracts, mut erases] = [(); 2].map(|()| BooleanBuilder::new());
        input.rows(first, &batch, |row| {
            tenant(&row)?;
            let asked = asked(row.tenant, row.seq, row.operation, &options)?;
            let mut home = None;
            each_name(&asked, &row, &mut |name| match home {
                None => home = Some(number(row.tenant, &name)),
                Some(_) => nodes.values().append_value(number(row.tenant, &name)),
            })?;
            // An erasure may name no id.
            homes.append_value(home.unwrap_or_else(|| number(row.tenant, &Name::Text(""))));
            nodes.append(true);
            let id = match &asked {
                Asked::Operation(operation) => operation.id,
                Asked::Erasure(_) => None,
            };
            ids.append_option(id.map(|id| number(row.tenant, &Name::Operation(id.0.as_bytes()))));
            retracts.append_value(is_retract(&asked));
            erases.append_value(matches!(asked, Asked::Erasure(_)));
            Ok(())
        })?;
        let mut columns = batch.columns().to_vec();
        let more: [ArrayRef; 5] = [
            Arc::new(homes.finish()),
            Arc::new(nodes.finish()),
            Arc::new(ids.finish()),
            Arc::new(retracts.finish()),
            Arc::new(erases.finish()),
        ];
        columns.extend(more);
        let named = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(failed)?;
        writer.write(&named).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

/// Whether it retracts an operation.
fn is_retract(asked: &Asked) -> bool {
    matches!(asked, Asked::Operation(operation) if matches!(operation.request, Request::Retract { .. }))
}

/// A number for a name. Two names with one number are of one component more than need be, which changes no result.
fn number(tenant: &str, name: &Name<'_>) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(tenant.as_bytes());
    match name {
        Name::Text(text) => hasher.update(b"\0i").update(text.as_bytes()),
        Name::Operation(id) => hasher.update(b"\0o").update(*id),
    };
    let bytes = hasher.finalize();
    i64::from_le_bytes(bytes.as_bytes()[..8].try_into().expect("a digest has 32 bytes"))
}

/// Shows what an operation names: ids and devices, or what it retracts.
fn each_name(asked: &Asked, row: &Row<'_>, each: &mut dyn FnMut(Name<'_>)) -> Result<(), ComponentsError> {
    let operation = match asked {
        Asked::Operation(operation) => operation,
        Asked::Erasure(erasure) => {
            erasure.ids.keys().for_each(|id| each(Name::Text(id)));
            return Ok(());
        }
    };
    let who = |who: &Actor, each: &mut dyn FnMut(Name<'_>)| match who {
        Actor::Id(id) => each(Name::Text(id.as_str())),
        Actor::Device(device) => each(Name::Text(device.as_str())),
    };
    match &operation.request {
        Request::Capture { who: actor, .. } | Request::Set { who: actor } => who(actor, each),
        Request::Identify { who: actor, anonymous: source }
        | Request::Alias { who: actor, alias: source }
        | Request::Merge { who: actor, alias: source } => {
            who(actor, each);
            if let Some(Source::Id(id)) = source {
                each(Name::Text(id.as_str()));
            }
        }
        Request::DeviceIdentify { device, user } => {
            each(Name::Text(device.as_str()));
            each(Name::Text(user.as_str()));
        }
        Request::Reset { device, new_id, .. } => {
            let unnamed = || ComponentsError::UnnamedReset { tenant: row.tenant.to_owned(), seq: row.seq };
            each(Name::Text(device.as_str()));
            each(Name::Text(new_id.as_ref().ok_or_else(unnamed)?.as_str()));
        }
        Request::Retract { target: Target::Operation(id) } => each(Name::Operation(id.0.as_bytes())),
        Request::Split { id, ids, .. } => {
            each(Name::Text(id.as_str()));
            ids.iter().for_each(|id| each(Name::Text(id.as_str())));
        }
        Request::Reclassify { id, .. } => each(Name::Text(id.as_str())),
        _ => unreachable!("lines name what they retract by its id, and each other request stands above"),
    }
    Ok(())
}
