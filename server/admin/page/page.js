// SPDX-License-Identifier: Apache-2.0
// The page at the admin address. Everything shown comes from the admin API, and goes into the document as text.
"use strict";

const $ = (id) => document.getElementById(id);

// Making elements: make("li", {class: "x"}, "text", other…). Nothing is ever parsed as HTML.
function make(name, attributes, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "click") element.addEventListener("click", value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...content.filter((part) => part !== null && part !== undefined));
  return element;
}

function fill(element, ...content) {
  element.replaceChildren(...content.filter((part) => part !== null && part !== undefined));
}

function say(text) {
  $("said").textContent = text;
}

// Numbers for people.

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit++;
  }
  return (unit === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)) + " " + units[unit];
}

function duration(seconds) {
  if (seconds < 60) return Math.max(0, Math.round(seconds)) + " s";
  if (seconds < 3600) return Math.round(seconds / 60) + " min";
  if (seconds < 2 * 86400) return Math.round(seconds / 3600) + " h";
  return Math.round(seconds / 86400) + " days";
}

const ago = (at) => (at ? duration(Date.now() / 1000 - at) + " ago" : "never");
const count = (number) => Number(number).toLocaleString("en");
const plural = (number, word) => count(number) + " " + word + (number === 1 ? "" : "s");

// Asking.

let token = sessionStorage.getItem("larder-token") || "";

function headers(more) {
  return token ? {...more, Authorization: "Bearer " + token} : {...more};
}

async function failure(answer) {
  let message = "status " + answer.status;
  try {
    message = (await answer.json()).error.message;
  } catch {
    // No JSON: the status has to do.
  }
  return new Error(message);
}

async function ask(method, path, body) {
  const answer = await fetch("api/v1/" + path, {
    method,
    headers: headers(body ? {"Content-Type": "application/json"} : {}),
    body: body ? JSON.stringify(body) : undefined,
  });
  if (answer.status === 401) login();
  if (!answer.ok) throw await failure(answer);
  const text = await answer.text();
  return text ? JSON.parse(text) : {};
}

const query = (name, value) => name + "=" + encodeURIComponent(value);

function login() {
  $("login-problem").textContent = token ? "The larder refuses this token." : "";
  if (!$("login").open) $("login").showModal();
}

$("login-form").addEventListener("submit", () => {
  token = $("token").value;
  sessionStorage.setItem("larder-token", token);
  $("token").value = "";
  follow();
  showImages();
  showHistory();
});

// What goes on: server-sent events, read by fetch() since an EventSource shows no token.

let following = null;

function linked(state, text) {
  $("link").className = state;
  $("link-text").textContent = text;
}

function takeEvent(block) {
  const data = block
    .split("\n")
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trimStart())
    .join("\n");
  if (data) showOverview(JSON.parse(data));
}

async function readEvents(signal) {
  const answer = await fetch("api/v1/events", {headers: headers(), signal});
  if (answer.status === 401) login();
  if (!answer.ok) throw await failure(answer);
  linked("live", "following");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    blocks.forEach(takeEvent);
  }
}

async function follow() {
  if (following) following.abort();
  const mine = (following = new AbortController());
  for (let wait = 1000; !mine.signal.aborted; wait = Math.min(wait * 2, 30000)) {
    const began = Date.now();
    try {
      await readEvents(mine.signal);
    } catch (error) {
      if (mine.signal.aborted) return;
    }
    if (Date.now() - began > 30000) wait = 1000;
    if (mine.signal.aborted || $("login").open) return;
    linked("lost", "no answer; trying again");
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function showOverview({status, jobs}) {
  showFigures(status);
  showFlights(status.flights);
  showUpstreams(status.upstreams);
  showJobs(jobs);
}

// Figures.

function figure(name, value, note) {
  return make("div", {}, make("dt", {}, name), make("dd", {}, value, note ? make("small", {}, note) : null));
}

function showFigures(status) {
  const {requests, store} = status;
  const pulls = requests.hit + requests.miss + requests.collapsed + requests.stale;
  $("where").textContent =
    "version " + status.version + ", up " + duration(status.uptime_s) + (status.offline ? ", offline" : "");
  fill(
    $("figures"),
    figure("From the store", pulls ? Math.round(requests.hit_ratio * 100) + " %" : "–", plural(pulls, "pull")),
    figure("Served", bytes(requests.served_bytes), plural(requests.error, "error")),
    figure("Held", bytes(store.bytes), plural(store.blobs, "blob")),
    figure("Free on the disk", bytes(store.free_bytes), store.path),
    figure("Being fetched", count(status.flight_count), status.flight_count === 1 ? "blob" : "blobs"),
    figure("Damaged blobs", count(store.corrupt_blobs), "found since the start"),
  );
}

// History.

const SVG = "http://www.w3.org/2000/svg";

function bar(x, y, width, height, kind) {
  const rect = document.createElementNS(SVG, "rect");
  for (const [key, value] of Object.entries({x, y, width, height, class: kind})) rect.setAttribute(key, value);
  return rect;
}

// Stacked bars, one a point; each series is [class, function of a point].
function chart(id, points, series, words) {
  const svg = $(id), width = 360, height = 80, step = width / 360;
  const sum = (point) => series.reduce((total, [, value]) => total + value(point), 0);
  const most = Math.max(1, ...points.map(sum));
  const bars = [bar(0, height - 0.5, width, 0.5, "axis")];
  points.slice(-360).forEach((point, index, shown) => {
    let y = height;
    for (const [kind, value] of series) {
      const tall = (value(point) / most) * (height - 2);
      y -= tall;
      if (tall > 0) bars.push(bar(width - (shown.length - index) * step, y, step * 0.9, tall, kind));
    }
  });
  svg.setAttribute("aria-label", words);
  fill(svg, ...bars);
}

async function showHistory() {
  const {points} = await ask("GET", "history?span=hour");
  const total = (name) => points.reduce((sum, point) => sum + point[name], 0);
  chart(
    "chart-pulls",
    points,
    [["hit", (p) => p.hit], ["miss", (p) => p.miss + p.collapsed], ["bad", (p) => p.stale + p.error]],
    `In the last hour ${total("hit")} pulls came from the store, ${total("miss") + total("collapsed")} were fetched, ` +
      `${total("stale") + total("error")} were stale or failed.`,
  );
  chart(
    "chart-bytes",
    points,
    [["hit", (p) => p.saved_bytes], ["miss", (p) => p.fetched_bytes]],
    `In the last hour ${bytes(total("saved_bytes"))} were saved and ${bytes(total("fetched_bytes"))} fetched.`,
  );
}

// Rows.

function row(name, facts, ...does) {
  return make("div", {class: "row"}, make("span", {class: "name"}, ...name), make("span", {class: "facts"}, facts),
    does.length ? make("span", {class: "does"}, ...does) : null);
}

const tag = (text, kind) => make("span", {class: "tag " + (kind || "")}, text);

function button(text, what, click) {
  return make("button", {type: "button", "aria-label": text + " " + what, click}, text);
}

const empty = (text) => make("li", {class: "empty"}, text);

function showFlights(flights) {
  $("flights-count").textContent = flights.length ? String(flights.length) : "";
  fill($("flights"), ...(flights.length ? flights.map(flightRow) : [empty("Nothing is on its way.")]));
}

function flightRow(flight) {
  const known = flight.size !== null && flight.size !== undefined;
  return make("li", {},
    row([flight.upstream + "/" + flight.repository],
      bytes(flight.held) + (known ? " of " + bytes(flight.size) : "") + ", " + flight.digest.slice(0, 19)),
    make("progress", {max: known ? flight.size : 1, value: known ? flight.held : false,
      "aria-label": "progress of " + flight.digest.slice(0, 19)}));
}

const HEALTH = {healthy: "hit", unused: "", failing: "bad", "not answering": "bad"};

function showUpstreams(upstreams) {
  fill($("upstreams"), ...upstreams.map(upstreamRow));
}

function upstreamRow(upstream) {
  const facts = [plural(upstream.requests, "request"), bytes(upstream.bytes)];
  if (upstream.retries) facts.push(plural(upstream.retries, "retry").replace("retrys", "retries"));
  if (upstream.budget) facts.push(count(upstream.budget.remaining) + " of " + count(upstream.budget.limit) + " left");
  if (upstream.pace.waiting) facts.push(upstream.pace.waiting + " waiting");
  if (upstream.pace.closed_ms) facts.push("asked to be left alone for " + duration(upstream.pace.closed_ms / 1000));
  return make("li", {}, row([upstream.name, " ", tag(upstream.state, HEALTH[upstream.state])], facts.join(", ")),
    upstream.why ? make("div", {class: "more"}, upstream.why) : null);
}

// Jobs. A row that is opened stays open while the list is drawn anew.

const openJobs = new Map();
const STATE = {done: "hit", failed: "bad", cancelled: "miss", running: "", queued: ""};
let drawnJobs = "";

function showJobs(jobs) {
  const text = JSON.stringify(jobs);
  if (text === drawnJobs) return;
  const ended = (list) => list.filter((job) => job.finished).length;
  if (drawnJobs && ended(jobs) !== ended(JSON.parse(drawnJobs))) showImages();
  drawnJobs = text;
  drawJobs(jobs);
}

function drawJobs(jobs) {
  const focused = document.activeElement && document.activeElement.getAttribute("aria-label");
  fill($("jobs"), ...(jobs.length ? jobs.slice(0, 20).map(jobRow) : [empty("No job has run yet.")]));
  refocus($("jobs"), focused);
}

function refocus(list, label) {
  if (label) for (const one of list.querySelectorAll("button")) if (one.getAttribute("aria-label") === label) one.focus();
}

function jobRow(job) {
  const {images, layers} = job, runs = job.state === "running" || job.state === "queued";
  const facts = [];
  if (images.total) facts.push(images.done + " of " + plural(images.total, "image"));
  if (layers.total) facts.push(layers.done + " of " + plural(layers.total, "blob"));
  if (job.bytes.fetched || job.bytes.held) facts.push(bytes(job.bytes.fetched) + " fetched, " + bytes(job.bytes.held) + " held");
  if (job.error_count) facts.push(plural(job.error_count, "error"));
  facts.push(runs ? "since " + duration(Date.now() / 1000 - (job.started || job.created)) : ago(job.finished));
  const what = "job " + job.id;
  return make("li", {},
    row([job.kind + " " + job.id + " ", tag(job.state, STATE[job.state])], facts.join(", "),
      runs ? button("Cancel", what, () => act("jobs-problem", ask("DELETE", "jobs/" + job.id), what + " is cancelled")) : "",
      button(openJobs.has(job.id) ? "Less" : "More", what, () => toggleJob(job.id))),
    runs && layers.total ? make("progress", {max: layers.total, value: layers.done, "aria-label": "progress of " + what}) : null,
    openJobs.get(job.id) || null);
}

async function toggleJob(id) {
  if (openJobs.has(id)) {
    openJobs.delete(id);
  } else {
    const job = await ask("GET", "jobs/" + id);
    openJobs.set(id, make("div", {class: "more"},
      job.request && job.request.images ? job.request.images.join("  ") : "",
      make("ul", {}, ...(job.errors || []).map((e) => make("li", {}, (e.image ? e.image + ": " : "") + e.message))),
      job.result ? make("pre", {}, JSON.stringify(job.result, null, 1)) : ""));
  }
  drawJobs(JSON.parse(drawnJobs));
}

async function act(problem, asked, done) {
  $(problem).textContent = "";
  try {
    await asked;
    say(done);
    return true;
  } catch (error) {
    $(problem).textContent = error.message;
    return false;
  }
}

const words = (id) => $(id).value.split(/[\s]+/).filter(Boolean);

$("prefetch-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = {images: words("prefetch-images")};
  if (words("prefetch-platforms").length) body.platforms = words("prefetch-platforms");
  if ($("prefetch-pin").value.trim()) body.pin = $("prefetch-pin").value.trim();
  if (await act("jobs-problem", ask("POST", "prefetch", body), "the prefetch is started")) $("prefetch-images").value = "";
});
$("gc").addEventListener("click", () => act("jobs-problem", ask("POST", "gc", {dry_run: false}), "the clean-up is started"));
$("verify").addEventListener("click", () => act("jobs-problem", ask("POST", "verify", {heal: true}), "the verification is started"));

// Images.

const ORDER = {
  used: (a, b) => b.last_use - a.last_use,
  cold: (a, b) => a.last_use - b.last_use,
  new: (a, b) => b.fetched - a.fetched,
  big: (a, b) => b.size - a.size,
  name: (a, b) => a.reference.localeCompare(b.reference),
};
const SHOWN_MAX = 200;
const openImages = new Map();
let images = [];

async function showImages() {
  const glob = $("images-glob").value.trim();
  await act("images-problem", ask("GET", "images" + (glob ? "?" + query("glob", glob) : "")).then((answer) => {
    images = answer.images;
    drawImages(answer.more);
  }), "");
}

function drawImages(more) {
  const sorted = [...images].sort(ORDER[$("images-order").value]);
  const focused = document.activeElement && document.activeElement.getAttribute("aria-label");
  const rows = sorted.slice(0, SHOWN_MAX).map(imageRow);
  $("images-count").textContent = images.length ? count(images.length) + (more ? " and more" : "") : "";
  if (!rows.length)
    rows.push(empty($("images-glob").value.trim() ? "Nothing matches." :
      "Nothing is held yet. Point a client at larder (larder doctor prints how), or fetch something ahead of use above."));
  if (sorted.length > SHOWN_MAX) rows.push(empty("The first " + SHOWN_MAX + " are shown: narrow them by a glob."));
  fill($("image-rows"), ...rows);
  refocus($("image-rows"), focused);
}

function imageRow(image) {
  const what = image.reference;
  const pinned = image.pins.length > 0;
  return make("li", {},
    row([image.reference + " ", ...image.pins.map((pin) => tag("pin " + pin, "hit")), image.held ? "" : tag("not held", "miss")],
      [bytes(image.size), image.platforms.join(" ") || "no platform", "used " + ago(image.last_use)].join(", "),
      button("Check", what, () => checkImage(what)),
      button(openImages.has(what) ? "Less" : "Inside", what, () => toggleInside(what)),
      pinned ? button("Unpin", what, () => unpin(image)) : button("Pin", what, () => pin(what)),
      button("Forget", what, () => forget(what))),
    openImages.get(what) || null);
}

function open(reference, ...content) {
  openImages.set(reference, make("div", {class: "more"}, ...content));
  drawImages(false);
}

async function checkImage(reference) {
  await act("images-problem", ask("GET", "check?" + query("ref", reference)).then((check) => {
    say(reference + (check.complete ? " is wholly held" : " is not wholly held"));
    open(reference, check.complete ? tag("wholly held: " + plural(check.parts, "part") + ", " + bytes(check.bytes), "hit")
      : tag(plural(check.missing.length, "part") + " missing", "miss"),
      make("ul", {}, ...check.missing.slice(0, 50).map((part) =>
        make("li", {}, [part.kind, part.platform, part.state, part.digest].filter(Boolean).join(", ")))));
  }), "");
}

async function toggleInside(reference) {
  if (openImages.delete(reference)) return drawImages(false);
  await act("images-problem", ask("GET", "image?" + query("ref", reference)).then((image) =>
    open(reference, configTable(image), stepTable(image), browser(reference))), "");
}

// What a container of the image gets, as its config says.
function configTable(image) {
  const all = image.config || {}, config = all.config || {}, words = (list) => (list || []).join(" ");
  const facts = [["platform", image.platform || [all.os, all.architecture].filter(Boolean).join("/")], ["created", all.created],
    ["runs", words([...(config.Entrypoint || []), ...(config.Cmd || [])])], ["in", config.WorkingDir], ["as", config.User],
    ["ports", words(Object.keys(config.ExposedPorts || {}))], ["volumes", words(Object.keys(config.Volumes || {}))],
    ...(config.Env || []).map((text) => ["environment", text]),
    ...Object.entries(config.Labels || {}).map(([key, value]) => ["label", key + "=" + value])];
  return make("table", {}, make("tbody", {}, ...facts.filter(([, value]) => value).map(([name, value]) =>
    make("tr", {}, make("td", {class: "fact"}, name), make("td", {class: "mono"}, String(value))))));
}

// The image's history, with what each step adds. Where that does not fit the layers, the layers alone.
function stepTable(image) {
  const layers = image.layers || [], history = (image.config || {}).history || [];
  const fits = history.filter((step) => !step.empty_layer).length === layers.length;
  const steps = fits ? history : layers;
  let next = 0;
  const line = (step) => {
    const layer = step.empty_layer ? null : layers[next++];
    return make("tr", {}, make("td", {class: "size"}, layer ? bytes(layer.size) : ""),
      make("td", {class: "mono"}, step.created_by || step.comment || (layer ? layer.digest : "")));
  };
  return make("table", {}, make("thead", {}, make("tr", {}, make("th", {class: "size"}, "adds"), make("th", {}, "by"))),
    make("tbody", {}, ...steps.map(line)));
}

// An image's files, a directory at a time. A name is any bytes: `path` shows them, `place` has them percent-encoded.
const ROWS_MAX = 2000, VIEW_MAX = 65536;

function browser(reference) {
  const box = make("div", {class: "files"});
  const parent = (path, slash) => path.slice(0, path.lastIndexOf(slash)) || slash;
  const up = (path, place) => fileRow("..", () => go(parent(path, "/"), parent(place, "%2F")), "", "");
  const show = (path, rows, ...more) => {
    fill(box, make("div", {class: "mono"}, path), make("table", {}, make("tbody", {}, ...rows)), ...more);
    (box.querySelector("button") || box).focus();
  };
  const fail = (error) => fill(box, make("p", {class: "problem"}, error.message));
  const go = (path, place) => ask("GET", "files?" + query("ref", reference) + "&path=" + place).then(({files}) =>
    show(path, [...(path === "/" ? [] : [up(path, place)]), ...files.slice(0, ROWS_MAX).map(entry)],
      files.length > ROWS_MAX ? make("p", {}, "and " + (files.length - ROWS_MAX) + " more: larder files " + reference + " " + path) : null), fail);
  const view = (file, place) => readText(reference, file, place).then((text) => show(file.path, [up(file.path, place)], text), fail);
  const entry = (file) => {
    const place = file.path_escaped || encodeURIComponent(file.path), name = file.path.split("/").pop();
    const click = {directory: () => go(file.path, place), file: () => view(file, place)}[file.type];
    return fileRow(name + (file.type === "directory" ? "/" : "") + (file.target ? " → " + file.target : ""), click,
      file.type === "file" ? bytes(file.size) : "", file.mode);
  };
  fill(box, button("Files", "of " + reference, () => go("/", "%2F")));
  return box;
}

function fileRow(name, click, size, mode) {
  return make("tr", {}, make("td", {class: "mono"}, mode), make("td", {class: "size"}, size),
    make("td", {}, click ? make("button", {type: "button", click}, name) : name));
}

async function readText(reference, file, place) {
  if (file.size === 0) return make("p", {}, "The file is empty.");
  const answer = await fetch("api/v1/file?" + query("ref", reference) + "&path=" + place,
    {headers: headers({Range: "bytes=0-" + (VIEW_MAX - 1)})});
  if (!answer.ok) throw await failure(answer);
  const text = await answer.text();
  if (text.includes("\u0000")) return make("p", {}, "It is no text: " + bytes(file.size) + ".");
  return make("div", {}, file.size > VIEW_MAX ? make("p", {}, "The first " + bytes(VIEW_MAX) + " of " + bytes(file.size) + ":") : null,
    make("pre", {tabindex: "0", "aria-label": file.path}, text));
}

async function pin(reference) {
  const name = window.prompt("Pin " + reference + " under this name:", "kept");
  if (name && await act("images-problem",
    ask("PUT", "pins/" + encodeURIComponent(name), {references: [reference], add: true}), reference + " is pinned")) showImages();
}

async function unpin(image) {
  const asked = Promise.all(image.pins.map((name) =>
    ask("DELETE", "pins/" + encodeURIComponent(name) + "?" + query("ref", image.reference))));
  if (await act("images-problem", asked, image.reference + " is not pinned any more")) showImages();
}

async function forget(reference) {
  if (!window.confirm("Forget " + reference + "? The next pull fetches it anew.")) return;
  if (await act("images-problem", ask("DELETE", "images?" + query("ref", reference)), reference + " is forgotten")) showImages();
}

$("images-form").addEventListener("submit", (event) => {
  event.preventDefault();
  showImages();
});
$("images-order").addEventListener("change", () => drawImages(false));

follow();
showImages();
act("images-problem", showHistory(), "");
setInterval(() => { if (!document.hidden && !$("login").open) showHistory().catch(() => {}); }, 10000);
