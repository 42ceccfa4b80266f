// PostHog's SDKs: posthog-js in Chromium, posthog-node, posthog-python.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import test from "node:test";
import { promisify } from "node:util";

import { PostHog } from "posthog-node";

import { ask, browser, events, eventually, noBrowser, noPython, persons, proxy, serve } from "./kit.js";

/** A shop of another origin, with posthog-js in its page. */
async function shop(test) {
  const script = readFileSync(new URL("node_modules/posthog-js/dist/array.full.no-external.js", import.meta.url));
  const site = http.createServer((request, response) => {
    if (request.url === "/posthog.js") return response.setHeader("Content-Type", "text/javascript").end(script);
    response.setHeader("Content-Type", "text/html").end("<!doctype html><title>shop</title><script src=/posthog.js></script>");
  });
  site.listen(0, "127.0.0.1");
  await once(site, "listening");
  test.after(() => { site.closeAllConnections(); site.close(); });
  return `http://127.0.0.1:${site.address().port}/`;
}

/** A page of the shop, in a browser of its own; `init` is added to posthog-js's options. */
async function visit(context, shopUrl, host, init = {}) {
  const page = await context.newPage();
  await page.goto(shopUrl);
  await page.evaluate(([host, init]) => new Promise((loaded) => {
    window.posthog.init("phc_shop", {
      api_host: host, autocapture: false, capture_pageleave: false, disable_session_recording: true, opt_out_useragent_filter: true, advanced_disable_flags: true,
      request_queue_config: { flush_interval_ms: 250 }, loaded, ...init,
    });
  }), [host, init]);
  return page;
}

const who = (page) => page.evaluate(() => window.posthog.get_distinct_id());

test("posthog-js: sign-up, logout and reset, another user of the same computer", { skip: noBrowser }, async (test) => {
  const server = await serve(test);
  const [chromium, site] = [await browser(test), await shop(test)];
  const context = await chromium.newContext();
  const page = await visit(context, site, server.url);
  const names = { visitor: await who(page) };
  await page.evaluate(() => {
    window.posthog.capture("looked");
    window.posthog.identify("ann", { email: "ann@example.com" }, { first_page: "/" });
    window.posthog.capture("bought");
    window.posthog.reset();
  });
  names.second = await who(page);
  await page.evaluate(() => {
    window.posthog.capture("looked");
    window.posthog.identify("bob", { email: "bob@example.com" });
  });
  await eventually("both signed in", async () => (await persons(server, "shop", names)).length === 2
    && (await ask(server, "shop", "resolve", { id: "bob" })).profile?.properties.email === "bob@example.com");
  assert.deepEqual(await persons(server, "shop", names), ["ann visitor", "bob second"]);
  const ann = (await ask(server, "shop", "resolve", { id: names.visitor })).profile;
  assert.equal(ann.properties.email, "ann@example.com");
  assert.equal(ann.properties.first_page, "/");
  assert.ok(ann.is_identified);
});

test("posthog-js: a sign-out without reset, and a link that is opened on another device", { skip: noBrowser }, async (test) => {
  const server = await serve(test, "--preset", "one-user");
  const [chromium, site] = [await browser(test), await shop(test)];
  const page = await visit(await chromium.newContext(), site, server.url);
  const names = { visitor: await who(page) };
  // Another device starts with the id of the link, and signs in there.
  const other = await visit(await chromium.newContext(), site, server.url, { bootstrap: { distinctID: names.visitor } });
  assert.equal(await who(other), names.visitor);
  await page.evaluate(() => window.posthog.identify("ann"));
  await eventually("Ann signed in", async () => (await persons(server, "shop", names)).includes("ann visitor"));
  await other.evaluate(() => window.posthog.identify("bob"));
  await eventually("Bob signed in", async () => (await ask(server, "shop", "resolve", { id: "bob" })).person_id);
  assert.deepEqual(await persons(server, "shop", names), ["ann visitor", "bob"]);
  const { items } = await ask(server, "shop", "notable");
  assert.equal(items[0].rule, "D9");
  // The same page again, without reset: posthog-js does not link Cat to the visitor.
  await page.evaluate(() => {
    window.posthog.identify("cat");
    window.posthog.capture("looked");
  });
  await eventually("Cat signed in", async () => (await ask(server, "shop", "resolve", { id: "cat" })).person_id);
  assert.deepEqual(await persons(server, "shop", names), ["ann visitor", "bob", "cat"]);
});

test("posthog-js: lost answers, cut connections and 503 neither lose nor double an event", { skip: noBrowser }, async (test) => {
  const server = await serve(test);
  const faults = ["lost", "503", "cut"];
  const front = await proxy(test, server, (number) => faults[number]);
  const [chromium, site] = [await browser(test), await shop(test)];
  const context = await chromium.newContext();
  const page = await context.newPage();
  await page.clock.install(); // posthog-js waits seconds between its attempts
  await page.goto(site);
  await page.evaluate((host) => window.posthog.init("phc_shop", {
    api_host: host, autocapture: false, capture_pageview: false, capture_pageleave: false, disable_session_recording: true, opt_out_useragent_filter: true,
    advanced_disable_flags: true, bootstrap: { distinctID: "ann", isIdentifiedID: true }, person_profiles: "always",
  }), front.url);
  for (let number = 0; number < 4; number += 1) {
    await page.evaluate((number) => window.posthog.capture(`bought ${number}`), number);
    await page.clock.runFor(4_000);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await eventually("all events came", async () => {
    await page.clock.runFor(20_000);
    return front.seen.length >= 7 && (await events(server, "shop", "ann")) === 4;
  }, () => front.seen.join());
  assert.deepEqual(front.seen.slice(0, 3), faults);
});

test("posthog-node: sign-up, alias, lost answers, 503 and cut connections", async (test) => {
  const server = await serve(test);
  const faults = ["lost", "503", "cut"];
  const front = await proxy(test, server, (number) => faults[number]);
  const client = new PostHog("phc_shop", { host: front.url, flushAt: 100, fetchRetryCount: 5, fetchRetryDelay: 20 });
  client.on("error", () => {});
  client.capture({ distinctId: "visitor", event: "looked" });
  client.identify({ distinctId: "ann", properties: { $set: { plan: "pro" }, $anon_distinct_id: "visitor" } });
  client.alias({ distinctId: "ann", alias: "phone" });
  client.capture({ distinctId: "bob", event: "looked" });
  for (let number = 0; number < 150; number += 1) client.capture({ distinctId: "ann", event: `bought ${number}` });
  await client.shutdown();
  assert.deepEqual(front.seen.slice(0, 3), faults);
  const all = await persons(server, "shop");
  assert.ok(all.some((ids) => ids.includes("ann") && ids.includes("phone")), all.join());
  assert.ok(all.includes("bob"), all.join());
  const ann = (await ask(server, "shop", "resolve", { id: "phone" })).profile;
  assert.equal(ann.properties.plan, "pro");
  const { items } = await ask(server, "shop", "history", { id: "ann", limit: 1000 });
  assert.equal(items.filter(({ op }) => op === "capture").length, 150);
});

test("posthog-python: sign-up, alias, lost answers, 503 and cut connections", { skip: noPython }, async (test) => {
  const server = await serve(test);
  const faults = ["lost", "503", "cut"];
  const front = await proxy(test, server, (number) => faults[number]);
  const script = new URL("client.py", import.meta.url).pathname;
  await promisify(execFile)(process.env.CLIENTS_PYTHON, [script, front.url]);
  assert.deepEqual(front.seen.slice(0, 3), faults);
  assert.deepEqual(await persons(server, "shop"), ["ann phone visitor", "bob"]);
  const ann = (await ask(server, "shop", "resolve", { id: "phone" })).profile;
  assert.equal(ann.properties.plan, "pro");
  const { items } = await ask(server, "shop", "history", { id: "ann", limit: 1000 });
  assert.equal(items.filter(({ op }) => op === "capture").length, 150);
});
