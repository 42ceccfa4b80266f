// What the tests share: a server of their own, a proxy that loses answers, questions, and a browser.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const TOKENS = {
  posthog: "phc_shop=shop",
  segment: "segment_key=segment:segment",
  rudderstack: "rudder_key=rudder:rudderstack",
  mixpanel: "mixpanel_token=mixpanel:mixpanel",
};

/** A server in a directory of its own, stopped when the test ends. */
export async function serve(test, ...args) {
  const dir = mkdtempSync(join(tmpdir(), "clients-"));
  const tokens = Object.values(TOKENS).flatMap((token) => ["--token", token]);
  const child = spawn(process.env.IDENTITY_LEDGER, ["--json", "serve", dir, "--listen", "127.0.0.1:0", ...tokens, ...args], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [line] = await once(createInterface(child.stdout), "line");
  const { address, admin_token: admin } = JSON.parse(line);
  const gone = once(child, "exit");
  test.after(async () => {
    child.kill("SIGTERM");
    await gone;
    rmSync(dir, { recursive: true });
  });
  return { url: `http://${address}`, port: Number(address.split(":")[1]), admin, dir };
}

/** Asks a question of /api/. */
export async function ask({ url, admin }, tenant, question, parts = {}) {
  const headers = admin ? { Authorization: `Bearer ${admin}` } : {};
  const response = await fetch(`${url}/api/${tenant}/${question}?${new URLSearchParams(parts)}`, { headers });
  const said = await response.json();
  if (response.status === 404) return { items: [], next: null }; // a ledger is created by its first event
  if (!response.ok) throw new Error(`${response.status}: ${said.error}`);
  return said;
}

/** The persons of a tenant, each as its sorted ids, with what is not told apart from run to run given a name. */
export async function persons(server, tenant, names = {}) {
  const called = (id) => Object.entries(names).find(([, value]) => value === id)?.[0] ?? id;
  const { items } = await ask(server, tenant, "persons", { limit: 1000 });
  return items.map((person) => person.distinct_ids.map(called).sort().join(" ")).sort();
}

/** How many events were recorded of a person. */
export async function events(server, tenant, id) {
  return (await ask(server, tenant, "resolve", { id })).profile?.events ?? 0;
}

/** Waits until something holds; says what was found last if it never does. */
export async function eventually(what, holds, found = () => "") {
  for (let turn = 0; turn < 400; turn += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`it never held: ${what} ${await found()}`);
}

/**
 * A proxy before the server. `fault` is asked for each request that brings events, with its number from 0: "lost" (the server records
 * it, and its answer is swallowed), "cut" (the connection breaks before the server has it), "503", or nothing.
 */
export async function proxy(test, server, fault) {
  const seen = [];
  const front = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const bringsEvents = request.method !== "OPTIONS" && /^\/(e|i\/v0\/e|batch|capture|track|engage|v1\/batch)\b/.test(request.url);
    const what = bringsEvents ? fault(seen.length) : undefined;
    if (bringsEvents) seen.push(what ?? "passed");
    const cors = { "Access-Control-Allow-Origin": request.headers.origin ?? "*" };
    if (what === "cut") return request.socket.destroy();
    if (what === "503") return response.writeHead(503, cors).end();
    const { host, ...headers } = request.headers;
    const onward = http.request({ host: "127.0.0.1", port: server.port, path: request.url, method: request.method, headers }, async (answer) => {
      const body = [];
      for await (const chunk of answer) body.push(chunk);
      if (what === "lost") return request.socket.destroy();
      response.writeHead(answer.statusCode, answer.headers).end(Buffer.concat(body));
    });
    onward.on("error", () => request.socket.destroy());
    onward.end(Buffer.concat(chunks));
  });
  front.listen(0, "127.0.0.1");
  await once(front, "listening");
  test.after(() => {
    front.closeAllConnections();
    front.close();
  });
  return { url: `http://127.0.0.1:${front.address().port}`, port: front.address().port, seen };
}

/** A Chromium, if there is one. */
export async function browser(test) {
  const { chromium } = await import("playwright-core");
  const launched = await chromium.launch({ executablePath: process.env.CLIENTS_CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
  test.after(() => launched.close());
  return launched;
}

export const noBrowser = process.env.CLIENTS_CHROMIUM ? false : "Chromium is not installed";
export const noPython = process.env.CLIENTS_PYTHON ? false : "posthog-python is not installed";
