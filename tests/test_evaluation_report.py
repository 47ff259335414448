"""The report: whole, self-contained, and never a way in for the text it quotes; the tables and pictures of data."""
import base64
import hashlib
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from finetune_wb.data.inspect import class_balance, class_figure, length_figure, summary
from finetune_wb.data.split import Dataset
from finetune_wb.errors import RunError
from finetune_wb.evaluation.metrics import classification_metrics
from finetune_wb.evaluation.report import ReportContent, render_report, write_report
from finetune_wb.evaluation.verdict import verdict
from finetune_wb.pictures import to_png

HOSTILE = [
    "<script>alert(1)</script>", "</style><script>alert(2)</script>", "</title><img src=x onerror=alert(3)>", '" onload="alert(4)', "[/b]", "$\\frac{",
    "مرحبا", "\u202eevil", "\x00\x07\x1b[31m", "https://example.com/x.png", "javascript:alert(5)", "{{ 7 * 7 }}{% raw %}", "\ud800 alone", "x" * 20_000,
]  # fmt: skip
VOID = {"meta", "img", "rect", "link", "br", "hr", "input"}


class Page(HTMLParser):
    "Every tag with its attributes; whether they nest; the visible text."

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID: self.open.append(tag)

    def handle_startendtag(self, tag, attributes): self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag): assert self.open.pop() == tag

    def handle_data(self, data): self.text += data


def content(names=("cat", "dog"), rows: int = 60, **fields) -> ReportContent:
    "A report on made-up predictions, right nine times of ten."
    rng, classes = np.random.default_rng(0), len(names)
    truth = np.arange(rows) % classes
    said = np.where(rng.random(rows) < 0.9, truth, (truth + 1) % classes)
    probabilities = np.where(np.eye(classes, dtype=bool)[said], 0.8, 0.2 / (classes - 1))
    outcome = verdict(truth, probabilities, {"majority": np.eye(classes)[np.zeros(rows, int)]}, {"tuned": 12.0})
    return ReportContent("A model on some rows", outcome, classification_metrics(probabilities, truth, names), **fields)


def hostile() -> ReportContent:
    "A report in which every text is an attack."
    text, every = " ".join(HOSTILE), {f"{i}": attack for i, attack in enumerate(HOSTILE)}
    mistakes = [{"text": a, "label": a, "predicted": a, "confidence": 0.9, "origin": a} for a in HOSTILE]
    made = content(HOSTILE, 200, mistakes=mistakes, recipe_yaml=text, reproduce={a: a for a in HOSTILE}, model=every, machine=every, versions={a: a for a in HOSTILE},
                   cost={a: {"seconds": 1.0, "peak_mb": 2.0} for a in HOSTILE}, created=text, metric=HOSTILE[0],
                   data={"source": text, "rows": {a: 1 for a in HOSTILE}, "classes": HOSTILE, "notes": HOSTILE, "fingerprint": text})  # fmt: skip
    best = made.verdict.best
    return replace(made, title=text, verdict=replace(made.verdict, comparisons=tuple(replace(best, baseline=a) for a in HOSTILE)))


@pytest.fixture(scope="module")
def attacked() -> str: return render_report(hostile())


def test_nothing_in_the_data_becomes_markup(attacked):
    page, plainly = Page(attacked), Page(render_report(content(mistakes=[{"text": "a", "label": "b", "predicted": "c", "confidence": 1.0, "origin": "d"}])))
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "link", "base", "form", "input", "button"}
    known = {"lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "src", "alt", "width", "height", "rx", "role", "aria-label", "scope", "dir"}
    assert {attribute for _, attributes in page.tags for attribute in attributes} <= known
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plainly.tags} | {"pre", "h3", "ul", "li", "details", "summary", "small"}
    assert "{{ 7 * 7 }}" in page.text and "49{" not in page.text and "<script>alert(1)</script>" in page.text


def test_nothing_is_loaded_from_outside(attacked):
    for tag, attributes in Page(attacked).tags:
        for name in ("src", "href"):
            address = attributes.get(name, "#")
            assert address.startswith("#" if tag == "a" else ("#", "data:image/png;base64,")), (tag, address[:60])
    style = re.search(r"<style>(.*?)</style>", attacked, re.S)[1]
    assert "url(" not in style and "@import" not in style and "<" not in style


def test_the_policy_admits_our_style_and_nothing_else(attacked):
    policy = next(a["content"] for tag, a in Page(attacked).tags if a.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", attacked, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert attacked.index("Content-Security-Policy") < attacked.index("<title>")


def test_what_acts_on_a_reader_is_written_out(attacked):
    assert not [c for c in attacked if c in "\u202e\x00\x07\x1b\ud800"] and "\\u202eevil" in attacked and "\\ud800 alone" in attacked
    assert len(attacked) < 2_000_000  # 20,000 letters in each of dozens of places are cut
    assert attacked.encode("utf-8")


def test_a_full_report_says_all_of_it():
    events = [{"kind": "metric", "step": s, "train_loss": 1 / s, "valid_loss": 1 / s, "valid_accuracy": 0.5, "learning_rate": 1e-4} for s in (10, 20)]
    made = content(events=events, best_step=20, recipe_yaml="task: auto\n", reproduce={"Command line": "ftwb train recipe.yaml"}, created="2026-01-02T03:04:05+00:00",
                   cost={"train": {"seconds": 154.2, "peak_mb": 1432.4}}, data={"source": "pets.csv", "rows": {"train": 1200}, "fingerprint": "ab" * 32, "notes": ["A note."]},
                   machine={"cores": 2, "memory_gib": 23.5, "gpus": []}, versions={"torch": "2.13"}, model={"id": "minilm", "commit": None})  # fmt: skip
    text = Page(render_report(made)).text.replace("\N{NO-BREAK SPACE}", " ")
    for said in ("Worth it", made.verdict.sentence.split(": ", 1)[1], "majority class", "2.6 min", "1,432 MB", "The weights of step 20 were kept", "pets.csv", "train 1,200", "ab" * 32,
                 "A note.", "ftwb train recipe.yaml", "task: auto", "memory, GiB", "torch 2.13", "minilm", "trained 2026-01-02 03:04"):  # fmt: skip
        assert said in text, said
    assert "nan" not in text and "None" not in text.replace("None were asked for.", "")


def test_empty_states_are_sentences():
    text = Page(render_report(content())).text
    for said in ("No times were recorded.", "None were asked for.", "No optimizer steps were logged", "not recorded"): assert said in text, said
    alone = replace(content(), verdict=replace(content().verdict, comparisons=()))
    assert "asked for no baseline" in Page(render_report(alone)).text


def test_a_perfect_model_and_untested_classes():
    truth = np.zeros(30, int)
    perfect = np.eye(40)[truth]
    made = ReportContent("Perfect", verdict(truth, perfect, {"probe": perfect}), classification_metrics(perfect, truth, [f"c{i}" for i in range(40)]))
    text = Page(render_report(made)).text
    for said in ("Not worth it", "every test row is right", "39 have no test row", "not tested", "The other 25 classes"): assert said in text, said


def test_kept_at_step_zero_is_said():
    events = [{"kind": "metric", "step": 10, "train_loss": 1.0}]
    assert "never beat the head it started from" in Page(render_report(content(events=events, best_step=0))).text


def test_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, content())
    before = path.read_bytes()
    with pytest.raises(KeyError): write_report(path, replace(content(), metrics={}))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    for nowhere in (tmp_path / "missing" / "report.html", tmp_path / "file" / "report.html"):
        with pytest.raises(RunError, match="can't write the report"): write_report(nowhere, content())


def test_the_same_content_gives_the_same_page(): assert render_report(content()) == render_report(content())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_opens_it_without_a_request_or_a_complaint(tmp_path, scheme):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium: pytest.skip("no chromium on this machine")
    path, heard = write_report(tmp_path / "report.html", hostile()), []
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=quiet)
        page = browser.new_page(color_scheme=scheme, viewport={"width": 390, "height": 800})
        page.on("console", lambda message: heard.append(message.text))
        page.on("dialog", lambda dialog: heard.append(dialog.message))
        page.on("request", lambda request: heard.append(request.url) if not request.url.startswith(("data:", "file:")) else None)
        page.goto(path.as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth")
        pictures = page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 100)")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        browser.close()
    assert heard == [] and all(pictures) and len(pictures) >= 3
    assert wide == 390, "the page scrolls sideways on a phone"
    assert background == {"light": "rgb(246, 247, 249)", "dark": "rgb(13, 17, 23)"}[scheme]


# a look at the data

def dataset(texts, labels, names=None) -> Dataset:
    rows = pd.DataFrame({"text": texts, "label": labels, "origin": [f"x.csv:{i + 2}" for i in range(len(texts))]})
    return Dataset(rows, rows[:2], rows[:0], names or tuple(sorted(set(labels))), "", "", (), "x.csv")


def test_summary_counts_rows_words_and_copies():
    table = summary(dataset(["one two", "One  two!", "a b c d", "x"], ["p", "p", "q", "q"]))
    assert table.loc["train"].tolist() == [4, 2, 2, 2, 3, 4, 1]
    assert table.loc["test"].tolist() == [0] * 7


def test_class_balance_keeps_classes_without_rows_and_sums_to_one():
    table = class_balance(dataset(["a", "b", "c"], ["p", "p", "q"], names=("p", "q", "never")))
    assert table["train"].to_dict() == {"p": 2, "q": 1, "never": 0} and table["share"].sum() == pytest.approx(1)


@pytest.mark.filterwarnings("error")
def test_pictures_of_hostile_data():
    stored = [a for a in HOSTILE if "\ud800" not in a]  # loading refuses lone surrogates
    data = dataset([f"word {a}" for a in stored] * 2, stored * 2)
    for figure in (class_figure(data), length_figure(data), length_figure(dataset(["", ""], ["a", "b"]))): assert to_png(figure, dpi=50).startswith(b"\x89PNG")
