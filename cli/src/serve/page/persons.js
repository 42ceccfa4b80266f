// Shows persons, and why they are what they are. Every text of a sender goes into the page as text, made visible.

const $ = (id) => document.getElementById(id);
const answer = $("answer");

// -- texts and elements -------------------------------------------------------------------------------------------

/** A text with every character spelled out that cannot be seen, or that turns the text around it. */
function visible(text) {
  const hidden = /\\(?=u\{)|[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}|(?<![\p{L}\p{N}\p{M}])\p{M}/gu;
  return String(text).replace(hidden, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
}

/** An element with attributes and children; a text among them is shown as text. */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

const id = (text) => el("bdi", { class: "id" }, visible(text));
const link = (text) => el("a", { class: "clip", href: address({ id: text }), title: visible(text) }, id(text));
const time = (text) => (text ? text.replace("T", " ").replace(/(\.\d+)?Z$/, "") : "");
const counted = (count, noun, nouns = `${noun}s`) => `${count.toLocaleString("en")} ${count === 1 ? noun : nouns}`;

function shown(value) {
  if (value === null || value === undefined) return el("span", { class: "quiet" }, "null");
  if (typeof value === "object" && "$erased" in value) return el("span", { class: "quiet" }, `erased by record ${value.$erased}`);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return el("bdi", { class: "clip", title: visible(text) }, visible(text));
}

/** A table; on a narrow screen its rows are blocks, so it says by itself what is a row and what a cell. */
function table(caption, heads, rows) {
  const head = ([text, kind]) => el("th", { scope: "col", role: "columnheader", class: kind ?? "" }, text);
  return el("div", { class: "rows", tabindex: 0, role: "region", "aria-label": caption },
    el("table", { role: "table" },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, heads.map(head))),
      el("tbody", { role: "rowgroup" }, labelled(rows, heads))));
}

/** Rows whose cells have the names of their columns, for screens that have no room for a head. */
function labelled(rows, heads) {
  for (const { cells } of rows) [...cells].forEach((cell, column) => { cell.dataset.head = cells.length > 1 ? heads[column][0] : ""; });
  return rows;
}

const row = (kind, ...cells) =>
  el("tr", { role: "row", class: kind }, cells.map(([content, cell]) => el("td", { role: "cell", class: cell ?? "" }, content === "" ? null : el("div", {}, content))));

function say(text) {
  $("status").textContent = text;
}

// -- the address of the page: everything that is shown can be linked to -------------------------------------------

const place = () => new URLSearchParams(location.hash.slice(1));

function address(parts) {
  const next = new URLSearchParams({ tenant: $("tenant").value, ...parts });
  return `#${next}`;
}

// -- questions ----------------------------------------------------------------------------------------------------

class NotAdmitted extends Error {}

async function fetched(path, sent) {
  const admin = sessionStorage.getItem("admin");
  const headers = admin ? { Authorization: `Bearer ${admin}` } : {};
  if (sent) headers["Content-Type"] = "application/json";
  const response = await fetch(path, sent ? { method: "POST", headers, body: JSON.stringify(sent) } : { headers });
  if (response.status === 401) throw new NotAdmitted();
  return response;
}

/** Sends a correction: what it would change, or, with the mark of that, doing it. */
async function send(question, correction) {
  const response = await fetched(`/api/${encodeURIComponent($("tenant").value)}/${question}`, correction);
  const said = await response.json();
  if (!response.ok) throw new Error(said.error);
  return said;
}

async function ask(question, parts) {
  const tenant = encodeURIComponent($("tenant").value);
  const response = await fetched(`/api/${tenant}/${question}?${new URLSearchParams(parts)}`);
  const said = await response.json();
  if (!response.ok) throw new Error(said.error);
  return said;
}

/** Rows that come page by page: a table, and a button that asks for more of them. */
function paged(caption, heads, question, parts, makeRow, none) {
  const holder = el("div", {});
  const body = table(caption, heads, []);
  const more = el("button", { onclick: () => load() }, "More");
  let from = null;
  let count = 0;
  async function load() {
    more.disabled = true;
    try {
      const page = await ask(question, from ? { ...parts, from } : parts);
      count += page.items.length;
      body.querySelector("tbody").append(...labelled(page.items.map(makeRow), heads));
      from = page.next;
      more.hidden = !from;
      if (!count) holder.replaceChildren(el("p", { class: "quiet" }, none));
    } catch (error) {
      holder.append(el("p", { class: "bad", role: "alert" }, visible(error.message)));
      more.hidden = true;
    }
    more.disabled = false;
  }
  holder.append(body, more);
  load();
  return holder;
}

// -- all persons --------------------------------------------------------------------------------------------------

function sentence(outcome) {
  if (outcome.refusal) {
    return el("span", { class: "bad" }, `refused by ${outcome.rule}: `, el("bdi", {}, visible(outcome.reason ?? outcome.refusal)));
  }
  const effects = (outcome.effects ?? []).map(({ effect }) => effect.replaceAll("_", " "));
  const notices = (outcome.notices ?? []).map((notice) => (typeof notice === "string" ? notice : notice.notice ?? Object.values(notice)[0]));
  return [...effects, ...notices.map((notice) => `notice: ${String(notice).replaceAll("_", " ")}`)].join(", ") || (outcome.op === "capture" ? "event recorded" : "nothing changed");
}

const PERSON_HEADS = [["Ids"], ["Properties"], ["Events", "number"], ["Since"]];

function personRow(person) {
  const most = 3;
  const ids = person.distinct_ids;
  const more = ids.length > most ? el("span", { class: "quiet" }, `and ${(ids.length - most).toLocaleString("en")} more`) : null;
  const properties = Object.entries(person.properties).filter(([key]) => !key.startsWith("$")).slice(0, 4);
  const property = ([key, value]) => el("div", { class: "clip" }, el("bdi", { class: "quiet" }, visible(key)), " ", shown(value));
  return row(
    "",
    [[...ids.slice(0, most).map((text) => el("div", {}, link(text))), more], "ids"],
    [properties.map(property)],
    [person.events.toLocaleString("en"), "number"],
    [time(person.created_at), "time"],
  );
}

function outcomeRow(outcome) {
  return row(
    outcome.refusal ? "refused" : "",
    [String(outcome.seq), "number"],
    [outcome.op.replaceAll("_", " "), "op"],
    [outcome.distinct_id ? link(outcome.distinct_id) : "", "ids"],
    [outcome.other_id ? link(outcome.other_id) : "", "ids"],
    [sentence(outcome)],
  );
}

const OUTCOME_HEADS = [["Record", "number"], ["Asked"], ["Id"], ["Other id"], ["Outcome"]];

async function showAll() {
  document.title = "identity-ledger: persons";
  const notable = el("details", {}, el("summary", {}, "Refused operations and notices"));
  notable.addEventListener("toggle", () => {
    if (!notable.open || notable.children.length > 1) return;
      notable.append(paged("Refused operations and notices", OUTCOME_HEADS, "notable", { limit: 50 }, outcomeRow, "There are none."));
  });
  answer.replaceChildren(
    el("h2", {}, "Persons"),
    el("p", { class: "quiet" }, "In the order in which they were founded."),
    paged("Persons", PERSON_HEADS, "persons", { limit: 50 }, personRow, "No person yet: no event came."),
    el("h3", {}, "Worth a look"),
    notable,
  );
}

async function showFound(property) {
  document.title = "identity-ledger: search";
  const { found } = await ask("find", { property, limit: 1 });
  answer.replaceChildren(
    el("h2", {}, `${counted(found, "person")} with `, id(property)),
    paged("Persons found", PERSON_HEADS, "find", { property, limit: 50 }, personRow, "Letter case and blanks count."),
  );
}

// -- one person ---------------------------------------------------------------------------------------------------

function facts(pairs) {
  return el("dl", { class: "facts" }, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function idList(ids) {
  const most = 50;
  const list = el("ul", { class: "ids" }, ids.slice(0, most).map((text) => el("li", {}, link(text))));
  if (ids.length <= most) return list;
  const filter = el("input", { type: "search", "aria-label": "Filter the ids", placeholder: "Filter", dir: "auto" });
  const which = el("p", { class: "quiet", role: "status" });
  const show = () => {
    const kept = filter.value ? ids.filter((text) => text.includes(filter.value)) : ids;
    list.replaceChildren(...kept.slice(0, most).map((text) => el("li", {}, link(text))));
    which.textContent = kept.length > most ? `The first ${most} of ${kept.length.toLocaleString("en")}.` : `${counted(kept.length, "id")}.`;
  };
  filter.addEventListener("input", show);
  show();
  return el("div", {}, filter, which, list);
}

function propertyTable(text, properties) {
  const rows = Object.entries(properties).flatMap(([key, { value, seq, erased_by: by }]) => {
    const why = el("td", { colspan: 4, role: "cell" });
    const below = el("tr", { hidden: "", role: "row" }, why);
    const button = el("button", { class: "small", "aria-expanded": "false", "aria-label": `Why ${visible(key)}` }, "Why");
    button.addEventListener("click", async () => {
      below.hidden = !below.hidden;
      button.setAttribute("aria-expanded", String(!below.hidden));
      if (below.hidden || why.children.length) return;
      try {
        why.replaceChildren(writes(await ask("property", { id: text, key })));
      } catch (error) {
        why.textContent = visible(error.message);
      }
    });
    const now = by === null ? shown(value) : el("span", { class: "quiet" }, `erased by record ${by}`);
    return [row("", [el("bdi", { class: "id clip" }, visible(key))], [now], [String(seq), "number"], [button]), below];
  });
  if (!rows.length) return el("p", { class: "quiet" }, "No property is set.");
  return table("Properties", [["Property"], ["Value"], ["Record", "number"], [""]], rows);
}

function writes({ writes: all }) {
  const write = ({ seq, time: at, op, distinct_id: who, verb, value, beaten }) => row(
    beaten ? "" : "stands",
    [String(seq), "number"],
    [time(at), "time"],
    [op.replaceAll("_", " "), "op"],
    [link(who), "ids"],
    [verb],
    [shown(value)],
    [beaten ? `beaten by ${beaten.rule}, record ${beaten.by}` : "stands"],
  );
  return table("Writes", [["Record", "number"], ["Time"], ["Asked"], ["Id"], ["Says"], ["Value"], [""]], all.map(write));
}

function historyRow(entry) {
  const outcome = entry.outcome;
  const retracted = entry.retracted_by !== null && entry.retracted_by !== undefined ? `retracted by record ${entry.retracted_by}: ` : "";
  return row(
    outcome?.refusal ? "refused" : "",
    [String(entry.seq), "number"],
    [time(entry.time), "time"],
    [entry.op.replaceAll("_", " "), "op"],
    [outcome?.distinct_id ? link(outcome.distinct_id) : "", "ids"],
    [outcome?.other_id ? link(outcome.other_id) : "", "ids"],
    [outcome ? [retracted, sentence(outcome)].flat() : el("span", { class: "quiet" }, "first mention")],
    [outcome ? el("button", { class: "small", "aria-label": `Retract record ${entry.seq}: what would change`, onclick: () => correct({ do: "retract", seq: entry.seq }) }, "Retract…") : "", "act"],
  );
}

/** What to try, to join two ids. */
function remedy(tried) {
  switch (tried.remedy) {
    case "alias": return `a retract of record ${tried.retract}, then an alias of \`${tried.distinct_id}\` with \`${tried.alias}\``;
    case "merge_dangerously": return `a merge_dangerously of \`${tried.distinct_id}\` with \`${tried.alias}\``;
    case "policy": return `another value of \`${tried.field}\` in the policy, then the operation once more`;
    case "processing": return "the operation once more, with person processing on";
    case "retract": return `a retract of record ${tried.seq}`;
    default: return tried.remedy;
  }
}

/** The steps of an explanation; under a split that left two ids together, what had made them one before it. */
const steps = (all) => all.map(({ seq, op, time: at, ids, before }) => [
  el("li", { class: "step" }, `record ${seq}, ${op.replaceAll("_", " ")}, ${time(at)}`,
    before?.length ? ["; it left together what had become one before it:", el("ol", { class: "way" }, el("li", {}, link(before[0].ids[0])), steps(before))] : null),
  el("li", {}, link(ids[1])),
]);

/** Why one, or why not: the way between two ids, record by record. */
async function way(a, b) {
  const one = await ask("explain", { id: a, other: b });
  if (one.same) {
    if (!one.steps.length) return el("p", {}, "Both are one id.");
    return el("div", {}, el("p", {}, "They are one person, by these records:"), el("ol", { class: "way" }, el("li", {}, link(a)), steps(one.steps)));
  }
  const two = await ask("why-not", { id: a, other: b });
  if (two.person_a === null) return el("p", {}, "One of them was never written. Letter case and blanks count.");
  if (!two.way.length) return el("p", {}, "They are not one person. No chain of records leads from one to the other.");
  const step = ({ seq, op, time: at, ids, barrier }) => [
    el("li", { class: barrier ? "barrier" : "step" }, `record ${seq}, ${op.replaceAll("_", " ")}, ${time(at)}`,
      barrier ? el("div", {}, `${barrier.rule}: `, el("bdi", {}, visible(barrier.reason)),
        barrier.remedy ? el("div", {}, "try: ", el("bdi", {}, visible(remedy(barrier.remedy)))) : null) : null),
    el("li", {}, link(ids[1])),
  ];
  return el("div", {}, el("p", {}, `They are not one person: ${counted(two.refusals.length, "barrier")} between them; no way has fewer.`),
    el("ol", { class: "way" }, el("li", {}, link(a)), two.way.map(step)));
}

function comparison(text, other) {
  const field = el("input", { id: "other", type: "search", autocomplete: "off", spellcheck: "false", dir: "auto", value: other ?? "" });
  const result = el("div", { role: "status" });
  const show = async (second) => {
    try {
      result.replaceChildren(await way(text, second));
    } catch (error) {
      result.replaceChildren(el("p", { class: "bad" }, visible(error.message)));
    }
  };
  const form = el("form", {}, el("label", { for: "other" }, "Another id"), field, el("button", {}, "Compare"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value) show(field.value);
  });
  if (other) show(other);
  return el("div", {}, form, result);
}

/** The picture right after any record at which it changed: a slider through them, from the first to now. */
function picture(text) {
  const holder = el("details", {}, el("summary", {}, "Draw the ids and the records that link them"));
  const picture = el("img", { alt: "The identity graph of this person. The timeline lists the same records as text." });
  const stage = el("div", { class: "picture", tabindex: 0, role: "region", "aria-label": "Identity graph" }, picture);
  let wanted = 0;
  async function draw(seq, last) {
    const mine = ++wanted;
    const parts = seq === last ? { id: text } : { id: text, at: seq };
    const response = await fetched(`/api/${encodeURIComponent($("tenant").value)}/graph?${new URLSearchParams(parts)}`);
    if (!response.ok) throw new Error((await response.json()).error);
    const url = URL.createObjectURL(await response.blob());
    if (mine !== wanted) return URL.revokeObjectURL(url);
    URL.revokeObjectURL(picture.src);
    picture.src = url;
  }
  holder.addEventListener("toggle", async () => {
    if (!holder.open || holder.children.length > 1) return;
    const { moments, last } = await ask("moments", { id: text });
    const stops = [...moments.filter((seq) => seq < last), last];
    const slider = el("input", { type: "range", id: "as-of", min: 0, max: stops.length - 1, step: 1 });
    slider.value = stops.length - 1;
    const when = el("output", { for: "as-of" });
    const said = el("p", { class: "bad", role: "alert" });
    const move = () => {
      const seq = stops[slider.valueAsNumber];
      when.textContent = seq === last ? "now" : `right after record ${seq}`;
      slider.setAttribute("aria-valuetext", when.textContent);
    };
    const show = () => draw(stops[slider.valueAsNumber], last).then(() => { said.textContent = ""; }, (error) => { said.textContent = visible(error.message); });
    const step = (by) => () => { slider.valueAsNumber += by; move(); show(); };
    slider.addEventListener("input", move);
    slider.addEventListener("change", show);
    const bar = el("div", { class: "bar" }, el("label", { for: "as-of" }, "As of"),
      el("button", { class: "small", "aria-label": "One change back", onclick: step(-1) }, "‹"), slider,
      el("button", { class: "small", "aria-label": "One change on", onclick: step(1) }, "›"), when);
    holder.append(stops.length > 1 ? bar : "", said, stage);
    move();
    show();
  });
  return holder;
}

// -- corrections: what would change, and doing it -------------------------------------------------------------------

let mayCorrect = false;

const short = (person) => (person ? el("bdi", { class: "id", title: person }, person.slice(0, 8)) : el("span", { class: "quiet" }, "no person"));
const few = (ids, all) => [ids.slice(0, 10).map((text) => [link(text), " "]), all > Math.min(10, ids.length) ? el("span", { class: "quiet" }, `and ${(all - Math.min(10, ids.length)).toLocaleString("en")} more`) : ""];

/** A part of a difference: a heading and a table, cut to what can be read. */
function part(title, all, heads, makeRow) {
  if (!all.length) return null;
  const most = 50;
  return el("section", {}, el("h4", {}, `${title} (${all.length.toLocaleString("en")})`), table(title, heads, all.slice(0, most).map(makeRow)),
    all.length > most ? el("p", { class: "quiet" }, `The first ${most}. The answer of /api/ has all.`) : null);
}

/** What a retract or split changes, in the words of the command. */
function difference({ diff }) {
  const { before, after } = diff.counts;
  const fact = (name, key) => [name, before[key] === after[key] ? String(after[key]) : `${before[key]} → ${after[key]}`];
  const tree = (title, all, parts) => all.map((one) => el("section", {}, el("h4", {}, title, " ", short(one.person_id)),
    el("ul", { class: "tree" }, one[parts].slice(0, 20).map((piece) => el("li", {}, short(piece.person_id), ` ${counted(piece.ids, "id")}: `, few(piece.distinct_ids, piece.ids))),
      one[parts].length > 20 ? el("li", { class: "quiet" }, `and ${one[parts].length - 20} more`) : null)));
  const side = (property) => (property === null ? el("span", { class: "quiet" }, "none") : [shown(property.value), el("span", { class: "quiet" }, ` record ${property.seq}`)]);
  const refusal = (here) => (here ? `${here.rule}: ${visible(here.reason)}` : "not refused");
  const changes = [
    tree("One person of several:", diff.merged, "from"),
    tree("Several persons of", diff.split, "into"),
    part("Persons with another person id", diff.renamed, [["From"], ["To"]], ({ from, to }) => row("", [short(from)], [short(to)])),
    part("Persons that are gone", diff.gone, [["Person"]], (person) => row("", [short(person)])),
    part("New persons", diff.created, [["Person"]], (person) => row("", [short(person)])),
    part("Ids of another person", diff.moved_ids, [["Id"], ["From"], ["To"]], (moved) => row("", [link(moved.distinct_id), "ids"], [short(moved.from)], [short(moved.to)])),
    part("Ids that mean something only before", diff.gone_ids, [["Id"]], (gone) => row("", [link(gone.distinct_id ?? gone), "ids"])),
    part("Ids that mean something only afterwards", diff.new_ids, [["Id"]], (made) => row("", [link(made.distinct_id ?? made), "ids"])),
    part("Events that go with their ids", diff.moved_events, [["Id"], ["From"], ["To"], ["Events", "number"]],
      (moved) => row("", [link(moved.distinct_id), "ids"], [short(moved.from)], [short(moved.to)], [String(moved.full + moved.propertyless), "number"])),
    part("Ids with other events", diff.events, [["Id"], ["Lost", "number"], ["Gained", "number"]],
      ({ distinct_id: who, lost, gained }) => row("", [link(who), "ids"], [String(lost.full + lost.propertyless), "number"], [String(gained.full + gained.propertyless), "number"])),
    part("Properties", diff.properties, [["Person"], ["Property"], ["Before"], ["Afterwards"]],
      (property) => row("", [short(property.person_id)], [el("bdi", { class: "id clip" }, visible(property.key))], [side(property.before)], [side(property.after)])),
    part("Refusals", diff.refusals, [["Asked"], ["Id"], ["Other id"], ["Before"], ["Afterwards"]],
      (one) => row("", [one.op.replaceAll("_", " "), "op"], [link(one.distinct_id), "ids"], [one.other_id ? link(one.other_id) : ""], [refusal(one.before)], [refusal(one.after)])),
    part("Devices", diff.devices, [["Device"]], (device) => row("", [el("bdi", { class: "id clip" }, visible(device.device_id))])),
  ].flat().filter((piece) => piece !== null);
  if (!changes.length) return [el("p", {}, "Nothing else changes.")];
  return [el("p", { class: "quiet" }, "Among the ids that records connect with it:"),
    facts([fact("Persons", "persons"), fact("Identified", "identified_persons"), fact("Ids with a person", "ids_with_person"), fact("Events", "events")]), changes];
}

/** What an erasure takes. */
function forgotten({ ids, properties, keys, events }) {
  const rows = Object.entries(properties);
  return [
    keys.length ? el("p", {}, "The values of ", keys.map((key) => [id(key), " "]), "are forgotten, now and in every record of this person.")
      : el("p", {}, `${counted(ids.length, "id")} and everything that was said for them are forgotten, in every answer and every file. ${counted(events, "event")} stay, without their id.`),
    keys.length ? null : part("Ids that are forgotten", ids, [["Id"]], (text) => row("", [link(text), "ids"])),
    part("Values that are forgotten", rows, [["Property"], ["Value"]], ([key, value]) => row("", [el("bdi", { class: "id clip" }, visible(key))], [shown(value)])),
    keys.length && !rows.length ? el("p", { class: "quiet" }, "There is no value now; what was there before is forgotten.") : null,
    el("p", { class: "bad" }, "There is no way back. Backups made before still hold it, unless the ledger is sealed."),
  ];
}

const CALLED = {
  retract: ({ seq }) => [`Retract record ${seq}`, `Record ${seq} would count as never asked.`, `Record ${seq} counts as never asked now`],
  split: ({ ids }) => [`Split off ${counted(ids.length, "id")}`, `${counted(ids.length, "id")} would leave the person.`, `${counted(ids.length, "id")} left the person`],
  erase: () => ["Erase", "This would be forgotten:", "It is erased"],
};

/** Shows what a correction would change, and does it once that was read and confirmed. */
async function correct(correction) {
  const [title, would, done] = CALLED[correction.do](correction);
  const body = el("div", { class: "changes" }, el("p", {}, "Asking"));
  const close = el("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const act = el("div", { class: "buttons" }, close);
  const dialog = el("dialog", { "aria-labelledby": "correction" }, el("h2", { id: "correction" }, title), body, act);
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
  try {
    const shownNow = await send("preview", correction);
    if (shownNow.rule) {
      body.replaceChildren(el("p", { class: "bad" }, `It would be refused by ${shownNow.rule}: `, el("bdi", {}, visible(shownNow.reason))));
      return;
    }
    body.replaceChildren(el("p", {}, would), ...(correction.do === "erase" ? forgotten(shownNow) : difference(shownNow)).flat(Infinity).filter(Boolean));
    if (!mayCorrect) {
      body.append(el("p", { class: "quiet" }, "This server only shows it. Start it with --allow-corrections and look with the admin token to do it, or use the command."));
      return;
    }
    const read = el("input", { type: "checkbox", id: "read" });
    const go = el("button", { type: "button", class: "danger", disabled: "" }, title);
    read.addEventListener("change", () => { go.disabled = !read.checked; });
    go.addEventListener("click", async () => {
      go.disabled = true;
      read.disabled = true;
      try {
        const answer = await send("correct", { ...correction, confirm: shownNow.confirm });
        body.replaceChildren(el("p", { role: "status" }, `${done}, by record ${answer.seq}.`), answer.files && answer.files !== "rewritten" ? el("p", {}, answer.files) : "");
        act.replaceChildren(close);
        close.focus();
        dialog.addEventListener("close", show);
      } catch (error) {
        act.append(el("p", { class: "bad", role: "alert" }, visible(error.message)));
      }
    });
    act.prepend(el("label", { for: "read", class: "check" }, read, "I have read what changes"), go);
  } catch (error) {
    body.replaceChildren(el("p", { class: "bad", role: "alert" }, error instanceof NotAdmitted ? "The admin token is wrong; load the page again." : visible(error.message)));
  }
}

/** Boxes to choose some of many texts with: the first that fit a filter. */
function choice(texts, name) {
  const most = 50;
  const chosen = new Set();
  const filter = el("input", { type: "search", "aria-label": `Filter ${name}`, placeholder: "Filter", dir: "auto" });
  const which = el("p", { class: "quiet", role: "status" });
  const list = el("div", { class: "choice", role: "group", "aria-label": name });
  const say = () => { which.textContent = `${chosen.size.toLocaleString("en")} of ${texts.length.toLocaleString("en")} chosen.`; };
  const box = (text) => {
    const input = el("input", { type: "checkbox" });
    input.checked = chosen.has(text);
    input.addEventListener("change", () => { if (input.checked) chosen.add(text); else chosen.delete(text); say(); });
    return el("label", { class: "check" }, input, el("bdi", { class: "id clip" }, visible(text)));
  };
  const fill = () => list.replaceChildren(...texts.filter((text) => text.includes(filter.value)).slice(0, most).map(box));
  filter.addEventListener("input", fill);
  fill();
  say();
  return { chosen, shown: texts.length ? el("div", {}, texts.length > 10 ? filter : null, list, which) : null };
}

function corrections(text, person, properties) {
  const leaving = choice(person.distinct_ids, "Ids that leave");
  const together = el("input", { type: "checkbox" });
  const split = el("form", { class: "tall" }, el("p", { class: "quiet" }, "Ids that leave the person. Each part keeps what was said for its own ids."), leaving.shown,
    el("label", { class: "check" }, together, "They become one person together"), el("button", {}, "What would change…"));
  split.addEventListener("submit", (event) => {
    event.preventDefault();
    correct({ do: "split", id: text, ids: [...leaving.chosen], together: together.checked });
  });
  const taken = choice(Object.keys(properties), "Properties that are erased");
  const reason = el("input", { type: "text", id: "reason", required: "", autocomplete: "off", placeholder: "request 17", dir: "auto" });
  const erase = el("form", { class: "tall" }, el("p", { class: "quiet" }, "Everything of this person is forgotten, or only the values of the properties that are chosen."), taken.shown,
    el("div", {}, el("label", { for: "reason" }, "Why "), reason), el("button", {}, "What would be forgotten…"));
  erase.addEventListener("submit", (event) => {
    event.preventDefault();
    correct({ do: "erase", id: text, keys: [...taken.chosen], reason: reason.value });
  });
  return el("div", {}, el("p", { class: "quiet" }, "Each is shown before it is done. A record is retracted in the timeline."),
    person.distinct_ids.length > 1 ? el("details", {}, el("summary", {}, "Split ids off"), split) : null, el("details", {}, el("summary", {}, "Erase"), erase));
}

async function showPerson(text, other) {
  document.title = `identity-ledger: ${visible(text)}`;
  const [who, { properties }] = await Promise.all([ask("resolve", { id: text }), ask("properties", { id: text })]);
  if (who.person_id === null) {
    answer.replaceChildren(el("h2", {}, id(text), " was never written"), el("p", { class: "quiet" }, "Ids are compared exactly: letter case and blanks count."));
    return;
  }
  if (who.is_person_id) {
    answer.replaceChildren(el("h2", {}, id(text)), el("p", {}, "This is the id of a person, and stands for ", id(who.person_id), " now. Look for one of its distinct ids."));
    return;
  }
  const person = who.profile;
  const head = el("h2", {}, id(text));
  if (!person) {
    answer.replaceChildren(head, el("p", {}, "This id has no person: it was seen only with processing off, or what was said of it was retracted."),
      el("h3", {}, "Timeline"), timeline(text));
    return;
  }
  answer.replaceChildren(
    head,
    el("p", { class: "quiet" }, "Person ", id(person.person_id)),
    facts([
      ["Identified", person.is_identified ? "yes" : "no"],
      ["Events", person.events.toLocaleString("en")],
      ["Since", time(person.created_at)],
      ["Distinct ids", person.distinct_ids.length.toLocaleString("en")],
    ]),
    el("h3", {}, "Distinct ids"), idList(person.distinct_ids),
    el("h3", {}, "Properties"), propertyTable(text, properties),
    el("h3", {}, "One person, or two?"), comparison(text, other),
    el("h3", {}, "Picture"), picture(text),
    el("h3", {}, "Corrections"), corrections(text, person, properties),
    el("h3", {}, "Timeline"), timeline(text),
  );
}

const timeline = (text) => paged("Timeline", [["Record", "number"], ["Time"], ["Asked"], ["Id"], ["Other id"], ["Outcome"], [""]],
  "history", { id: text, person: true, limit: 100 }, historyRow, "No record.");

// -- the page -----------------------------------------------------------------------------------------------------

let turn = 0;

async function show() {
  const now = place();
  if (now.has("token")) {
    sessionStorage.setItem("admin", now.get("token"));
    now.delete("token");
    history.replaceState(null, "", `#${now}`);
  }
  const mine = ++turn;
  say("Asking");
  try {
    if (!$("tenant").options.length) {
      const { tenants, corrections } = await (await fetched("/api/tenants")).json();
      mayCorrect = corrections;
      $("tenant").replaceChildren(...tenants.map((name) => el("option", {}, name)));
    }
    if (mine !== turn) return;
    if (now.has("tenant")) $("tenant").value = now.get("tenant");
    $("admission").hidden = true;
    const wanted = now.get("id");
    $("query").value = wanted ?? now.get("find") ?? "";
    if (wanted !== null) await showPerson(wanted, now.get("other"));
    else if (now.has("find")) await showFound(now.get("find"));
    else await showAll();
    say("");
  } catch (error) {
    if (mine !== turn) return;
    say("");
    if (error instanceof NotAdmitted) {
      answer.replaceChildren();
      const given = sessionStorage.getItem("admin");
      $("admission").querySelector("[role=alert]").textContent = given ? "This is not the admin token." : "";
      sessionStorage.removeItem("admin");
      $("admission").hidden = false;
      $("admin").focus();
    } else {
      answer.replaceChildren(el("p", { class: "bad", role: "alert" }, visible(error.message)));
    }
  }
}

$("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wanted = $("query").value;
  if (!wanted) {
    location.hash = address({});
    return;
  }
  // An id may hold `=` too, and is looked for first.
  let isId = !wanted.includes("=");
  try {
    isId ||= (await ask("resolve", { id: wanted })).person_id !== null;
  } catch {
    // The answer below says what is wrong.
  }
  location.hash = address(isId ? { id: wanted } : { find: wanted });
  $("main").focus();
});
$("tenant").addEventListener("change", () => { location.hash = address({}); });
$("admission").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("admin", $("admin").value.trim());
  show();
});
addEventListener("hashchange", show);
show();
