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

async function fetched(path) {
  const admin = sessionStorage.getItem("admin");
  const headers = admin ? { Authorization: `Bearer ${admin}` } : {};
  const response = await fetch(path, { headers });
  if (response.status === 401) throw new NotAdmitted();
  return response;
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
  notable.addEventListener("toggle", async () => {
    if (!notable.open || notable.children.length > 1) return;
    try {
      const { items, found } = await ask("notable", {});
      const which = items.length < found ? `The newest ${items.length} of ${found.toLocaleString("en")}.` : "";
      notable.append(items.length ? el("div", {}, el("p", { class: "quiet" }, which), table("Refused operations and notices", OUTCOME_HEADS, items.map(outcomeRow)))
        : el("p", { class: "quiet" }, "There are none."));
    } catch (error) {
      notable.append(el("p", { class: "bad", role: "alert" }, visible(error.message)));
    }
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
  const { items, found } = await ask("find", { property });
  answer.replaceChildren(
    el("h2", {}, `${counted(found, "person")} with `, id(property)),
    items.length ? table("Persons found", PERSON_HEADS, items.map(personRow)) : el("p", { class: "quiet" }, "Letter case and blanks count."),
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

function picture(text) {
  const holder = el("details", {}, el("summary", {}, "Draw the ids and the records that link them"));
  holder.addEventListener("toggle", async () => {
    if (!holder.open || holder.children.length > 1) return;
    const response = await fetched(`/api/${encodeURIComponent($("tenant").value)}/graph?${new URLSearchParams({ id: text })}`);
    if (!response.ok) return;
    const url = URL.createObjectURL(await response.blob());
    holder.append(el("div", { class: "picture", tabindex: 0, role: "region", "aria-label": "Identity graph" },
      el("img", { src: url, alt: "The identity graph of this person. The timeline lists the same records as text." })));
  });
  return holder;
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
    el("h3", {}, "Timeline"), timeline(text),
  );
}

const timeline = (text) => paged("Timeline", [["Record", "number"], ["Time"], ["Asked"], ["Id"], ["Other id"], ["Outcome"]],
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
      const { tenants } = await (await fetched("/api/tenants")).json();
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
