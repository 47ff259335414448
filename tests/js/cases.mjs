// Made-up runs for tests/js/page.html: the traits and series that the kernel would send.

let seed = 7;
const random = () => { seed = (seed * 1664525 + 1013904223) % 4294967296; return seed / 4294967296; };
const noise = () => random() + random() + random() - 1.5;

/** Series to one `points` message; the view starts at an odd byte, as a websocket's may. */
export function points(series) {
  const items = series.map(({ run, name, generation = 0, start = 0, total, decimated = true, columns }) => ({ run, name, generation, start, total: total ?? columns[0].length, count: columns[0].length, decimated }));
  const bytes = new Uint8Array(5 + items.reduce((sum, item) => sum + item.count * 32, 0)), flat = series.flatMap(one => one.columns.flatMap(column => Array.from(column)));
  bytes.set(new Uint8Array(Float64Array.from(flat).buffer), 5);
  return { items, view: new DataView(bytes.buffer, 5) };
}

function curves(run, count, { rate = 2e-5, floor = 0.25, gpu = true, speed = 1 } = {}) {
  const at = (length, every, value) => {
    const step = Array.from({ length }, (_, i) => (every === 1 ? i + 1 : (i + 1) * every));
    return [step, step.map(s => s * 0.7 / speed), step.map(s => (3 * s) / 1000), step.map(value)];
  };
  const all = count, valid = Math.max(1, Math.floor(count / 100));
  const series = [
    ["train_loss", at(all, 1, s => floor + 2 * Math.exp(-s / (110 / speed)) + 0.12 * noise())], ["valid_loss", at(valid, 100, s => floor + 0.08 + 1.9 * Math.exp(-s / (115 / speed)) + 0.00009 * s)],
    ["learning_rate", at(all, 1, s => rate * Math.min(1, s / 60) * 0.5 * (1 + Math.cos((Math.PI * s) / 1000)))], ["grad_norm", at(all, 1, s => 0.6 + 2.5 * Math.exp(-s / 90) + 0.35 * Math.abs(noise()))],
    ["valid_accuracy", at(valid, 100, s => 0.9 - 0.5 * Math.exp(-s / 220))], ["valid_f1_macro", at(valid, 100, s => 0.87 - 0.55 * Math.exp(-s / 240))],
    ["tokens_per_s", at(all, 1, s => (s % 100 === 0 ? 5200 : 8400) * speed + 300 * noise())],
  ];
  const tick = Math.max(1, Math.floor(count / 200)), n = Math.floor(count / tick);
  if (gpu) series.push(["gpu_percent", at(n, tick, () => 91 + 4 * noise())], ["gpu_memory_mb", at(n, tick, s => 21400 + Math.min(s, 40) * 20)], ["gpu_power_w", at(n, tick, () => 284 + 14 * noise())], ["gpu_temperature_c", at(n, tick, s => 66 - 24 * Math.exp(-s / 80) + noise())]);
  series.push(["cpu_percent", at(n, tick, () => 42 + 9 * noise())], ["rss_mb", at(n, tick, s => 3100 + s * 0.2)]);
  return series.map(([name, columns]) => ({ run, name, columns }));
}

const samples = [[0.61, 0.44], [0.93, 0.52]].map((sure, i) => ({
  step: 300 * (i + 1),
  rows: [
    { text: "I still have not received my new card, and I ordered it over two weeks ago.", label: "card_arrival", predicted: "card_arrival", confidence: sure[0] },
    { text: "<img src=x onerror=window.hacked=1><b>Why</b> was I charged twice for one payment?", label: "transaction_charged_twice", predicted: "card_payment_fee_charged", confidence: sure[1] },
    { text: "لماذا لم يصل التحويل بعد؟", label: "transfer_timing", predicted: "transfer_timing", confidence: 0.71 },
  ],
}));
const run = {
  id: "banking77-lora", label: "banking77-lora-r8-2026-11-21", state: "running", stage: "train", step: 600, steps: 1000, epoch: 1.8, epochs: 3, elapsed: 420, remaining: 281,
  tokens_per_s: 8421, reason: "", cure: "", resume: "", verdict: null, control: "runs/banking 77/control", stale_after: 6, system: { gpu_memory_total_mb: 81559 }, alerts: [], samples, answers: [],
};
const alerts = [
  { time: 1795260000, step: 320, severity: "warning", message: "Validation loss has not fallen for 3 evaluations, while train loss still falls.", cure: "The model starts to overfit: stop now, or clone from here with train.learning_rate=1e-5." },
  { time: 1795260100, step: 410, severity: "error", message: "CUDA ran out of memory on a batch of 8 × 512 tokens.", cure: "Halve train.per_device_train_batch_size and double train.gradient_accumulation_steps." },
];
const answer = (id, request, text, reason = "") => ({ id: `${id}-${request}`, request, answer: text, reason });

/** The traits and series of a case, with `count` steps of history. */
export function cases(name, count) {
  const view = { axis: "step", smoothing: 0.6, log: false, hidden: [] }, one = (patch, series) => ({ traits: { runs: [{ ...run, ...patch }], view, error: "" }, series });
  if (name === "empty") return one({ state: "running", stage: "prepare", step: null, steps: null, epoch: null, elapsed: 4, remaining: null, tokens_per_s: null, samples: [] }, []);
  if (name === "queued") return one({ state: "queued", stage: null, step: null, steps: null, epoch: null, elapsed: null, remaining: null, tokens_per_s: null, samples: [] }, []);
  if (name === "none") return { traits: { runs: [], view, error: "" }, series: [] };
  if (name === "gone") { const made = one({ alerts }, curves(run.id, count)); made.traits.error = "The run folder runs/banking77-lora is gone; what was read before is still shown."; return made; }
  if (name === "failed") return one({ state: "failed", stage: null, step: 410, epoch: 1.23, elapsed: 287, remaining: null, alerts, reason: "Out of memory: the GPU had 79.1 GB of 79.6 GB in use when a batch of 8 × 512 tokens came.",
    cure: "Halve the batch: train.per_device_train_batch_size=4 and train.gradient_accumulation_steps=2 keep the result the same.", resume: "ftwb train runs/banking77-lora train.per_device_train_batch_size=4 train.gradient_accumulation_steps=2" }, curves(run.id, 410));
  if (name === "paused") return one({ state: "paused", stage: null, answers: [answer(1795260000000, "pause", "done", "saved step 600")] }, curves(run.id, count, { gpu: false }));
  if (name === "finished") return one({ state: "finished", stage: null, step: 1000, epoch: 3, remaining: 0, verdict: "The tuned model is better than the probe: +4.1 points of macro F1 on 3,080 held-out rows (95 % interval +3.2 to +5.0)." }, curves(run.id, 1000));
  if (name === "three") {
    const runs = [{ ...run, label: "lr 2e-5" }, { ...run, id: "b", label: "lr 1e-4, a clone from step 200 with a rather long name that has to be cut", state: "failed", reason: "The loss became NaN at step 420.", step: 420, remaining: null, alerts }, { ...run, id: "c", label: "lr 5e-6", state: "finished", step: 600, remaining: 0 }];
    return { traits: { runs, view, error: "" }, series: [...curves(run.id, count), ...curves("b", Math.min(count, 420), { rate: 1e-4, floor: 0.4, speed: 1.4 }), ...curves("c", count, { rate: 5e-6, floor: 0.7, speed: 0.7 })] };
  }
  return one({ alerts: alerts.slice(0, 1), answers: [answer(1795260000000, "evaluate", "done", "accuracy 0.871"), answer(1795260004000, "learning_rate", "refused", "2 is not below 1")] }, curves(run.id, count));
}
