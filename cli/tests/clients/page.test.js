// The page in Chromium: what it shows, at three widths, dark and light, by keyboard alone; and that a sender's text stays a text.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import test from "node:test";

import { ask, browser, noBrowser, serve } from "./kit.js";

const HOSTILE = [
  "<script>document.title='owned'</script>",
  "<img src=x onerror=document.title='owned'>",
  "\u202e\u2066gnp.exe",
  "a\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301",
  `long ${"w".repeat(180)}`,
  "javascript:document.title='owned'",
  "\"'`${}&lt;#?%00/../",
];

async function send(server, batch) {
  const response = await fetch(`${server.url}/batch/`, { method: "POST", body: JSON.stringify({ api_key: "phc_shop", batch }) });
  assert.equal(response.status, 200);
  assert.equal((await response.json()).rejected, undefined);
}

const at = (minute) => new Date(Date.UTC(2026, 0, 1, 9, minute)).toISOString();
const identify = (user, anonymous, minute = 0, set = {}) =>
  ({ event: "$identify", distinct_id: user, timestamp: at(minute), properties: { $anon_distinct_id: anonymous }, $set: set });

/** People: two on one computer, one of 50 ids, one of 5,000, and one whose every text is hostile. */
async function people(server) {
  await send(server, [
    { event: "$pageview", distinct_id: "visitor-1", timestamp: at(0), properties: {} },
    identify("ann@example.com", "visitor-1", 1, { email: "ann@example.com", plan: "free" }),
    identify("ann@example.com", "visitor-2", 20, { plan: "pro" }),
    identify("bob@example.com", "visitor-2", 40, { email: "bob@example.com" }),
    identify("cat@example.com", "visitor-3", 50, { email: "cat@example.com" }),
    identify("cat@example.com", "ann@example.com", 55),
    { event: "alone", distinct_id: "one", timestamp: at(5), properties: {} },
    ...HOSTILE.map((text, number) => identify(HOSTILE[0], `h-${number} ${text}`, number, { [text.slice(0, 60)]: text })),
  ]);
  await send(server, Array.from({ length: 50 }, (_, number) => identify("fifty", `f-${number}`, 1)));
  for (let first = 0; first < 5_000; first += 1_000) {
    await send(server, Array.from({ length: 1_000 }, (_, number) => identify("many", `01a208e2-7599-7299-a663-${first + number}`, 2)));
  }
}

/** A page that may neither fail, nor ask elsewhere, nor run what a sender wrote. */
async function open(context, server, fragment = "tenant=shop") {
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(error.message));
  page.on("console", (message) => { if (message.type() === "error") page.faults.push(message.text()); });
  page.on("dialog", (dialog) => { page.faults.push(dialog.message()); dialog.dismiss(); });
  page.on("request", (request) => { if (!request.url().startsWith(server.url) && !request.url().startsWith("blob:")) page.faults.push(request.url()); });
  await page.goto(`${server.url}/#${fragment}&token=${server.admin}`);
  await settled(page);
  return page;
}

async function settled(page) {
  await page.waitForFunction(() => document.getElementById("status").textContent === "" && document.querySelector("#answer h2"));
  await page.waitForLoadState("networkidle");
}

async function show(page, fragment) {
  await page.evaluate((fragment) => { location.hash = fragment; }, fragment);
  await page.waitForTimeout(50);
  await settled(page);
}

const person = (id) => new URLSearchParams({ tenant: "shop", id }).toString();

/** Keeps a picture for docs/, or for a person to look at. */
async function keep(page, name, isForDocs = false) {
  const place = isForDocs && process.env.SCREENSHOTS ? process.env.PICTURES : "pictures";
  mkdirSync(place, { recursive: true });
  await page.screenshot({ path: join(place, `${name}.png`), fullPage: !isForDocs });
}

const fits = (page) => page.evaluate(() => document.scrollingElement.scrollWidth <= document.documentElement.clientWidth);

test("the page at three widths, with few ids and many, dark and light", { skip: noBrowser }, async (test) => {
  const server = await serve(test);
  await people(server);
  const chromium = await browser(test);
  for (const [width, colorScheme] of [[360, "dark"], [900, "light"], [1440, "light"], [1440, "dark"]]) {
    const context = await chromium.newContext({ viewport: { width, height: 900 }, colorScheme });
    const page = await open(context, server);
    for (const [name, fragment] of [
      ["persons", "tenant=shop"], ["one", person("one")], ["fifty", person("fifty")], ["many", person("many")], ["hostile", person(HOSTILE[0])],
      ["why-not", new URLSearchParams({ tenant: "shop", id: "ann@example.com", other: "cat@example.com" }).toString()],
    ]) {
      await show(page, fragment);
      for (const summary of await page.locator("#answer > details > summary, #answer > div > details > summary").all()) await summary.click();
      await page.waitForTimeout(150);
      await settled(page);
      assert.ok(await fits(page), `${name} is wider than ${width} pixels`);
      if (width !== 900) await keep(page, `${name}-${width}-${colorScheme}`);
    }
    assert.deepEqual(page.faults, []);
    assert.equal(await page.locator("#answer script, #answer img:not(.picture img)").count(), 0);
    await context.close();
  }
});

test("search, explain, look back, preview, correct: by keyboard alone", { skip: noBrowser }, async (test) => {
  const server = await serve(test, "--allow-corrections");
  await people(server);
  const chromium = await browser(test);
  const context = await chromium.newContext({ viewport: { width: 1100, height: 860 }, colorScheme: "light", reducedMotion: "reduce" });
  const page = await open(context, server);
  const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.id ?? document.activeElement.textContent);
  /** Tabs on until something has the focus. */
  const reach = async (selector) => {
    for (let tabs = 0; tabs < 400; tabs += 1) {
      if (await page.evaluate((selector) => document.activeElement.matches(selector), selector)) return;
      await press("Tab");
    }
    throw new Error(`Tab never comes to ${selector}; the focus is on ${await focused()}`);
  };

  await reach("#query");
  await page.keyboard.type("plan=pro");
  await press("Enter");
  await page.getByRole("heading", { name: /1 person with/ }).waitFor();
  await reach("#query");
  await press("Control+a");
  await page.keyboard.type("bob@example.com");
  await press("Enter");
  await page.getByRole("heading", { name: "bob@example.com" }).waitFor();
  await settled(page);
  await keep(page, "person", true);

  await reach("#other");
  await page.keyboard.type("cat@example.com");
  await press("Enter");
  await page.getByText("They are not one person: 1 barrier between them").waitFor();
  await reach("#other");
  await press("Control+a");
  await page.keyboard.type("ann@example.com");
  await press("Enter");
  await page.getByText("They are one person, by these records:").waitFor();

  // The picture, and how it was before Bob came.
  await reach("summary");
  await press("Enter");
  await page.locator(".picture img[src^=blob]").waitFor();
  await reach("#as-of");
  const before = await page.locator(".picture img").getAttribute("src");
  await press("Home");
  await page.waitForFunction((before) => document.querySelector(".picture img").src !== before, before);
  assert.match(await page.locator(".bar output").textContent(), /right after record \d+/);
  await press("End");
  await page.getByText("now", { exact: true }).waitFor();

  // Bob's sign-in is retracted: shown, left alone, shown again, confirmed.
  const join = (await ask(server, "shop", "resolve", { id: "bob@example.com" })).profile.property_seqs.email;
  await reach(`[aria-label="Retract record ${join}: what would change"]`);
  await press("Enter");
  const dialog = page.locator("dialog");
  await dialog.getByText("Persons", { exact: true }).waitFor();
  await keep(page, "retract", true);
  assert.ok(await dialog.getByRole("button", { name: `Retract record ${join}` }).isDisabled());
  await press("Escape");
  await dialog.waitFor({ state: "detached" });
  await reach(`[aria-label="Retract record ${join}: what would change"]`);
  await press("Enter");
  await dialog.getByText("Persons", { exact: true }).waitFor();
  await reach("#read");
  await press("Space");
  await reach(".danger");
  await press("Enter");
  await dialog.getByText(/counts as never asked now, by record \d+/).waitFor();
  await press("Enter");
  await page.getByText(/This id has no person/).waitFor();
  assert.equal((await ask(server, "shop", "resolve", { id: "bob@example.com" })).profile, null);

  // A split and an erasure are shown too, in any number of ids.
  await show(page, person("many"));
  await page.locator("summary", { hasText: "Split ids off" }).click();
  await page.locator(".choice input").first().check();
  await page.getByRole("button", { name: "What would change…" }).click();
  await dialog.getByText("Several persons of").waitFor();
  await press("Escape");
  await show(page, person(HOSTILE[0]));
  await page.locator("summary", { hasText: "Erase" }).click();
  await page.locator("#reason").fill("request 17");
  await page.getByRole("button", { name: "What would be forgotten…" }).click();
  await dialog.getByText("There is no way back").waitFor();
  await dialog.locator("#read").check();
  await dialog.locator(".danger").click();
  await dialog.getByText(/It is erased, by record/).waitFor();
  assert.equal((await ask(server, "shop", "resolve", { id: HOSTILE[0] })).person_id, null);
  assert.notEqual(await page.title(), "owned");
  assert.deepEqual(page.faults, []);
});

test("a page of another site can neither read nor correct", { skip: noBrowser }, async (test) => {
  const server = await serve(test, "--allow-corrections");
  await people(server);
  const chromium = await browser(test);
  const page = await chromium.newPage();
  const site = http.createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<title>evil</title>"));
  site.listen(0, "127.0.0.1");
  await once(site, "listening");
  test.after(() => { site.closeAllConnections(); site.close(); });
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  const tried = await page.evaluate(async ([url, admin]) => {
    const attempt = (path, init) => fetch(url + path, init).then((response) => response.type, () => "blocked");
    const body = JSON.stringify({ do: "retract", seq: 5, confirm: "0" });
    return [
      await attempt("/api/shop/persons"),
      await attempt("/api/shop/correct", { method: "POST", headers: { Authorization: `Bearer ${admin}`, "Content-Type": "application/json" }, body }),
      await attempt("/api/shop/correct", { method: "POST", body, mode: "no-cors" }),
    ];
  }, [server.url, server.admin]);
  assert.deepEqual(tried, ["blocked", "blocked", "opaque"], "the last was sent without a token, and answered 401");
  const framed = await page.evaluate((url) => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.src = url;
    frame.onload = () => { try { done(frame.contentDocument ? "empty" : "closed"); } catch { done("closed"); } };
    document.body.append(frame);
  }), server.url);
  assert.equal(framed, "closed");
});
