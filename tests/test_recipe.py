"""Recipes: what is wrong is named with its path, all at once; what is right comes back byte for byte."""

import pytest
from pydantic import ValidationError

from finetune_wb.errors import RecipeError
from finetune_wb.method import METHODS, FullSpec, LoraSpec
from finetune_wb.recipe import Recipe, describe, load_recipe, override, to_yaml


@pytest.fixture
def write(tmp_path):
    """Writes a recipe file, as text or bytes."""

    def make(content):
        path = tmp_path / "recipe.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def refused(source, *assignments) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        load_recipe(source, *assignments)
    return caught.value


def problems(source, *assignments) -> dict:
    return {problem.field: str(problem) for problem in refused(source, *assignments).problems}


# ---- unknown keys and wrong types


@pytest.mark.parametrize(
    "recipe, field, near",
    [
        ({"trian": {}}, "trian", '"train"'),
        ({"train": {"learning_rte": 1e-4}}, "train.learning_rte", '"learning_rate"'),
        ({"train": {"lr": 1e-4}}, "train.lr", "learning_rate"),
        ({"model": {"name": "minilm"}}, "model.name", "id"),
        ({"data": {"labels": "x"}}, "data.labels", '"label"'),
        ({"method": {"name": "lora", "lora_alfa": 3}}, "method.lora_alfa", '"lora_alpha"'),
        ({"method": {"name": "probe", "probe_first": True}}, "method.probe_first", "name"),
        ({"evaluate": {"baseline": ["majority"]}}, "evaluate.baseline", '"baselines"'),
    ],
)
def test_an_unknown_key_is_named_with_its_path_and_the_nearest_known_one(recipe, field, near):
    found = problems(recipe)
    assert list(found) == [field] and "is not a field" in found[field] and near in found[field]


@pytest.mark.parametrize(
    "path, value",
    [
        ("train.learning_rate", "fast"), ("train.learning_rate", "1e-4"), ("train.learning_rate", 0), ("train.learning_rate", 1.0), ("train.learning_rate", -1e-4),
        ("train.learning_rate", True), ("train.learning_rate", float("nan")), ("train.learning_rate", float("inf")), ("train.max_grad_norm", float("nan")),
        ("train.max_steps", 1.5), ("train.max_steps", 0), ("train.max_steps", "10"), ("train.seed", -1), ("train.seed", True), ("train.bf16", "yes"), ("train.bf16", 1),
        ("train.extra", [1]), ("train.lr_scheduler_type", "cosin"), ("train.metric_for_best_model", "error_rate"), ("train.report_to", 3),
        ("model.id", ""), ("model.id", 5), ("model.id", None), ("model.pooling", "max"), ("model.allow_pickle", "true"),
        ("data.source", 3), ("data.delimiter", "||"), ("data.delimiter", ""), ("data.valid_fraction", 0), ("data.test_fraction", 1), ("data.max_rows", 9), ("data.bad_rows", "skip"),
        ("evaluate.baselines", ["nothing"]), ("evaluate.confidence", 95), ("evaluate.confidence", 0.5), ("task", "regression"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_path(path, value):
    section, _, name = path.partition(".")
    found = problems({section: {name: value}} if name else {section: value})
    assert len(found) == 1
    assert path in str(next(iter(found))), found  # a list's item adds its position


@pytest.mark.parametrize("section", ["model", "data", "train", "evaluate"])
@pytest.mark.parametrize("value", [None, 3, "text", []])
def test_a_section_that_is_no_mapping_is_named(section, value):
    assert list(problems({section: value})) == [section]


def test_all_errors_come_at_once_with_their_paths():
    found = problems({"trian": 1, "model": {"pooling": "max", "idd": "x"}, "train": {"learning_rate": "1e-4", "max_steps": 0}, "method": {"name": "lora", "r": 0}})
    assert set(found) == {"trian", "model.pooling", "model.idd", "train.learning_rate", "train.max_steps", "method.r"}


def test_a_quoted_number_is_refused_with_the_cure(write):
    found = problems(write("train:\n  learning_rate: '1e-4'\n"))
    assert "without quotes" in found["train.learning_rate"] and '"1e-4"' in found["train.learning_rate"]


# ---- methods


@pytest.mark.parametrize("name", METHODS)
def test_each_method_has_its_own_fields(name):
    assert type(load_recipe({"method": {"name": name}}).method) is METHODS[name]


@pytest.mark.parametrize("method, field", [({"name": "lora", "layers": 2}, "method.layers"), ({"name": "full", "r": 8}, "method.r"), ({"name": "last_layers", "layers": 0}, "method.layers")])
def test_a_field_of_another_method_is_refused(method, field):
    assert list(problems({"method": method})) == [field]


@pytest.mark.parametrize("method", [{"name": "lorra"}, {"name": 3}, {"name": None}, {"name": ["lora"]}, {}, {"r": 3}])
def test_an_unknown_method_names_those_there_are(method):
    found = problems({"method": method})
    assert len(found) == 1 and "lora" in next(iter(found.values()))


def test_a_method_written_as_text_is_refused():
    assert list(problems({"method": "lora"})) == ["method"]


# ---- YAML


@pytest.mark.parametrize(
    "text, path, value",
    [
        ("train: {learning_rate: 1e-4}", "train.learning_rate", 1e-4),
        ("train: {learning_rate: 3E-5}", "train.learning_rate", 3e-5),
        ("train: {learning_rate: .001}", "train.learning_rate", 0.001),
        ("train: {num_train_epochs: 2}", "train.num_train_epochs", 2.0),
        ("data: {label: no}", "data.label", "no"),
        ("data: {label: y}", "data.label", "y"),
        ("data: {label: on}", "data.label", "on"),
        ("data: {text: 010}", "data.text", "010"),
        ("data: {text: 0x1F}", "data.text", "0x1F"),
        ("data: {text: 12:30}", "data.text", "12:30"),
        ("data: {text: 1_000}", "data.text", "1_000"),
        ("data: {text: 2020-01-01}", "data.text", "2020-01-01"),
        ("data: {text: =}", "data.text", "="),
        ("data: {text: ~}", "data.text", None),
        ("data: {text: 'null'}", "data.text", "null"),
        ("data: {source: {train: a.csv, test: b.csv}}", "data.source", {"train": "a.csv", "test": "b.csv"}),
    ],
)
def test_yaml_reads_as_yaml_1_2(write, text, path, value):
    recipe = load_recipe(write(text))
    section, name = path.split(".")
    assert getattr(getattr(recipe, section), name) == value
    assert type(getattr(getattr(recipe, section), name)) is type(value)


@pytest.mark.parametrize("value", ["no", "010", "1e-4", "12:30", "null", "~", "true", "1_000", " x ", "a: b", "# c", "é\u202e", "tab\there", "line\nbreak", "'", '"', "*a", "!x", "1.", "-", "\u2028", "🙂"])
def test_text_of_any_kind_survives_the_round_trip(write, value):
    recipe = load_recipe({"data": {"text": value, "source": {"train": value}}, "train": {"extra": {"note": value}}})
    text = to_yaml(recipe)
    again = load_recipe(write(text))
    assert again == recipe and to_yaml(again) == text


@pytest.mark.parametrize("comments", [False, True])
@pytest.mark.parametrize("assignments", [(), ("train.learning_rate=3e-4",), ("method.name=lora", "method.target_modules=[query, value]"), ("evaluate.baselines=[majority]", "train.report_to=[]"), ("train.extra={optim: adafactor}", "data.source={train: a.csv}")])
def test_a_recipe_round_trips_byte_for_byte(write, comments, assignments):
    recipe = override(Recipe(), *assignments)
    again = load_recipe(write(to_yaml(recipe, comments)))
    assert again == recipe
    assert to_yaml(again, comments) == to_yaml(recipe, comments) and to_yaml(again) == to_yaml(recipe)


@pytest.mark.parametrize("value", [1e-4, 3e-05, 1e-7, 0.1, 1 / 3])
def test_small_numbers_stay_numbers_and_exact(write, value):
    recipe = load_recipe({"train": {"learning_rate": value}})
    assert load_recipe(write(to_yaml(recipe))).train.learning_rate == value


@pytest.mark.parametrize(
    "content, line, says",
    [
        ("train:\n  learning_rate: 1\n  seed: 1\n  seed: 2\n", 4, "twice"),
        ("train: {}\ntrain: {}\n", 2, "twice"),
        ("model:\n  id: [a\ntrain: x\n", 3, "not valid YAML"),
        ("model:\n\tid: a\n", 2, "not valid YAML"),
        ("a: 'open\n", None, "not valid YAML"),
        ("model: !!python/object/apply:os.system ['true']\n", 1, "not valid YAML"),
        ("a: *nothing\n", 1, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", None, "not valid YAML"),
        ("? [a]\n: b\n", None, "not valid YAML"),
        ("a: \x00b\n", None, "not valid YAML"),
        ("a: \x1b[31mb\n", None, "not valid YAML"),
    ],
)
def test_bad_yaml_names_file_and_line(write, content, line, says):
    path = write(content)
    error = refused(path)
    assert says in str(error) and error.problems[0].file == str(path)
    if line:
        assert error.problems[0].line == line
    assert "\x1b" not in str(error)


@pytest.mark.parametrize("content", ["", "\n", "# nothing\n", "- a\n", "text", "3", "null"])
def test_a_file_without_sections_holds_no_recipe(write, content):
    error = refused(write(content))
    assert "holds no recipe" in str(error) and "recipe.yaml" in str(error)


def test_keys_that_are_no_text_are_refused_not_crashed_on(write):
    for content in ("1: 2\n", "train: {1: 2}\n", "null: 3\n", "self: 3\n", "train: {self: 3}\n"):
        assert refused(write(content)).problems


def test_a_missing_file_says_how_to_write_one(tmp_path):
    error = refused(tmp_path / "none.yaml")
    assert "no such file" in str(error) and "ftwb recipe" in str(error) and "none.yaml" in str(error)


@pytest.mark.parametrize("content", [b"model: {id: caf\xe9}", "model: {id: x}".encode("utf-16")])
def test_a_file_that_is_not_utf8_is_named(write, content):
    assert "can't be read" in str(refused(write(content)))


def test_a_folder_is_no_recipe(tmp_path):
    assert str(tmp_path) in str(refused(tmp_path))


def test_a_bom_and_windows_line_ends_do_no_harm(write):
    assert load_recipe(write("\ufefftrain:\r\n  seed: 3\r\n")).train.seed == 3


# ---- overrides


@pytest.mark.parametrize(
    "assignment, path, value",
    [
        ("train.learning_rate=3e-4", "train.learning_rate", 3e-4), ("train.max_steps=5", "train.max_steps", 5), ("train.max_steps=null", "train.max_steps", None),
        ("train.bf16=false", "train.bf16", False), ("train.report_to=[wandb, mlflow]", "train.report_to", ("wandb", "mlflow")), ("data.text=12", "data.text", "12"),
        ("data.label=true", "data.label", "true"), ("data.source=a=b.csv", "data.source", "a=b.csv"), ("data.source={train: a.csv}", "data.source", {"train": "a.csv"}),
        ("model.id=./x", "model.id", "./x"), ("model.id=1e5", "model.id", "1e5"), ("train.extra.optim=adafactor", "train.extra", {"optim": "adafactor"}),
        ("data.source=[odd.csv", "data.source", "[odd.csv"), ("method.name=probe", "method.name", "probe"), ("task=classification", "task", "classification"),
    ],
)  # fmt: skip
def test_overrides_take_the_type_of_the_field(assignment, path, value):
    found = override(Recipe(), assignment)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("assignment", ["train.learning_rate", "=3", "train..seed=3", ".train=3", "", "   "])
def test_what_is_no_override_is_refused_with_an_example(assignment):
    assert "path=value" in str(refused({}, assignment))


@pytest.mark.parametrize(
    "assignment, field",
    [
        ("train.lr=3", "train.lr"), ("trian.seed=3", "trian"), ("train.seed=x", "train.seed"), ("train.seed='3'", "train.seed"), ("train=3", "train"), ("method.r=3", "method.r"),
        ("method.name=nothing", "method.name"), ("method.name=[1]", "method.name"), ("train.seed.deep=3", "train.seed"), ("model.id.deep=x", "model.id"), ("method=lora", "method"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_an_error_and_never_ignored(assignment, field):
    assert any(found.startswith(field) for found in map(str, problems({}, assignment)))


def test_several_wrong_overrides_come_at_once():
    assert set(problems({}, "train.seed=-1", "train.max_steps=0", "data.bad_rows=x")) == {"train.seed", "train.max_steps", "data.bad_rows"}


def test_overrides_apply_in_order_and_leave_the_recipe_alone():
    recipe = Recipe()
    assert override(recipe, "train.seed=1", "train.seed=2").train.seed == 2
    assert recipe.train.seed == 0 and override(recipe) is recipe


def test_changing_the_method_keeps_what_both_have():
    recipe = override(Recipe(method=FullSpec(probe_first=False, freeze_embeddings=False)), "method.name=lora", "method.r=4")
    assert recipe.method == LoraSpec(probe_first=False, r=4)


# ---- the value


def test_a_recipe_and_its_sections_are_frozen():
    recipe = Recipe()
    for section in (recipe, recipe.train, recipe.method, recipe.data):
        name = next(iter(type(section).model_fields))
        with pytest.raises(ValidationError):
            setattr(section, name, getattr(section, name))


def test_every_field_has_a_description_and_a_default_that_reads_back():
    rows = describe()
    assert len(rows) > 50
    lacking = [path for path, _, _, description in rows if len(description) < 15 and not path.endswith("].name")]
    assert not lacking
    assert len({path for path, *_ in rows}) == len(rows)
    for path, _, default, _ in rows:
        if not path.startswith("method["):
            assert override(Recipe(), f"{path}={default}") == Recipe(), path


def test_hostile_text_cannot_act_on_a_terminal():
    assert "\x1b" not in str(refused({"train": {"\x1b[2J": 1}, "model": {"pooling": "\x1b]0;x\x07"}}))
