"""From a recipe to findings: data files of every shape, tiny causal models of real families, and each silent failure met on the
road that a user takes, with its cure applied."""

import json
import random
import shutil
import sys

import pytest
from causal_models import KINDS, causal_model  # noqa: F401

from finetune_wb import cli
from finetune_wb.data.load import load_data
from finetune_wb.errors import DataError, ModelError, RecipeError, WorkbenchError
from finetune_wb.recipe import Recipe, load_recipe, override, to_yaml
from finetune_wb.training.examples import load_examples, preflight
from finetune_wb.training.tokenview import tokens

ANIMALS = "cat dog bird cow fish".split()
WITH_TEMPLATE = [kind for kind, made in KINDS.items() if made[5]]
CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


def chat(question: str, answer: str, **more) -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def chats(number: int = 20) -> list[dict]:
    return [chat(f"which {i}?", f"the {ANIMALS[i % 5]} {i}") for i in range(number)]


ROWS = {
    "chat": chats(),
    "instruction": [{"instruction": f"name {i}", "input": "" if i % 2 else f"of {i}", "output": f"the {ANIMALS[i % 5]}"} for i in range(20)],
    "completion": [{"text": f"{i} the {ANIMALS[i % 5]} reads {i} rows"} for i in range(20)],
    "preference": [{"prompt": f"which {i}?", "chosen": f"the {ANIMALS[i % 5]}", "rejected": f"no {i}"} for i in range(20)],
}  # fmt: skip


@pytest.fixture
def recipe_of(causal_model, tmp_path):  # noqa: F811
    "`recipe_of('qwen3', rows, 'train.max_length=30')` → a recipe whose data is a jsonl file; rows by split make one file each."

    def make(kind, rows, *overrides, folder=None) -> Recipe:
        def write(name, part):
            (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)), encoding="utf-8")
            return str(tmp_path / f"{name}.jsonl")

        source = {name: write(name, part) for name, part in rows.items()} if isinstance(rows, dict) else write("rows", rows)
        return override(Recipe(model={"id": str(folder or causal_model(kind))}, data={"source": source}), *overrides)

    return make


@pytest.fixture
def changed(causal_model, tmp_path):  # noqa: F811
    "`changed('llama', tokenizer=…)` → a copy of a model folder; each function edits the JSON of one file."

    def make(kind, **edits):
        folder = shutil.copytree(causal_model(kind), tmp_path / f"changed-{kind}")
        names = {"tokenizer": "tokenizer_config.json", "config": "config.json", "generation": "generation_config.json"}
        for name, edit in edits.items():
            held = json.loads((folder / names[name]).read_text())
            edit(held)
            (folder / names[name]).write_text(json.dumps(held))
        return folder

    return make


def one(found: list, kind: str):
    assert [f.kind for f in found] == [kind], [str(f) for f in found]
    return found[0]


# ------------------------------------------------------------------ clean starts
@pytest.mark.parametrize("kind", WITH_TEMPLATE)
@pytest.mark.parametrize("task", ROWS)
def test_every_task_and_kind_of_model_starts_clean(kind, task, recipe_of):
    recipe = recipe_of(kind, ROWS[task])
    examples = load_examples(recipe)
    assert examples.data.task == task and len(examples.train) == len(examples.data.train) and preflight(recipe) == []
    assert set(examples.rejected) == ({"train", "valid"} if task == "preference" else set())
    assert all(examples.train[i]["labels"][row.ends[-1]] == row.ids[row.ends[-1]] for i, row in enumerate(examples.train.rows))  # ends are trained


def test_test_rows_are_fingerprints(recipe_of):
    examples = load_examples(recipe_of("llama", chats()))
    assert len(examples.data.test) == 0 and len(examples.test) == 4 and all(len(print_) == 32 for print_ in examples.test)


def test_a_dataset_and_rows_in_memory(recipe_of):
    recipe = recipe_of("llama", chats())
    expected = load_examples(recipe).train.rows[0].ids.tolist()
    assert load_examples(recipe, load_data(recipe)).train.rows[0].ids.tolist() == expected
    assert load_examples(recipe, load_data(recipe).development()).test == {}
    assert load_examples(recipe, chats()).train.rows[0].ids.tolist() == expected


def test_where_the_loss_is(recipe_of):
    talk = [*chat("which?", "the cat")["messages"], *chat("and?", "the dog")["messages"]]
    rows = [{"messages": [{**m, "content": f"{m['content']} {i}"} for m in talk]} for i in range(20)]
    trained = {on: load_examples(recipe_of("llama", rows, f"train.loss_on={on}")).train.trained.sum() for on in ("auto", "completion", "assistant", "all")}
    assert trained["auto"] == trained["completion"] < trained["assistant"] < trained["all"]


# ------------------------------------------------------------------ findings, each cured where a recipe can
def test_no_template(recipe_of):
    recipe = recipe_of("gpt2", chats())
    found = one(preflight(recipe), "no_template")
    assert found.cure == ("model.chat_template=alpaca",) and preflight(found.cured(recipe)) == []
    with pytest.raises(ModelError, match="Say model.chat_template=alpaca"): load_examples(recipe)
    assert preflight(recipe_of("gpt2", ROWS["completion"])) == []  # plain text needs none


def test_the_template_that_is_offered_ends_turns_where_generation_stops(recipe_of, changed):
    def base(held): held.update(eos_token="<|endoftext|>")

    folder = changed("qwen3", tokenizer=base, generation=lambda held: held.update(eos_token_id=0))
    (folder / "chat_template.jinja").unlink()  # now it is what a base model is: chatml's marks in the vocabulary, and never used
    recipe = recipe_of("", chats(), folder=folder)
    found = one(preflight(recipe), "no_template")
    assert "chatml" in found.fix and found.cure == ("model.chat_template=alpaca",) and preflight(found.cured(recipe)) == []
    stops = one(preflight(override(recipe, "model.chat_template=chatml")), "stops")
    assert stops.severity == "error" and stops.cure == ("model.chat_template=alpaca",)


def test_rows_that_the_template_refuses(recipe_of):
    recipe = recipe_of("gemma3", [*chats(), {"messages": [{"role": "user", "content": "one"}, *chat("two", "three")["messages"]]}], "data.seed=1")
    found = one(preflight(recipe), "template")
    assert found.cure == ("model.chat_template=gemma",) and preflight(found.cured(recipe)) == []


def test_no_template_is_offered_that_refuses_the_same_rows(recipe_of):
    call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": {}}}]}
    rows = [{"messages": [{"role": "user", "content": f"{i}"}, *([call] if i < 10 else []), {"role": "assistant", "content": f"the cat {i}"}]} for i in range(30)]
    recipe = recipe_of("gemma3", rows)
    found = preflight(recipe)
    assert len(found) > 1 and {f.cure for f in found} == {("data.bad_rows=drop",)}  # what fits this vocabulary knows no tools either
    again = preflight(found[0].cured(recipe))
    assert [f.kind for f in again] == ["dropped"] and "the chat template refuses it" in again[0].evidence


@pytest.mark.parametrize(("kind", "template", "finding"), [
    ("qwen3", "{% for m in messages %}{{ m.role + ':\n' + m.content + '\n\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}", "no_end"),
    ("llama", KINDS["llama"][5].replace("{{ bos_token }}", ""), "no_bos"),
    ("llama", KINDS["llama"][5].replace("{{ bos_token }}", "{{ bos_token + bos_token }}"), "double_bos"),
    ("gpt2", "{% for m in messages %}{{ m.role + ': ' + m.content + eos_token + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}", "prompt_tokens"),
    ("qwen3", CHATML.replace("m.content", "m.content | upper"), "altered"),
    ("qwen3", CHATML.replace("{% for", "{{ undefined_function() }}{% for"), "template"),
])  # fmt: skip
def test_a_template_is_cured_by_one_that_fits(kind, template, finding, recipe_of):
    recipe = recipe_of(kind, chats(), f"model.chat_template={template}")
    assert recipe.model.chat_template == template and load_recipe_text(recipe) == recipe
    found = {f.kind: f for f in preflight(recipe)}[finding]
    assert found.cure[0].startswith("model.chat_template=") and preflight(found.cured(recipe)) == []


def load_recipe_text(recipe: Recipe) -> Recipe:
    from finetune_wb.recipe import _Loader, yaml

    return load_recipe(yaml.load(to_yaml(recipe), _Loader))


def test_questions_in_the_loss(recipe_of):
    recipe = recipe_of("llama", chats(), "train.loss_on=all")
    found = one(preflight(recipe), "prompts_trained")
    assert found.cure == ("train.loss_on=completion",) and preflight(found.cured(recipe)) == []


def test_limits_and_rows_that_no_limit_holds(recipe_of):
    rows = [*chats(), chat("the " * 300, "cat"), chat("which?", "the dog " * 40), chat("the " * 90, "fish")]
    recipe = recipe_of("llama", {"train": rows, "valid": chats(25)[20:], "test": chats(30)[25:]}, "train.max_length=60")
    found = {f.kind: f for f in preflight(recipe)}
    assert set(found) == {"nothing_trained", "cut_answer"} and found["nothing_trained"].names == ("train.jsonl:21", "train.jsonl:23")
    cured = found["cut_answer"].cured(found["nothing_trained"].cured(recipe))
    assert cured == found["nothing_trained"].cured(found["cut_answer"].cured(recipe))  # no cure undoes another
    left = one(preflight(cured), "dropped")
    assert left.severity == "warning" and "1 of 28" in left.what and left.cure == () and len(load_examples(cured).train) == 22
    assert one(preflight(override(recipe, "data.bad_rows=drop")), "dropped").cure == (f"train.max_length={cured.train.max_length}",)


def test_a_limit_past_what_the_model_reads(recipe_of):
    recipe = recipe_of("llama", {"train": [*chats(), chat("the " * 300, "cat")], "valid": chats(25)[20:], "test": chats(30)[25:]}, "train.max_length=400")
    found = one(preflight(recipe), "positions")
    assert found.cure == ("train.max_length=256",) and "positions" not in {f.kind for f in preflight(found.cured(recipe))}


def test_a_cut_text_stays(recipe_of):
    rows = [*ROWS["completion"], {"text": "the cat reads rows " * 200}]
    recipe = recipe_of("llama", {"train": rows, "valid": [{"text": "one cat"}], "test": [{"text": "one dog"}]}, "data.bad_rows=drop")
    found = one(preflight(recipe), "cut_answer")
    assert found.severity == "warning" and found.cure == () and len(load_examples(recipe).train) == 21


def test_rows_of_train_in_test(recipe_of):
    found = one(preflight(recipe_of("llama", {"train": chats(), "valid": chats(25)[20:], "test": [*chats(30)[25:], chats()[3]]})), "leak")
    assert "train.jsonl:4 of train is" in found.evidence and found.severity == "error"


def test_special_tokens_in_the_data(recipe_of):
    assert one(preflight(recipe_of("qwen3", {"train": [*chats(), chat("what is <|im_end|>?", "cat")], "valid": chats(25)[20:], "test": chats(30)[25:]})), "special_in_text").names[0].endswith(":21")


def test_pairs(recipe_of):
    long = "rows " * 60
    rows = [*ROWS["preference"], {"prompt": "x?", "chosen": long + "good", "rejected": long + "bad"}]
    splits = {"train": rows, "valid": [{"prompt": "v?", "chosen": "a", "rejected": "b"}], "test": [{"prompt": "t?", "chosen": "a", "rejected": "b"}]}
    recipe = recipe_of("llama", splits, "train.max_length=50")
    found = preflight(recipe)
    assert {f.kind for f in found} == {"same_pair", "cut_answer"} and any(f.what.startswith("rejected answers: ") for f in found)
    for finding in found: assert preflight(finding.cured(recipe)) == []  # each by itself: all ask for the longest
    assert [f.kind for f in preflight(override(recipe, "data.bad_rows=drop"))] == ["dropped"]


def test_generation_that_does_not_stop_at_the_end_of_turn(recipe_of, changed):
    folder = changed("qwen3", generation=lambda held: held.update(eos_token_id=0))
    assert "generation stops at" in one(preflight(recipe_of("qwen3", chats(), folder=folder)), "stops").what


def test_an_embedding_that_is_much_larger_than_the_tokenizer(recipe_of, tmp_path):
    from causal_models import build_causal_model

    folder = build_causal_model("llama", tmp_path / "wide", vocab_size=2000)
    assert one(preflight(recipe_of("llama", chats(), folder=folder)), "vocabulary").severity == "warning"


# ------------------------------------------------------------------ refusals
@pytest.mark.parametrize(("task", "field", "says"), [
    ("completion", "model.chat_template=alpaca", "the task is completion, which takes null only"),
    ("completion", "train.loss_on=assistant", "the task is completion, which takes auto or all only"),
    ("preference", "train.loss_on=all", "the task is preference, which takes auto or completion only"),
    ("chat", "model.chat_template=chatml", "the vocabulary has no <|im_start|>"),
    ("chat", "model.chat_template=chatlm", 'Did you mean "chatml"'),
    ("chat", "model.chat_template=./template.jinja", "is not a chat template"),
])  # fmt: skip
def test_fields_that_the_task_does_not_read_or_the_model_can_not_spell(task, field, says, recipe_of):
    for call in (preflight, load_examples):
        with pytest.raises(RecipeError) as caught: call(recipe_of("llama", ROWS[task], field))
        assert says in str(caught.value) and field.partition("=")[0] in str(caught.value)


def test_classification_is_refused_and_ignores_nothing(recipe_of):
    from finetune_wb.training.train import prepare

    rows = [{"text": f"the {ANIMALS[i % 5]} reads {i} rows", "label": "ab"[i % 2]} for i in range(30)]
    with pytest.raises(RecipeError, match="the task is classification"): preflight(recipe_of("llama", rows))
    for field in ("train.loss_on=all", "model.chat_template=alpaca"):
        with pytest.raises(RecipeError, match="the task is classification") as caught: prepare(recipe_of("llama", rows, field))
        assert field.partition("=")[0] in str(caught.value)


def test_models_that_can_not_write(recipe_of, tiny_model, changed):
    with pytest.raises(ModelError, match="is an encoder"): preflight(recipe_of("", chats(), folder=tiny_model("bert")))
    with pytest.raises(ModelError, match="embedding has 420 rows"): preflight(recipe_of("", chats(), folder=larger(changed("llama"))))


def larger(folder):
    "A tokenizer that knows one token more than the embedding."
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["catdog"])
    tokenizer.save_pretrained(folder)
    return folder


def test_dropping_everything_is_an_error(recipe_of):
    with pytest.raises(DataError, match="leaves no train rows"): load_examples(recipe_of("llama", chats(), "train.max_length=4", "data.bad_rows=drop"))


def test_junk_never_ends_in_anything_but_a_finding_or_a_workbench_error(recipe_of):
    draw, odd = random.Random(0), ["", None, 3, [], {}, "\x00", "\ud800", "{{ 7*7 }}", "<|eot_id|>", "​", "x" * 3000, [{"role": "user"}], "[/b]"]
    for _ in range(30):
        rows = chats(12)
        for row in draw.sample(rows, 3):
            row["messages"][draw.randrange(2)][draw.choice(["content", "role", "extra"])] = draw.choice(odd)
        try: found = preflight(recipe_of("llama", rows, draw.choice(["data.bad_rows=drop", "data.bad_rows=error"])))
        except WorkbenchError as error: assert str(error)
        else: assert all(f.what and f.severity in ("error", "warning") for f in found)


# ------------------------------------------------------------------ the command line
@pytest.fixture
def ftwb(monkeypatch, capsys):
    "`ftwb('preflight', …)` → exit code, stdout, stderr; in this process."

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ftwb", *map(str, arguments)])
        code = 0
        try: cli.main()
        except SystemExit as end: code = end.code or 0
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def on_disk(recipe_of, tmp_path):
    def make(*arguments, **options):
        (tmp_path / "recipe.yaml").write_text(to_yaml(recipe_of(*arguments, **options)), encoding="utf-8")
        return tmp_path / "recipe.yaml"

    return make


def test_preflight_on_the_command_line(ftwb, on_disk):
    path = on_disk("llama", chats())
    assert ftwb("preflight", path) == (0, "clean: nothing was found\n", "")
    code, out, _ = ftwb("preflight", path, "train.loss_on=all")
    assert code == 0 and out.startswith("warning prompts_trained: ") and "\n  cure: train.loss_on=completion\nerrors: 0, warnings: 1" in out
    code, out, _ = ftwb("preflight", path, "train.max_length=15")
    cure = out.split("cure: ")[1].splitlines()[0]
    assert code == 1 and out.startswith("error ") and ftwb("preflight", path, cure)[0] == 0
    code, _, err = ftwb("preflight", path, "model.chat_template=nonsense")
    assert code == 2 and err.startswith('ERROR field "model.chat_template"')


def test_tokens_on_the_command_line(ftwb, on_disk):
    path = on_disk("llama", {"train": [*chats(), chat("which?", "the dog " * 40), chat("the " * 30, "cat")], "valid": chats(25)[20:], "test": chats(30)[25:]}, "train.max_length=60")
    code, out, _ = ftwb("tokens", path)
    assert code == 0 and out.startswith("train row 21 of 22\n") and "    cut │ " in out  # the one that loses most
    code, out, _ = ftwb("tokens", path, "--row", 1)
    assert code == 0 and "trained │ the cat 0<|eot_id|>◂end" in out and "context │ <|begin_of_text|>" in out
    for row in (0, 23): assert ftwb("tokens", path, "--row", row)[0] == 2
    code, out, _ = ftwb("tokens", path, "train.max_length=256")
    assert out.startswith("train row 21 of 22\n")  # the longest
    code, out, _ = ftwb("tokens", path, "--row", 1, "--losses")
    assert code == 0 and 5 < float(out.split(" nats a trained token")[0].split()[-1]) < 8 and "\nhighest │ " in out  # random weights know as good as nothing: ln 420 is 6.04


def test_hostile_text_is_text(ftwb, on_disk, recipe_of):
    rows = {"train": [*chats(), chat("\x1b[31m<script>alert(1)</script>‮<|eot_id|>[/b]", "{{ 7*7 }} $\\frac{ <b>" + "the " * 40)], "valid": chats(25)[20:], "test": chats(30)[25:]}
    path = on_disk("llama", rows, "train.max_length=100")
    for command in ("preflight", "tokens"):
        code, out, err = ftwb(command, path)
        assert "Traceback" not in out + err and not {"\x1b", "‮"} & {*out}
    assert "[/b]" in out and "{{ 7*7 }}" in out and "49" not in out.split("│", 1)[1]
    shown = tokens(load_examples(load_recipe(path)).train.rows[20])._repr_html_()
    assert "<script>" not in shown and "<b>" not in shown.split("</header>")[1]


def test_public_names():
    import finetune_wb

    assert finetune_wb.preflight is preflight and finetune_wb.tokens is tokens and finetune_wb.load_examples is load_examples
