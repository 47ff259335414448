// The monitor's arithmetic, under node: `node --test tests/js/`. No browser, no packages.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import widget, * as m from "../../finetune_wb/static/monitor.js";
import { cases, points } from "./cases.mjs";

let seed = 1;
const random = () => { seed = (seed * 48271) % 2147483647; return seed / 2147483647; };
const between = (lo, hi) => lo + random() * (hi - lo);
const close = (a, b, within = 1e-9) => assert.ok(Math.abs(a - b) <= within * Math.max(1, Math.abs(a), Math.abs(b)), `${a} is not ${b}`);
const many = (times, check) => { for (let i = 0; i < times; i++) check(i); };

// ---- ticks and scales ----

test("a nice step is 1, 2 or 5 times a power of ten and makes at most `count` pieces", () => many(500, () => {
  const span = 10 ** between(-12, 12), count = Math.ceil(between(1, 12)), step = m.niceStep(span, count);
  const digit = step / 10 ** Math.floor(Math.log10(step) + 1e-9);
  assert.ok([1, 2, 5, 10].some(one => Math.abs(digit - one) < 1e-6), String(digit));
  assert.ok(span / step <= count * (1 + 1e-6));
  assert.ok(span / step > count / 2.6);
}));

test("linear ticks lie inside, rise evenly and read back exactly", () => {
  assert.deepEqual(m.linearTicks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(m.linearTicks(-3, 12, 4), [0, 5, 10]);
  assert.deepEqual(m.linearTicks(0, 3e-5, 3), [0, 1e-5, 2e-5, 3e-5]);
  assert.deepEqual(m.linearTicks(2, 2, 3), [2]);
  many(300, () => {
    const lo = between(-1e3, 1e3) * 10 ** between(-6, 6), hi = lo + 10 ** between(-3, 7), ticks = m.linearTicks(lo, hi, 6);
    assert.ok(ticks.length >= 2 && ticks.length <= 7, `${lo} ${hi} ${ticks}`);
    const step = ticks[1] - ticks[0];
    ticks.forEach((tick, i) => { assert.ok(tick >= lo - step * 1e-6 && tick <= hi + step * 1e-6); if (i) close((tick - ticks[i - 1]) / step, 1, 1e-4); });
  });
});

test("logarithmic ticks are positive, inside, rising, and powers of ten when decades are many", () => {
  assert.deepEqual(m.logTicks(0.15, 2.5, 5), [0.2, 0.5, 1, 2]);
  assert.deepEqual(m.logTicks(1e-6, 1, 4), [1e-6, 1e-4, 1e-2, 1]);
  assert.deepEqual(m.logTicks(0, 1, 4), []);
  assert.deepEqual(m.logTicks(-1, 1, 4), []);
  many(300, () => {
    const lo = 10 ** between(-9, 6), hi = lo * 10 ** between(0.05, 9), ticks = m.logTicks(lo, hi, 5);
    assert.ok(ticks.length <= 8, `${lo} ${hi} ${ticks}`);
    ticks.forEach((tick, i) => assert.ok(tick > 0 && tick >= lo * 0.999999 && tick <= hi * 1.000001 && (!i || tick > ticks[i - 1])));
  });
});

test("ticks of time fall on whole seconds, minutes and hours", () => {
  assert.deepEqual(m.timeTicks(0, 420, 3).map(m.formatDuration), ["0:00", "2:00", "4:00", "6:00"]);
  assert.deepEqual(m.timeTicks(0, 7 * 3600, 4).map(m.formatDuration), ["0:00", "2:00:00", "4:00:00", "6:00:00"]);
  many(200, () => {
    const hi = 10 ** between(0.8, 7), ticks = m.timeTicks(0, hi, 5), step = ticks[1] - ticks[0];
    assert.ok(ticks.length >= 2 && ticks.length <= 8, `${hi} ${ticks}`);
    assert.ok(step >= 60 ? step % 60 === 0 : 60 % step === 0, String(step));
  });
});

test("a scale maps its ends to its pixels, keeps order and inverts", () => many(300, () => {
  const kind = random() < 0.5 ? "linear" : "log", lo = kind === "log" ? 10 ** between(-6, 3) : between(-100, 100), hi = kind === "log" ? lo * 10 ** between(0.1, 6) : lo + between(0.1, 500);
  const map = m.scale(kind, lo, hi, 40, 600), value = kind === "log" ? lo * (hi / lo) ** random() : between(lo, hi);
  close(map(lo), 40); close(map(hi), 600); close(map.invert(map(value)), value, 1e-7);
  assert.ok(map(value) >= 40 - 1e-6 && map(value) <= 600 + 1e-6);
}));

// ---- text ----

test("numbers are short and honest", () => {
  const said = [[0, "0"], [1.2e-4, "1.2e-4"], [2e-5, "2e-5"], [1.999e-5, "2e-5"], [0.4321987, "0.4322"], [0.001, "0.001"], [2.5, "2.5"], [12.3456, "12.35"], [999.4, "999.4"], [3421, "3.42k"],
    [999999, "1M"], [1.5e6, "1.5M"], [2.5e9, "2.5G"], [-0.25, "-0.25"], [-3421, "-3.42k"], [NaN, "–"], [null, "–"], [undefined, "–"], [Infinity, "∞"], [1e20, "1e20"], [100, "100"], [10, "10"]];
  for (const [value, text] of said) assert.equal(m.formatNumber(value), text);
  const back = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };
  many(500, () => {
    const value = (random() < 0.5 ? -1 : 1) * 10 ** between(-9, 12), text = m.formatNumber(value), unit = back[text.at(-1)];
    assert.ok(text.length <= 9, text);
    close(unit ? Number(text.slice(0, -1)) * unit : Number(text), value, 0.006);
    assert.ok(Math.abs((unit ? Number(text.slice(0, -1)) * unit : Number(text)) / value - 1) < 0.006, `${value} ${text}`);
  });
});

test("neighbouring ticks never read the same", () => many(400, () => {
  const lo = between(0, 1) * 10 ** between(-6, 7), hi = lo + 10 ** between(-5, 7), ticks = m.linearTicks(lo, hi, 5);
  if (ticks.length < 2 || (ticks[1] - ticks[0]) / Math.abs(ticks.at(-1)) < 1e-4) return;  // no label of that width can tell them apart
  const texts = ticks.map(tick => m.formatTick(tick, ticks[1] - ticks[0]));
  assert.equal(new Set(texts).size, texts.length, `${ticks} ${texts}`);
}));

test("durations, counts and memory", () => {
  const said = [[0, "0:00"], [42, "0:42"], [59.6, "1:00"], [724, "12:04"], [3723, "1:02:03"], [90061, "25:01:01"], [null, "–"], [NaN, "–"], [-3, "0:00"]];
  for (const [seconds, text] of said) assert.equal(m.formatDuration(seconds), text);
  assert.equal(m.formatCount(12400), "12,400");
  assert.equal(m.formatCount(null), "–");
  assert.deepEqual([870, 999.6, 12400, 81559].map(m.formatMegabytes), ["870 MB", "1 GB", "12.4 GB", "81.6 GB"]);
});

test("a long label loses its middle, never half a letter", () => {
  assert.equal(m.ellipsis("short", 10), "short");
  assert.equal(m.ellipsis("banking77-lora-2026", 9), "bank…2026");
  assert.equal(Array.from(m.ellipsis("🦀".repeat(30), 7)).length, 7);
  many(100, () => { const n = Math.ceil(between(1, 30)); assert.ok(Array.from(m.ellipsis("x".repeat(40), n)).length === n); });
});

// ---- smoothing ----

/** TensorBoard's own lines (vz_line_chart2), for values at even steps. */
function tensorboard(values, weight) {
  let last = 0, seen = 0;
  return values.map(value => {
    if (!Number.isFinite(value)) return NaN;
    last = last * weight + (1 - weight) * value;
    seen++;
    return last / (1 - weight ** seen);
  });
}

test("smoothing is TensorBoard's on a run of up to 1000 points", () => many(20, () => {
  const n = Math.ceil(between(2, 1000)), weight = between(0, 0.99), step = Float64Array.from({ length: n }, (_, i) => 10 * (i + 1)), value = Float64Array.from(step, () => between(0, 3));
  const ours = m.smooth(step, value, n, weight, m.spacing(step, n, n)), theirs = tensorboard(Array.from(value), weight);
  ours.forEach((one, i) => close(one, theirs[i], 1e-8));
}));

test("smoothing keeps a constant, stays inside the values, keeps gaps, and is nothing at 0", () => {
  const n = 200, step = Float64Array.from({ length: n }, (_, i) => i), flat = new Float64Array(n).fill(0.7), rough = Float64Array.from(step, () => random());
  rough[40] = NaN;
  m.smooth(step, flat, n, 0.9, 1).forEach(one => close(one, 0.7));
  const even = m.smooth(step, rough, n, 0.9, 1), [lo, hi] = m.extent(rough, 0, n);
  even.forEach((one, i) => (i === 40 ? assert.ok(Number.isNaN(one)) : assert.ok(one >= lo - 1e-12 && one <= hi + 1e-12)));
  assert.deepEqual(m.smooth(step, rough, n, 0, 1), rough);
});

test("a thinned history smooths to the same curve as all its points", () => {
  const n = 40000, every = 20, step = Float64Array.from({ length: n }, (_, i) => i + 1), value = Float64Array.from(step, s => 2 * Math.exp(-s / 9000) + 0.3);
  const thin = column => Float64Array.from({ length: n / every }, (_, i) => column[i * every + every - 1]);
  const whole = m.smooth(step, value, n, 0.9, m.spacing(step, n, n)), few = m.smooth(thin(step), thin(value), n / every, 0.9, m.spacing(thin(step), n / every, n));
  few.forEach((one, i) => { if (i > 50) close(one, whole[(i + 1) * every - 1], 0.01); });
});

test("beyond 1000 points a weight speaks of a 1000th of the run, as in what TensorBoard keeps of it", () => {
  const x = Float64Array.from({ length: 4001 }, (_, i) => i);
  assert.deepEqual([m.spacing(x, 4001, 4001), m.spacing(x, 501, 501), m.spacing(x, 1, 1)], [4, 1, 0]);
});

test("a zoomed part goes on from where the average stood", () => {
  const n = 500, cut = 200, step = Float64Array.from({ length: n }, (_, i) => i + 1), value = Float64Array.from(step, () => random()), whole = m.smooth(step, value, n, 0.95, 1);
  const part = m.smooth(step.subarray(cut), value.subarray(cut), n - cut, 0.95, 1, { x: step[cut - 1], value: whole[cut - 1], mass: cut });
  part.forEach((one, i) => close(one, whole[cut + i], 1e-9));
});

// ---- columns of pixels ----

test("few points stay as they are; many keep every column's first, last, smallest and largest", () => {
  const few = m.columns(Float64Array.of(1, 2, 3), Float64Array.of(5, NaN, 7), 0, 3, x => x * 10, 100);
  assert.deepEqual([Array.from(few.x), Array.from(few.y)], [[10, 20, 30], [5, NaN, 7]]);
  many(20, () => {
    const n = 30000, width = Math.ceil(between(50, 900)), x = Float64Array.from({ length: n }, (_, i) => i), y = Float64Array.from(x, () => between(-1, 1)), map = m.scale("linear", 0, n - 1, 0, width);
    const spike = Math.floor(between(0, n));
    y[spike] = 50;
    const line = m.columns(x, y, 0, n, map, width), byColumn = new Map();
    assert.ok(line.count <= 4 * (width + 1), `${line.count} for ${width} pixels`);
    for (let i = 0; i < n; i++) {
      const c = Math.floor(map(x[i])), seen = byColumn.get(c) ?? [Infinity, -Infinity];
      byColumn.set(c, [Math.min(seen[0], y[i]), Math.max(seen[1], y[i])]);
    }
    const drawn = new Map();
    for (let i = 0; i < line.count; i++) {
      const c = Math.floor(line.x[i]), seen = drawn.get(c) ?? [Infinity, -Infinity];
      drawn.set(c, [Math.min(seen[0], line.y[i]), Math.max(seen[1], line.y[i])]);
      if (i) assert.ok(line.x[i] >= line.x[i - 1], "a line never turns back");
    }
    assert.deepEqual(drawn, byColumn);
    assert.equal(line.y[0], y[0]);
    assert.equal(line.y[line.count - 1], y[n - 1]);
    assert.ok(Array.from(line.y.subarray(0, line.count)).includes(50));
  });
});

test("a gap among many points breaks the line once", () => {
  const n = 10000, x = Float64Array.from({ length: n }, (_, i) => i), y = new Float64Array(n).fill(1).fill(NaN, 4000, 6000);
  const line = m.columns(x, y, 0, n, m.scale("linear", 0, n, 0, 100), 100), holes = Array.from(line.y.subarray(0, line.count)).filter(Number.isNaN).length;
  assert.equal(holes, 1);
  y.fill(NaN, 0, 300);
  assert.equal(m.columns(x, y, 0, n, m.scale("linear", 0, n, 0, 100), 100).y[0], 1, "no hole before the first point");
  const torn = Float64Array.from(x, i => (i % 10 === 5 ? NaN : (i * 7) % 10)), worst = m.columns(x, torn, 0, n, m.scale("linear", 100, n - 100, 0, 900), 900);
  assert.ok(worst.count <= worst.x.length && worst.y[worst.count - 1] === torn[n - 1], "room for a hole and four points in every column, and for what is outside");
  assert.equal(m.columns(x, new Float64Array(n).fill(NaN), 0, n, m.scale("linear", 0, n, 0, 100), 100).count, 0);
});

// ---- searching ----

test("the nearest point is the nearest by brute force", () => many(300, () => {
  const n = Math.ceil(between(1, 60)), x = Float64Array.from({ length: n }, () => Math.floor(between(0, 80))).sort(), value = between(-10, 90), i = m.nearest(x, n, value);
  close(Math.abs(x[i] - value), Math.min(...x.map(one => Math.abs(one - value))));
  assert.equal(m.lowerBound(x, n, value), x.filter(one => one < value).length);
}));

test("nearest of nothing, and the points of a window with a neighbour on either side", () => {
  assert.equal(m.nearest(new Float64Array(4), 0, 3), -1);
  const x = Float64Array.of(0, 10, 20, 30, 40);
  assert.deepEqual(m.range(x, 5, 12, 28), [1, 4]);
  assert.deepEqual(m.range(x, 5, -5, 100), [0, 5]);
  assert.deepEqual(m.extent(Float64Array.of(NaN, 3, -1, Infinity), 0, 4), [-1, 3]);
  assert.deepEqual(m.extent(Float64Array.of(0, 3, -1), 0, 3, true), [3, 3]);
  assert.deepEqual(m.extent(Float64Array.of(NaN), 0, 1), [Infinity, -Infinity]);
});

// ---- the store ----

const line = (from, count) => m.COLUMNS.map((_, c) => Float64Array.from({ length: count }, (_, i) => (from + i) * (c + 1)));
const delta = (start, count, generation = 3) => ({ start, count, total: start + count, generation, decimated: false });

test("deltas of any size and overlap build the same columns; a hole or another generation asks again", () => many(100, () => {
  const series = m.newSeries(), n = Math.ceil(between(1, 2000));
  m.receive(series, { ...delta(0, 5), decimated: true }, line(0, 5));
  let at = 5;
  while (at < n) {
    const back = Math.floor(between(0, Math.min(at, 9))), count = Math.ceil(between(0, 300)), said = m.receive(series, delta(at - back, count), line(at - back, count));
    assert.equal(said, count > back ? "appended" : "known");
    at = Math.max(at, at - back + count);
    assert.equal(series.total, at);
  }
  assert.equal(series.count, at);
  m.COLUMNS.forEach((name, c) => assert.deepEqual(series[name].subarray(0, at), line(0, at)[c]));
  assert.equal(m.receive(series, delta(at + 1, 4), line(at + 1, 4)), "gap");
  assert.equal(m.receive(series, delta(at, 4, 4), line(at, 4)), "gap");
  assert.equal(series.count, at, "what asks again changes nothing");
}));

test("a thinned history replaces everything, and raw points go on behind it", () => {
  const series = m.newSeries();
  m.receive(series, delta(0, 9), line(0, 9));
  assert.equal(m.receive(series, { generation: 7, start: 0, count: 3, total: 100, decimated: true }, line(0, 3)), "replaced");
  assert.deepEqual([series.count, series.total, series.generation], [3, 100, 7]);
  assert.equal(m.receive(series, delta(100, 2, 7), line(100, 2)), "appended");
  assert.deepEqual(Array.from(series.step.subarray(0, series.count)), [0, 1, 2, 100, 101]);
});

test("a first delta from the very beginning needs no history; a later one does", () => {
  assert.equal(m.receive(m.newSeries(), delta(0, 4), line(0, 4)), "appended");
  assert.equal(m.receive(m.newSeries(), delta(4, 4), line(4, 4)), "gap");
});

test("axes never turn back and hold no NaN; values may", () => {
  const series = m.newSeries();
  m.receive(series, { ...delta(0, 4), decimated: true }, [Float64Array.of(NaN, 5, NaN, 4), Float64Array.of(1, NaN, 3, 2), Float64Array.of(NaN, NaN, NaN, NaN), Float64Array.of(1, NaN, 3, 4)]);
  assert.deepEqual(Array.from(series.step.subarray(0, 4)), [0, 5, 5, 5]);
  assert.deepEqual(Array.from(series.time.subarray(0, 4)), [1, 1, 3, 3]);
  assert.deepEqual(Array.from(series.epoch.subarray(0, 4)), [0, 0, 0, 0]);
  assert.ok(Number.isNaN(series.value[1]));
});

test("finer points stand in for a window they cover, grow with the run, and go with its generation", () => {
  const series = m.newSeries(), zoom = { axis: "step", lo: 40, hi: 60, generation: 3, total: 100 };
  m.receive(series, { ...delta(0, 10), total: 100, decimated: true }, line(0, 10).map((column, c) => column.map(value => value * 11)));
  assert.equal(m.receiveDetail(series, { ...zoom, generation: 2 }, line(40, 21)), false);
  assert.equal(m.receiveDetail(series, zoom, line(40, 21)), true);
  assert.equal(m.pick(series, "step", [42, 58]).count, 21);
  for (const [axis, window] of [["step", [30, 58]], ["step", null], ["time", [42, 58]]]) assert.equal(m.pick(series, axis, window), series);
  m.receive(series, delta(100, 2), line(100, 2));
  assert.equal(series.detail.count, 21, "an inner part is whole and stays");
  m.receiveDetail(series, { ...zoom, lo: 90, hi: 110, total: 102 }, line(90, 12));
  m.receive(series, delta(102, 3), line(102, 3));
  assert.equal(series.detail.count, 15, "the newest part grows");
  m.receive(series, { ...delta(0, 3), decimated: true }, line(0, 3));
  assert.equal(m.pick(series, "step", [95, 100]), series);
});

test("columns are read from a view at any byte; a short buffer is an error", () => {
  const sent = [{ run: "a", name: "x", columns: line(0, 3) }, { run: "a", name: "y", columns: line(7, 2) }], { items, view } = points(sent);
  assert.equal(view.byteOffset % 8, 5);
  assert.deepEqual(m.unpack(items, view), sent.map(one => one.columns));
  assert.throws(() => m.unpack([{ count: 1 }], view), /need 32 bytes and 160 came/);
});

test("an item like another has its axes and brings only values", () => {
  const flat = Float64Array.of(1, 2, 10, 20, 0.1, 0.2, 5, 6, 7, 8), [a, b] = m.unpack([{ count: 2 }, { count: 2, like: 0 }], new DataView(flat.buffer));
  assert.deepEqual(b.slice(0, 3), a.slice(0, 3));
  assert.deepEqual([Array.from(a[3]), Array.from(b[3])], [[5, 6], [7, 8]]);
  assert.throws(() => m.unpack([{ count: 2 }, { count: 1, like: 0 }], new DataView(flat.buffer)), /like/);
});

test("an item takes from the one it is like what it does not say itself", () => {
  const [a, b, c] = m.whole([{ run: "a", name: "x", generation: 1, start: 5, count: 2 }, { name: "y", like: 0 }, { name: "z", like: 0, start: 4 }]);
  assert.deepEqual(b, { ...a, name: "y", like: 0 });
  assert.deepEqual(c, { ...a, name: "z", like: 0, start: 4 });
});

// ---- what belongs where ----

test("train and valid share a chart and differ in dash; charts come in the order of the house", () => {
  assert.deepEqual([m.chartOf("train_loss").key, m.chartOf("valid_loss").key, m.chartOf("valid_f1_macro").title], ["loss", "loss", "F1 macro"]);
  const names = ["rss_mb", "valid_accuracy", "gpu_percent", "tokens_per_s", "grad_norm", "learning_rate", "train_loss"];
  assert.deepEqual(names.map(m.chartOf).sort((a, b) => a.order - b.order).map(chart => chart.key), ["loss", "learning_rate", "grad_norm", "accuracy", "tokens_per_s", "gpu_percent", "rss_mb"]);
  const train = m.look(0, 1, "train"), valid = m.look(0, 1, "valid");
  assert.notDeepEqual(train.dash, valid.dash);
  assert.notEqual(train.colour, valid.colour);
  assert.equal(m.look(2, 3, "train").colour, m.look(2, 3, "valid").colour);
  assert.equal(new Set(m.SYMBOLS.slice(0, m.COLOURS)).size, m.COLOURS, "a symbol for every colour");
});

test("every state has a symbol and a word of its own, and only its own requests", () => {
  const states = ["queued", "running", "paused", "stopping", "finished", "failed", "killed", "stalled", "gone"], badges = states.map(state => m.badge(state));
  assert.equal(new Set(badges.map(badge => badge.text)).size, states.length);
  assert.ok(badges.every(badge => badge.symbol && badge.tone));
  assert.equal(m.badge("running", "evaluate").text, "running · evaluate");
  assert.equal(m.badge("asleep").text, "asleep");
  assert.ok(m.allowed("running").has("pause") && !m.allowed("running").has("resume") && m.allowed("paused").has("resume"));
  for (const state of states) assert.equal(m.allowed(state).has("stop_now"), !m.ended(state), state);
  assert.deepEqual([...m.allowed("running", false)], ["pause", "stop", "stop_now"]);
  assert.equal(m.allowed("unheard of").size, 0);
});

test("remaining time and the spoken summary", () => {
  assert.deepEqual([{ state: "running", remaining: 440 }, { state: "running", remaining: null }, { state: "running", remaining: 2 }, { state: "finished", remaining: 3 }, { state: "queued" }].map(m.remainingText), ["≈ 7:20", "estimating…", "a moment", "–", "–"]);
  assert.equal(m.summary({ label: "a", state: "running", stage: "train", step: 1200, steps: 3000, remaining: 61 }, 0.4321), "a: running, train, step 1,200 of 3,000, train loss 0.4321, 1:01 remaining");
  assert.equal(m.summary({ label: "a", state: "queued", step: null }, NaN), "a: queued");
});

// ---- requests ----

test("a request's file: its name, place and content", () => {
  assert.equal(m.requestId("stop", 1000), "1000-stop");
  assert.equal(m.requestId("stop", 1000, 1000), "1001-stop", "two in one millisecond");
  assert.equal(m.requestUrl("/lab base/", "runs/a b/control", "5-stop"), "/lab base/api/contents/runs/a%20b/control/5-stop.json");
  assert.equal(m.requestUrl("/", "/runs/50%/#1?/control/", "5-stop"), "/api/contents/runs/50%25/%231%3F/control/5-stop.json");
  const body = JSON.parse(m.requestBody("pause", { release: true }));
  assert.deepEqual([body.type, body.format, JSON.parse(body.content)], ["file", "text", { request: "pause", release: true }]);
  assert.equal(m.cookie("a=1; _xsrf=2|x=y; b=3", "_xsrf"), "2|x=y");
  assert.equal(m.cookie("", "_xsrf"), "");
});

test("what is typed is checked before it is sent", () => {
  assert.deepEqual(m.readRate(" 2e-5 "), { value: 2e-5 });
  for (const text of ["", "0", "1", "-1e-5", "fast", "1e-5x", "Infinity"]) assert.match(m.readRate(text).problem, /between 0 and 1/, text);
  assert.deepEqual(m.readOverrides("train.seed=2\n\n method.name = lora "), { overrides: ["train.seed=2", "method.name = lora"] });
  for (const text of ["", "  \n", "train.seed", "=3", "train.seed=", "a=1\n9x=2"]) assert.ok(m.readOverrides(text).problem, text);
});

test("the ledger: asked, waiting, answered, refused, failed", () => {
  const run = { id: "r", state: "running", answers: [{ id: "2000-stop", request: "stop", answer: "accepted" }, { id: "2000-stop", request: "stop", answer: "done", reason: "saved" }, { id: "77-sample", request: "sample", answer: "refused", reason: "no rows" }] };
  const asked = [{ id: "1000-pause", run: "r", request: "pause" }, { id: "2000-stop", run: "r", request: "stop" }, { id: "3000-stop", run: "other", request: "stop" }, { id: "4000-clone", run: "r", request: "clone", failure: "Jupyter's server answered 403" }, { id: "500-sample", as: "77-sample", run: "r", request: "sample" }];
  const rows = m.ledger(run, asked, 5000);
  assert.deepEqual(rows.map(row => `${row.title} ${row.text}`), ["Clone from here failed: Jupyter's server answered 403", "Stop done: saved", "Pause sent…", "Sample now refused: no rows"]);
  assert.deepEqual(rows.map(row => row.waits), [false, false, true, false]);
  assert.deepEqual(rows.map(row => row.tone), ["bad", "good", "calm", "bad"]);
  assert.match(m.ledger(run, asked, 31000)[2].text, /no answer for 30 s/);
  assert.match(m.ledger({ ...run, state: "killed" }, asked, 5000)[2].text, /has ended/);
});

// ---- the stylesheet's colours ----

const css = readFileSync(new URL("../../finetune_wb/static/monitor.css", import.meta.url), "utf8");
const [light, dark] = css.match(/\.ftwb \{[^}]*--ftwb-c0[^}]*\}/g).map(block => Array.from({ length: m.COLOURS }, (_, i) => new RegExp(`--ftwb-c${i}: (#[0-9a-f]{6})`).exec(block)[1]));
const linear = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16) / 255).map(c => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
const luminance = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
const contrast = (a, b) => { const [x, y] = [luminance(linear(a)), luminance(linear(b))].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
// Full protanopia and deuteranopia in linear RGB: Machado, Oliveira, Fernandes 2009, table 1
const SIGHT = { normal: [[1, 0, 0], [0, 1, 0], [0, 0, 1]], protan: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]], deutan: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]] };
function lab(hex, sight) {
  const rgb = linear(hex), seen = sight.map(row => Math.min(1, Math.max(0, row.reduce((sum, weight, i) => sum + weight * rgb[i], 0))));
  const xyz = [[0.4124, 0.3576, 0.1805, 0.9505], [0.2126, 0.7152, 0.0722, 1], [0.0193, 0.1192, 0.9505, 1.089]].map(([r, g, b, white]) => (r * seen[0] + g * seen[1] + b * seen[2]) / white).map(t => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116));
  return [116 * xyz[1] - 16, 500 * (xyz[0] - xyz[1]), 200 * (xyz[1] - xyz[2])];
}

test("every line stands 3:1 on its paper, in both themes", () => {
  for (const [colours, paper] of [[light, "#ffffff"], [dark, "#111111"]]) for (const colour of colours) assert.ok(contrast(colour, paper) >= 3, `${colour} on ${paper}: ${contrast(colour, paper).toFixed(2)}`);
});

test("all colours stay apart for protanopic and deuteranopic eyes (CIE76 at least 12)", () => {
  for (const colours of [light, dark]) for (const [name, sight] of Object.entries(SIGHT)) {
    for (let a = 0; a < m.COLOURS; a++) for (let b = 0; b < a; b++) {
      const apart = Math.hypot(...lab(colours[a], sight).map((one, i) => one - lab(colours[b], sight)[i]));
      assert.ok(apart >= 12, `${colours[a]} and ${colours[b]} for ${name}: ${apart.toFixed(1)}`);
    }
  }
});

// ---- speed and the module ----

test("a million points become a line of pixels and a smooth one within a frame or two", () => {
  const n = 1e6, x = Float64Array.from({ length: n }, (_, i) => i), y = Float64Array.from(x, () => random()), map = m.scale("linear", 0, n, 0, 800);
  const time = action => { action(); const start = performance.now(); action(); return performance.now() - start; };
  const drawn = time(() => m.columns(x, y, 0, n, map, 800)), even = time(() => m.smooth(x, y, n, 0.6, m.spacing(x, n, n)));
  assert.ok(drawn < 300 && even < 300, `${drawn.toFixed(0)} ms and ${even.toFixed(0)} ms`);  // about 15 each on a quiet machine
});

test("the module asks for everything once, follows messages, and leaves no listener behind", () => {
  const heard = [], sent = [], model = { on: (...one) => heard.push(one), off: (name, callback) => heard.splice(heard.findIndex(one => one[0] === name && one[1] === callback), 1), send: message => sent.push(message), get: () => [] };
  const instance = widget(), stop = instance.initialize({ model });
  assert.deepEqual(sent, [{ type: "sync" }]);
  const { items, view } = points(cases("running", 50).series);
  heard[0][1]({ type: "points", items }, [view]);
  heard[0][1]({ type: "no such" }, []);
  stop();
  assert.deepEqual(heard, []);
});
