// Strop's page. Whatever comes from the server or a model becomes text, never markup.

const LOOK_MS = 3000;
const KEY = "strop-key";
const find = (id) => document.getElementById(id);
let answering = null; // the AbortController of the answer that is being written
let inferenceId = null;

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  for (const cell of cells) {
    made.append(cell instanceof Node ? cell : element("td", cell ?? "–"));
  }
  return made;
}

const key = () => sessionStorage.getItem(KEY);

async function call(path, options = {}) {
  const headers = { Authorization: `Bearer ${key()}`, ...options.headers };
  const response = await fetch(path, { ...options, headers });
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    const error = new Error(body?.error?.message ?? `The server answered ${response.status}.`);
    error.status = response.status;
    throw error;
  }
  return response;
}

const post = (path, body, options = {}) =>
  call(path, {
    ...options,
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

// -- is it ready -----------------------------------------------------------------------------

async function showReady() {
  const badge = find("ready");
  try {
    const response = await fetch("/health/ready");
    badge.textContent = response.ok ? "Ready" : "Not ready";
    badge.className = `badge ${response.ok ? "good" : "bad"}`;
  } catch {
    badge.textContent = "No answer";
    badge.className = "badge bad";
  }
}

// -- what is served --------------------------------------------------------------------------

async function showStatus() {
  try {
    const status = await (await call("/api/status")).json();
    showAliases(status.aliases);
    showReplicas(status.pools);
    showGateways(status.gateways, status.journal);
  } catch (error) {
    for (const id of ["aliases", "engines", "gateways"]) find(id).hidden = true;
    sayOfKey(error);
  }
}

function sayOfKey(error) {
  const hint = find("key-hint");
  hint.textContent =
    error.status === 403
      ? "This key calls models; what runs here is for keys of role ops or admin."
      : error.message;
  hint.classList.toggle("bad", error.status !== 403);
}

function releaseText(release) {
  return release ? `${release.number} · ${release.adapter ?? "base model"}` : null;
}

function showAliases(aliases) {
  const cards = aliases.map((alias) => {
    const card = element("div", "", "card");
    const facts = document.createElement("dl");
    const challenger = alias.challenger
      ? `${releaseText(alias.challenger)} (${alias.canary_percent} %)`
      : null;
    for (const [name, value] of [
      ["Champion", releaseText(alias.champion)],
      ["Challenger", challenger],
      ["Previous", releaseText(alias.previous)],
      ["Task", alias.task],
    ]) {
      if (value) facts.append(element("dt", name), element("dd", value));
    }
    card.append(element("h3", `${alias.tenant}/${alias.name}`), element("p", alias.summary), facts);
    return card;
  });
  find("alias-list").replaceChildren(
    ...(cards.length ? cards : [element("p", "No aliases yet: strop aliases create", "hint")]),
  );
  find("aliases").hidden = false;
}

function showReplicas(pools) {
  const rows = pools.flatMap((pool) =>
    pool.replicas.map((replica) =>
      row(
        pool.name,
        replica.url,
        replica.is_healthy
          ? element("td", "healthy", "good")
          : element("td", replica.error ?? "away", "bad"),
        replica.adapters.join(", ") || null,
      ),
    ),
  );
  find("replica-rows").replaceChildren(...rows);
  find("engines").hidden = false;
}

function showGateways(gateways, journal) {
  const rows = gateways.map((gateway) =>
    row(
      gateway.host,
      String(gateway.pid),
      String(gateway.revision),
      String(gateway.in_flight),
      new Date(gateway.seen_at).toLocaleTimeString(),
    ),
  );
  find("gateway-rows").replaceChildren(...rows);
  const lost = journal.damaged_segments + journal.rejected_files;
  const mend = lost ? ` ${lost} pieces could not be stored: strop doctor says what to do.` : "";
  find("journal").textContent =
    `Journal: ${journal.unread_bytes} bytes not in the database yet.${mend}`;
  find("gateways").hidden = false;
}

// -- try it ----------------------------------------------------------------------------------

async function showModels() {
  try {
    const models = (await (await call("/v1/models")).json()).data;
    const options = models.map((model) => new Option(model.id, model.id));
    const chosen = find("model").value;
    find("model").replaceChildren(...options);
    if (models.some((model) => model.id === chosen)) find("model").value = chosen;
    find("try").hidden = false;
  } catch (error) {
    find("try").hidden = true;
    sayOfKey(error);
  }
}

async function ask(event) {
  event.preventDefault();
  answering = new AbortController();
  showAnswering(true);
  try {
    const response = await post(
      "/v1/chat/completions",
      {
        model: find("model").value,
        messages: [{ role: "user", content: find("prompt").value }],
        max_tokens: 256,
        stream: true,
      },
      { signal: answering.signal },
    );
    inferenceId = response.headers.get("x-strop-inference-id");
    const adapter = response.headers.get("x-strop-adapter");
    find("provenance").textContent = `Answered by ${adapter === "base" ? "the base model" : adapter}`;
    for await (const piece of pieces(response.body)) find("text").append(piece);
    find("thumbs").hidden = !inferenceId;
  } catch (error) {
    find("provenance").textContent = error.name === "AbortError" ? "Stopped." : error.message;
  } finally {
    showAnswering(false);
  }
}

function showAnswering(isAnswering) {
  find("send").disabled = isAnswering;
  find("stop").hidden = !isAnswering;
  if (!isAnswering) return;
  find("answer").hidden = false;
  find("thumbs").hidden = true;
  for (const id of ["text", "provenance", "thanks"]) find(id).textContent = "";
}

async function* pieces(body) {
  for await (const data of events(body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Error(event.error.message);
    const text = event.choices?.[0]?.delta?.content;
    if (text) yield text;
  }
}

// Yields the data of each server-sent event.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (held + value).split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const lines = part.split("\n").filter((line) => line.startsWith("data: "));
      if (lines.length) yield lines.map((line) => line.slice(6)).join("\n");
    }
  }
}

async function rate(event) {
  const rating = event.target.dataset.rating;
  if (!rating) return;
  try {
    await post("/v1/feedback", { inference_id: inferenceId, rating });
    find("thanks").textContent = rating === "up" ? "Noted: good." : "Noted: bad.";
  } catch (error) {
    find("thanks").textContent = error.message;
  }
}

// -- the key, and the start ------------------------------------------------------------------

async function lookAround() {
  find("forget").hidden = !key();
  if (!key()) return;
  find("key-hint").textContent = "In use in this tab.";
  find("key-hint").classList.remove("bad");
  await Promise.all([showModels(), showStatus()]);
}

function useKey(event) {
  event.preventDefault();
  const typed = find("key").value.trim();
  if (typed) sessionStorage.setItem(KEY, typed);
  find("key").value = "";
  lookAround();
}

function forgetKey() {
  sessionStorage.removeItem(KEY);
  location.reload();
}

find("key-form").addEventListener("submit", useKey);
find("forget").addEventListener("click", forgetKey);
find("try-form").addEventListener("submit", ask);
find("stop").addEventListener("click", () => answering?.abort());
find("thumbs").addEventListener("click", rate);
// One look after the other: a slow server is not asked again before it has answered.
for (;;) {
  await Promise.all([showReady(), lookAround()]);
  await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
}
