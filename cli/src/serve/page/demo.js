// A page of a shop that sends what PostHog's browser SDK sends. It keeps what the SDK keeps: a device id, and for whom it speaks.

const TOKEN = "phc_demo";
const $ = (id) => document.getElementById(id);
const stored = JSON.parse(localStorage.getItem("demo") ?? "null");
const state = stored ?? { device: crypto.randomUUID(), who: null, identified: false };
state.who ??= state.device;

function keep() {
  localStorage.setItem("demo", JSON.stringify(state));
  $("who").textContent = state.who;
}

async function send(event, properties = {}, more = {}) {
  const sent = {
    uuid: crypto.randomUUID(),
    event,
    timestamp: new Date().toISOString(),
    properties: { token: TOKEN, distinct_id: state.who, $device_id: state.device, $lib: "web", $current_url: location.href, ...properties },
    ...more,
  };
  const body = JSON.stringify({ api_key: TOKEN, batch: [sent], sent_at: new Date().toISOString() });
  const line = document.createElement("li");
  try {
    const response = await fetch("/e/", { method: "POST", headers: { "Content-Type": "text/plain" }, body });
    line.textContent = `${event} of ${state.who}: ${response.ok ? "durable" : `refused with ${response.status}`}`;
  } catch (error) {
    line.textContent = `${event}: ${error.message}`;
  }
  const link = document.createElement("a");
  link.href = `/#${new URLSearchParams({ tenant: "demo", id: state.who })}`;
  link.textContent = "who is that?";
  line.append(" ", link);
  $("log").prepend(line);
}

async function identify(name) {
  const before = state.who;
  state.who = name;
  keep();
  await send("$identify", { $anon_distinct_id: before }, { $set: { email: name, plan: $("plan").value } });
}

$("view").addEventListener("click", () => send("$pageview"));
$("buy").addEventListener("click", () => send("order placed", { amount: 12 }));
$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("name").value) identify($("name").value);
});
$("sign-out").addEventListener("click", () => {
  state.who = crypto.randomUUID();
  keep();
});
$("claim").addEventListener("click", () => {
  $("name").value = `guest-${Math.floor(Math.random() * 1000)}@example.com`;
  identify($("name").value);
});
keep();
