// The SDKs of Segment, RudderStack and Mixpanel.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import test from "node:test";
import { promisify } from "node:util";

import { Analytics } from "@segment/analytics-node";
import RudderAnalytics from "@rudderstack/rudder-sdk-node";

import { ask, persons, proxy, serve } from "./kit.js";

const Mixpanel = createRequire(import.meta.url)("mixpanel");

/** A visitor signs up, another person signs in at the same computer after a logout, and one more without one. */
function useSharedComputer(client) {
  client.track({ anonymousId: "visitor", event: "looked" });
  client.identify({ userId: "ann", anonymousId: "visitor", traits: { plan: "pro" } });
  client.track({ userId: "ann", event: "bought" });
  client.track({ anonymousId: "second", event: "looked" });
  client.identify({ userId: "bob", anonymousId: "second" });
}

/** Two operations of one user, so that a retry that is recorded twice shows. */
const captures = async (server, tenant, id) =>
  (await ask(server, tenant, "history", { id, limit: 1000 })).items.filter(({ op }) => op === "capture").length;

test("Segment: sign-up, a shared computer, lost answers, 503 and cut connections", async (test) => {
  const server = await serve(test);
  const faults = ["lost", "503", "cut"];
  const front = await proxy(test, server, (number) => faults[number]);
  const client = new Analytics({ writeKey: "segment_key", host: front.url, maxRetries: 6 });
  client.on("error", () => {});
  useSharedComputer(client);
  await client.closeAndFlush({ timeout: 30_000 });
  assert.deepEqual(front.seen.slice(0, 3), faults);
  assert.deepEqual(await persons(server, "segment"), ["ann visitor", "bob second"]);
  assert.equal((await ask(server, "segment", "resolve", { id: "visitor" })).profile.properties.plan, "pro");
  assert.equal(await captures(server, "segment", "ann"), 1);
  assert.equal(await captures(server, "segment", "visitor"), 1);
});

test("RudderStack: sign-up, a shared computer, lost answers, 503 and cut connections", async (test) => {
  const server = await serve(test);
  const faults = ["lost", "503", "cut"];
  const front = await proxy(test, server, (number) => faults[number]);
  const client = new RudderAnalytics("rudder_key", {
    dataPlaneUrl: front.url, flushAt: 100, logLevel: "error", retryCount: 6, axiosRetryConfig: { retryDelay: () => 30 },
  });
  useSharedComputer(client);
  await new Promise((resolve) => client.flush(resolve));
  assert.deepEqual(front.seen.slice(0, 3), faults);
  assert.deepEqual(await persons(server, "rudder"), ["ann visitor", "bob second"]);
  assert.equal(await captures(server, "rudder", "ann"), 1);
  assert.equal(await captures(server, "rudder", "visitor"), 1);
});

test("Mixpanel: sign-up, profile updates, and what its client says of an unknown token", async (test) => {
  const server = await serve(test);
  const at = { host: "127.0.0.1", port: server.port, protocol: "http" };
  const client = Mixpanel.init("mixpanel_token", at);
  const track = promisify(client.track);
  await track("looked", { $device_id: "visitor" });
  await track("signed in", { $device_id: "visitor", $user_id: "ann" });
  await track("looked", { $device_id: "second", distinct_id: "$device:second" });
  await track("signed in", { $device_id: "second", $user_id: "bob" });
  await promisify(client.people.set.bind(client.people))("ann", { plan: "pro" });
  const all = await persons(server, "mixpanel");
  assert.deepEqual(all, ["$device:second bob", "$device:visitor ann"]);
  assert.equal((await ask(server, "mixpanel", "resolve", { id: "ann" })).profile.properties.plan, "pro");
  const batch = promisify(client.track_batch);
  await batch([1, 2, 3].map((number) => ({ event: "bought", properties: { distinct_id: "ann", $insert_id: `order-${number}`, time: 1_767_225_600 } })));
  await batch([1, 2, 3].map((number) => ({ event: "bought", properties: { distinct_id: "ann", $insert_id: `order-${number}`, time: 1_767_225_600 } })));
  assert.equal((await ask(server, "mixpanel", "history", { id: "ann", limit: 1000 })).items.filter(({ op }) => op === "capture").length, 4);
  const stranger = Mixpanel.init("unknown", at);
  await assert.rejects(promisify(stranger.track)("looked", { distinct_id: "x" }), /`unknown` is not a token of this server/);
});

test("what another vendor's client sends to a token is rejected by name", async (test) => {
  const server = await serve(test);
  const said = [];
  const client = new Analytics({ writeKey: "phc_shop", host: server.url, maxRetries: 0 });
  client.on("error", (error) => said.push(error));
  client.track({ userId: "ann", event: "looked" });
  await client.closeAndFlush({ timeout: 10_000 });
  assert.equal(said.length, 1);
  assert.deepEqual(await persons(server, "shop"), []);
});
