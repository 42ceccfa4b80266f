"""Checks proofs of an identity ledger (docs/proofs.md) without that program and without the ledger.

    python3 -m venv venv && venv/bin/pip install blake3 cryptography
    venv/bin/python check_proof.py --key 'shop.example/ledger+...' case.proof

One line for each proof: `FILE holds: ` and what is proven, or `FILE does NOT hold: ` and why. Exit status 1 if one does not hold.
Written from docs/proofs.md and docs/format.md alone. Stricter than need be: what it does not know, it refuses.
"""

import argparse
import base64
import datetime
import hashlib
import re
import struct
import sys
import uuid

import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NONE = 2**32 - 1
COMMITMENT = "identity-ledger 2026-11-29 v2 payload commitment"
INDEX = "identity-ledger 2026-11-29 v1 index of texts"
KINDS = "genesis set_policy recovered define_id define_device define_key define_name capture identify alias merge set switch reset retract split erase erase_done restate followed reclassify".split()
DEFINES = ("define_id", "define_device", "define_key", "define_name")
OPERATIONS = KINDS[7:16] + ["reclassify"]


class Wrong(Exception):
    """Why a proof does not hold."""


def expect(good, why):
    if not good:
        raise Wrong(why)


def unbase64(word):
    """One spelling: bytes that are written again the same."""
    if word == "-":
        return b""
    data = base64.b64decode(word, validate=True)
    expect(data and base64.b64encode(data).decode() == word, "bytes are not spelled as base64 is")
    return data


def number(word):
    expect(re.fullmatch("0|[1-9][0-9]{0,18}", word), "a number is not spelled as one")
    return int(word)


# -- signatures (C2SP signed-note, tlog-cosignature) ---------------------------------------------------------------------------------


class Key:
    def __init__(self, text):
        self.name, hexid, key = text.split("+", 2)
        data = unbase64(key)
        self.witness, self.id = data[0] == 4, hashlib.sha256(self.name.encode() + b"\n" + data).digest()[:4]
        expect(data[0] in (1, 4) and len(data) == 33 and self.id.hex() == hexid, "that is not a verifier's key")
        self.key = Ed25519PublicKey.from_public_bytes(data[1:])

    def check(self, text, signature):
        message = text
        if self.witness:
            message = b"cosignature/v1\ntime %d\n" % struct.unpack(">Q", signature[:8]) + text
            signature = signature[8:]
        try:
            self.key.verify(signature, message)
        except InvalidSignature:
            raise Wrong(f"the signature of {self.name} is not of this note") from None


def check_note(note, keys):
    text, lines = note.rsplit("\n\n", 1)
    text = text + "\n"
    expect(lines.endswith("\n"), "the last line is not ended")
    due, seen = {(key.name, key.id): key for key in keys}, []
    for line in lines[:-1].split("\n"):
        dash, name, rest = line.split(" ")
        data = unbase64(rest)
        expect(dash == "\u2014" and (name, data[:4]) in due, f"a signature of {name} cannot be checked")
        due[(name, data[:4])].check(text.encode(), data[4:])
        seen.append((name, data[:4]))
    expect(seen == sorted(due), "each key must have signed once, in order")
    return text


# -- trees (RFC 6962) ----------------------------------------------------------------------------------------------------------------


def root_by(data, index, size, path):
    expect(index < size, "it lies behind the end of its tree")
    at, last, hash = index, size - 1, hashlib.sha256(b"\0" + data).digest()
    for beside in (path[i : i + 32] for i in range(0, len(path), 32)):
        expect(last > 0 and len(beside) == 32, "a path is not as long as its tree is high")
        if at & 1 or at == last:
            hash = hashlib.sha256(b"\1" + beside + hash).digest()
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            hash = hashlib.sha256(b"\1" + hash + beside).digest()
        at, last = at >> 1, last >> 1
    expect(last == 0, "a path is not as long as its tree is high")
    return hash


def continues(first, size, earlier, root, path):
    """Whether a tree begins with the leaves of an earlier one (RFC 6962, section 2.1.2)."""
    path = [path[i : i + 32] for i in range(0, len(path), 32)]
    if not 0 < first < size:
        return 0 < first == size and earlier == root and not path
    if first & (first - 1) == 0:
        path = [earlier] + path
    at, last, old = first - 1, size - 1, path[0]
    new = old
    while at & 1:
        at, last = at >> 1, last >> 1
    for beside in path[1:]:
        if last == 0 or len(beside) != 32:
            return False
        if at & 1 or at == last:
            old, new = (hashlib.sha256(b"\1" + beside + hash).digest() for hash in (old, new))
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = hashlib.sha256(b"\1" + new + beside).digest()
        at, last = at >> 1, last >> 1
    return (last, old, new) == (0, earlier, root)


def root_of(leaves):
    """The root over all leaves; where a level has an odd number, its last node stands on the next one too."""
    level = [hashlib.sha256(b"\0" + data).digest() for data in leaves]
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\1" + b"".join(pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0] if level else hashlib.sha256().digest()


# -- the index of texts --------------------------------------------------------------------------------------------------------------


def place_of(ledger, text):
    key = blake3.blake3(ledger.bytes, derive_key_context=INDEX).digest()
    return blake3.blake3(text.encode(), key=key).digest()


def goes_right(place, bit):
    return place[bit // 8] >> (7 - bit % 8) & 1


def root_by_way(place, leaf, turns):
    """The root to which the way of a place leads from a leaf, which is a place and what stands there."""
    hash, last = hashlib.sha256(b"\0" + leaf).digest(), 256
    expect(len(leaf) == 64 and len(turns) % 33 == 0, "no way of a text")
    for at in range(0, len(turns), 33):
        bit, beside = turns[at], turns[at + 1 : at + 33]
        expect(bit < last and goes_right(place, bit) == goes_right(leaf, bit), "that is not the way of that text")
        pair = beside + hash if goes_right(place, bit) else hash + beside
        hash, last = hashlib.sha256(bytes([1, bit]) + pair).digest(), bit
    return hash


# -- records -------------------------------------------------------------------------------------------------------------------------


class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        expect(self.at + count <= len(self.data), "a record ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def unpack(self, layout):
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def number(self):
        first = self.take(1)[0]
        if first == 0:
            (value,) = self.unpack("Q")
            expect(value >> 56, "a number has more bytes than it needs")
            return value
        count = (first & -first).bit_length()
        value = int.from_bytes(bytes([first]) + self.take(count - 1), "little") >> count
        expect(count == 1 or value >> (7 * (count - 1)), "a number has more bytes than it needs")
        return value

    def list(self, layout):
        (count,) = self.unpack("Q")
        return [self.unpack(layout) for _ in range(count)]


def time_text(micros):
    when = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)
    return when.isoformat() + "Z"


class Record:
    """A leaf of the tree of records: docs/proofs.md; what it says: docs/format.md, section 6."""

    def __init__(self, seq, data):
        read = Bytes(data)
        self.seq = seq
        self.recorded_at, self.number = read.unpack("qI")
        first = read.take(1)[0]
        self.kind = KINDS[first & 31]
        self.commitment = self.speaks_for = self.retracts = None
        self.names, self.erases = [], []
        if self.kind in DEFINES:
            expect(first < 32, "an unknown bit")
            if self.kind == "define_id":
                read.take(1)
                self.speaks_for = self.number
            if self.kind == "define_device":
                self.names.append(read.number())
            self.commitment = read.take(32)
        elif self.kind in OPERATIONS:
            self.operation(first, read)
        elif self.kind == "erase":
            read.unpack("q")
            self.names = [id for (id,) in read.list("I")]
            read.list("II")
            self.erases = [seq for (seq,) in read.list("I")]
            read.list("I")
            if read.unpack("B") == (1,):
                self.commitment = read.take(32)
        elif self.kind == "erase_done":
            self.erasures = [erase for erase, _ in read.list("IQ")]
            read.list("QQQ32s32s")
        elif self.kind == "restate":
            _, self.speaks_for = read.unpack("II")
            read.list("H")
            if read.unpack("B") == (1,):
                self.commitment = read.take(32)
        else:
            raise Wrong("a record of a kind that no proof cites")
        expect(read.at == len(data), "bytes follow a record")
        self.names.append(self.speaks_for)

    def operation(self, first, read):
        self.flags, self.id = read.number(), read.number()
        self.speaks_for = self.id
        self.other = read.number() if first & 32 else None
        if self.kind == "retract":
            self.retracts = read.number()
        if self.kind == "reclassify":
            read.number()
        if first & 64:
            read.number()
        stored = read.number()
        step = stored >> 1
        step = -(step + 1) // 2 if step & 1 else step // 2
        self.time = step if stored & 1 else step * 1000
        self.changes = []
        if first & 128:
            count, last = read.number() - 8, 0
            expect(0 < count <= 2048, "no list of changes")
            for _ in range(count):
                change = read.number()
                bits = 3 if self.flags & 512 else 2
                last += change >> bits
                self.changes.append((last, change & (1 << bits) - 1))
        self.operation_id = read.take(16) if self.flags & 2 else None
        if self.flags & 4 or any(verb != 2 for _, verb in self.changes):
            self.commitment = read.take(32)
        if self.kind == "split":
            count, self.leavers, least = read.number(), [], 0
            self.together = count & 1
            for _ in range(count >> 1):
                self.leavers.append(least + read.number())
                least = self.leavers[-1] + 1
            self.names += self.leavers
        self.source = self.other - 1 if self.kind in ("identify", "alias", "merge") and self.other else None
        self.names.append(self.source)

    def links(self, a, b):
        return not self.flags & 1 and {self.id, self.source} == {a, b}

    def keeps(self, a, b):
        if self.kind != "split":
            return False
        left = [id in self.leavers for id in (a, b)]
        return left == [False, False] or left == [True, True] and bool(self.together)


def values(item, record):
    """The values of an operation, as far as proofs show them: short texts, whole numbers, and as bytes whatever else there is."""
    read, found = Bytes(item), []
    if record.flags & 4:
        read.take(16)
    for key, verb in record.changes:
        if verb != 2:
            found.append((key, value(read, True)))
    expect(read.at == len(item), "bytes follow the values of a record")
    return found


def value(read, short=False):
    tag = read.take(1)[0]
    if short and tag >= 64 and tag < 128:
        return read.take(tag & 63).decode()
    if short and tag == 9:
        stored = read.number()
        return -(stored + 1) // 2 if stored & 1 else stored // 2
    if tag in (0, 1, 2):
        return (None, False, True)[tag]
    if tag in (3, 4, 5):
        return read.unpack({3: "q", 4: "Q", 5: "d"}[tag])[0]
    (count,) = read.unpack("I")
    if tag == 6:
        return read.take(count).decode()
    if tag == 7:
        return [value(read) for _ in range(count)]
    expect(tag == 8, "a value of an unknown kind")
    return {read.take(read.unpack("I")[0]).decode(): value(read) for _ in range(count)}


# What a line of a proof may begin with, in this order, and how many numbers follow that.
PARTS = {"record": 1, "item": 1, "id": 1, "touch": 2, "property": 1, "text": 0, "earlier": 0}


class Noted:
    """What a note says of a ledger."""

    def __init__(self, note, keys):
        self.text = check_note(note, keys)
        origin, records, root, _, recorded, ids, texts, self.tenant = self.text.splitlines()
        expect(re.fullmatch("identity-ledger/[0-9a-f-]{36}", origin), "the note is not of an identity ledger")
        self.ledger, self.size, self.root = uuid.UUID(origin[16:]), number(records), unbase64(root)
        self.recorded_at = datetime.datetime.fromisoformat(recorded.removeprefix("recorded "))
        words = ids.split(" ")
        self.ids, self.ids_root = number(words[1]), unbase64(words[2])
        words = texts.split(" ")
        self.texts, self.texts_root = number(words[1]), unbase64(words[2])


# -- proofs --------------------------------------------------------------------------------------------------------------------------


class Proof:
    def __init__(self, text, keys):
        expect("\nnote\n" in text, "it has no line `note` with a signed note behind it: it is not a proof, or its end is cut off")
        parts, note = text.split("\nnote\n", 1)
        lines = parts.split("\n")
        expect(lines[0] == "identity-ledger proof 1", "that is not a proof of version 1")
        words = lines[1].split(" ")
        expect(words[0] == "claim", "the second line is not a claim")
        self.claim = words[1]
        self.asked = list(map(unbase64 if self.claim == "absent" else number, words[2:]))
        self.parts, self.steps, order = {}, [], []
        for line in lines[2:]:
            what, *rest = line.split(" ")
            if what == "step":
                self.steps.append(tuple(map(number, rest)))
                order.append((len(PARTS), 0))
                continue
            expect(len(rest) - 2 == PARTS.get(what), "a line that is not of a proof")
            place = tuple(map(number, rest[:-2]))
            order.append((list(PARTS).index(what), *place))
            self.parts[what, *place] = [unbase64(word) for word in rest[-2:]]
        held = [key for key in order if key[0] < len(PARTS)]
        expect(order == sorted(order) and len(set(held)) == len(held), "lines are out of order, or one stands twice")
        self.keys, self.note = keys, Noted(note, keys)
        self.used, self.records = set(), {}

    def part(self, what, *place):
        expect((what, *place) in self.parts, f"the proof lacks {what} {place}")
        self.used.add((what, *place))
        return self.parts[what, *place]

    def held(self, what):
        return [part[1] for part in self.parts if part[0] == what]

    def record(self, seq):
        if seq not in self.records:
            data, path = self.part("record", seq)
            expect(root_by(data, seq, self.note.size, path) == self.note.root, f"record {seq} does not stand in the ledger")
            self.records[seq] = Record(seq, data)
        return self.records[seq]

    def item(self, seq):
        salt, data = self.part("item", seq)
        key = blake3.blake3(self.note.ledger.bytes, derive_key_context=COMMITMENT).digest()
        found = blake3.blake3(struct.pack("<Q", seq) + salt + data, key=key).digest()
        expect(len(salt) == 16 and found == self.record(seq).commitment, f"the item of record {seq} is another")
        return data

    def definition(self, kind, number):
        for seq in self.held("record"):
            if (found := Record(seq, self.parts["record", seq][0])).kind == kind and found.number == number:
                return self.record(seq)
        raise Wrong(f"the proof lacks the definition of {number}")

    def text_of(self, kind, number):
        return self.item(self.definition(kind, number).seq).decode()

    def id(self, id):
        """The lowest number among the ids of its person; how many records touch it, and the root over them; the same of properties."""
        data, path = self.part("id", id)
        expect(root_by(data, id, self.note.ids, path) == self.note.ids_root, f"id {id} does not stand in the tree of ids")
        return *struct.unpack("<II32s", data[:40]), *(struct.unpack("<I32s", data[40:]) if len(data) > 40 else (0, b""))

    def touches(self, id):
        """The places, records and retracts that the proof has of an id."""
        return [(part[2], *struct.unpack("<II", data[0])) for part, data in self.parts.items() if part[:2] == ("touch", id)]

    def standing(self, seq):
        """A record counts: so it stands among those that touch the id it speaks for."""
        id = self.record(seq).id
        _, count, root, *_ = self.id(id)
        ((place, retracted_by),) = [(place, by) for place, touch, by in self.touches(id) if touch == seq]
        data, path = self.part("touch", id, place)
        expect(root_by(data, place, count, path) == root, f"record {seq} is not among those that touch id {id}")
        expect(retracted_by == NONE, f"record {seq} was retracted")

    def way_of_text(self, text, leaf):
        _, turns = self.part("text")
        expect(root_by_way(place_of(self.note.ledger, text), leaf, turns) == self.note.texts_root, "the way of the text leads elsewhere")

    def way(self, steps, start, end):
        """Whether steps of one depth lead from one id to another; deeper ones behind a split are what was before it."""
        at, place = start, 0
        while place < len(steps):
            depth, seq, begin, to = steps[place]
            after = place + 1
            while after < len(steps) and steps[after][0] > depth:
                after += 1
            before, record = steps[place + 1 : after], self.record(seq)
            expect(begin == at and depth == steps[0][0], "the way breaks")
            if record.kind == "split":
                expect(record.keeps(begin, to) and all(step[1] < seq for step in before), "the split parts the two")
                self.way(before, begin, to)
            else:
                expect(not before and record.kind in OPERATIONS and record.links(begin, to), f"record {seq} does not link the two")
            at, place = to, after
        expect(at == end, "the way ends elsewhere")

    def check(self):
        said = getattr(self, self.claim.replace("-", "_"), None) if self.claim in CLAIMS else None
        expect(said, "an unknown claim")
        said = said(*self.asked)
        expect(self.used == set(self.parts) and (not self.steps or self.claim == "same"), "the proof holds more than its claim needs")
        return said

    def two(self, a, b):
        expect(a < b, "the two ids are out of order")
        names = [self.text_of("define_id", id) for id in (a, b)]
        persons = [self.id(id)[0] for id in (a, b)]
        return names, persons[0] == persons[1] != NONE

    def same(self, a, b):
        names, same = self.two(a, b)
        expect(same, "the two ids are not of one person")
        for _, seq, *_ in self.steps:
            self.standing(seq)
        self.way(self.steps, a, b)
        return f"{names[0]} and {names[1]} are one person"

    def not_same(self, a, b):
        names, same = self.two(a, b)
        expect(not same, "the two ids are of one person")
        return f"{names[0]} and {names[1]} are not one person"

    def event(self, seq):
        record = self.record(seq)
        expect(record.kind == "capture", "the record is not an event")
        name = None if record.other is None else self.text_of("define_name", record.other)
        self.standing(seq)
        given = record.operation_id and uuid.UUID(bytes=record.operation_id)
        return f"record {seq} is the event {name} with the id {given}, captured under {self.text_of('define_id', record.id)} at {time_text(record.time)}"

    def property(self, id, key):
        names = self.text_of("define_id", id), self.text_of("define_key", key)
        person = self.id(id)[0]
        expect(person != NONE, "the id has no person")
        *_, count, root = self.id(person)
        (place,) = self.held("property")
        data, path = self.part("property", place)
        expect(root_by(data, place, count, path) == root, "the property does not stand in the tree of ids")
        expect(len(data) == 10, "the property is made of relative changes, and a proof shows one record")
        found, seq, at = struct.unpack("<IIH", data)
        won = values(self.item(seq), self.record(seq))
        verbs = [verb for _, verb in self.record(seq).changes if verb != 2]
        expect(found == key and won[at][0] == key and verbs[at] < 4, "the record has no such value")
        return f"the person of {names[0]} has {names[1]} = {won[at][1]!r}, by record {seq}"

    def erased(self, id):
        defined = self.definition("define_id", id).seq
        erase, done = sorted(seq for seq in self.held("record") if seq != defined)
        expect(self.record(erase).kind == "erase" and id in self.record(erase).names and defined < erase, "the record does not erase that id")
        expect(self.record(done).kind == "erase_done" and erase in self.record(done).erasures, "the record does not end that erasure")
        return f"the text of id number {id} is erased by record {erase}; record {done} says that it is gone"

    def complete(self, id):
        defined, touches = self.definition("define_id", id).seq, sorted(self.touches(id))
        _, count, root, *_ = self.id(id)
        parts = [self.part("touch", id, place) for place, _, _ in touches]
        expect([place for place, _, _ in touches] == list(range(count)) and not any(path for _, path in parts), "not all records are there")
        expect(root_of([data for data, _ in parts]) == root, "the records are not those that touch the id")
        seqs, spoken, erased, said = [seq for _, seq, _ in touches], [], False, []
        expect(seqs == sorted(set(seqs)) and seqs[0] == defined, "the records are out of order")
        for _, seq, by in touches:
            record = self.record(seq)
            expect(id in record.names or set(record.erases) & set(spoken), f"record {seq} does not touch the id")
            spoken += [seq] * (record.speaks_for == id)
            erased |= record.kind == "erase" and id in record.names
            if by != NONE:
                other = self.record(by)
                expect(other.retracts == seq < by and other.id == record.id, f"record {by} does not retract record {seq}")
            said.append(f"{seq} {record.kind}" + (f" (retracted by {by})" if by != NONE else ""))
        name = f"id number {id}, whose text is erased"
        if not erased:
            name = self.text_of("define_id", id)
            expect(not self.part("text")[0], "the leaf of the text is another")
            salt, _ = self.part("item", defined)
            number = hashlib.sha256(salt + struct.pack("<I", id)).digest()
            self.way_of_text(name, place_of(self.note.ledger, name) + number)
        return f"{count} records touch {name}, and no other: {', '.join(said)}"

    def absent(self, text, place):
        text = text.decode()
        expect(place == place_of(self.note.ledger, text), "that is the place of another text")
        expect(0 < len(text) <= 400 and "\0" not in text, "no id can have that text")
        leaf, turns = self.part("text")
        if not leaf:
            expect(not turns and self.note.texts == 0 and self.note.texts_root == root_of([]), "the way of the text has no end")
        else:
            expect(leaf[:32] != place, "there is an id of that text")
            self.way_of_text(text, leaf)
        return f"no id is called {text}"

    def consistent(self, records):
        note, path = self.part("earlier")
        then = Noted(note.decode(), self.keys)
        expect((then.ledger, then.tenant, then.size) == (self.note.ledger, self.note.tenant, records), "the earlier note is another")
        expect(continues(records, self.note.size, then.root, self.note.root, path), "the earlier records are not the first of these")
        expect(then.recorded_at <= self.note.recorded_at and then.ids <= self.note.ids, "time or ids go back")
        expect(records < self.note.size or then.text == self.note.text, "two notes of the same records differ")
        return f"the records continue the {records} of the earlier note"


CLAIMS = ("same", "not-same", "event", "property", "erased", "complete", "absent", "consistent")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--key", action="append", required=True, help="a key that must have signed: NAME+ID+KEY")
    arguments.add_argument("proofs", nargs="+")
    given = arguments.parse_args()
    keys, all_hold = [Key(key) for key in given.key], True
    for name in given.proofs:
        try:
            with open(name, "rb") as file:
                said = Proof(file.read().decode(), keys).check()
            print(f"{name} holds: {said!r}")
        except (Wrong, ValueError, TypeError, IndexError, KeyError, OverflowError, struct.error) as error:
            all_hold = False
            print(f"{name} does NOT hold: {str(error)!r}")
    sys.exit(0 if all_hold else 1)


if __name__ == "__main__":
    main()
