// What the kernel would have told the playground, for its page and its tests.

const facts = { title: "minidoc-lora", task: "instruction", plain: false, folder: "runs/minidoc lora/playground/1a2b3c4d", sides: [{ name: "base", about: "minidoc" }, { name: "tuned", about: "lora" }] };
const settings = { max_new_tokens: 128, temperature: 0, top_p: 1, seed: 0, system: "", only: "" };
const examples = [
  { text: "def quantile(a, q, axis=None, keepdims=False)", system: "", answer: "Compute the q-th quantile of the data along the specified axis." },
  { text: "def read_table(path, sep='\\t', header='infer')", system: "Write the first line of the docstring.", answer: "Read a general delimited file into a frame." },
  { text: "class Series(data=None, index=None, dtype=None, name=None, copy=None, fastpath=False, and=more, than='fits', into=one, line=True)\nsecond line", system: "", answer: "" },
];
const rest = { phase: "rest", side: "", asked: 7 };
const done = (text, tokens, rate, ended, why) => ({ text, tokens, rate, ended, why });
const turn = (asked, base, tuned, reference = "") => ({ asked, reference, answers: { base, tuned } });
const first = () => turn(examples[0].text,
  done("Return a new array with the specified axis.\n\n    Parameters\n    ----------\n    a : array_like\n        Input array or object that can be converted to an array.\n    q : array_like of float\n        The axis along which to compute the axis along which to compute the axis", 128, 61.24, "limit", "cut off at 128 new tokens"),
  done("Compute the q-th quantile of the data along the given axis.", 17, 58.7, "stop", "ended by itself (<|im_end|>)"), examples[0].answer);
const second = () => turn("And what does keepdims do?",
  done("def keepdims(a, axis=None)", 9, 60.1, "stop", "ended by itself (<|im_end|>)"), done("", 1, 40.2, "stop", "ended by itself (<|im_end|>)"));
const made = traits => ({ facts, settings: { ...settings }, examples, turns: [], status: { phase: "rest", side: "", asked: -1 }, error: "", ...traits });
const unwritten = { text: "", tokens: 0, rate: null, ended: null, why: "" };

export const HOSTILE = "<img src=x onerror=\"window.hurt=1\"><script>window.hurt=2</script>[x](javascript:window.hurt=3)\u001b[31mred\u202ecba";

export const cases = {
  empty: () => made({}),
  bare: () => made({ examples: [] }),
  done: () => made({ turns: [first(), second()], status: rest }),
  writing: () => made({ turns: [first(), { asked: "And what does keepdims do?", reference: "", answers: { base: { text: "If this is set to True, the axes which are", tokens: 12, rate: 57.9, ended: null, why: "" }, tuned: { ...unwritten } } }], status: { phase: "write", side: "base", asked: 8 } }),
  loading: () => made({ status: { phase: "load", side: "", asked: 8 } }),
  error: () => made({ turns: [second()], status: rest, error: "the prompt has 1,031 tokens and the model reads 1,024, so there is no room for an answer. Begin a new conversation, or shorten it." }),
  failed: () => made({ turns: [turn("Why?", done("Because", 2, 31, "failed", "failed"), { ...unwritten })], status: rest, error: "OutOfMemoryError: CUDA out of memory." }),
  hostile: () => made({ facts: { ...facts, title: HOSTILE }, examples: [{ text: HOSTILE, system: HOSTILE, answer: HOSTILE }], turns: [turn(HOSTILE, done(HOSTILE, 30, 10, "stop", HOSTILE), done("שלום עולם — " + "x".repeat(400), 30, 10, "stopped", "stopped"), HOSTILE)], status: rest, error: HOSTILE }),
  plain: () => made({ facts: { ...facts, task: "completion", plain: true }, examples: [{ text: "Once upon a time", system: "", answer: " there was" }], turns: [turn("Once upon", done(" a time", 2, 33, "stopped", "stopped"), done(" the file", 2, 0.4, "context", "ran out of room: the model reads 256 tokens at most"))], status: rest }),
  single: () => made({ facts: { ...facts, sides: facts.sides.slice(1) }, turns: [{ asked: "One?", reference: "", answers: { tuned: done("One.", 2, 5, "stop", "ended by itself (</s>)") } }], status: rest }),
  stale: () => made({ turns: [first()], status: rest }),
};
