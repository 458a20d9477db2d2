// The page: what is looked at stands in `view` and in the address; every change of it asks for what is drawn.

import { COLOURS, Row, css, drawKernel, drawTicks, short } from "./plot.js";

const $ = (id) => document.getElementById(id);
const LEFT = () => (matchMedia("(max-width: 760px)").matches ? 46 : 58);
const LAYERS = [
  ["original", "original", true],
  ["error", "original − decoded", true],
  ["kernels", "activations alone", false],
  ["residual", "decoded − activations", false],
];
const LAYER_VALUES = 1 << 21;  // samples of layers made of activations that the server sums in one answer
const view = { recording: "", stream: "", from: 0, to: 10, clock: true, live: false, channels: new Set(), layers: new Set(), scales: new Set(["paper", "same"]) };
let about = {}, recording = null, stream = null, overview = null, asked = 0, asking = false;
let rows = [], figureRows = [], marks = { events: [], gaps: [], segments: [], decisions: [] }, bad = [], holes = [];
let figures;
let activations = { at: [], kernel: [], amplitude: [] }, whole = { drawn: null };
const colours = new Map();

// --- asking

async function ask(what, questions, tries = 3) {
  const query = new URLSearchParams(questions);
  let answer;
  try {
    answer = await fetch(`api/${what}?${query}`);
  } catch {  // cut off: by a server that ended, or that took too long over something before it
    if (tries <= 1) throw new Error("no answer; is the server still running?");
    await new Promise((done) => setTimeout(done, 1000));
    return ask(what, questions, tries - 1);
  }
  if (answer.status === 503 && tries > 1) {  // too many questions at once, of all that look
    await new Promise((done) => setTimeout(done, 400));
    return ask(what, questions, tries - 1);
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({ error: answer.status === 401 ? "the token is no longer right" : answer.statusText }));
    throw new Error(told.error + (told.hint ? `; ${told.hint}` : ""));
  }
  return answer.headers.get("content-type").startsWith("application/json") ? answer.json() : unpack(await answer.arrayBuffer());
}

function unpack(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const numbers = new Float32Array(buffer, 4 + size);
  const cut = (k) => head.channels.map((_, i) => numbers.subarray((k * head.channels.length + i) * head.n, (k * head.channels.length + i + 1) * head.n));
  return { ...head, low: cut(0), high: head.step === 1 ? cut(0) : cut(1) };
}

const here = (extra = {}) => ({ recording: view.recording, stream: view.stream, ...extra });
const samplesOf = (from, to) => ({ from: Math.max(0, Math.floor(from * stream.rate_hz)), to: Math.max(0, Math.ceil(to * stream.rate_hz)) });

function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").textContent = text;
}

// --- recordings

let listed = { names: [], found: 0 };

async function list(start = 0) {
  const got = await ask("recordings", { find: $("find").value, start });
  listed = start ? { ...got, names: [...listed.names, ...got.names] } : got;
  $("count").textContent = got.found === got.total ? `${got.total} recording${got.total === 1 ? "" : "s"}` : `${got.found} of ${got.total}`;
  $("more").hidden = listed.names.length >= got.found;
  $("list").replaceChildren(...listed.names.map(entry));
  return listed.names;
}

function entry(name) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.textContent = name;
  button.setAttribute("aria-current", String(name === view.recording));
  button.onclick = () => open(name);
  item.append(button);
  if (recording && name === view.recording && recording.streams.length > 1) {
    const inner = document.createElement("ul");
    for (const s of recording.streams) {
      const one = document.createElement("li");
      const choose = document.createElement("button");
      choose.textContent = s.name;
      choose.setAttribute("aria-current", String(s.name === view.stream));
      choose.onclick = () => open(name, s.name);
      one.append(choose);
      inner.append(one);
    }
    item.append(inner);
  }
  return item;
}

async function open(name, streamName, at, chosen = false) {
  try {
    recording = await ask("recording", { recording: name });
  } catch (error) {
    trouble(error.message);
    return;
  }
  const kept = view.recording === name && !at ? [view.from, view.to] : null;
  const nth = recording.streams.findIndex((s) => s.name === streamName);
  stream = recording.streams[Math.max(0, nth)];
  if (!stream) {
    trouble("this recording has no stream yet");
    return;
  }
  view.recording = name;
  view.stream = stream.name;
  view.channels = new Set(stream.channels.map((_, i) => i).slice(0, 16));
  for (const [layer, , needs] of LAYERS) if (needs && !stream.original) view.layers.delete(layer);
  if (stream.original && !chosen) view.layers.add("original");
  const end = stream.n_samples / stream.rate_hz, first = stream.first / stream.rate_hz;
  [view.from, view.to] = at ?? kept ?? [first, Math.min(end, first + 10)];
  view.live = false;
  $("side").classList.remove("open");
  $("menu").setAttribute("aria-expanded", "false");
  $("live").hidden = !recording.live;
  $("title").textContent = name;
  subtitle();
  document.title = `${name} – sanstream`;
  $("list").replaceChildren(...listed.names.map(entry));
  choices();
  build();
  look();
  wholeAgain();
}

function subtitle() {
  const n = stream.channels.length, shown = view.channels.size;
  const count = `${n} channel${n === 1 ? "" : "s"}${shown < n ? `, ${shown} shown` : ""}`;
  const end = stream.n_samples / stream.rate_hz, first = stream.first / stream.rate_hz;
  $("subtitle").textContent = `${stream.name} · ${count} · ${lasting(end - first)}${recording.start_ns === null ? "" : " · " + stamp(first, true)}`;
}

// what a millivolt is in the unit of an ECG channel; 0 of others
const millivolt = (c) => (c.modality === "ecg" ? { mv: 1, uv: 1000, "µv": 1000, "μv": 1000, v: 0.001 }[c.unit.toLowerCase()] ?? 0 : 0);

const lasting = (s) => (s >= 172800 ? `${(s / 86400).toFixed(1)} d` : s >= 7200 ? `${(s / 3600).toFixed(1)} h` : s >= 120 ? `${(s / 60).toFixed(1)} min` : `${+s.toFixed(2)} s`);

function choices() {
  const boxes = (node, of) => {
    node.replaceChildren(node.firstElementChild, ...of.map(([text, on, set]) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = on;
      box.onchange = () => {
        set(box.checked);
        subtitle();
        build();
        look();
      };
      label.append(box, text);
      return label;
    }));
  };
  const turn = (set, key) => (on) => (on ? set.add(key) : set.delete(key));
  boxes($("channels"), stream.channels.map((c, i) => [c.label, view.channels.has(i), turn(view.channels, i)]));
  const layers = LAYERS.filter(([, , needs]) => stream.original || !needs);
  const scales = [["paper", "ECG paper"], ["same", "same scale for all leads"]];
  $("scales").hidden = !stream.channels.some(millivolt);
  boxes($("scales"), scales.map(([key, text]) => [text, view.scales.has(key), turn(view.scales, key)]));
  boxes($("layers"), layers.map(([key, text]) => [text, view.layers.has(key), turn(view.layers, key)]));
}

// --- time

function stamp(seconds, date = false) {
  if (recording.start_ns === null || !view.clock) {
    return `${seconds < 0 ? "−" : ""}${clockText(Math.abs(seconds), view.to - view.from)}`;
  }
  const ms = Number(BigInt(recording.start_ns) / 1000000n) + seconds * 1000;
  const text = new Date(ms).toISOString();
  const fine = view.to - view.from;
  const zone = recording.timezone === "unknown" ? "" : ` ${recording.timezone === "utc" ? "UTC" : recording.timezone}`;
  if (date) return `${text.slice(0, 10)} ${text.slice(11, 19)}${zone}`;
  if (fine > 172800) return `${text.slice(5, 10)} ${text.slice(11, 16)}`;
  return fine < 2 ? text.slice(11, 23) : fine < 600 ? text.slice(11, 21).replace(/\.0$/, "") : text.slice(11, 19);
}

function clockText(s, fine) {
  const h = Math.floor(s / 3600), m = Math.floor((s % 3600) / 60), rest = s % 60;
  const places = fine < 2 ? 3 : fine < 60 ? 1 : 0;
  const tail = rest.toFixed(places).padStart(places ? 3 + places : 2, "0");
  return h ? `${h}:${String(m).padStart(2, "0")}:${tail}` : `${m}:${tail}`;
}

function goTo(text) {
  const asked = text.trim();
  const relative = asked.match(/^\+?(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?$/);
  const clock = asked.match(/^(?:(\d{4}-\d{2}-\d{2})[T ])?(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?$/);
  let at = NaN;
  if (relative) at = Number(relative[1]) * { s: 1, m: 60, min: 60, h: 3600, d: 86400 }[relative[2] ?? "s"];
  else if (/^\d+(:\d{1,2}){1,2}(\.\d+)?$/.test(asked) && (recording.start_ns === null || !view.clock)) {
    at = asked.split(":").reduce((sum, part) => 60 * sum + Number(part), 0);
  } else if (clock && recording.start_ns !== null) {
    const start = Number(BigInt(recording.start_ns) / 1000000n) / 1000;
    const day = clock[1] ?? new Date((start + view.from) * 1000).toISOString().slice(0, 10);
    at = Date.parse(`${day}T${clock[2].padStart(2, "0")}:${clock[3]}:00Z`) / 1000 + Number(clock[4] ?? 0) - start;
    if (!clock[1] && at < stream.first / stream.rate_hz) at += 86400;
  }
  if (!Number.isFinite(at)) {
    trouble(`"${asked}" is no time here; write +90s, +5m${recording.start_ns === null ? " or 5:00" : ", 12:30:05 or 2024-05-01T12:30:05"}`);
    return;
  }
  trouble("");
  const span = view.to - view.from;
  set(at - span / 2, at + span / 2);
}

// --- the stretch that is seen

function set(from, to, { quiet = false } = {}) {
  const end = stream.n_samples / stream.rate_hz;
  let span = Math.min(Math.max(to - from, 8 / stream.rate_hz), Math.max(end, 1));
  const middle = (from + to) / 2;
  from = middle - span / 2;
  from = Math.min(Math.max(from, 0), Math.max(0, end - span));
  [view.from, view.to] = [from, from + span];
  for (const row of [...rows, ...figureRows]) row.move([view.from, view.to]);
  level();
  ticks();
  window2();
  if (!quiet) look();
}

const zoom = (factor, at = (view.from + view.to) / 2) => {
  view.live = false;
  set(at - (at - view.from) * factor, at + (view.to - at) * factor);
};
const pan = (share) => {
  view.live = false;
  const by = (view.to - view.from) * share;
  set(view.from + by, view.to + by);
};

const actions = {
  in: () => zoom(0.5),
  out: () => zoom(2),
  back: () => pan(-0.5),
  on: () => pan(0.5),
  whole: () => { view.live = false; set(stream.first / stream.rate_hz, stream.n_samples / stream.rate_hz); },
  ten: () => { const m = (view.from + view.to) / 2; set(m - 5, m + 5); },
  first: () => { view.live = false; const s = view.to - view.from, a = stream.first / stream.rate_hz; set(a, a + s); },
  last: () => { const s = view.to - view.from, b = stream.n_samples / stream.rate_hz; set(b - s, b); },
  live: () => { if (recording.live) { view.live = !view.live; if (view.live) { if (view.to - view.from > 60) set(view.to - 10, view.to); actions.last(); } look(); } },
  clock: () => { view.clock = !view.clock; build(); look(); },
  panels: () => { const open = $("choices").hidden; $("choices").hidden = !open; $("panels").setAttribute("aria-expanded", String(open)); },
  help: () => $("help").showModal(),
  next: () => step(1),
  previous: () => step(-1),
};

// ECG leads of one unit have one scale: what is twice as high is twice as large
function level() {
  const groups = new Map();
  for (const row of rows) {
    const channel = stream.channels[row.place];
    if (row.layer === "decoded" && row.plot && row.span && millivolt(channel)) groups.set(channel.unit, [...(groups.get(channel.unit) ?? []), row]);
  }
  for (const group of groups.values()) {
    const least = view.scales.has("same") ? Math.max(0, ...group.map((row) => row.extent() ?? 0)) : 0;
    for (const row of group) {
      if (row.least === least) continue;
      row.least = least;
      row.move(row.span);
    }
  }
  const wide = rows.find((row) => row.plot)?.boxes();
  $("grid").textContent = wide ? `boxes 0.2 s × 0.5 mV${wide >= 25 ? ", small ones 0.04 s × 0.1 mV" : ""}` : "";
}

let stepping = false;
async function step(direction) {
  if (stepping) return;
  stepping = true;
  try {
    const got = await ask("next", here({ at: (view.from + view.to) / 2, ...(direction < 0 ? { back: 1 } : {}) }));
    if (got.at_s === null) { trouble(`no event ${direction > 0 ? "after" : "before"} this`); return; }
    view.live = false;
    const half = (view.to - view.from) / 2;
    set(got.at_s - half, got.at_s + half);
  } catch (error) {
    trouble(error.message);
  } finally {
    stepping = false;
  }
}

// --- drawing

function stretches() {
  return [
    ...marks.gaps.map((g) => ({ kind: "gap", from: g.from_s, to: g.to_s })),
    ...unnamed().map(([a, b]) => ({ kind: "gap", from: a, to: b })),
    ...bad.map(([a, b]) => ({ kind: "bad", from: a / stream.rate_hz, to: b / stream.rate_hz })),
  ];
}

// holes within a segment: those between segments, and what does not decode, have marks of their own
function unnamed() {
  const named = [...bad.map(([a, b]) => [a / stream.rate_hz, b / stream.rate_hz]), ...marks.gaps.map((g) => [g.from_s, g.to_s])];
  return holes.filter(([a, b]) => !named.some(([x, y]) => x < b && a < y));
}

function moments() {
  return [
    ...marks.events.map((e) => ({ kind: "event", from: e.from_s, text: e.text })),
    ...marks.segments.filter((s) => s.coded && s.from_s > view.from).map((s) => ({ kind: "segment", from: s.from_s, text: "", colour: css("--soft") })),
    ...marks.decisions.map((d) => ({ kind: "decision", from: d.from_s, text: d.alarm ? `alarm: ${d.decision}` : d.decision, colour: css("--error") })),
  ];
}

function build() {
  for (const row of [...rows, ...figureRows]) row.destroy();
  rows = [];
  figures = { sample: [], bits: [], prdn: [], phi: [] };  // another stream's would be drawn when the marks come
  legend();
  const shown = stream.channels.map((c, i) => [c, i]).filter(([, i]) => view.channels.has(i));
  const extra = ["error", "residual"].filter((l) => view.layers.has(l));
  const free = Math.max(240, innerHeight - (matchMedia("(max-width: 760px)").matches ? 330 : 420));
  const height = Math.max(76, Math.min(220, Math.floor(free / Math.max(1, shown.length * (1 + 0.6 * extra.length)))));
  const left = LEFT();
  shown.forEach(([channel, place], k) => {
    const note = [channel.unit, stream.quality[place]].filter(Boolean).join(" · ");
    const last = k === shown.length - 1 && !extra.length;
    rows.push(made(channel.label, note, height, place, "decoded", last, left, k === 0));
    extra.forEach((layer, j) => {
      const title = layer === "error" ? "original − decoded" : "decoded − activations";
      rows.push(made(title, channel.label, Math.round(height * 0.6), place, layer, k === shown.length - 1 && j === extra.length - 1, left, false));
    });
  });
  figureRows = [["bits", "bit/sample"], ["prdn", "PRDN, %"], ["phi", "φ"]].map(([key, title], i, all) => {
    const axis = i === all.length - 1;
    const row = new Row($("figures"), { title, height: axis ? 94 : 64, left, axis, stamp, zero: true, marks: () => moments().filter((m) => m.kind === "decision") });
    row.key = key;
    return row;
  });
}

function legend() {
  const held = [["decoded", "--ink"], ["original", "--original"], ["kernels", "--kernels"]].filter(([key]) => key === "decoded" || view.layers.has(key));
  $("legend").hidden = held.length < 2;
  $("legend").replaceChildren(...held.map(([key, colour]) => {
    const one = document.createElement("span");
    const line = document.createElement("i");
    line.style.borderColor = css(colour);
    one.append(line, key === "kernels" ? "activations alone" : key);
    return one;
  }));
}

function made(title, note, height, place, layer, axis, left, named) {
  const both = () => [...stretches(), ...(named ? moments() : moments().map((m) => ({ ...m, text: "" })))];
  const paper = view.scales.has("paper") && layer === "decoded" ? millivolt(stream.channels[place]) : 0;
  const row = new Row($("rows"), { title, note, height: height + (axis ? 30 : named ? 11 : 0), left, axis, lane: named && !axis, stamp, marks: both, paper });
  row.place = place;
  row.layer = layer;
  return row;
}

let timer = 0;
function look() {
  clearTimeout(timer);
  timer = setTimeout(fetchAll, 40);
  const where = new URLSearchParams({ r: view.recording, s: view.stream, f: view.from.toFixed(3), t: view.to.toFixed(3), l: [...view.layers].join(",") });
  history.replaceState(null, "", `#${where}`);
  $("live").setAttribute("aria-pressed", String(view.live));
  $("clock").textContent = view.clock && recording.start_ns !== null ? "Clock" : "Seconds";
  $("clock").hidden = recording.start_ns === null;
}

// One batch of questions at a time: those of a stretch that is no longer looked at end early, none piles up.
async function fetchAll() {
  asked += 1;
  $("rows").setAttribute("aria-busy", "true");
  if (asking) return;
  asking = true;
  try {
    for (let mine = 0; mine !== asked; ) {
      mine = asked;
      await fetchOnce(mine);
    }
  } finally {
    asking = false;
  }
}

async function fetchOnce(mine) {
  const span = [view.from, view.to];
  const room = (span[1] - span[0]) * 0.25;  // a little on either side, so that a drag shows something
  const stretch = samplesOf(span[0] - room, span[1] + room);
  const width = Math.round(($("rows").clientWidth - LEFT()) * 1.5);
  const channels = [...view.channels].sort((a, b) => a - b).join(",");
  const parts = [
    drawSamples(stretch, width, channels, mine),
    ask("marks", here(stretch)).then((got) => { if (mine !== asked) return; marks = got; if (got.trouble) trouble(got.trouble); showFigures(); redraw(); listMarks(); }),
    ask("activations", here(samplesOf(...span))).then((got) => {
      if (mine !== asked) return;
      activations = { at: got.sample.map((s) => s / stream.rate_hz), kernel: got.kernel, amplitude: got.amplitude, many: got.too_many };
    }),
    ask("kernels", here(samplesOf(...span))).then((got) => mine === asked && gallery(got)),
    drawFigures(samplesOf(...span), mine),
  ];
  const ended = await Promise.allSettled(parts);
  if (mine !== asked) return;
  $("rows").setAttribute("aria-busy", "false");
  const failed = ended.find((e) => e.status === "rejected");
  if (failed) trouble(failed.reason.message);
  ticks();
  redraw();
  listMarks();
}

async function drawSamples(stretch, width, channels, mine) {
  if (!channels) return;
  const long = (Math.min(stretch.to, stream.n_samples) - stretch.from) * view.channels.size > LAYER_VALUES;
  const overlay = ["original", ...(long ? [] : ["kernels"])].filter((l) => view.layers.has(l));
  const apart = ["error", ...(long ? [] : ["residual"])].filter((l) => view.layers.has(l));
  const left = long && (view.layers.has("kernels") || view.layers.has("residual"));
  const get = (layer) => ask("samples", here({ ...stretch, width, channels, layer }));
  let wrong = "";  // of another layer, which must not take away what is decoded
  const other = (layer) => get(layer).catch((error) => { wrong = `${layer}: ${error.message}`; return null; });
  for (;;) {
    const [decoded, ...more] = await Promise.all([get("decoded"), ...[...overlay, ...apart].map(other)]);
    if (mine !== asked) return;
    bad = decoded.bad;
    holes = decoded.complete ? lacking(decoded) : [];
    const corrupt = bad.length ? `${bad.length === 1 ? "a stretch does" : `${bad.length} stretches do`} not decode: ${bad[0][2]}` : "";
    trouble(corrupt || wrong || (left ? "activations alone, and what they leave, are drawn of shorter stretches: zoom in" : ""));
    for (const row of rows) {
      const own = row.layer === "decoded" ? [...more.slice(0, overlay.length), decoded] : [more[overlay.length + apart.indexOf(row.layer)]];
      drawRow(row, own, overlay);
    }
    level();
    if ([decoded, ...more].every((d) => !d || d.complete)) break;
    await new Promise((done) => setTimeout(done, 30));
  }
}

// stretches where no channel that is shown has a sample
function lacking(drawn) {
  const out = [], hz = stream.rate_hz;
  for (let i = 0, from = -1; i <= drawn.n; i++) {
    const none = i < drawn.n && drawn.low.every((part) => !Number.isFinite(part[i]));
    if (none && from < 0) from = i;
    if (!none && from >= 0) {
      out.push([(drawn.first + from * drawn.step) / hz, (drawn.first + i * drawn.step) / hz]);
      from = -1;
    }
  }
  return out;
}

// the last layer is the row's own; those before it lie below
function drawRow(row, all, overlay) {
  const layers = all.filter(Boolean), names = overlay.filter((_, k) => all[k]);
  if (!layers.length || (row.layer !== "decoded" && !all.at(-1))) { row.shape([]); return; }
  const colour = row.layer === "error" ? css("--error") : row.layer === "residual" ? css("--kernels") : css("--ink");
  const base = layers.at(-1), at = base.channels.indexOf(row.place);
  if (at < 0) return;
  row.shape(layers.map((d, k) => {
    const own = d === base, original = !own && names[k] === "original";
    return { colour: own ? colour : css(original ? "--original" : "--kernels"), band: d.step > 1, width: own ? 1 : original ? 3 : 1.5 };
  }));
  const data = [Float64Array.from({ length: base.n }, (_, i) => (base.first + i * base.step) / stream.rate_hz)];
  layers.forEach((d, k) => {
    const shift = d !== base && names[k] === "kernels" ? median(base.low[at]) - median(d.low[at]) : 0;
    for (const part of d.step > 1 ? [d.low[at], d.high[at]] : [d.low[at]]) data.push(values(placed(part, d, base), base.n, shift));
  });
  row.show([view.from, view.to], data);
}

// one layer's values at another's places: of a recording that grows, two answers may be of two lengths
function placed(part, d, base) {
  if (d.first === base.first && d.step === base.step) return part;
  return Array.from({ length: base.n }, (_, i) => part[Math.round((base.first + i * base.step - d.first) / d.step)] ?? NaN);
}

const values = (part, n, shift) => Array.from({ length: n }, (_, i) => (i < part.length && Number.isFinite(part[i]) ? part[i] + shift : null));

function median(part) {
  const held = Array.from(part).filter(Number.isFinite).sort((a, b) => a - b);
  return held.length ? held[held.length >> 1] : 0;
}

function redraw() {
  for (const row of [...rows, ...figureRows]) row.plot?.redraw(false);
}

async function drawFigures(stretch, mine) {
  for (;;) {
    const got = await ask("figures", here({ ...stretch, width: 400 }));
    if (mine !== asked) return;
    figures = got;
    showFigures();
    if (got.complete) return;
    await new Promise((done) => setTimeout(done, 60));
  }
}

// lines end where a gap begins
function showFigures() {
  const at = figures.sample.map((s) => s / stream.rate_hz);
  const cuts = marks.gaps.map((g) => g.from_s);
  const places = [...at.map((t, i) => [t, i]), ...cuts.map((t) => [t, -1])].sort((a, b) => a[0] - b[0]);
  for (const row of figureRows) {
    row.shape([{ colour: css("--accent"), width: 1.4 }]);
    row.show([view.from, view.to], [places.map(([t]) => t), places.map(([, i]) => (i < 0 ? null : figures[row.key][i]))]);
  }
}

const colourOf = (uid) => {
  if (!colours.has(uid)) colours.set(uid, COLOURS[colours.size % COLOURS.length]);
  return colours.get(uid);
};

function ticks() {
  const box = rows.find((r) => r.plot)?.box();
  if (!box) return;
  const drawn = drawTicks($("ticks").querySelector("canvas"), box, [view.from, view.to], activations, colourOf);
  const coded = marks.segments.some((s) => s.coded && s.from_s < view.to && s.to_s > view.from);
  const none = !coded ? "no activations: nothing here is encoded yet" : stream.kernels ? "no activations here: the residual alone tells this stretch" : "no activations: encoded without kernels, at effort fast or where nothing repeats";
  $("ticks-note").textContent = activations.many ? "too many activations to draw: zoom in" : drawn ? "" : none;
}

function gallery(got) {
  if (!got.kernels.length) { $("gallery").replaceChildren(); return; }
  const title = document.createElement("h2");
  title.textContent = "Kernels";
  const cards = document.createElement("div");
  cards.className = "cards";
  for (const kernel of got.kernels) {
    const card = document.createElement("div");
    card.className = "card";
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `kernel ${kernel.uid}`);
    const text = document.createElement("div");
    const key = document.createElement("span");
    key.className = "key";
    key.style.background = colourOf(kernel.uid);
    const uid = document.createElement("code");
    uid.textContent = kernel.uid.slice(0, 12);
    text.append(key, uid, ` ${(kernel.n_taps / stream.rate_hz).toFixed(2)} s`);
    card.append(canvas, text);
    cards.append(card);
    drawKernel(canvas, kernel.taps, colourOf(kernel.uid));
  }
  $("gallery").replaceChildren(title, cards);
}

function listMarks() {
  const seen = (m) => (m.to_s ?? m.from_s) >= view.from && m.from_s <= view.to;
  const found = [
    ...marks.decisions.filter(seen).map((d) => [d.from_s, d.alarm ? `alarm (${d.alarm.figure}), ${d.decision}` : d.decision, decisionText(d)]),
    ...marks.events.filter(seen).map((e) => [e.from_s, "event", `${e.text} (${e.set})`]),
    ...unnamed().map(([a, b]) => ({ from_s: a, to_s: b })).filter(seen).map((g) => [g.from_s, "no samples", lasting(g.to_s - g.from_s)]),
    ...marks.gaps.filter(seen).map((g) => [g.from_s, "gap", lasting(g.to_s - g.from_s)]),
    ...marks.segments.filter((s) => s.coded && s.from_s > view.from && seen(s)).map((s) => [s.from_s, "segment", [...s.flags, s.adapted ? "adapted kernels" : "shipped kernels"].join(", ")]),
  ].sort((a, b) => a[0] - b[0]);
  if (!found.length) { $("marks").replaceChildren(); return; }
  const title = document.createElement("h2");
  title.textContent = `Events and decisions in view: ${found.length}${marks.left_out ? `, ${marks.left_out} more left out` : ""}`;
  const table = document.createElement("table");
  for (const [at, kind, text] of found.slice(0, 60)) {
    const line = table.insertRow();
    const go = document.createElement("button");
    go.textContent = stamp(at);
    go.onclick = () => { const half = Math.min(5, (view.to - view.from) / 2); set(at - half, at + half); };
    line.insertCell().append(go);
    line.insertCell().textContent = kind;
    line.insertCell().textContent = text;
  }
  $("marks").replaceChildren(title, table);
}

function decisionText(d) {
  const f = d.figures ?? {};
  const bits = f.champion_bits === undefined ? "" : `, ${f.champion_bits} → ${f.challenger_bits} bit/sample on windows not seen`;
  const shift = d.alarm ? `, ${short(d.alarm.before)} → ${short(d.alarm.after)}` : "";
  return `${d.why}${d.reason ? ": " + d.reason : ""}${shift}${bits}`;
}

// --- the whole recording, small

async function wholeAgain(anew = true) {
  const name = view.recording + view.stream, n = stream.n_samples;
  const node = $("overview");
  if (anew || !overview) {
    overview?.destroy();
    node.replaceChildren();
    overview = new Row(node, { title: "", height: 58, left: 0, stamp, marks: () => [] });
    overview.shape([{ colour: css("--soft"), band: true }]);
    const box = document.createElement("div");
    box.id = "window";
    node.append(box);
  }
  const end = n / stream.rate_hz, first = stream.first / stream.rate_hz;
  if (anew) overview.show([first, end], [[first, end], [null, null], [null, null]]);
  window2();
  const width = Math.max(200, Math.round(node.clientWidth));
  try {
    for (;;) {
      const got = await ask("samples", here({ from: stream.first, to: n, width, channels: [...view.channels][0] ?? 0, layer: "decoded" }));
      if (view.recording + view.stream !== name) return;
      const x = Array.from({ length: got.n }, (_, i) => (got.first + i * got.step) / stream.rate_hz);
      overview.show([first, end], [x, values(got.low[0], got.n, 0), values(got.high[0], got.n, 0)]);
      window2();
      whole.drawn = got;
      if (got.complete) return;
      await new Promise((done) => setTimeout(done, 150));
    }
  } catch { /* the rows say what is wrong */ }
}

function window2() {
  const box = $("window");
  if (!box || !overview?.span) return;
  const [a, b] = overview.span, wide = $("overview").clientWidth;
  const place = (t) => Math.min(wide, Math.max(0, ((t - a) / (b - a)) * wide));
  const right = Math.max(3, place(view.to)), left = Math.min(place(view.from), right - 3);
  Object.assign(box.style, {
    position: "absolute", top: "0", bottom: "0", left: `${left}px`, width: `${right - left}px`,
    background: css("--accent") + "33", border: `1px solid ${css("--accent")}`, pointerEvents: "none",
  });
}

// --- hands

const pointers = new Map();
let grip = null;

function timeAt(clientX) {
  const box = rows.find((r) => r.plot)?.plot.over.getBoundingClientRect();
  return box ? view.from + ((clientX - box.left) / box.width) * (view.to - view.from) : view.from;
}

function hold() {
  const held = [...pointers.values()];
  const middle = held.reduce((sum, p) => sum + p, 0) / Math.max(1, held.length);
  grip = { at: timeAt(middle), apart: held.length > 1 ? Math.abs(held[0] - held[1]) : 0, span: view.to - view.from };
}

$("rows").addEventListener("pointerdown", (event) => {
  if (event.button) return;
  pointers.set(event.pointerId, event.clientX);
  $("rows").setPointerCapture(event.pointerId);
  $("rows").classList.add("dragging");
  view.live = false;
  hold();
});
$("rows").addEventListener("pointermove", (event) => {
  if (!pointers.has(event.pointerId)) return;
  pointers.set(event.pointerId, event.clientX);
  const held = [...pointers.values()];
  const box = rows.find((r) => r.plot)?.plot.over.getBoundingClientRect();
  if (!box) return;
  const middle = held.reduce((sum, p) => sum + p, 0) / held.length;
  let span = grip.span;
  if (held.length > 1 && grip.apart > 10) span *= grip.apart / Math.max(10, Math.abs(held[0] - held[1]));
  const from = grip.at - ((middle - box.left) / box.width) * span;
  set(from, from + span);
});
for (const end of ["pointerup", "pointercancel"]) {
  $("rows").addEventListener(end, (event) => {
    pointers.delete(event.pointerId);
    if (pointers.size) hold();
    else $("rows").classList.remove("dragging");
  });
}
$("rows").addEventListener("wheel", (event) => {
  event.preventDefault();
  if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX / 800);
  else zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), timeAt(event.clientX));
}, { passive: false });
$("overview").addEventListener("pointerdown", (event) => {
  const jump = (e) => {
    const box = $("overview").getBoundingClientRect();
    const [a, b] = overview.span, at = a + ((e.clientX - box.left) / box.width) * (b - a), half = (view.to - view.from) / 2;
    view.live = false;
    set(at - half, at + half);
  };
  jump(event);
  $("overview").setPointerCapture(event.pointerId);
  $("overview").onpointermove = jump;
  $("overview").onpointerup = $("overview").onpointercancel = () => { $("overview").onpointermove = null; };
});

for (const button of document.querySelectorAll("[data-do]")) button.onclick = () => stream && actions[button.dataset.do]();
const KEYS = { "+": "in", "=": "in", "-": "out", ArrowLeft: "back", ArrowRight: "on", Home: "first", End: "last", 0: "whole", 1: "ten", l: "live", c: "clock", v: "panels", n: "next", p: "previous", "?": "help" };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (event.target.closest("input")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "/") { event.preventDefault(); $("menu").offsetParent && menu(true); $("find").focus(); return; }
  if (event.key === "g") { event.preventDefault(); $("goto").focus(); return; }
  const action = actions[KEYS[event.key]];
  if (action && stream) { event.preventDefault(); action(); }
});
$("goto").addEventListener("keydown", (event) => { if (event.key === "Enter" && stream) { goTo($("goto").value); $("goto").blur(); } });
let finding = 0;
$("find").addEventListener("input", () => { clearTimeout(finding); finding = setTimeout(() => list().catch((e) => trouble(e.message)), 200); });
$("more").onclick = () => list(listed.names.length).catch((e) => trouble(e.message));
function menu(open) {
  $("side").classList.toggle("open", open);
  $("menu").setAttribute("aria-expanded", String(open));
}
$("menu").onclick = () => menu(!$("side").classList.contains("open"));
let sizing = 0;
addEventListener("resize", () => { clearTimeout(sizing); sizing = setTimeout(() => { if (stream) { build(); look(); wholeAgain(); } }, 150); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (stream) { build(); look(); wholeAgain(); } });

// --- newest samples

async function follow() {
  // who draws still is not asked for more: questions would pile up where a machine is slow
  if (!view.live || !stream || document.hidden || $("rows").getAttribute("aria-busy") === "true") return;
  try {
    const got = await ask("recording", { recording: view.recording });
    const own = got.streams.find((s) => s.name === view.stream);
    if (!own || !view.live) return;
    stream.n_samples = own.n_samples;
    actions.last();
  } catch (error) {
    trouble(error.message);
  }
}
setInterval(follow, 1000);

// what grows is described anew now and then, whether its end is followed or not: length, strip, and who is there
async function grown() {
  if (!recording?.live || !stream || document.hidden || $("rows").getAttribute("aria-busy") === "true") return;
  const name = view.recording + view.stream;
  try {
    const got = await ask("recording", { recording: view.recording });
    const own = got.streams.find((s) => s.name === view.stream);
    if (own && name === view.recording + view.stream) {
      const more = own.n_samples !== whole.drawn?.n_samples;
      stream.n_samples = Math.max(stream.n_samples, own.n_samples);
      stream.kernels = own.kernels;
      subtitle();
      if (more) wholeAgain(false);
    }
    if (listed.names.length <= 200) await list();
  } catch (error) {
    trouble(error.message);
  }
}
setInterval(grown, 10000);

// --- beginning

async function begin() {
  about = await ask("about", {});
  const names = await list();
  const where = new URLSearchParams(location.hash.slice(1));
  const asked = where.get("r");
  if (!names.length && !asked) { trouble("the archive holds no recording yet"); setTimeout(begin, 3000); return; }
  const span = where.get("f") === null ? undefined : [Number(where.get("f")), Number(where.get("t"))];
  const layers = where.get("l");
  if (layers !== null) view.layers = new Set(layers.split(",").filter((l) => LAYERS.some(([key]) => key === l)));
  await open(asked ?? names[0], where.get("s") ?? undefined, span && span.every(Number.isFinite) && span[1] > span[0] ? span : undefined, layers !== null);
}
begin().catch((error) => trouble(error.message));

// what the tests, and whoever is curious, look at
Object.assign(window, { sanstream: { view, set, rows: () => rows, figures: () => figureRows, marks: () => marks, holes: unnamed, activations: () => activations, whole, busy: () => $("rows").getAttribute("aria-busy") === "true" } });
