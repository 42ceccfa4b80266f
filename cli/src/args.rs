//! The arguments, and the help that teaches them.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use identity_ledger::import::Format;
use identity_ledger::storage::Access;
use identity_ledger::testing::workload::Shape;
use identity_ledger::{
    Checkpoint, Cursor, DistinctId, OperationId, Policy, Preset, PropertyKey, Seq, Tenant, Timestamp,
};

use crate::failure::Failure;

/// Records who is who, and can prove it: identify, alias, reset and property operations in an append-only, hash-chained log.
#[derive(Parser)]
#[command(name = "identity-ledger", bin_name = "identity-ledger", version, arg_required_else_help = true, max_term_width = 110, after_help = TOUR, after_long_help = TOUR)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The keys of a sealed ledger, in a file apart from it; a ledger that is created with it is sealed
    #[arg(long, global = true, value_name = "FILE", display_order = 899)]
    pub(crate) key_ring: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) manners: OutputArgs,
}

const TOUR: &str = "\
Two minutes:
  identity-ledger generate --people 1000 > events.jsonl  # made-up visitors
  identity-ledger import shop.ledger events.jsonl        # record them
  identity-ledger persons shop.ledger | head             # who there is
  identity-ledger resolve shop.ledger user-7             # one of them
  identity-ledger outcomes shop.ledger | head            # what happened, why
  identity-ledger verify shop.ledger                     # nothing was changed

Without a ledger, to look at what an SDK sent:
  identity-ledger persons requests.jsonl
  zcat events.jsonl.gz | identity-ledger events -

Exit status: 0 success; 1 the answer is no, damage, or an input of which nothing could be taken; 2 wrong usage or I/O error.
`identity-ledger help COMMAND` has examples and says what columns mean.

Answers come from the newest snapshot and the log behind it. Anyone who can write to it can forge a snapshot: --from-log
folds the whole log, --expect RECORDS:HEAD also holds it against a checkpoint that you kept. Each command says what it answered
from: a note, or with --json the key answered_from (snapshot, a number of records or null; checkpoint). A list with --json says
it on standard error, as one object.";

/// How to answer.
#[derive(Args)]
#[command(next_display_order = 900)]
pub(crate) struct OutputArgs {
    /// Print one JSON object a line; its keys are stable
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Cut nothing in tables: whole ids, every property
    #[arg(long, global = true)]
    pub(crate) wide: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create an empty ledger
    #[command(long_about = INIT)]
    Init(InitArgs),
    /// Show or change the policy: which links are made, which refused
    #[command(long_about = POLICY)]
    Policy(PolicyArgs),
    /// Record what SDKs sent: JSON lines, arrays, batches, plain or gzip
    #[command(long_about = IMPORT)]
    Import(ImportArgs),
    /// Fold the whole log again, verifying; print its digests
    #[command(long_about = REPLAY)]
    Replay(SourceArgs),
    /// List the persons
    #[command(long_about = PERSONS)]
    Persons(PersonsArgs),
    /// List the events, each with its person now and then
    #[command(long_about = EVENTS)]
    Events(EventsArgs),
    /// List what every operation did, and what was refused by which rule
    #[command(long_about = OUTCOMES)]
    Outcomes(SourceArgs),
    /// Say who an id is, now or right after a record
    #[command(long_about = RESOLVE)]
    Resolve(ResolveArgs),
    /// Say why two ids, or an event and a person, are one: record by record
    #[command(long_about = EXPLAIN)]
    Explain(ExplainArgs),
    /// Say what keeps two ids apart: what was refused, by which rule and record
    #[command(name = "why-not", long_about = WHY_NOT)]
    WhyNot(WhyNotArgs),
    /// List every record that touched an id or a person
    #[command(long_about = HISTORY)]
    History(HistoryArgs),
    /// Draw the identity graph of a person, as a page or as SVG
    #[command(long_about = GRAPH)]
    Graph(GraphArgs),
    /// Retract an operation: it counts as never asked from here on
    #[command(long_about = RETRACT)]
    Retract(RetractArgs),
    /// Let ids leave their person, each alone or together
    #[command(long_about = SPLIT)]
    Split(SplitArgs),
    /// Say what would change if another policy had held all along
    #[command(long_about = WHAT_IF)]
    WhatIf(WhatIfArgs),
    /// Say in what two ledgers differ, or one at two of its records
    #[command(long_about = DIFF)]
    Diff(DiffArgs),
    /// Check that nothing in a ledger was changed, lost or forged
    #[command(long_about = VERIFY)]
    Verify(VerifyArgs),
    /// List the persons that have a property value
    #[command(long_about = FIND)]
    Find(FindArgs),
    /// Forget a person, ids, or the values of some keys, in every answer and every file
    #[command(long_about = ERASE)]
    Erase(EraseArgs),
    /// List what was erased, and what can be filed about it
    #[command(long_about = ERASURES)]
    Erasures(ErasuresArgs),
    /// Copy a ledger, verified, also while a writer is at work
    #[command(long_about = BACKUP)]
    Backup(BackupArgs),
    /// Say which copy of a sealed ledger a key ring belongs to
    #[command(long_about = KEYS)]
    Keys(KeysArgs),
    /// Take out of a damaged ledger what can be proven
    #[command(long_about = SALVAGE)]
    Salvage(SalvageArgs),
    /// Count what a ledger holds: records by kind, files, memory
    #[command(long_about = STATS)]
    Stats(StatsArgs),
    /// Make up a workload, the same from the same seed
    #[command(long_about = GENERATE)]
    Generate(GenerateArgs),
}

const INIT: &str = "\
Create an empty ledger: a directory. `import` does that by itself; `init` is for choosing first.

  identity-ledger init shop.ledger --tenant 42 --preset one-user
  identity-ledger init shop.ledger --key-ring /secrets/shop.ring

Its files are for their owner alone, unless --access lets the group or everyone read them; what is written later is as LEDGER is.

The tenant is part of every person id, so it stays. The policy can be changed later: that is a record of its own.

With --key-ring the ledger is sealed: texts and values are written encrypted, and FILE gets the keys. Every later command needs it, \
but for `backup`, and `replay`, which then shows what needs no text. Erasing destroys the keys of what it erases, so keep FILE apart \
from the ledger and its backups, and no old version of it. One writer has it at a time, by a lock in FILE.lock. With --refuse-erased ids that were erased are rejected when they come again.

--json keys: ledger_id, tenant.";

const POLICY: &str = "\
Show the policy in force, or change it from here on.

  identity-ledger policy shop.ledger --json > policy.json
  $EDITOR policy.json
  identity-ledger policy shop.ledger --set policy.json

A change is a record in the log: what was recorded before keeps its meaning, and a replay needs nothing else. A policy file \
may name only what differs from its preset: {\"preset\":\"one-user\",\"max_moved_ids\":100}.

--json keys: the policy's own.";

const IMPORT: &str = "\
Record what SDKs sent. The ledger is created if there is none.

  identity-ledger import shop.ledger events.jsonl requests-*.jsonl.gz
  tail -n +1 events.jsonl | identity-ledger import shop.ledger -

Takes one JSON document a line, arrays, and {\"batch\":[..]} bodies, plain or gzip. What was recorded is not recorded again \
when a file is imported twice; what was rejected is tried again. A bad line is reported as FILE:LINE:INDEX: reason, and everything around it is recorded. At the end a snapshot is \
made, so that the ledger opens quickly.

What is counted:
  lines        lines read, blank ones included
  operations   appended + duplicates + conflicts + rejected
  appended     recorded
  refused      of those: recorded, but their link broke a rule; see `outcomes`
  duplicates   recorded before, word for word
  ignored      of those: a device repeated what it had just said
  conflicts    another operation has the same id; not recorded
  rejected     unreadable or out of bounds; not recorded

Exit status: 0 fine; 1 nothing could be recorded of an input that is not empty, and no ledger is created for it, or, with --strict, \
anything was rejected; 2 a file could not be read to its end: what stands before that place and every other file are recorded.

--json keys: those, `snapshot` (how many records the newest one covers), `rejections` and `conflicting` (the first 100 of each, with file, line, index and reason), \
and `unread` (files that could not be read to their end, with file and reason).";

const REPLAY: &str = "\
Fold the whole log again from its first byte, checking every hash and every commitment on the way.

  identity-ledger replay shop.ledger
  identity-ledger replay events.jsonl.gz --preset strict

What is shown:
  records         everything in the log: operations, definitions, policies
  events          captures
  persons         living persons; a merged one no longer counts
  distinct_ids    ids ever written, with a person or without
  digest          of the state in numbers: equal logs, equal digests
  content_digest  of what it means: equal for logs that mean the same
  head            the hash that ends the log; see `verify --expect`
  seconds         reading, checking, decoding and folding, nothing else

--json keys: those.";

const PERSONS: &str = "\
List the persons, in the order in which they were founded.

  identity-ledger persons shop.ledger
  identity-ledger persons shop.ledger --json | jq 'select(.is_identified | not)'

With --limit a page is shown, and where the next one begins; all pages together are the persons as of the first one. With --at those \
of right after a record.

What is shown:
  PERSON        the first digits of the person id
  DISTINCT IDS  how many, and which, in the order of their first mention
  IDENTIFIED    whether an operation identified the person
  EVENTS        its events; in brackets the propertyless ones among them
  CREATED       when it was founded (from 100 columns on)
  PROPERTIES    keys and values

--json keys: person_id, distinct_ids, properties, is_identified, created_at, events, identified_events.";

const EVENTS: &str = "\
List the events, in the order of the log.

  identity-ledger events shop.ledger
  identity-ledger events shop.ledger --json | jq 'select(.person_id != .person_id_then)'
  identity-ledger events shop.ledger --of ann@example.com --limit 100

What is shown:
  SEQ          the event's record
  TIME         by the sender's clock (from 100 columns on)
  EVENT        its name
  DISTINCT ID  the id it was captured under; never rewritten
  PERSON       who we now know was behind it
  THEN         who we thought it was right after its record
  MODE         full, or propertyless: processing was off

--json keys: seq, event_id, distinct_id, person_id, person_id_then, mode, event, time.";

const OUTCOMES: &str = "\
List what every recorded operation did, in the order of the log. Nothing is a silent no-op: what was refused names its rule \
and the record that blocks it.

  identity-ledger outcomes shop.ledger
  identity-ledger outcomes shop.ledger --json | jq 'select(.refusal)'

What is shown:
  SEQ      the operation's record
  OP       what was asked
  ID       whom it speaks for
  OTHER    the id to be linked with it
  OUTCOME  what was refused, what happened, what is worth knowing

--json keys: seq, op, effects, notices, refusal, rule, blocking_seq, distinct_id, other_id, reason.";

const RESOLVE: &str = "\
Say who an id is: its person, and everything known of it, each property with the record that won it. Exit status 1 if the id \
was never written.

  identity-ledger resolve shop.ledger ann@example.com
  identity-ledger resolve shop.ledger ann@example.com --at 120

Ids are compared exactly: no trimming, no case folding. An id that was only seen with processing off has no person yet; the \
one it would found is shown as implied. With --at: who it was right after that record, and what was known then. An ID that was \
never written and is the id of a person, now or once, is answered with the person it stands for now.

--json keys: person_id (null for an unknown id), profile (null for an implied person), implied, distinct_id, at. For a person id: \
asked, person_id, retracted.";

const EXPLAIN: &str = "\
Say why two ids are one person: the records that lead from the one to the other, each naming both ends of its step. Or why an \
event is its person's: its own record first, then the way from its id to the one that founded the person. Exit status 1 if they \
are not one; then `why-not` says what is between them.

  identity-ledger explain shop.ledger ann@example.com 01a208e3-7690-7334-88e3-9756348b65c8
  identity-ledger explain shop.ledger --event 01890a5d-ac96-774b-bcce-b302099a8001
  identity-ledger explain shop.ledger --event 4711        # the event of this record
  identity-ledger explain shop.ledger ann@example.com --property plan

The steps are the links that made the person what it is, not the fewest that could have. They are checked against the records \
alone before they are shown; leave one out, and the way is broken.

With --property: every operation for the person's ids that said something of the key, the one that won it, and by which rule and \
record each other one was beaten. Exit status 1 if nothing was ever said of it.

--json keys: same, steps (seq, op, ids, time), person_id (null unless same), event (the event's record, or null), from, to. With \
--property: person_id, key, now (the value, or null), writes (seq, op, time, distinct_id, verb, value, beaten: rule and by).";

const WHY_NOT: &str = "\
Say why two ids are two persons: a way from the one to the other through everything that was ever said of ids together, and what \
was refused or undone on it, with rule and record. Of all ways it is the one with the fewest barriers. Exit status 1 if they are \
one person after all, or an id was never written.

  identity-ledger why-not shop.ledger ann@example.com bob@example.com
  identity-ledger why-not shop.ledger ann@example.com bob@example.com --json | jq .refusals

What is shown:
  │ record 17   a record that names the ids above and below it; they are one person
  ╳ record 23   one whose ids are kept apart; the rule, the record that blocks, and why

--json keys: same, refusals (seq, rule, blocking_seq, reason), way (seq, op, ids, time, barrier), person_a, person_b.";

const HISTORY: &str = "\
List every record that touched an id: those that name it, and those that changed its person. With --person those that touched \
any id of its person. Exit status 1 if the id was never written.

  identity-ledger history shop.ledger ann@example.com
  identity-ledger history shop.ledger ann@example.com --person --json | jq 'select(.outcome.refusal)'
  identity-ledger history shop.ledger ann@example.com --limit 100
  identity-ledger history shop.ledger ann@example.com --limit 100 --from 4711.120

With --limit a page is shown, and where the next one begins. All pages together are the history as of the first one, whatever is \
recorded meanwhile.

What is shown:
  SEQ      the record
  TIME     by the sender's clock (from 100 columns on)
  OP       what was asked or defined
  ID       whom it speaks for
  OTHER    the id to be linked with it
  OUTCOME  what it did when it was recorded

--json keys: seq, op, outcome (as `outcomes` has it; null for a definition), time. With \
--limit a last line has `next`, a cursor or null.";

const GRAPH: &str = "\
Draw the identity graph of the person an id belongs to: its ids and devices, the links with the numbers of their records, and \
dashed the links that were refused. Exit status 1 if the id was never written.

  identity-ledger graph shop.ledger ann@example.com -o ann.html
  identity-ledger graph shop.ledger ann@example.com -o ann.svg
  identity-ledger graph shop.ledger ann@example.com --svg -o - | rsvg-convert -o ann.png

The page works without a network: search an id or a record, move the slider to see who was whom right after any record, choose \
an id or a line to read its records. The same ledger gives the same bytes. At most 400 ids and devices are drawn, the nearest \
first; the headline says how many are not. A file inside a ledger, or a key ring, is never written over.

What is shown:
  box           an id, with the colour of its person; squarer: a device
  line          a link: #17 is the record that made it, #17 +2 has two more that ask for the same
  thin line     asked for when the two were one person already
  dashed line   refused; the rule and the record that blocks are in the table
  dotted line   a device spoke for the id";

const RETRACT: &str = "\
Retract an operation: its record counts as never asked from here on, and everything else that was asked of its ids is folded \
again without it. The record itself stays in the log. Exit status 1 if it is refused.

  identity-ledger history shop.ledger ann@example.com            # which record was wrong
  identity-ledger retract shop.ledger 4711 --dry-run             # what would change
  identity-ledger retract shop.ledger 4711                       # do it
  identity-ledger retract shop.ledger --operation 01890a5d-ac96-774b-bcce-b302099a8001

A retract is an operation too: retract its record, and what it retracted counts again.

What is shown: as `diff`, of the ids and devices that records connect with the operation; nothing else changes.

--json keys: seq (its record, or the one it would be), recorded, refusal, rule, blocking_seq, reason (null unless refused), diff \
(as `diff` has it).";

const SPLIT: &str = "\
Let ids leave the person they belong to. Each part keeps what was said for its own ids, as if it had been alone from the \
beginning; links between the parts no longer count. Later links may join them again. Exit status 1 if it is refused.

  identity-ledger split shop.ledger ann@example.com --ids kiosk-7 --dry-run
  identity-ledger split shop.ledger ann@example.com --ids bob@example.com,01a208e3-7690-7334-88e3-9756348b65c8 --together

ID is any id of the person. The ids named leave, each as a person of its own unless --together; those that stay keep the person id. \
At least one id has to stay.

What is shown: as `diff`, of the ids and devices that records connect with the person; nothing else changes.

--json keys: those of `retract`.";

const WHAT_IF: &str = "\
Say what a ledger would mean if another policy had held from its first record on. Nothing is written: the same records are \
folded once more, each id in the class that its text has under that policy.

  identity-ledger what-if shop.ledger --preset one-user
  identity-ledger what-if shop.ledger --policy policy.json --json | jq '.moved_ids | length'

What records hold is not asked again: for whom a device spoke (dialect, person_profiles), and what an import lifted or kept.

What is shown, as far as it differs:
  counts           persons, ids, and events, full or propertyless
  merged, split    persons that are one of several, or several of one, with the ids they share
  ids              whose they are, and how many events go with them; in brackets the propertyless ones among these
  properties       value and record on each side
  refusals         what would be refused, what would no longer be

Exit status 0, whatever differs. --json keys: those of `diff`.";

const DIFF: &str = "\
Say in what the meaning of two ledgers differs, or of one ledger right after two of its records.

  identity-ledger diff shop.ledger restored.ledger          # two ledgers, by their texts
  identity-ledger diff shop.ledger --at 1000                # then and now
  identity-ledger diff shop.ledger --at 1000 --at 2000      # then and later
  identity-ledger diff shop.ledger copy.ledger --at 1000    # the first then, the second now

Persons are matched by person id, ids and devices by their texts, events by all they hold. Two points of one ledger are matched \
by number; that is faster.

What is shown: as `what-if`, and events that only one of the two has.

Exit status as of diff(1): 0 no difference, 1 some, 2 trouble.

--json keys: merged, split, renamed, created, gone, persons, moved_ids, new_ids, gone_ids, moved_events, events, properties, \
devices, refusals, counts (before and after: persons, identified_persons, distinct_ids, events, identified_events, \
propertyless_events), classes_kept (ids whose text is erased).";

const VERIFY: &str = "\
Check everything a stranger can check: every hash of the chain, every commitment, every class and limit, and that every \
snapshot holds what the log says. Only reads. Exit status 1 if anything is wrong; then file, byte and record are named. A bad \
snapshot may be removed: nothing is lost with it.

  identity-ledger verify shop.ledger
  identity-ledger verify shop.ledger --expect 4711:9f86d0...0a08

A checkpoint, RECORDS:HEAD, is what `verify` prints. Kept somewhere else, it proves later that nothing up to it was changed, \
not even by someone who computed all the hashes again.

A sealed ledger is checked without its --key-ring as far as the hash chain goes, and what was not checked is said.

--json keys: ok, records (before the first fault), head, digest, first_fault (null, or file, offset, seq, what), faults, tail, \
snapshots, remarks (no faults: behind_head, pending_erasures, head_slot, lock_missing, foreign), intact, damaged, unreadable \
(records that are known, as `salvage` counts them), unchecked (null, or items and snapshots).";

const FIND: &str = "\
List the persons whose property has a value now, in the order in which they were founded. Exit status 1 if there are none.

  identity-ledger find shop.ledger --property email=ann@example.com

The value is compared with texts as they are; a number, true, false, null, list or object in JSON also with values of that kind. \
Every value of that key is read: there is no index, so nothing of an erased value is left in one. Values that a person had once \
and has no longer are not looked at.

What is shown is what `persons` shows; with --json the person id is there in full, as `erase --person` takes it.

--json keys: those of `persons`.";

const ERASE: &str = "\
Forget a person, ids, or the values of some keys. First every answer says so, durably; then the texts and values are taken out of \
every file: the segments that hold them are rewritten, snapshots and what recovery kept are removed. A command that was cut off \
is finished by the next one that opens the ledger for writing.

  identity-ledger find shop.ledger --property email=ann@example.com
  identity-ledger erase shop.ledger --person 5ec1e4d9-6b2c-5f0e-8d53-5b8b8a4a3c07 --reason 'request 2026-117'
  identity-ledger erase shop.ledger --person-of ann@example.com --keys email,phone --reason 'wrong address'

There is no way back. What stays is structure: numbers, links, events and whose they are, counts, times, property keys, and every \
hash and digest so far. The same text seen again is a new id and a new person. Backups made before, exports and the events' \
source are yours to clean; run `backup` again for each copy.

What is shown:
  items                texts and values that are gone
  segments             files of the log that were rewritten
  events               captured under the erased ids; they stay, without whose they were
  record, done by      the records that say what was erased, and that it is done

Exit status: 0 erased, 2 it could not be done; if only the files are not done yet, the message says so.

--json keys (one object an erase record): those of `erasures`.";

const ERASURES: &str = "\
List every erasure: when, why, what it covers, whether it is done, and what can be filed about it. It names no person.

  identity-ledger erasures shop.ledger
  identity-ledger erasures shop.ledger --json > receipts.jsonl
  identity-ledger erase shop.ledger --reason-of 4711        # a reason may name a person

What is shown:
  RECORD    the record that erased
  TIME      when it was asked for, by the asker's clock
  WHAT      how many ids and devices; or the keys, and how many records were rectified
  EVENTS    captured under its ids; they stay
  ITEMS     texts and values that are gone
  SEGMENTS  files of the log that were rewritten, also for others erased together with it
  DONE      the record that says so, or `pending`
  REASON    what was given; `erased` can not be told from none

--json keys: seq, time, reason, ids, devices, records, keys, events, done_seq (null while pending), items, segments (file, \
bytes_before, bytes_after, and the digests before and after).";

const STATS: &str = "\
Count what a ledger holds: who there is, the log's records by kind, the files on the disk, and what it takes in memory once it is open.

  identity-ledger stats shop.ledger
  identity-ledger stats shop.ledger --json | jq .files.log.bytes

What is shown:
  RECORD       a kind of record: an operation, a definition of a text, a policy, or what an erasure or a recovery left
  BYTES        of the log: bodies and payload items; headers, hashes and padding come on top. On disk: lengths of files
  ON DISK      `snapshots` are caches; `quarantine` keeps what recovery cut off
  IN MEMORY    index by index, of the ledger as it was opened here; `postings` are there once history, why-not, retract or split asked

--json keys: ledger_id, records, kinds (by name: records, bytes), erased_items, events, persons, distinct_ids, devices, property_keys, \
event_names, files (log, snapshots, quarantine, other: files, bytes), memory (links, persons, id_texts, id_index, other_texts, \
operation_ids, places, postings; bytes).";

const BACKUP: &str = "\
Copy a ledger. A writer may be at work meanwhile: the copy ends at what was durable when the backup began, every hash and \
commitment is checked on the way, and the ledger itself is only read.

  identity-ledger backup shop.ledger /mnt/backup/shop.ledger    # the whole log
  identity-ledger backup shop.ledger /mnt/backup/shop.ledger    # later: only what is new
  identity-ledger verify /mnt/backup/shop.ledger --expect 4711:9f86d0...0a08

DEST must be new, empty, or an earlier copy of the same ledger. A backup that was cut off continues when it is run again; until \
its first run is complete DEST does not open. Restoring is opening the copy, or copying it back. Do not write to a copy that is \
to be updated later: the two histories part, and the next backup says so and stops.

What is shown:
  bytes copied         of log, now
  bytes there already  of log, from earlier runs, compared byte by byte
  sealed items not opened  of a sealed ledger, without --key-ring
  the checkpoint       RECORDS:HEAD, where the copy ends

A sealed ledger is copied without its keys. With --key-ring each item is opened too, and one that does not open stops the backup, as \
all damage does. No copy holds the ring; to write to a restored one, see `keys`.

--json keys: checkpoint (RECORDS:HEAD), records, kept_bytes, copied_bytes, unopened_items (sealed ones, without --key-ring), \
pending_erasures (records of erasures that are not finished in the copy).";

const KEYS: &str = "\
Say which copy of a sealed ledger a key ring belongs to. One copy is written with a ring at a time: the one that was created with it. \
Every other copy, such as a restored backup, can be read with it, and is refused for writing until one of these was run.

  identity-ledger keys adopt tape --key-ring /secrets/shop.ring                      # tape replaces the ledger that was lost
  identity-ledger keys fork tape /secrets/drill.ring --key-ring /secrets/shop.ring   # both stay in use

With `adopt` the copy takes the ring over, and the ledger that had it before can not be written with it any more. With `fork` the copy \
gets a new ring that opens what RING opens now, and RING stays as it is. From then on a request to be forgotten has to be made in both \
copies, and the new ring opens old backups, no matter what is erased with the other: destroy it with the copy. Both record in the copy what was \
erased since it was made.

--json keys: ledger_id, records, erased_since (records whose texts or values were erased elsewhere), key_ring.";

const SALVAGE: &str = "\
Take out of a damaged ledger what can be proven, and name what is lost. A backup is better: salvage is for what no backup has. \
The ledger is only read, so a read-only mount will do.

  identity-ledger verify shop.ledger                            # what is wrong
  identity-ledger salvage shop.ledger rescued                   # what can be saved
  identity-ledger verify rescued/ledger                         # a ledger again, up to the first fault
  jq -c 'select(.op == \"identify\")' rescued/beyond.jsonl        # what is proven behind it

DEST must be new or empty. It gets:
  ledger/       everything before the first fault, as a ledger that opens; on purpose it ends there
  beyond.jsonl  every proven record behind the first fault, one a line: by number, and by text where the definition survives
  report.json   what --json prints

Proven means: header and body of the frame give its hash, or the one that others say it had. The file LEDGER must be whole; \
restore it from any copy if it is not.

What is shown:
  records known         how many existed, as HEAD, later frames, later segments or --expect say
  intact                proven
  lost                  known, and not proven; each range with its place
  texts or values lost  of records that are intact themselves
  erased, still there   texts or values whose erasure is said to be done: a file from before it lies in the log
  unacknowledged bytes  behind all that, of a write that was cut off; not lost

Exit status: 0 nothing is lost, 1 something is, 2 it could not be done.

--json keys: records, intact and lost (ranges, from and to included), items_lost, unerased, unacknowledged, first_fault, \
contradicting_frames, witnesses, prefix, checkpoint (RECORDS:HEAD, where the salvaged ledger ends; null if there is none), \
beyond.";

const GENERATE: &str = "\
Make up a workload and print it in the `ops` format, one operation a line. The same people, seed and shape give the same bytes \
on every machine.

  identity-ledger generate --people 1000 --seed 1 > events.jsonl
  identity-ledger generate --people 9 --shape hairball | identity-ledger persons -

Shapes:
  web             visitors who sign in on one to three browsers; 18 lines a person
  shared-devices  three people to a device, resets in between; 9 lines a person
  hairball        one person who has all the ids; 2 lines an id";

#[derive(Args)]
pub(crate) struct InitArgs {
    /// The directory to create
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) choice: CreateArgs,
    /// Who may read the ledger's files
    #[arg(long, default_value = "owner", value_parser = named(&Access::ALL))]
    pub(crate) access: Access,
    /// Refuse ids that were erased when they are sent again; with --key-ring
    #[arg(long, requires = "key_ring")]
    pub(crate) refuse_erased: bool,
}

#[derive(Args)]
pub(crate) struct PolicyArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Record this policy, a JSON file (`-` for standard input)
    #[arg(long, value_name = "FILE")]
    pub(crate) set: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// The ledger's directory; created if there is none
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    /// What to import; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// What the files are written in: auto, ops or posthog
    #[arg(long, default_value = "auto")]
    pub(crate) format: Format,
    /// Exit with 1 if anything was rejected
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) choice: CreateArgs,
}

#[derive(Args)]
pub(crate) struct SourceArgs {
    /// A ledger's directory, or a file to fold in memory (`-` is standard input)
    #[arg(value_name = "LEDGER|FILE")]
    pub(crate) source: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    #[command(flatten)]
    pub(crate) choice: CreateArgs,
}

#[derive(Args)]
pub(crate) struct PersonsArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// As they were right after this record
    #[arg(long, value_name = "SEQ", conflicts_with = "from")]
    pub(crate) at: Option<u64>,
    #[command(flatten)]
    pub(crate) paging: Paging,
}

#[derive(Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Only those of the person of this id
    #[arg(long, value_name = "ID")]
    pub(crate) of: Option<String>,
    #[command(flatten)]
    pub(crate) paging: Paging,
}

#[derive(Args)]
pub(crate) struct ResolveArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// The distinct id, exactly as it was sent (`-- -id` if it begins with a hyphen)
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Right after this record instead of now
    #[arg(long, value_name = "SEQ")]
    pub(crate) at: Option<u64>,
}

#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Two distinct ids, exactly as they were sent
    #[arg(value_name = "ID", num_args = 1..=2, required_unless_present = "event", conflicts_with = "event")]
    pub(crate) ids: Vec<String>,
    /// Why a property of the person of one ID has its value
    #[arg(long, value_name = "KEY", conflicts_with = "event")]
    pub(crate) property: Option<String>,
    /// An event: its id, or the number of its record
    #[arg(long, value_name = "ID|SEQ", value_parser = EventName::parse)]
    pub(crate) event: Option<EventName>,
}

#[derive(Args)]
pub(crate) struct WhyNotArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// A distinct id, exactly as it was sent
    #[arg(value_name = "A")]
    pub(crate) a: String,
    /// Another distinct id
    #[arg(value_name = "B")]
    pub(crate) b: String,
}

#[derive(Args)]
pub(crate) struct HistoryArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// A distinct id, exactly as it was sent (`-- -id` if it begins with a hyphen)
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Of all ids of its person
    #[arg(long)]
    pub(crate) person: bool,
    #[command(flatten)]
    pub(crate) paging: Paging,
}

/// What answers are taken from.
#[derive(Args, Clone, Copy, Default)]
#[command(next_help_heading = "What answers are taken from")]
pub(crate) struct Reading {
    /// Fold the whole log, and look at no snapshot
    #[arg(long)]
    pub(crate) from_log: bool,
    /// Answer only if the log passes through this checkpoint, kept elsewhere; folds the whole log
    #[arg(long, value_name = "RECORDS:HEAD")]
    pub(crate) expect: Option<Checkpoint>,
}

/// Which part of a long list.
#[derive(Args)]
pub(crate) struct Paging {
    /// Show at most N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Continue where the page before ended
    #[arg(long, value_name = "CURSOR")]
    pub(crate) from: Option<Cursor>,
}

impl Paging {
    /// Whether no part was asked for.
    pub(crate) fn is_whole(&self) -> bool {
        self.limit.is_none() && self.from.is_none()
    }
}

/// What an event is called on the command line.
#[derive(Clone, Copy)]
pub(crate) enum EventName {
    Id(OperationId),
    Record(Seq),
}

impl EventName {
    fn parse(text: &str) -> Result<EventName, String> {
        match (text.parse(), uuid::Uuid::try_parse(text)) {
            (Ok(seq), _) => Ok(EventName::Record(Seq(seq))),
            (_, Ok(id)) => Ok(EventName::Id(OperationId(id))),
            _ => Err("expected the id of an event (a UUID), or the number of its record".to_owned()),
        }
    }
}

#[derive(Args)]
pub(crate) struct RetractArgs {
    #[command(flatten)]
    pub(crate) how: CorrectionArgs,
    /// The record of the operation to retract
    #[arg(value_name = "SEQ", required_unless_present = "operation", conflicts_with = "operation", value_parser = record_number)]
    pub(crate) seq: Option<u64>,
    /// The operation recorded under this id, instead of a record
    #[arg(long, value_name = "ID", value_parser = operation_id)]
    pub(crate) operation: Option<OperationId>,
}

#[derive(Args)]
pub(crate) struct SplitArgs {
    #[command(flatten)]
    pub(crate) how: CorrectionArgs,
    /// An id of the person, leaving or staying (`-- -id` if it begins with a hyphen)
    #[arg(value_name = "ID")]
    pub(crate) id: DistinctId,
    /// Distinct ids that leave the person, separated by commas
    #[arg(long, value_name = "ID,ID", value_delimiter = ',', required_unless_present = "each_id")]
    pub(crate) ids: Vec<DistinctId>,
    /// One who leaves, commas and all; may be given several times
    #[arg(long = "id", value_name = "ID")]
    pub(crate) each_id: Vec<DistinctId>,
    /// Each becomes a person of its own [default]
    #[arg(long, conflicts_with = "together")]
    pub(crate) each: bool,
    /// Together they become one person
    #[arg(long)]
    pub(crate) together: bool,
}

/// What retract and split have in common.
#[derive(Args)]
pub(crate) struct CorrectionArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// When it is asked, such as 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<Timestamp>,
    /// Only say what it would do; the ledger is opened read-only
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn operation_id(text: &str) -> Result<OperationId, String> {
    let id = uuid::Uuid::try_parse(text);
    id.map(OperationId).map_err(|_| "expected the id of an operation, a UUID".to_owned())
}

#[derive(Args)]
pub(crate) struct WhatIfArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    #[command(flatten)]
    pub(crate) asked: AskedPolicy,
}

/// The policy that is asked about.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct AskedPolicy {
    /// Ask about a preset: as PostHog does, more strictly, or with one user a person
    #[arg(long, value_parser = named(&Preset::ALL))]
    preset: Option<Preset>,
    /// Ask about a policy of your own, a JSON file (`-` for standard input)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl AskedPolicy {
    pub(crate) fn policy(&self) -> Result<Policy, Failure> {
        match &self.policy {
            Some(file) => crate::policy::read(file),
            None => Ok(Policy::preset(self.preset.unwrap_or_default())),
        }
    }
}

#[derive(Args)]
pub(crate) struct GraphArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// A distinct id, exactly as it was sent (`-- -id` if it begins with a hyphen)
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Where to write the picture; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// A page with search and slider [default, unless FILE ends in .svg]
    #[arg(long, conflicts_with = "svg")]
    pub(crate) html: bool,
    /// The picture alone
    #[arg(long)]
    pub(crate) svg: bool,
}

#[derive(Args)]
pub(crate) struct DiffArgs {
    /// A ledger's directory
    #[arg(value_name = "A")]
    pub(crate) first: PathBuf,
    /// Another's; without it, A again
    #[arg(value_name = "B")]
    pub(crate) second: Option<PathBuf>,
    /// A right after this record; given twice, the second time it is B's
    #[arg(long, value_name = "SEQ")]
    pub(crate) at: Vec<u64>,
    /// Fold both logs whole, and look at no snapshot
    #[arg(long)]
    pub(crate) from_log: bool,
    /// Answer only if A's log passes through this checkpoint, kept elsewhere; given twice, the second time it is B's. Folds both logs whole
    #[arg(long, value_name = "RECORDS:HEAD")]
    pub(crate) expect: Vec<Checkpoint>,
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    /// A checkpoint seen earlier: the log must pass through it
    #[arg(long, value_name = "RECORDS:HEAD")]
    pub(crate) expect: Option<Checkpoint>,
}

#[derive(Args)]
pub(crate) struct FindArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// The property and its value
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(crate) property: (PropertyKey, String),
}

#[derive(Args)]
pub(crate) struct EraseArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    #[command(flatten)]
    pub(crate) whom: EraseSubjectArgs,
    /// Only the values of these property keys; the texts of ids stay
    #[arg(long, value_name = "KEY,KEY", value_delimiter = ',', conflicts_with = "reason_of")]
    pub(crate) keys: Vec<PropertyKey>,
    /// Why; it is kept, and can be erased itself
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Whose texts and values.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct EraseSubjectArgs {
    /// Everything of this person
    #[arg(long, value_name = "PERSON-ID")]
    pub(crate) person: Option<uuid::Uuid>,
    /// Everything of the person that this id belongs to
    #[arg(long, value_name = "ID")]
    pub(crate) person_of: Option<DistinctId>,
    /// This id alone, and what was said for it; may be given several times
    #[arg(long, value_name = "ID")]
    pub(crate) id: Vec<DistinctId>,
    /// The reason that this erase record gave
    #[arg(long, value_name = "SEQ")]
    pub(crate) reason_of: Option<u64>,
}

#[derive(Args)]
pub(crate) struct StatsArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
}

#[derive(Args)]
pub(crate) struct ErasuresArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
}

fn record_number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "expected the number of a record, or --operation and the id of an operation".to_owned())
}

fn key_and_value(text: &str) -> Result<(PropertyKey, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as email=ann@example.com")?;
    let key = PropertyKey::new(key).map_err(|error| error.to_string())?;
    Ok((key, value.to_owned()))
}

#[derive(Args)]
pub(crate) struct BackupArgs {
    /// The ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    /// Where the copy is, or is to be
    #[arg(value_name = "DEST")]
    pub(crate) dest: PathBuf,
}

#[derive(Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) change: KeysChange,
}

/// What a key ring is to belong to.
#[derive(Subcommand)]
pub(crate) enum KeysChange {
    /// Let this copy take over the ring of --key-ring
    Adopt {
        /// The copy's directory
        #[arg(value_name = "LEDGER")]
        ledger: PathBuf,
    },
    /// Give this copy a ring of its own, made from that of --key-ring
    Fork {
        /// The copy's directory
        #[arg(value_name = "LEDGER")]
        ledger: PathBuf,
        /// The file to make
        #[arg(value_name = "NEW_RING")]
        ring: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct SalvageArgs {
    /// The damaged ledger's directory
    #[arg(value_name = "LEDGER")]
    pub(crate) ledger: PathBuf,
    /// Where to put what is proven
    #[arg(value_name = "DEST")]
    pub(crate) dest: PathBuf,
    /// A checkpoint that was kept elsewhere: a witness more
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) expect: Option<Checkpoint>,
}

#[derive(Args)]
pub(crate) struct GenerateArgs {
    /// How many people (for a hairball: how many ids)
    #[arg(long, value_name = "N")]
    pub(crate) people: u64,
    /// What chance begins with
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// What the people do
    #[arg(long, default_value = "web", value_parser = named(&Shape::ALL))]
    pub(crate) shape: Shape,
}

/// What a new ledger is to be: one that is created, or one in memory.
#[derive(Args)]
#[command(next_help_heading = "A new ledger (or a file folded in memory)")]
pub(crate) struct CreateArgs {
    /// Whose ledger it is; part of every person id [default: 1]
    #[arg(long, value_name = "T")]
    pub(crate) tenant: Option<Tenant>,
    /// Which links are made: as PostHog does, more strictly, or with one user a person [default: posthog]
    #[arg(long, value_parser = named(&Preset::ALL), conflicts_with = "policy")]
    pub(crate) preset: Option<Preset>,
    /// A policy of your own, a JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

impl CreateArgs {
    /// The policy that was chosen, if one was.
    pub(crate) fn policy(&self) -> Result<Option<Policy>, Failure> {
        match (&self.policy, self.preset) {
            (Some(file), _) => crate::policy::read(file).map(Some),
            (None, Some(preset)) => Ok(Some(Policy::preset(preset))),
            (None, None) => Ok(None),
        }
    }

    /// The tenant, chosen or not.
    pub(crate) fn tenant_or_default(&self) -> Tenant {
        self.tenant.clone().unwrap_or_default()
    }
}

/// Takes one of some names.
fn named<T: Copy + Send + Sync + 'static>(
    all: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|(name, _)| *name)).map(move |chosen| {
        let found = all.iter().find(|(name, _)| *name == chosen);
        found.map(|(_, value)| *value).expect("clap lets no other value through")
    })
}
