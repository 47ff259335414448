// The monitor of a run: charts, samples, alerts and requests. One anywidget module, hand-written, no dependencies.
// Above the line "The view" are pure functions, tested under node (tests/js/monitor.test.mjs); below it is the page.

import { breakLines, h, mark, say, show } from "./dom.js";

// ---- Numbers ---------------------------------------------------------------------------------------------------------

const finite = Number.isFinite;
const clamp = (value, lo, hi) => Math.min(hi, Math.max(lo, value));

/** The smallest step of 1, 2 or 5 times a power of ten that cuts `span` into at most `count` pieces. */
export function niceStep(span, count) {
  const rough = span / Math.max(1, count), power = 10 ** Math.floor(Math.log10(rough));
  const fraction = rough / power;
  return power * (fraction <= 1 + 1e-9 ? 1 : fraction <= 2 + 1e-9 ? 2 : fraction <= 5 + 1e-9 ? 5 : 10);
}

function multiples(lo, hi, step) {
  const from = Math.ceil(lo / step - 1e-9), to = Math.floor(hi / step + 1e-9);
  const digits = Math.max(0, Math.ceil(-Math.log10(step)) + 1);
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => digits > 15 ? (from + i) * step : Number(((from + i) * step).toFixed(digits)));
}

/** Round numbers inside [lo, hi], about `count` of them. */
export const linearTicks = (lo, hi, count) => (hi > lo ? multiples(lo, hi, niceStep(hi - lo, count)) : [lo]);

/** Round positive numbers inside [lo, hi]: powers of ten, with 2 and 5 between them where there is room. */
export function logTicks(lo, hi, count) {
  if (!(lo > 0) || !(hi > lo)) return [];
  const from = Math.floor(Math.log10(lo)), to = Math.ceil(Math.log10(hi)), decades = Math.log10(hi / lo);
  if (decades < 0.7) return linearTicks(lo, hi, count).filter(tick => tick > 0);
  const every = Math.max(1, Math.ceil(decades / count)), between = decades * 3 <= count ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = from; power <= to; power++) {
    if (((power % every) + every) % every) continue;
    for (const digit of between) ticks.push(Number(`${digit}e${power}`));
  }
  return ticks.filter(tick => tick >= lo * (1 - 1e-9) && tick <= hi * (1 + 1e-9));
}

const CLOCK = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];

/** Seconds inside [lo, hi] at which a clock's hand stands well. */
export function timeTicks(lo, hi, count) {
  if (!(hi > lo)) return [lo];
  const rough = (hi - lo) / Math.max(1, count);
  if (rough < 1) return linearTicks(lo, hi, count);
  return multiples(lo, hi, CLOCK.find(step => step >= rough * 0.75) ?? niceStep((hi - lo) / 86400, count) * 86400);
}

const exponent = text => text.replace(/\.?0+e/, "e").replace("e+", "e");

/** A measured value: four significant digits, thousands as k, tiny ones as 1.2e-4. */
export function formatNumber(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!finite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3) return exponent(value.toExponential(2));
  if (size < 10) return value.toFixed(Math.max(0, 3 - Math.floor(Math.log10(size)))).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
  if (size < 1000) return String(Number(value.toPrecision(4)));
  for (const [unit, name] of [[1e3, "k"], [1e6, "M"], [1e9, "G"], [1e12, "T"]]) {
    if (size < unit * 999.5) return Number((value / unit).toPrecision(3)) + name;
  }
  return exponent(value.toExponential(2));
}

/** A tick: as many digits as its step asks for. */
export function formatTick(value, step) {
  const size = Math.abs(value);
  if (size < step * 1e-9) return "0";
  if (size >= 1e15 || step < 1e-3) return exponent(value.toExponential(clamp(Math.floor(Math.log10(size)) - Math.floor(Math.log10(step)), 0, 6)));
  for (const [unit, name] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= unit && step >= unit / 1000) return Number((value / unit).toFixed(clamp(Math.ceil(-Math.log10(step / unit) - 1e-9), 0, 3))) + name;
  }
  return value.toFixed(clamp(Math.ceil(-Math.log10(step) - 1e-9), 0, 6));
}

/** Seconds as 0:42, 12:04 or 1:02:03. */
export function formatDuration(seconds) {
  if (seconds === null || seconds === undefined || !finite(seconds)) return "–";
  const whole = Math.round(Math.max(0, seconds)), two = number => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** A whole number with its thousands apart: 12,400. */
export const formatCount = value => (value === null || value === undefined || !finite(value) ? "–" : Math.round(value).toLocaleString("en-US"));

/** Megabytes (1e6 bytes) as 870 MB or 12.4 GB. */
export const formatMegabytes = value => (!finite(value) ? "–" : Math.abs(value) < 999.5 ? `${Math.round(value)} MB` : `${Number((value / 1000).toPrecision(3))} GB`);

/** A linear or logarithmic map of [lo, hi] to pixels [from, to], with its `.invert`. */
export function scale(kind, lo, hi, from, to) {
  const log = kind === "log", a = log ? Math.log10(lo) : lo, span = (log ? Math.log10(hi) : hi) - a || 1, pixels = to - from;
  const map = value => from + (((log ? Math.log10(value) : value) - a) / span) * pixels;
  map.invert = pixel => { const value = a + ((pixel - from) / (pixels || 1)) * span; return log ? 10 ** value : value; };
  return map;
}

/** A label of at most `length` characters; the middle goes, for run ids differ at their ends. */
export function ellipsis(label, length) {
  const letters = Array.from(String(label));
  if (letters.length <= length) return String(label);
  const tail = Math.floor((length - 1) / 2), head = length - 1 - tail;
  return letters.slice(0, head).join("") + "…" + (tail ? letters.slice(-tail).join("") : "");
}

// ---- Series: growing columns that follow the kernel's --------------------------------------------------------------------

export const COLUMNS = ["step", "time", "epoch", "value"];

export const newSeries = () => ({ generation: -1, total: 0, count: 0, step: new Float64Array(0), time: new Float64Array(0), epoch: new Float64Array(0), value: new Float64Array(0) });

/** A message's items with the fields that an item takes from the one it is like. */
export const whole = items => items.map(one => { const { run, generation, start, count } = items[one.like] ?? {}; return { run, generation, start, count, ...one }; });

/**
 * The columns of a message's items; one that is `like` an earlier item has its axes and brings only values.
 * The buffer is a DataView at any byte offset, so it is copied to an aligned one.
 */
export function unpack(items, view) {
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength), all = [];
  let at = 0;
  const next = count => { const column = new Float64Array(bytes, at, count); at += count * 8; return column; };
  for (const { count, like } of items) {
    const axes = Number.isInteger(like) ? all[like].slice(0, 3) : [next(count), next(count), next(count)];
    if (axes[0].length !== count) throw new Error(`an item of ${count} points can't be like one of ${axes[0].length}`);
    all.push([...axes, next(count)]);
  }
  if (at !== bytes.byteLength) throw new Error(`the points need ${at} bytes and ${bytes.byteLength} came`);
  return all;
}

function grow(series, needed) {
  if (needed <= series.value.length) return;
  for (const name of COLUMNS) {
    const longer = new Float64Array(Math.max(needed, series.value.length * 2, 256));
    longer.set(series[name].subarray(0, series.count));
    if (name === "value") series.next = longer; else series[name] = longer;
  }
  series.value = series.next;
  delete series.next;
}

function append(series, columns, skip) {
  const added = columns[0].length - skip, base = series.count;
  grow(series, base + added);
  COLUMNS.forEach((name, c) => {
    const to = series[name], from = columns[c];
    let last = base ? to[base - 1] : -Infinity;
    for (let i = 0; i < added; i++) {
      let value = from[i + skip];
      if (c < 3) { if (!(value >= last)) value = finite(last) ? last : 0; last = value; }  // an axis never turns back
      to[base + i] = value;
    }
  });
  series.count = base + added;
}

/**
 * Takes one item of a `points` message in. Returns "replaced", "appended", "known" (nothing new in it)
 * or "gap" (points are missing between what is held and what came: ask for everything again).
 */
export function receive(series, item, columns) {
  if (item.decimated) {
    series.count = 0;
    series.detail = null;
    append(series, columns, 0);
    Object.assign(series, { generation: item.generation, total: item.total, smoothed: null });
    return "replaced";
  }
  if (series.generation === -1 && item.start === 0) series.generation = item.generation;
  if (item.generation !== series.generation || item.start > series.total) return "gap";
  if (item.start + item.count <= series.total) return "known";
  append(series, columns, series.total - item.start);
  series.total = item.start + item.count;
  const detail = series.detail;
  if (detail?.live) receive(detail, item, columns);
  return "appended";
}

/** Takes the answer to a zoom in: finer points for a part of the axis, which go on growing where the part is the newest. */
export function receiveDetail(series, message, columns) {
  if (message.generation !== series.generation) return false;
  const detail = newSeries();
  receive(detail, { decimated: true, generation: message.generation, total: message.total }, columns);
  const newest = series.count ? series[message.axis][series.count - 1] : -Infinity;
  series.detail = Object.assign(detail, { axis: message.axis, lo: message.lo, hi: message.hi, raw: message.raw, live: message.hi >= newest && message.total === series.total });
  return true;
}

/** The columns to draw: the finer ones where they cover the window. */
export function pick(series, axis, view) {
  const detail = series.detail;
  return view && detail && detail.axis === axis && detail.lo <= view[0] && detail.hi >= view[1] ? detail : series;
}

/** The first index whose x is at least `value`. */
export function lowerBound(x, count, value) {
  let lo = 0, hi = count;
  while (lo < hi) { const middle = (lo + hi) >> 1; if (x[middle] < value) lo = middle + 1; else hi = middle; }
  return lo;
}

/** The index of the point whose x is nearest to `value` (the earlier one of two as near), -1 where there is none. */
export function nearest(x, count, value) {
  if (!count) return -1;
  const after = lowerBound(x, count, value);
  if (after === 0) return 0;
  return after === count || value - x[after - 1] <= x[after] - value ? after - 1 : after;
}

/** [from, to) of the points inside [lo, hi], with one more on either side so that lines run to the edge. */
export const range = (x, count, lo, hi) => [Math.max(0, lowerBound(x, count, lo) - 1), Math.min(count, lowerBound(x, count, hi) + 1)];

/** Smallest and largest finite value of y[from…to), [Infinity, -Infinity] where there is none. */
export function extent(y, from, to, positive = false) {
  let lo = Infinity, hi = -Infinity;
  for (let i = from; i < to; i++) {
    const value = y[i];
    if (!finite(value) || (positive && value <= 0)) continue;
    if (value < lo) lo = value;
    if (value > hi) hi = value;
  }
  return [lo, hi];
}

/**
 * TensorBoard's smoothing: a debiased exponential moving average; a gap stays a gap and does not count. TensorBoard keeps at
 * most 1000 points of a scalar, so on a longer run its weight speaks of a 1000th of the run. Ours does so too, by the distance on
 * `x`: a curve looks the same whether all its points came or a thinned history. `spacing` is that distance;
 * `seed` = {x, value, mass}: where the average stood before the first point.
 */
export function smooth(x, value, count, weight, spacing, seed = null) {
  const out = new Float64Array(count);
  let mass = seed ? seed.mass : 0, bias = 1 - weight ** mass, sum = seed ? seed.value * bias : 0, last = seed ? seed.x : NaN, far = 1, keep = weight;
  for (let i = 0; i < count; i++) {
    if (!finite(value[i])) { out[i] = NaN; continue; }
    const distance = finite(last) && spacing > 0 ? (x[i] - last) / spacing : 1;
    if (distance !== far) { far = distance; keep = weight ** far; }
    sum = sum * keep + value[i] * (1 - keep);
    bias = bias * keep + (1 - keep);
    last = x[i];
    out[i] = bias > 0 ? sum / bias : value[i];
  }
  return out;
}

/** The distance on `x` (a series' steps; its seconds for the machine's) that one smoothing weight speaks of. */
export const spacing = (x, count, total) => (count < 2 ? 0 : (x[count - 1] - x[0]) / Math.min(1000, Math.max(1, total - 1)));

/**
 * What a line of `width` pixels can show of the points [from, to): per pixel column the first, the smallest, the largest and
 * the last value in their order, and a NaN where a gap is. Returns {x, y, count} in pixels and values.
 */
export function columns(x, y, from, to, toPixel, width) {
  const few = to - from <= width * 2, room = few ? to - from : (width + 2) * 5;
  const px = new Float64Array(room), py = new Float64Array(room);
  let count = 0, column = NaN, first = -1, low = -1, high = -1, last = -1, gap = false;
  const put = i => { px[count] = toPixel(x[i]); py[count++] = y[i]; };
  const flush = () => {
    if (first < 0) return;
    const [a, b] = low < high ? [low, high] : [high, low];
    put(first);
    if (a !== first) put(a);
    if (b !== a && b !== first) put(b);
    if (last !== b && last !== first) put(last);
    first = -1;
  };
  for (let i = from; i < to; i++) {
    if (few) { put(i); continue; }
    if (!finite(y[i])) { gap = true; continue; }
    const here = clamp(Math.floor(toPixel(x[i])), -1, width);
    if (here !== column) {
      flush();
      if (gap && count) { px[count] = here; py[count++] = NaN; }
      gap = false;
      column = here;
    }
    if (first < 0) first = low = high = i;
    if (y[i] < y[low]) low = i;
    if (y[i] > y[high]) high = i;
    last = i;
  }
  flush();
  return { x: px, y: py, count };
}

// ---- What belongs where ----------------------------------------------------------------------------------------------------

const percent = value => (finite(value) ? `${Number(value.toPrecision(3))} %` : "–");
const CHARTS = {
  loss: { title: "Loss", log: true, smooth: true },
  learning_rate: { title: "Learning rate", log: true },
  grad_norm: { title: "Gradient norm", log: true, smooth: true },
  tokens_per_s: { title: "Tokens per second", smooth: true, zero: true },
  gpu_percent: { machine: true, title: "GPU utilisation", smooth: true, bounds: [0, 100], format: percent },
  gpu_memory_mb: { machine: true, title: "GPU memory", zero: true, format: formatMegabytes, top: "gpu_memory_total_mb" },
  gpu_power_w: { machine: true, title: "GPU power", smooth: true, zero: true, format: value => (finite(value) ? `${Math.round(value)} W` : "–") },
  gpu_temperature_c: { machine: true, title: "GPU temperature", format: value => (finite(value) ? `${Math.round(value)} °C` : "–") },
  cpu_percent: { machine: true, title: "CPU", smooth: true, bounds: [0, 100], format: percent },
  rss_mb: { machine: true, title: "Process memory", zero: true, format: formatMegabytes },
};
const ORDER = Object.keys(CHARTS), TASKS_AFTER = ORDER.indexOf("grad_norm") + 0.5;
const words = name => { const text = name.replaceAll("_", " ").trim(); return text.charAt(0).toUpperCase() + text.slice(1); };

/** The chart a series is drawn on: train_loss and valid_loss share "loss"; the second of the pair is dashed. */
export function chartOf(name) {
  const [, role, rest] = /^(?:(train|valid)_)?(.*)$/.exec(name);
  const key = role ? rest : name, spec = CHARTS[key] ?? { title: words(key), smooth: role !== "valid" };
  return { key, role: role ?? "", order: ORDER.includes(key) ? ORDER.indexOf(key) : TASKS_AFTER, ...spec };
}

export const COLOURS = 8;
export const SYMBOLS = ["●", "▲", "■", "◆", "▼", "✚", "★", "⬟"];

/** Colour, dash and symbol of a line. One run: train and valid differ in colour too; several runs: a colour is a run. */
export function look(run, runs, role) {
  const second = role === "valid";
  return { colour: runs > 1 ? run % COLOURS : second ? 1 : 0, dash: second ? [5, 3] : [], symbol: SYMBOLS[run % SYMBOLS.length] };
}

const BADGES = {
  queued: ["◌", "queued", "calm"], running: ["●", "running", "good"], paused: ["‖", "paused", "warn"], stopping: ["◐", "stopping", "warn"],
  gone: ["∅", "folder deleted", "bad"], finished: ["✓", "finished", "good"], failed: ["✕", "failed", "bad"], killed: ["✕", "killed", "bad"], stalled: ["!", "stalled", "warn"],
};
export const ended = state => ["finished", "failed", "killed", "gone"].includes(state);

/** Symbol, word and tone of a state; the stage of a running one is named. */
export function badge(state, stage) {
  const [symbol, text, tone] = BADGES[state] ?? ["?", String(state || "unknown"), "calm"];
  return { symbol, text: state === "running" && stage ? `${text} · ${stage}` : text, tone };
}

const BEGUN = new Set(["evaluate", "sample", "learning_rate", "clone"]);  // nothing to ask of a run before its first step
const ALLOWED = {
  queued: ["stop", "stop_now"], running: ["pause", "stop", "stop_now", "evaluate", "sample", "learning_rate", "clone"],
  paused: ["resume", "stop", "stop_now", "learning_rate", "clone"], stopping: ["stop_now"], finished: ["clone"],
  failed: ["resume", "clone"], killed: ["resume", "clone"], stalled: ["stop", "stop_now", "clone"],
};
/** The requests that make sense in a state, before and after the first step. */
export const allowed = (state, begun = true) => new Set((ALLOWED[state] ?? []).filter(name => begun || !BEGUN.has(name)));

/** What is left of a run, in words. */
export function remainingText({ state, remaining }) {
  if (ended(state)) return "–";
  if (remaining === null || remaining === undefined || !finite(remaining)) return state === "running" ? "estimating…" : "–";
  return remaining < 5 ? "a moment" : `≈ ${formatDuration(remaining)}`;
}

/** One sentence for those who listen. */
export function summary(run, loss) {
  const parts = [`${run.label}: ${badge(run.state, run.stage).text.replace(" · ", ", ")}`];
  if (finite(run.step)) parts.push(finite(run.steps) ? `step ${formatCount(run.step)} of ${formatCount(run.steps)}` : `step ${formatCount(run.step)}`);
  if (finite(loss)) parts.push(`train loss ${formatNumber(loss)}`);
  if (run.state === "running" && finite(run.remaining)) parts.push(`${formatDuration(run.remaining)} remaining`);
  return parts.join(", ");
}

// ---- Requests ----------------------------------------------------------------------------------------------------------------

/** "<unix ms>-<name>", later than the last one. */
export const requestId = (name, now, last = 0) => `${Math.max(now, last + 1)}-${name}`;

/** Where Jupyter's contents API takes the request's file. */
export const requestUrl = (base, control, id) => `${base.replace(/\/*$/, "/")}api/contents/${[...control.split("/").filter(Boolean), `${id}.json`].map(encodeURIComponent).join("/")}`;

/** The contents model of the request's file. */
export const requestBody = (name, fields) => JSON.stringify({ type: "file", format: "text", content: JSON.stringify({ request: name, ...fields }) });

/** A cookie's value, "" where it is not there. */
export const cookie = (cookies, name) => cookies.split("; ").find(pair => pair.startsWith(`${name}=`))?.slice(name.length + 1) ?? "";

/** The learning rate in a text: {value} or {problem}. */
export function readRate(text) {
  const value = Number(text.trim() || NaN);
  return value > 0 && value < 1 ? { value } : { problem: "A learning rate is a number between 0 and 1, such as 2e-5." };
}

/** Overrides, one `field=value` a line: {overrides} or {problem}. */
export function readOverrides(text) {
  const overrides = text.split("\n").map(line => line.trim()).filter(Boolean);
  const wrong = overrides.find(line => !/^[A-Za-z_][\w.]*\s*=\s*\S/.test(line));
  if (wrong !== undefined) return { problem: `“${ellipsis(wrong, 40)}” is not field=value, such as train.learning_rate=1e-5.` };
  return overrides.length ? { overrides } : { problem: "Name at least one field to change, such as train.learning_rate=1e-5." };
}

const REQUESTS = { stop: "Stop", stop_now: "Stop now", pause: "Pause", resume: "Resume", evaluate: "Evaluate now", sample: "Sample now", learning_rate: "Set learning rate", clone: "Clone from here" };
const PATIENCE = 10;  // seconds after which a request without an answer is said to be waiting

/** Answers and requests still without one, newest first: [{id, request, text, tone, waits}]. */
export function ledger(run, asked, now) {
  const rows = new Map();
  for (const one of asked.filter(one => one.run === run.id)) rows.set(one.as ?? one.id, one);
  for (const answer of run.answers ?? []) rows.set(answer.id, { ...rows.get(answer.id), ...answer });
  return [...rows.values()].sort((a, b) => parseInt(b.id, 10) - parseInt(a.id, 10) || (a.id < b.id ? 1 : -1)).map(one => {
    const waits = !one.answer && !one.failure && !ended(run.state), seconds = (now - parseInt(one.id, 10)) / 1000;
    const text = one.failure ? `failed: ${one.failure}` : one.answer ? one.answer + (one.reason ? `: ${one.reason}` : "")
      : !waits ? "no answer: the run has ended" : seconds > PATIENCE ? `no answer for ${Math.round(seconds)} s; the run may be busy` : "sent…";
    const tone = one.failure || one.answer === "refused" ? "bad" : one.answer ? "good" : "calm";
    return { id: one.id, request: one.request, title: REQUESTS[one.request] ?? String(one.request), text, tone, waits };
  });
}

// ---- The view ----------------------------------------------------------------------------------------------------------------
// Text from runs is hostile: it only ever becomes textContent.

const AXES = { step: "Step", epoch: "Epoch", time: "Time" };
const SILENCE = 6000;  // milliseconds without a beat after which the kernel counts as gone
const GUTTER = { right: 12, top: 8, bottom: 20 };

/** Rebuilds `parent` only when what it shows has changed. */
function list(parent, rows, build) {
  const key = JSON.stringify(rows);
  if (parent.ftwbKey === key) return;
  parent.ftwbKey = key;
  parent.replaceChildren(...rows.map(build));
}

/** What all views of one model share: series, requests, the kernel's last beat. */
function newState() {
  return { runs: new Map(), status: new Map(), asked: [], lastId: 0, beat: performance.now(), views: new Set(), synced: -Infinity };
}

const silent = state => performance.now() - state.beat > SILENCE;
const tell = (state, what) => { for (const view of state.views) view(what); };

function sync(state, model, now = performance.now()) {
  if (now - state.synced < 1000) return;
  state.synced = now;
  model.send({ type: "sync" });
}

function take(state, model, message, buffers) {
  if (message.type === "beat" || message.type === "points") {
    state.beat = performance.now();
    for (const one of message.status ?? []) state.status.set(one.id, { ...state.status.get(one.id), ...one });  // numbers that moved since `runs` was set
    tell(state, "status");
  }
  if (message.type === "requested") {
    const one = state.asked.find(one => one.id === message.id);
    if (one) Object.assign(one, { as: message.as ?? undefined, answer: message.answer, reason: message.reason });
    return tell(state, "text");
  }
  if (message.type !== "points" && message.type !== "window") return;
  const items = message.type === "points" ? whole(message.items) : [message], all = unpack(items, buffers[0]);
  items.forEach((item, i) => {
    if (!state.runs.has(item.run)) state.runs.set(item.run, new Map());
    const held = state.runs.get(item.run);
    if (!held.has(item.name)) held.set(item.name, newSeries());
    if (message.type === "window") receiveDetail(held.get(item.name), item, all[i]);
    else if (receive(held.get(item.name), item, all[i]) === "gap") sync(state, model);
  });
  tell(state, "plots");
}

// Requests: a file through Jupyter's contents API, which works while the kernel is busy or gone; the kernel is the second way.

async function put(run, id, name, fields) {
  const page = JSON.parse(document.getElementById("jupyter-config-data")?.textContent || "{}");
  const headers = { "Content-Type": "application/json", "X-XSRFToken": cookie(document.cookie, "_xsrf") };
  if (page.token) headers.Authorization = `token ${page.token}`;
  const options = { method: "PUT", credentials: "same-origin", headers, body: requestBody(name, fields), signal: AbortSignal.timeout(5000) };
  const reply = await fetch(requestUrl(page.baseUrl ?? "/", run.control, id), options);
  if (!reply.ok) throw new Error(`Jupyter's server answered ${reply.status}`);
}

async function ask(state, model, run, name, fields = {}) {
  const id = requestId(name, Date.now(), state.lastId), one = { id, run: run.id, request: name };
  state.lastId = parseInt(id, 10);
  state.asked = [...state.asked.slice(-40), one];
  tell(state, "text");
  let problem = run.control ? "" : "the run's folder is out of Jupyter's reach";
  if (run.control && !ended(run.state)) {
    try { await put(run, id, name, fields); return tell(state, "text"); } catch (error) { problem = error.message; }
  }
  one.kernel = true;
  one.problem = problem;
  try { model.send({ type: "request", id, run: run.id, request: name, ...fields }); } catch (error) { one.failure = `${problem}; ${error.message}`; }
  tell(state, "text");
}

function giveUp(state) {
  for (const one of state.asked) {
    if (one.kernel && !one.as && !one.answer && !one.failure && silent(state)) one.failure = [one.problem, "the kernel is silent"].filter(Boolean).join(" and ");
  }
}

// One chart: a title with its values, a canvas for the lines and one above it for the crosshair.

function newChart(panel, key, spec) {
  const note = h("span", { class: "ftwb-name" }), title = h("span", { class: "ftwb-title" }, `${spec.title} `, note), keys = h("span", { class: "ftwb-keys" });
  const lines = h("canvas", { "aria-hidden": "true" }), cross = h("canvas", { "aria-hidden": "true" });
  const plot = h("div", { class: "ftwb-plot", tabIndex: 0, role: "slider", "aria-label": `${spec.title}: crosshair`, "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0", "aria-describedby": panel.helpId }, lines, cross);
  const figure = h("div", { class: `ftwb-chart${key === "loss" ? " ftwb-first" : ""}`, "data-chart": key }, h("div", { class: "ftwb-caption" }, title, keys), plot);
  const chart = { key, spec, figure, note, plot, lines, cross, keys, width: 0, height: 0, drawn: [], keyNodes: new Map() };
  listen(panel, chart);
  return chart;
}

function listen(panel, chart) {
  const { plot } = chart, options = { signal: panel.signal };
  const pixel = event => clamp(event.clientX - plot.getBoundingClientRect().left - chart.left, 0, chart.inner ?? 0);
  plot.addEventListener("pointerdown", event => {
    if (event.button || !chart.x) return;
    plot.setPointerCapture(event.pointerId);
    panel.brush = { chart, from: pixel(event), to: pixel(event) };
  }, options);
  plot.addEventListener("pointermove", event => {
    if (!chart.x) return;
    if (panel.brush) panel.brush.to = pixel(event);
    panel.point(chart, chart.x.invert(pixel(event)), true);
  }, options);
  plot.addEventListener("pointerup", () => {
    const brush = panel.brush;
    panel.brush = null;
    if (brush && Math.abs(brush.to - brush.from) > 4) panel.zoom(...[brush.from, brush.to].sort((a, b) => a - b).map(brush.chart.x.invert));
    panel.changed("cross");
  }, options);
  plot.addEventListener("pointercancel", () => { panel.brush = null; panel.changed("cross"); }, options);
  plot.addEventListener("pointerleave", () => { if (!panel.brush) panel.point(null, null); }, options);
  plot.addEventListener("blur", () => panel.point(null, null), options);
  plot.addEventListener("dblclick", () => panel.zoom(), options);
  plot.addEventListener("wheel", event => {
    if (!event.ctrlKey || !chart.x) return;
    event.preventDefault();
    panel.zoomBy(event.deltaY > 0 ? 1.25 : 0.8, chart.x.invert(pixel(event)));
  }, { ...options, passive: false });
  plot.addEventListener("keydown", event => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in moves) panel.walk(chart, moves[event.key] * (event.shiftKey ? 10 : 1));
    else if (event.key === "+" || event.key === "=") panel.zoomBy(0.5, panel.at);
    else if (event.key === "-") panel.zoomBy(2, panel.at);
    else if (event.key === "Escape" && (panel.window || panel.at !== null)) { panel.zoom(); panel.point(null, null); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }, options);
}

function fit(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1, w = Math.round(width * ratio), hgt = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== hgt) { canvas.width = w; canvas.height = hgt; }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** Raw and smoothed values of a series as it is drawn, kept until points, weight or spacing change. */
function smoothed(series, shown, weight, machine) {
  const by = machine ? "time" : "step", gap = spacing(series[by], series.count, series.total);
  const key = `${weight} ${gap} ${shown.count} ${shown.total} ${shown.generation}`;
  if (shown.smoothed?.key === key) return shown.smoothed.value;
  let seed = null;
  if (shown !== series && shown.count) {
    const before = lowerBound(series[by], series.count, shown[by][0]) - 1, whole = smoothed(series, series, weight, machine);
    if (before >= 0 && finite(whole[before])) seed = { x: series[by][before], value: whole[before], mass: gap > 0 ? 1 + (series[by][before] - series[by][0]) / gap : before + 1 };
  }
  shown.smoothed = { key, value: smooth(shown[by], shown.value, shown.count, weight, gap, seed) };
  return shown.smoothed.value;
}

function trace(context, line, y, left) {
  let pen = false;
  context.beginPath();
  for (let i = 0; i < line.count; i++) {
    const value = y(line.y[i]);
    if (!finite(value)) { pen = false; continue; }
    if (pen) context.lineTo(left + line.x[i], value); else context.moveTo(left + line.x[i], value);
    pen = true;
  }
  context.stroke();
}

/** What a chart is about to draw: its lines, its vertical scale and ticks. Returns the room in pixels that the ticks' labels need. */
function prepare(panel, chart) {
  const { spec, height } = chart, { axis } = panel, [lo, hi] = panel.domain, bottom = height - GUTTER.bottom;
  chart.drawn = panel.lines(chart).map(one => {
    const shown = pick(one.series, axis, panel.window), xs = shown[axis], [from, to] = range(xs, shown.count, lo, hi);
    const even = panel.smoothing > 0 && spec.smooth && one.role !== "valid";
    const before = Number(xs[from] < lo), after = Number(xs[to - 1] > hi);  // neighbours outside the window: drawn to, not measured
    return { ...one, shown, xs, from, to, before, after, value: even ? smoothed(one.series, shown, panel.smoothing, spec.machine) : shown.value, even };
  });
  const y = (chart.y = ordinate(panel, chart, panel.log && spec.log, bottom)), rows = Math.max(3, Math.round((bottom - GUTTER.top) / 34));
  const ticks = y.empty ? [] : y.log ? logTicks(y.lo, y.hi, rows) : linearTicks(y.lo, y.hi, rows), step = ticks.length > 1 ? ticks[1] - ticks[0] : Math.abs(ticks[0]) || 1;
  const text = tick => (spec.format === formatMegabytes ? (tick ? formatMegabytes(tick).replace(" ", "\u2009") : "0") : y.log ? formatNumber(tick) : formatTick(tick, step));
  chart.ticks = ticks.map(tick => ({ at: y(tick), text: text(tick) }));
  const context = chart.lines.getContext("2d");
  context.font = panel.theme.font;
  return Math.max(0, ...chart.ticks.map(tick => context.measureText(tick.text).width));
}

/** Draws one chart: axes, the raw line (faint where it is smoothed), the smoothed one, its points where they are few, its end. */
function draw(panel, chart) {
  const { width, height, y } = chart, { theme, axis } = panel, left = (chart.left = panel.left);
  if (width < 90 || height < 40) return;
  const inner = (chart.inner = width - left - GUTTER.right), bottom = height - GUTTER.bottom;
  const [lo, hi] = panel.domain, x = (chart.x = scale("linear", lo, hi, 0, inner)), context = fit(chart.lines, width, height);
  context.font = theme.font;
  grid(context, chart, x, theme, axis, bottom);
  context.save();
  context.beginPath();
  context.rect(left - 1, 0, inner + 2, bottom + 1);
  context.clip();
  context.lineJoin = "round";
  for (const one of chart.drawn) stroke(context, one, x, y, left, inner, theme);
  context.restore();
  for (const one of chart.drawn) tip(context, one, x, y, panel, left, inner);
  chart.figure.dataset.points = String(chart.drawn.reduce((sum, one) => sum + one.series.total, 0));
}

function ordinate(panel, chart, logarithm, bottom) {
  const { spec } = chart;
  let lo = Infinity, hi = -Infinity;
  for (const one of chart.drawn) {
    for (const values of one.even ? [one.shown.value, one.value] : [one.value]) {
      let [low, high] = extent(values, one.from + one.before, one.to - one.after, logarithm);
      if (!(high >= low)) [low, high] = extent(values, one.from, one.to, logarithm);
      lo = Math.min(lo, low); hi = Math.max(hi, high);
    }
  }
  if (!(hi >= lo)) { const y = scale("linear", 0, 1, bottom, GUTTER.top); return Object.assign(y, { lo: 0, hi: 1, empty: true }); }
  const log = logarithm && lo > 0;
  if (log) { const pad = Math.max(1.02, (hi / lo) ** 0.04); lo /= pad; hi *= pad; }
  else {
    const top = spec.top ? Math.max(...panel.runs.map(run => run.system?.[spec.top] ?? -Infinity)) : -Infinity;
    if (spec.bounds) [lo, hi] = spec.bounds;
    else {
      if (spec.zero || (lo >= 0 && lo < 0.25 * hi)) lo = Math.min(lo, 0);
      const pad = (hi - lo) * 0.06 || Math.abs(hi) * 0.05 || 0.5;
      if (lo !== 0) lo -= pad;
      hi = top > hi ? top : hi + pad;
    }
  }
  return Object.assign(scale(log ? "log" : "linear", lo, hi, bottom, GUTTER.top), { lo, hi, log });
}

function grid(context, chart, x, theme, axis, bottom) {
  const { width, inner, left, domain: [lo, hi] } = chart, crisp = value => Math.round(value) + 0.5, cells = Math.max(3, Math.floor(inner / 72));
  const xTicks = (axis === "time" ? timeTicks : linearTicks)(lo, hi, cells), xStep = xTicks.length > 1 ? xTicks[1] - xTicks[0] : 1;
  context.lineWidth = 1;
  context.strokeStyle = theme.line;
  context.fillStyle = theme.faint;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of chart.ticks) {
    const at = crisp(tick.at);
    context.beginPath(); context.moveTo(left, at); context.lineTo(width - GUTTER.right, at); context.stroke();
    context.fillText(tick.text, left - 6, at);
  }
  context.strokeStyle = theme.edge;
  context.beginPath(); context.moveTo(left, crisp(bottom)); context.lineTo(width - GUTTER.right, crisp(bottom)); context.stroke();
  context.textBaseline = "top";
  for (const tick of xTicks) {
    const at = left + x(tick), text = axis === "time" ? formatDuration(tick) : formatTick(tick, xStep), half = context.measureText(text).width / 2;
    context.textAlign = at + half > width - 2 ? "right" : "center";
    context.beginPath(); context.moveTo(crisp(at), bottom); context.lineTo(crisp(at), bottom + 4); context.stroke();
    context.fillText(text, at + half > width - 2 ? width - 2 : at, bottom + 6);
  }
}

function stroke(context, one, x, y, left, inner, theme) {
  const { shown, xs, from, to, look: { colour, dash } } = one;
  context.strokeStyle = context.fillStyle = theme.colours[colour];
  if (one.even) {
    context.globalAlpha = 0.28;
    context.lineWidth = 1;
    trace(context, columns(xs, shown.value, from, to, x, inner), y, left);
    context.globalAlpha = 1;
  }
  context.lineWidth = 1.75;
  context.setLineDash(dash);
  trace(context, columns(xs, one.value, from, to, x, inner), y, left);
  context.setLineDash([]);
  if ((to - from) * 9 > inner) return;
  for (let i = from; i < to; i++) {
    const at = y(one.value[i]);
    if (finite(at)) { context.beginPath(); context.arc(left + x(xs[i]), at, 2.25, 0, 7); context.fill(); }
  }
}

function tip(context, one, x, y, panel, left, inner) {
  let last = one.shown.count - 1;
  while (last >= 0 && !finite(one.value[last])) last--;
  if (last < 0) return;
  const px = x(one.xs[last]), py = y(one.value[last]);
  if (!(px >= 0 && px <= inner + 0.5) || !finite(py)) return;
  context.fillStyle = panel.theme.colours[one.look.colour];
  if (panel.runs.length > 1) {
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(one.look.symbol, left + px, py);
  } else { context.beginPath(); context.arc(left + px, py, 3, 0, 7); context.fill(); }
}

/** The crosshair, the dots on the lines and the part being dragged. */
function drawCross(panel, chart) {
  if (!chart.x || !chart.inner) return;
  const { theme } = panel, context = fit(chart.cross, chart.width, chart.height), bottom = chart.height - GUTTER.bottom;
  if (panel.brush?.chart === chart) {
    context.fillStyle = theme.brush;
    context.fillRect(chart.left + Math.min(panel.brush.from, panel.brush.to), GUTTER.top, Math.abs(panel.brush.to - panel.brush.from), bottom - GUTTER.top);
  }
  const at = panel.at, px = at === null ? NaN : chart.x(at);
  if (px >= -0.5 && px <= chart.inner + 0.5) {
    context.strokeStyle = theme.faint;
    context.lineWidth = 1;
    context.beginPath(); context.moveTo(Math.round(chart.left + px) + 0.5, GUTTER.top); context.lineTo(Math.round(chart.left + px) + 0.5, bottom); context.stroke();
    for (const one of chart.drawn) {
      const i = nearest(one.xs, one.shown.count, at), py = i < 0 ? NaN : chart.y(one.value[i]), dot = i < 0 ? NaN : chart.x(one.xs[i]);
      if (!finite(py) || dot < -0.5 || dot > chart.inner + 0.5) continue;
      context.fillStyle = theme.paper;
      context.strokeStyle = theme.colours[one.look.colour];
      context.lineWidth = 2;
      context.beginPath(); context.arc(chart.left + dot, py, 3.5, 0, 7); context.fill(); context.stroke();
    }
  }
  readout(panel, chart);
}

/** The values beside the title: the newest ones, or those at the crosshair. */
function readout(panel, chart) {
  const many = panel.runs.length > 1, seen = new Set(), spoken = [], format = chart.spec.format ?? formatNumber;
  for (const [order, one] of chart.drawn.entries()) {
    const id = `${one.run.id} ${one.name}`, i = panel.at === null ? one.shown.count - 1 : nearest(one.xs, one.shown.count, panel.at);
    const value = i < 0 ? NaN : one.value[i], raw = i < 0 ? NaN : one.shown.value[i], name = chart.paired ? one.role || one.name : "";
    seen.add(id);
    let node = chart.keyNodes.get(id);
    if (!node) {
      node = { swatch: h("span", { class: "ftwb-swatch", "aria-hidden": "true" }), name: h("span", { class: "ftwb-name" }), value: h("span", { class: "ftwb-value" }), raw: h("span", { class: "ftwb-raw" }) };
      node.root = h("span", { class: "ftwb-key" }, node.swatch, node.name, node.value, node.raw);
      chart.keyNodes.set(id, node);
    }
    if (chart.keys.children[order] !== node.root) chart.keys.insertBefore(node.root, chart.keys.children[order] ?? null);
    node.root.title = `${one.run.label} ${one.name}`;
    const symbol = many && !(chart.paired && one.role === "valid");
    node.swatch.style.borderTop = symbol ? "" : `2px ${one.look.dash.length ? "dashed" : "solid"} ${panel.theme.colours[one.look.colour]}`;
    node.swatch.style.color = panel.theme.colours[one.look.colour];
    mark(node.swatch, "class", symbol ? "ftwb-symbol" : chart.drawn.length > 1 ? "ftwb-swatch" : "ftwb-swatch ftwb-none");
    say(node.swatch, symbol ? one.look.symbol : "");
    say(node.name, many ? "" : name);
    say(node.value, format(value));
    say(node.raw, one.even && !many && chart.key === "loss" && raw !== value ? format(raw) : "");
    spoken.push(`${many ? `${one.run.label} ` : ""}${name} ${format(value)}`.trim());
  }
  for (const [id, node] of chart.keyNodes) if (!seen.has(id)) { node.root.remove(); chart.keyNodes.delete(id); }
  say(chart.note, many && chart.paired ? "train solid, valid dashed" : "");
  const place = panel.place(chart);
  mark(chart.plot, "aria-valuetext", `${place ? `${place}: ` : "newest: "}${spoken.join(", ") || "no values yet"}`);
  mark(chart.plot, "aria-valuemin", String(chart.domain[0]));
  mark(chart.plot, "aria-valuemax", String(chart.domain[1]));
  mark(chart.plot, "aria-valuenow", String(panel.at ?? chart.domain[1]));
}

// The panel: head, requests, tools, charts, alerts and samples of one view.

function newPanel(state, model, signal) {
  const id = `ftwb-${Math.random().toString(36).slice(2)}`;  // every widget has a copy of this module, so a counter would begin anew
  const panel = {
    id, helpId: `${id}-help`, state, model, signal, charts: new Map(), runs: [], selected: null, axis: "step", smoothing: 0, log: false, hidden: new Set(),
    window: null, domain: [0, 1], at: null, brush: null, pointed: null, theme: null, dirty: new Set(), frame: 0,
    changed(what) {
      panel.dirty.add(what);
      panel.frame ||= requestAnimationFrame(() => { panel.frame = 0; paint(panel); });
    },
    /** The lines of a chart: those of the runs that are shown. */
    lines: chart => panel.runs.flatMap((run, i) => (panel.hidden.has(run.id) ? [] : [...(state.runs.get(run.id) ?? [])]
      .filter(([name, series]) => series.count && chartOf(name).key === chart.key)
      .map(([name, series]) => ({ run, name, series, role: chartOf(name).role, look: look(i, panel.runs.length, chartOf(name).role) }))
      .sort((a, b) => (a.role < b.role ? -1 : 1)))),
    /** Puts the crosshair at x, snapped to the nearest point of the chart's first line. */
    point(chart, x, snap = false) {
      const one = chart?.drawn[0], i = snap && one ? nearest(one.xs, one.shown.count, x) : -1;
      panel.pointed = chart;
      panel.at = i < 0 ? x : clamp(one.xs[i], ...panel.domain);
      panel.changed("cross");
    },
    walk(chart, steps) {
      const one = chart.drawn[0];
      if (!one) return;
      const i = panel.at === null ? one.to - (steps < 0 ? 0 : 1) : nearest(one.xs, one.shown.count, panel.at), far = (panel.domain[1] - panel.domain[0]) / chart.inner;
      let to = clamp(i + steps, Math.min(one.from, one.to - 1), one.to - 1);
      while (to > one.from && to < one.to - 1 && Math.abs(one.xs[to] - one.xs[clamp(i, 0, one.to - 1)]) < far * Math.min(10, Math.abs(steps))) to += Math.sign(steps);
      panel.point(chart, one.xs[to], true);
    },
    zoom(lo, hi) {
      const [first, last] = wholeDomain(panel), narrow = hi > lo && (lo > first || hi < last);
      panel.window = narrow ? [Math.max(lo, first), Math.min(hi, last)] : null;
      if (panel.window && !(panel.window[1] > panel.window[0])) panel.window = null;
      panel.changed("plots");
      clearTimeout(panel.asking);
      if (panel.window) panel.asking = setTimeout(() => askDetail(panel), 200);
    },
    zoomBy(factor, about) {
      const [lo, hi] = panel.window ?? wholeDomain(panel), middle = about ?? (lo + hi) / 2;
      panel.zoom(middle - (middle - lo) * factor, middle + (hi - middle) * factor);
    },
    /** Where the crosshair stands, in all three units. */
    place(chart) {
      if (panel.at === null) return "";
      const one = (chart ?? panel.pointed)?.drawn[0], i = one ? nearest(one.xs, one.shown.count, panel.at) : -1;
      if (i < 0) return "";
      return `step ${formatCount(one.shown.step[i])} · epoch ${formatNumber(Number(one.shown.epoch[i].toFixed(2)))} · ${formatDuration(one.shown.time[i])}`;
    },
    set(patch) {
      const { axis, smoothing, log } = panel;
      model.set("view", { axis, smoothing, log, hidden: [...panel.hidden], ...patch });
      model.save_changes();
    },
  };
  build(panel);
  return panel;
}

/** The part of the axis that all shown lines fill together. */
function wholeDomain(panel) {
  let lo = Infinity, hi = -Infinity;
  for (const chart of panel.charts.values()) {
    for (const { series } of panel.lines(chart)) { lo = Math.min(lo, series[panel.axis][0]); hi = Math.max(hi, series[panel.axis][series.count - 1]); }
  }
  if (!(hi >= lo)) return [0, 1];
  if (lo > 0 && lo < 0.1 * hi) lo = 0;
  return hi > lo ? [lo, hi] : [lo - 0.5, hi + 0.5];
}

function askDetail(panel) {
  const [lo, hi] = panel.window ?? [];
  if (lo === undefined) return;
  for (const chart of panel.charts.values()) {
    for (const { run, name, series } of panel.lines(chart)) {
      const shown = pick(series, panel.axis, panel.window);
      if (shown === series ? series.count < series.total : !shown.raw) panel.model.send({ type: "window", run: run.id, name, axis: panel.axis, lo, hi });
    }
  }
}

function readTheme(panel) {
  const style = getComputedStyle(panel.root), read = name => style.getPropertyValue(`--ftwb-${name}`).trim();
  const colours = Array.from({ length: COLOURS }, (_, i) => read(`c${i}`));
  return { font: `11px ${style.fontFamily}`, ink: read("ink"), faint: read("faint"), line: read("line"), edge: read("edge"), paper: read("paper"), brush: read("brush"), colours };
}

function paint(panel) {
  if (!panel.root.isConnected) return;
  const { dirty } = panel;
  panel.dirty = new Set();
  if (dirty.has("theme") || !panel.theme) { panel.theme = readTheme(panel); dirty.add("plots"); }
  if (dirty.has("status")) { readRuns(panel); dirty.add("text"); }
  if (dirty.has("text")) paintText(panel);
  if (dirty.has("plots") || dirty.has("text")) arrange(panel);
  if (dirty.has("plots")) {
    panel.domain = panel.window ?? wholeDomain(panel);
    show(panel.reset, Boolean(panel.window));
    const charts = [...panel.charts.values()], room = Math.max(...charts.map(chart => prepare(panel, chart)));
    panel.left = clamp(Math.ceil(room / 4) * 4 + 10, 30, 78);  // one for all charts, so that their axes stand in line
    for (const chart of charts) { chart.domain = panel.domain; draw(panel, chart); }
  }
  if (dirty.has("plots") || dirty.has("cross") || dirty.has("text")) for (const chart of panel.charts.values()) if (chart.domain) drawCross(panel, chart);
  say(panel.where, panel.place());
}

/** One chart for every series that has points, in their order. */
function arrange(panel) {
  const found = new Map();
  for (const [run, held] of panel.state.runs) {
    if (!panel.runs.some(one => one.id === run)) continue;
    for (const [name, series] of held) {
      const spec = chartOf(name);
      if (!series.count) continue;
      if (!found.has(spec.key)) found.set(spec.key, { ...spec, roles: new Set() });
      found.get(spec.key).roles.add(spec.role);
    }
  }
  const wanted = [...found.values()].sort((a, b) => a.order - b.order || (a.key < b.key ? -1 : 1));
  for (const [key, chart] of panel.charts) if (!found.has(key)) { panel.observer.unobserve(chart.plot); chart.figure.remove(); panel.charts.delete(key); }
  wanted.forEach((spec, i) => {
    if (!panel.charts.has(spec.key)) {
      const chart = newChart(panel, spec.key, spec);
      panel.charts.set(spec.key, chart);
      panel.observer.observe(chart.plot);
      panel.dirty.add("plots");
    }
    const chart = panel.charts.get(spec.key);
    chart.paired = spec.roles.size > 1;
    if (panel.grid.children[i] !== chart.figure) panel.grid.insertBefore(chart.figure, panel.grid.children[i] ?? null);
  });
  show(panel.grid, wanted.length > 0);
  show(panel.tools, wanted.length > 0);
  show(panel.empty, wanted.length === 0);
  if (panel.dirty.size) panel.changed("plots");
}

function build(panel) {
  const button = (text, action, properties = {}) => {
    const element = h("button", { type: "button", class: "ftwb-button", ...properties }, text);
    element.addEventListener("click", action, { signal: panel.signal });
    return element;
  };
  panel.button = button;
  panel.error = h("div", { class: "ftwb-error", role: "alert", hidden: true });
  panel.table = buildRuns();
  panel.head = buildHead(panel);
  panel.actions = buildActions(panel);
  panel.tools = buildTools(panel);
  panel.empty = h("div", { class: "ftwb-empty" });
  panel.grid = h("div", { class: "ftwb-grid" });
  panel.alerts = h("ul", { class: "ftwb-alerts" });
  panel.alertBox = h("section", { class: "ftwb-section", "aria-label": "Alerts" }, h("h3", {}, "Alerts"), panel.alerts);
  panel.samples = buildSamples(panel);
  panel.live = h("div", { class: "ftwb-unseen", "aria-live": "polite" });
  const help = h("div", { class: "ftwb-unseen", id: panel.helpId }, "Left and right arrows move the crosshair, plus and minus zoom, Escape shows everything again.");
  panel.root = h("div", { class: "ftwb", role: "region", "aria-label": "Run monitor", id: panel.id }, panel.error, panel.table.root, panel.head.root, panel.actions.root, panel.tools, panel.empty, panel.grid, panel.alertBox, panel.samples.root, help, panel.live);
}

function buildRuns() {
  const body = h("tbody");
  const names = ["", "Run", "State", "Step", "Loss", "Tokens/s", "Elapsed", "Remaining"];
  const head = h("thead", {}, h("tr", {}, ...names.map(name => h("th", { scope: "col" }, name || h("span", { class: "ftwb-unseen" }, "Shown")))));
  return { root: h("div", { class: "ftwb-runs", hidden: true }, h("table", {}, head, body)), body, rows: new Map() };
}

function runRow(panel, run) {
  const box = h("input", { type: "checkbox" }), symbol = h("span", { class: "ftwb-symbol", "aria-hidden": "true" });
  const name = panel.button("", () => { panel.selected = run.id; panel.changed("text"); }, { class: "ftwb-link", dir: "auto" });
  box.addEventListener("change", () => {
    const hidden = new Set(panel.hidden);
    if (box.checked) hidden.delete(run.id); else hidden.add(run.id);
    panel.set({ hidden: [...hidden] });
  }, { signal: panel.signal });
  const state = h("span", { class: "ftwb-badge" }), cells = Array.from({ length: 5 }, () => h("td", { class: "ftwb-number" }));
  return { root: h("tr", {}, h("td", {}, h("label", { class: "ftwb-show" }, box, symbol)), h("th", { scope: "row" }, name), h("td", {}, state), ...cells), box, symbol, name, state, cells };
}

function buildHead(panel) {
  const head = { label: h("span", { class: "ftwb-run", dir: "auto" }), state: h("span", { class: "ftwb-badge" }), stale: h("span", { class: "ftwb-badge", "data-tone": "bad", hidden: true }, "⚠ STALE"), silence: h("span", { class: "ftwb-soft" }) };
  head.bar = h("div", { class: "ftwb-bar", "aria-hidden": "true" }, (head.fill = h("span")));
  const facts = ["Step", "Epoch", "Elapsed", "Remaining", "Tokens/s"].map(name => [name, h("dd")]);
  head.facts = Object.fromEntries(facts);
  head.verdict = h("p", { class: "ftwb-verdict", dir: "auto", hidden: true });
  head.reason = h("p", { class: "ftwb-reason", dir: "auto" });
  head.cure = h("p", { dir: "auto" });
  head.command = h("code");
  head.copy = panel.button("Copy", () => copy(panel), { class: "ftwb-button ftwb-small" });
  head.resume = h("div", { class: "ftwb-command" }, head.command, head.copy);
  head.failure = h("div", { class: "ftwb-failure", hidden: true }, head.reason, head.cure, head.resume);
  head.root = h("section", { class: "ftwb-head", "aria-label": "Run" },
    h("div", { class: "ftwb-line" }, head.label, h("span", { role: "status", class: "ftwb-states" }, head.state, head.stale), head.silence),
    head.bar, h("dl", { class: "ftwb-facts" }, ...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), value))), head.verdict, head.failure);
  return head;
}

async function copy(panel) {
  const { command, copy } = panel.head;
  try { await navigator.clipboard.writeText(command.textContent); say(copy, "Copied"); }
  catch { getSelection().selectAllChildren(command); say(copy, "Selected: press Ctrl+C"); }
  clearTimeout(panel.copied);
  panel.copied = setTimeout(() => say(copy, "Copy"), 2500);
}

function buildActions(panel) {
  const actions = { buttons: {}, open: null, answers: h("ul", { class: "ftwb-answers", role: "status", "aria-label": "Answers to requests" }) };
  const send = (name, fields) => { const run = current(panel); close(); if (run) ask(panel.state, panel.model, run, name, fields); };
  const close = () => { if (actions.open) { const name = actions.open; actions.open = null; panel.changed("text"); return name; } };
  const toggle = name => () => {
    actions.open = actions.open === name ? null : name;
    if (name === "learning_rate") { rate.value ||= formatRate(current(panel), panel.state); say(rateProblem, ""); }
    paintText(panel);
    if (actions.open) forms[name].querySelector("input, textarea, button").focus();
  };
  const release = h("input", { type: "checkbox" });
  actions.release = h("label", { class: "ftwb-check", title: "The process ends after saving, so its memory is free; resume starts it again." }, release, "release memory");
  const direct = { pause: () => send("pause", { release: release.checked }), resume: () => send("resume"), stop: () => send("stop"), evaluate: () => send("evaluate"), sample: () => send("sample") };
  for (const name of ["pause", "resume", "stop", "stop_now", "evaluate", "sample", "learning_rate", "clone"]) {
    actions.buttons[name] = panel.button(REQUESTS[name] + (name in direct ? "" : "…"), direct[name] ?? toggle(name), { "data-request": name });
    if (!(name in direct)) mark(actions.buttons[name], "aria-expanded", "false");
  }
  const rate = h("input", { type: "text", inputMode: "decimal", class: "ftwb-input", size: 12, autocomplete: "off" }), rateProblem = h("span", { class: "ftwb-problem", role: "alert" });
  const changes = h("textarea", { class: "ftwb-input", rows: 2, placeholder: "train.learning_rate=1e-5", spellcheck: false }), cloneName = h("input", { type: "text", class: "ftwb-input", size: 18, placeholder: "chosen for you", autocomplete: "off" });
  breakLines(changes, panel.signal);
  const cloneProblem = h("span", { class: "ftwb-problem", role: "alert" });
  const form = (name, action, ...children) => {
    const element = h("form", { class: "ftwb-form", hidden: true, "data-form": name, "aria-label": REQUESTS[name] }, ...children);
    element.addEventListener("submit", event => { event.preventDefault(); action(); }, { signal: panel.signal });
    element.addEventListener("keydown", event => { event.stopPropagation(); if (event.key === "Escape") { close(); actions.buttons[name].focus(); } }, { signal: panel.signal });
    element.addEventListener("keydown", event => {  // and with the line break JupyterLab takes the Enter that sends a form
      if (event.key === "Enter" && !event.isComposing && event.target.tagName === "INPUT") { event.preventDefault(); element.requestSubmit(); }
    }, { signal: panel.signal });
    return element;
  };
  const submit = (text, tone = "") => h("button", { type: "submit", class: `ftwb-button ftwb-primary ${tone}`.trim() }, text), cancel = text => panel.button(text, () => actions.buttons[close()]?.focus());
  const forms = (actions.forms = {
    stop_now: form("stop_now", () => send("stop_now"), h("span", {}, "End this run at once, without saving or evaluating? Steps after the last checkpoint are lost."), submit("Stop now", "ftwb-danger"), cancel("Keep it running")),
    learning_rate: form("learning_rate", () => { const read = readRate(rate.value); say(rateProblem, read.problem ?? ""); if (!read.problem) send("learning_rate", read); },
      h("label", {}, "Peak learning rate from here on ", rate), submit("Set"), cancel("Cancel"), rateProblem),
    clone: form("clone", () => { const read = readOverrides(changes.value), name = cloneName.value.trim(); say(cloneProblem, read.problem ?? ""); if (!read.problem) send("clone", name ? { ...read, run_id: name } : read); },
      h("label", { class: "ftwb-wide" }, "Fields to change, one a line ", changes), h("label", {}, "Name of the new run ", cloneName), submit("Start the clone"), cancel("Cancel"), cloneProblem),
  });
  const { pause, resume, stop, stop_now, evaluate, sample, learning_rate, clone } = actions.buttons;
  const bar = h("div", { class: "ftwb-buttons", role: "group", "aria-label": "Requests to the run" }, h("span", { class: "ftwb-group" }, pause, actions.release, resume), h("span", { class: "ftwb-group" }, stop, stop_now), h("span", { class: "ftwb-group" }, evaluate, sample), h("span", { class: "ftwb-group" }, learning_rate, clone));
  actions.root = h("section", { class: "ftwb-actions", "aria-label": "Requests" }, bar, ...Object.values(forms), actions.answers);
  return actions;
}

function formatRate(run, state) {
  const rates = run && state.runs.get(run.id)?.get("learning_rate");
  return rates?.count ? formatNumber(rates.value[rates.count - 1]) : "";
}

function buildTools(panel) {
  const name = `${panel.id}-axis`;
  panel.axes = Object.entries(AXES).map(([value, text]) => {
    const input = h("input", { type: "radio", name, value });
    input.addEventListener("change", () => panel.set({ axis: value }), { signal: panel.signal });
    return [value, input, h("label", { class: "ftwb-choice" }, input, h("span", {}, text))];
  });
  panel.slider = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, "aria-label": "Smoothing" });
  panel.slider.addEventListener("input", () => { panel.smoothing = Number(panel.slider.value); say(panel.sliderText, panel.smoothing.toFixed(2)); panel.changed("plots"); }, { signal: panel.signal });
  panel.slider.addEventListener("change", () => panel.set({ smoothing: Number(panel.slider.value) }), { signal: panel.signal });
  panel.sliderText = h("output", { class: "ftwb-value" });
  panel.logBox = h("input", { type: "checkbox" });
  panel.logBox.addEventListener("change", () => panel.set({ log: panel.logBox.checked }), { signal: panel.signal });
  panel.reset = panel.button("Reset zoom", () => panel.zoom(), { class: "ftwb-button ftwb-small", hidden: true });
  panel.where = h("span", { class: "ftwb-where ftwb-value" });
  return h("div", { class: "ftwb-tools", role: "toolbar", "aria-label": "Charts" },
    h("span", { class: "ftwb-choices", role: "radiogroup", "aria-label": "Axis" }, ...panel.axes.map(([, , label]) => label)),
    h("label", { class: "ftwb-check" }, "Smoothing", panel.slider, panel.sliderText),
    h("label", { class: "ftwb-check", title: "For loss, learning rate and gradient norm" }, panel.logBox, "Log scale"), panel.reset, panel.where);
}

function buildSamples(panel) {
  const choice = h("select", { class: "ftwb-input", "aria-label": "Step of the samples" }), head = h("tr"), body = h("tbody");
  const samples = { choice, head, body, step: null, root: h("section", { class: "ftwb-section", "aria-label": "Samples" }, h("div", { class: "ftwb-line" }, h("h3", {}, "Samples"), choice), h("div", { class: "ftwb-scroll" }, h("table", { class: "ftwb-samples" }, h("thead", {}, head), body))) };
  choice.addEventListener("change", () => { samples.step = choice.selectedIndex === 0 ? null : choice.value; panel.changed("text"); }, { signal: panel.signal });
  return samples;
}

// What the text says, from the traits.

const current = panel => panel.runs.find(run => run.id === panel.selected) ?? panel.runs[0];

function paintText(panel) {
  const { state } = panel, run = current(panel), live = panel.runs.some(one => !ended(one.state)), stale = live && silent(state);
  giveUp(state);
  say(panel.error, panel.model.get("error") || "");
  show(panel.error, Boolean(panel.model.get("error")));
  mark(panel.root, "data-stale", String(stale));
  mark(panel.root, "data-many", String(panel.runs.length > 1));
  for (const part of [panel.head.root, panel.actions.root]) show(part, Boolean(run));
  paintRuns(panel);
  paintView(panel);
  if (!run) { say(panel.empty, panel.model.get("error") ? "Nothing to show." : "No run yet."); for (const part of [panel.alertBox, panel.samples.root]) show(part, false); return; }
  paintHead(panel, run, stale);
  paintActions(panel, run, stale);
  paintAlerts(panel, run);
  paintSamples(panel, run);
  const waits = { gone: "The run's folder was deleted.", queued: "Queued: waiting for its turn…", paused: "Paused before the first step.", finished: "This run ended without a single step.", failed: "This run ended before its first step.", killed: "This run ended before its first step." };
  const stages = { prepare: "Preparing: data and model are loading…", probe: "Fitting the probe on the frozen encoder…" };
  say(panel.empty, waits[run.state] ?? (run.state === "running" && stages[run.stage]) ?? "Waiting for the first step…");
  const listening = panel.root.contains(document.activeElement), now = performance.now();
  if (listening && now - (panel.spoke ?? -Infinity) > 10000) { panel.spoke = now; say(panel.live, summary(run, newest(state, run, "train_loss"))); }
}

function newest(state, run, name) {
  const series = state.runs.get(run.id)?.get(name);
  return series?.count ? series.value[series.count - 1] : NaN;
}

function paintBadge(element, run) {
  const { symbol, text, tone } = badge(run.state, run.stage);
  say(element, `${symbol} ${text}`);
  mark(element, "data-tone", tone);
}

function paintRuns(panel) {
  const { table, runs } = panel;
  show(table.root, runs.length > 1);
  for (const [id, row] of table.rows) if (!runs.some(run => run.id === id)) { row.root.remove(); table.rows.delete(id); }
  runs.forEach((run, i) => {
    if (!table.rows.has(run.id)) table.rows.set(run.id, runRow(panel, run));
    const row = table.rows.get(run.id), { colour, symbol } = look(i, runs.length, "");
    if (table.body.children[i] !== row.root) table.body.insertBefore(row.root, table.body.children[i] ?? null);
    row.box.checked = !panel.hidden.has(run.id);
    mark(row.box, "aria-label", `Show ${run.label}`);
    say(row.symbol, symbol);
    row.symbol.style.color = panel.theme.colours[colour];
    say(row.name, ellipsis(run.label, 40));
    row.name.title = run.label;
    mark(row.name, "aria-pressed", String(run === current(panel)));
    mark(row.root, "data-selected", String(run === current(panel)));
    paintBadge(row.state, run);
    const texts = [stepText(run), formatNumber(newest(panel.state, run, "train_loss")), formatNumber(run.tokens_per_s), formatDuration(run.elapsed), remainingText(run)];
    texts.forEach((text, c) => say(row.cells[c], text));
  });
}

const stepText = ({ step, steps }) => (!finite(step) ? "–" : finite(steps) ? `${formatCount(step)} / ${formatCount(steps)}` : formatCount(step));

function paintView(panel) {
  for (const [value, input] of panel.axes) input.checked = value === panel.axis;
  if (document.activeElement !== panel.slider) panel.slider.value = String(panel.smoothing);
  say(panel.sliderText, panel.smoothing.toFixed(2));
  panel.logBox.checked = panel.log;
}

function paintHead(panel, run, stale) {
  const { head } = panel, done = finite(run.step) && run.steps > 0 ? clamp(run.step / run.steps, 0, 1) : 0;
  say(head.label, ellipsis(run.label, 60));
  head.label.title = run.label;
  paintBadge(head.state, run);
  show(head.stale, stale);
  say(head.silence, stale ? `The kernel has been silent for ${formatDuration((performance.now() - panel.state.beat) / 1000)}; the run itself goes on. Run this cell again to follow it${run.control ? "" : " and to use the buttons"}.` : "");
  const width = `${(done * 100).toFixed(2)}%`;
  if (head.fill.style.width !== width) head.fill.style.width = width;
  mark(head.bar, "data-tone", badge(run.state).tone);
  const epoch = finite(run.epoch) ? run.epoch.toFixed(2) + (finite(run.epochs) ? ` / ${formatNumber(run.epochs)}` : "") : "–";
  const facts = { Step: stepText(run), Epoch: epoch, Elapsed: formatDuration(run.elapsed), Remaining: remainingText(run), "Tokens/s": formatNumber(run.tokens_per_s) };
  for (const [name, text] of Object.entries(facts)) say(head.facts[name], text);
  say(head.verdict, run.verdict || "");
  show(head.verdict, Boolean(run.verdict));
  show(head.failure, Boolean(run.reason || run.cure || run.resume));
  mark(head.failure, "data-tone", badge(run.state).tone);
  for (const [element, text] of [[head.reason, run.reason], [head.cure, run.cure], [head.command, run.resume]]) say(element, text || "");
  show(head.reason, Boolean(run.reason));
  show(head.cure, Boolean(run.cure));
  show(head.resume, Boolean(run.resume));
}

function paintActions(panel, run, stale) {
  const { actions, state } = panel, can = allowed(run.state, finite(run.step)), rows = ledger(run, state.asked, Date.now()), over = ended(run.state);
  const reachable = over ? !stale : Boolean(run.control) || !stale, waiting = new Set(rows.filter(row => row.waits && Date.now() - parseInt(row.id, 10) < PATIENCE * 1000).map(row => row.request));
  for (const [name, button] of Object.entries(actions.buttons)) {
    const on = can.has(name) && reachable && !waiting.has(name);
    if (button.disabled === on) button.disabled = !on;
    mark(button, "aria-busy", String(waiting.has(name)));
    show(button, can.has(name) || (!over && name !== "resume" && !(name === "pause" && can.has("resume"))));
    if (!can.has(name) && actions.open === name) actions.open = null;
    if (name in actions.forms) { mark(button, "aria-expanded", String(actions.open === name)); show(actions.forms[name], actions.open === name); }
  }
  show(actions.release, !actions.buttons.pause.hidden);
  show(actions.answers, rows.length > 0);
  list(actions.answers, rows.slice(0, 4), row => h("li", { "data-tone": row.tone, dir: "auto" }, h("b", {}, row.title), ` ${row.text}`));
}

function paintAlerts(panel, run) {
  const alerts = run.alerts ?? [];
  show(panel.alertBox, alerts.length > 0);
  list(panel.alerts, alerts.slice().reverse(), alert => {
    const bad = alert.severity === "error", where = [finite(alert.step) ? `step ${formatCount(alert.step)}` : "", finite(alert.time) ? new Date(alert.time * 1000).toLocaleTimeString() : ""].filter(Boolean).join(" · ");
    return h("li", { "data-tone": bad ? "bad" : "warn" }, h("span", { class: "ftwb-mark" }, bad ? "✕ error" : "⚠ warning"), h("div", {}, h("p", { dir: "auto" }, alert.message ?? ""), ...(alert.cure ? [h("p", { class: "ftwb-soft", dir: "auto" }, alert.cure)] : [])), h("span", { class: "ftwb-soft ftwb-value" }, where));
  });
}

const SAMPLE = { text: "Text", label: "Label", predicted: "Predicted", confidence: "Confidence", prompt: "Prompt", output: "Output" };

function paintSamples(panel, run) {
  const { samples } = panel, all = (run.samples ?? []).slice().reverse();
  show(samples.root, all.length > 0);
  if (!all.length) return;
  list(samples.choice, all.map((one, i) => [one.step, i]), ([step, i]) => h("option", { value: String(step) }, `step ${formatCount(step)}${i ? "" : " (newest)"}`));
  const one = all.find(one => String(one.step) === samples.step) ?? all[0];
  samples.choice.value = String(one.step);
  const rows = one.rows ?? [], names = [...new Set(rows.flatMap(row => Object.keys(row)))].sort((a, b) => rank(a) - rank(b));
  list(samples.head, names, name => h("th", { scope: "col" }, SAMPLE[name] ?? words(name)));
  list(samples.body, rows, row => h("tr", {}, ...names.map(name => sampleCell(row, name))));
}

const rank = name => { const at = Object.keys(SAMPLE).indexOf(name); return at < 0 ? 99 : at; };

function sampleCell(row, name) {
  const value = row[name], cell = h("td", { "data-name": SAMPLE[name] ?? words(name), class: `ftwb-of-${rank(name) < 99 ? name : "other"}` });
  if (name === "predicted" && "label" in row) {
    const right = String(value) === String(row.label);
    cell.append(h("span", { class: "ftwb-mark", "data-tone": right ? "good" : "bad", title: right ? "right" : "wrong" }, right ? "✓ " : "✕ ", h("span", { class: "ftwb-unseen" }, right ? "right: " : "wrong: ")));
  }
  cell.append(h("span", { dir: "auto" }, value === null || value === undefined ? "–" : typeof value === "number" ? formatNumber(value) : typeof value === "object" ? JSON.stringify(value) : String(value)));
  return cell;
}

function readRuns(panel) {
  panel.runs = (panel.model.get("runs") ?? []).map(run => ({ ...run, ...panel.state.status.get(run.id) }));
  if (!panel.runs.some(run => run.id === panel.selected)) panel.selected = panel.runs[0]?.id ?? null;
}

function readTraits(panel) {
  readRuns(panel);
  const view = panel.model.get("view") ?? {}, before = panel.axis;
  panel.axis = view.axis in AXES ? view.axis : "step";
  panel.smoothing = clamp(Number(view.smoothing) || 0, 0, 0.99);
  panel.log = Boolean(view.log);
  panel.hidden = new Set(view.hidden ?? []);
  if (before !== panel.axis) carry(panel, before);
}

/** Keeps a zoom on the same points when the axis changes. */
function carry(panel, before) {
  panel.at = null;
  const one = [...panel.charts.values()].flatMap(chart => panel.lines(chart))[0];
  if (!panel.window || !one) return;
  const { series } = one, [lo, hi] = panel.window.map(value => series[panel.axis][Math.max(0, nearest(series[before], series.count, value))]);
  panel.zoom(lo, hi);
}

function attach(state, model, el) {
  const control = new AbortController(), panel = newPanel(state, model, control.signal);
  const traits = () => { readTraits(panel); panel.changed("text"); panel.changed("plots"); };
  panel.observer = new ResizeObserver(entries => {
    for (const entry of entries) {
      const chart = [...panel.charts.values()].find(chart => chart.plot === entry.target);
      if (chart) { chart.width = entry.contentRect.width; chart.height = entry.contentRect.height; }
    }
    panel.changed("plots");
  });
  const themes = new MutationObserver(() => panel.changed("theme"));
  for (const target of [document.body, document.documentElement]) themes.observe(target, { attributes: true, attributeFilter: ["class", "style", "data-jp-theme-light", "data-jp-theme-name"] });
  const tick = setInterval(() => {
    panel.changed("text");
    if (panel.theme && JSON.stringify(readTheme(panel)) !== JSON.stringify(panel.theme)) panel.changed("theme");  // a theme's stylesheet may come late
  }, 1000);
  const sharper = () => panel.changed("plots");
  window.addEventListener("resize", sharper, { signal: control.signal });
  for (const name of ["runs", "view", "error"]) model.on(`change:${name}`, traits);
  state.views.add(panel.changed);
  el.append(panel.root);
  traits();
  return () => {
    control.abort();
    clearInterval(tick);
    clearTimeout(panel.asking);
    clearTimeout(panel.copied);
    cancelAnimationFrame(panel.frame);
    panel.observer.disconnect();
    themes.disconnect();
    state.views.delete(panel.changed);
    for (const name of ["runs", "view", "error"]) model.off(`change:${name}`, traits);
    panel.root.remove();
  };
}

export default () => {
  const state = newState();  // anywidget hands initialize and render different proxies of the model, so what they share is here
  return {
    initialize({ model }) {
      const message = (content, buffers) => take(state, model, content, buffers);
      const fresh = () => state.status.clear();
      model.on("msg:custom", message);
      model.on("change:runs", fresh);
      sync(state, model);
      return () => { model.off("msg:custom", message); model.off("change:runs", fresh); };
    },
    render: ({ model, el }) => attach(state, model, el),
  };
};
