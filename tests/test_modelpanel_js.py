"""The model panel's page in a real browser, with its real kernel half at the other end of a model of plain JavaScript."""

import base64
import time
from dataclasses import replace

import pytest
from panel_page import FRAMES, browser, no_kernel, pages, shots  # noqa: F401
from panel_page import Shown as Page
from planted_models import HOSTILE, LINES, MANY, read_once

from finetune_wb.errors import Problem
from finetune_wb.models.search import Catalog
from finetune_wb.panels import model as module
from finetune_wb.panels.model import ModelPanel
from finetune_wb.recipe import Recipe

pytest.importorskip("anywidget")


class Shown(Page):
    def names(self) -> list[str]: return [name.split("\n")[0] for name in self.find(".ftwb-models .ftwb-name").all_inner_texts()]
    def active(self) -> str | None: return self.page.evaluate("document.activeElement.ftwbId ?? null")

    def type(self, text: str) -> list[str]:
        """Types, and waits until the page has asked."""
        self.find("input[type=search]").fill(text)
        self.page.wait_for_function("model.sent.length > 0")
        return self.heard()


@pytest.fixture
def shown(pages, monkeypatch, tmp_path):  # noqa: F811
    """`shown(recipe)` → a `Shown` of `LINES`, with no hub."""
    monkeypatch.setattr(module, "_where", lambda live: "widget")
    monkeypatch.setattr(module, "_downloads", {})
    monkeypatch.setattr("finetune_wb.models.card.inspect_model", read_once)

    def make(recipe=None, width: int = 1200, theme: str = "light", lines=(*LINES, *MANY), catalog=None, **options) -> Shown:
        return pages(ModelPanel(recipe, catalog or Catalog(cache=str(tmp_path / "cache"), hub=False, listing=lines), **options).wait(), width, theme, kind=Shown)

    return make


def test_typing_filters_and_the_way_back(shown):
    one = shown()
    assert one.names()[:2] == ["minidoc", "minilm"] and one.find(".ftwb-pager").inner_text().split("\n")[2] == "Models 1–25 of 66"
    assert one.type("tiny") == ["search"] and one.names() == ["someone/tiny"] and one.find("input[type=search]").input_value() == "tiny"
    one.type("")
    family = one.find(".ftwb-choice:has-text('Computer vision')")
    assert family.inner_text().split() == ["Computer", "vision", "1"] and one.find(".ftwb-choice:has-text('Audio')").get_attribute("data-none") == "true"
    family.locator("input").check(force=True)
    assert one.heard() == ["search"] and one.names() == ["someone/pictures"] and "no fine-tuning yet" in one.find(".ftwb-models li").inner_text()
    assert "image-classification" in one.find("select[aria-label='Task']").inner_html() and "no fine-tuning yet" in one.find("select[aria-label='Task']").inner_text()
    one.click("button:text-is('Clear')")
    one.find("select[aria-label='Licence']").select_option(label="All no commercial use (1)")
    assert one.heard() == ["search"] and one.names() == ["someone/closed"]
    one.find("select[aria-label='Licence']").select_option("")
    one.heard()
    one.find("select[aria-label='Size']").select_option(label="up to 100M parameters")
    one.heard()
    one.find("select[aria-label='Sort']").select_option("parameters")
    one.heard()
    assert one.names()[:2] == ["many/model-000", "many/model-001"]
    assert one.type("zzz") == ["search"] and one.names() == [] and one.find(".ftwb-empty").inner_text() == "No model is called “zzz” among those that fit the filters."


def test_an_answer_of_before_is_no_answer(shown):
    one = shown()
    one.find("input[type=search]").fill("tiny")
    one.page.wait_for_function("model.sent.length > 0")
    one.find("input[type=search]").fill("pictures")
    one.page.wait_for_function("model.sent.length > 1")
    first, second = one.page.evaluate("model.sent.splice(0)")
    one.panel._take(None, first, [])
    one.panel.wait()
    one.page.evaluate("traits => model.take(traits)", one.traits())
    one.page.evaluate(FRAMES)
    assert one.names()[0] == "minidoc" and one.find(".ftwb-list").get_attribute("data-old") == "true"  # the list of before, pale
    one.panel._take(None, second, [])
    one.heard()
    assert one.names() == ["someone/pictures"] and one.find(".ftwb-list").get_attribute("data-old") == "false"


def test_a_card_a_choice_its_code_and_the_way_back(shown):
    one = shown()
    assert one.find(".ftwb-card header .ftwb-name").inner_text() == "minilm" and "Apache License 2.0" in one.find(".ftwb-licence").inner_text()
    assert one.find("[data-choose]").inner_text() == "✓ In the recipe" and one.find("[data-choose]").is_disabled()
    one.find(".ftwb-models li").first.click()
    one.page.evaluate("model.take({ state: { ...model.get('state'), open: 'minidoc' }, cards: {} })")
    one.page.evaluate(FRAMES)
    assert "5.87M parameters" in one.find(".ftwb-card").inner_text() and "Reading its configuration" in one.find(".ftwb-card").inner_text()  # what the list knows is there at once
    assert one.heard() == ["open"] and one.find(".ftwb-models [aria-selected=true]").get_attribute("role") == "option"
    card = one.panel._cards[one.panel._key("minidoc")]
    able = [fit for fit in card.methods if fit.applies]
    assert one.find(".ftwb-memory tr").count() == len(able) and one.find(".ftwb-verdict-box").get_attribute("data-tone") == ("good" if card.verdict.ok else "bad")
    assert one.find(".ftwb-memory [data-off]").count() == len({fit.why_not for fit in card.methods if not fit.applies})
    meter = one.find("tr[data-method=lora] .ftwb-meter")
    assert meter.get_attribute("aria-label").startswith("LoRA: ") and 0 < float(meter.locator("i").evaluate("one => parseFloat(one.style.width)")) <= 100
    one.find("tr[data-method=lora] button").click()
    assert one.heard() == ["choose"] and (one.panel.recipe.model.id, one.panel.recipe.method.name) == ("minidoc", "lora")
    assert one.find(".ftwb-now").inner_text().replace("\n", " ").startswith("The recipe takes minidoc · LoRA")
    one.find("button:text-is('As code')").click()
    assert all("minidoc" in line for line in one.find(".ftwb-code code").all_inner_texts()) and one.find(".ftwb-code code").count() == 3
    batch = one.find("input[title='Rows a batch']")
    batch.fill("0")
    batch.press("Tab")
    assert one.heard() == [] and batch.input_value() == "8"
    one.find("button:text-is('Reset')").click()
    assert one.heard() == ["reset"] and one.panel.recipe == Recipe() and one.find("button:text-is('Reset')").is_hidden()


def test_a_licence_without_commercial_use_is_agreed_to_first(shown, monkeypatch):
    from finetune_wb.models import card as cards
    from finetune_wb.models.licences import licence_of

    plain = cards.inspect_model
    monkeypatch.setattr(cards, "inspect_model", lambda id, *args, **more: replace(plain(id, *args, **more), licence=licence_of("cc-by-nc-4.0")))
    one = shown()
    one.panel.open("minidoc").wait()
    one.page.evaluate("traits => model.take(traits)", {name: one.panel.view.comm.traits[name] for name in ("state", "cards")} if hasattr(one.panel.view, "comm") and hasattr(one.panel.view.comm, "traits") else {"state": one.panel.view.state, "cards": one.panel.view.cards})
    one.page.evaluate(FRAMES)
    assert one.find("[data-choose]").is_disabled() and "does not allow commercial use" in one.find("[data-choose]").get_attribute("title") and one.find("tr[data-method=lora] button").is_disabled()
    one.find("[data-agree] input").check()
    assert one.heard() == [] and one.page.evaluate("document.activeElement.closest('[data-agree]') !== null")
    one.find("tr[data-method=lora] button").click()
    assert one.heard() == ["choose"] and one.panel.chosen == "minidoc" and one.find("[data-agree]").count() == 0


def test_keys_move_open_compare_and_turn_pages(shown):
    one = shown()
    one.find(".ftwb-models li").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp"): one.page.keyboard.press(key)
    assert one.active() == "minilm"
    one.page.keyboard.press("c")
    one.page.keyboard.press("Home")
    one.page.keyboard.press("Enter")
    assert one.heard() == ["compare", "open"] and one.panel._compared == ["minilm"] and one.panel._open == "minidoc" and one.active() == "minidoc"
    one.page.keyboard.press("c")
    one.heard()
    one.page.keyboard.press("PageDown")
    assert one.heard() == ["search"] and one.find(".ftwb-pager").inner_text().split("\n")[2] == "Models 26–50 of 66" and one.active() is not None
    one.page.keyboard.press("End")
    one.page.keyboard.press("ArrowDown")
    one.heard()
    assert one.find(".ftwb-pager").inner_text().split("\n")[2] == "Models 51–66 of 66"
    one.page.keyboard.press("/")
    assert one.page.evaluate("document.activeElement.type") == "search"
    one.page.keyboard.press("ArrowDown")
    assert one.active() is not None
    one.find("[data-side]").click()
    one.page.evaluate(FRAMES)
    assert one.find(".ftwb-main").is_hidden() and one.find(".ftwb-beside thead th").all_inner_texts() == ["minilm", "minidoc"]
    parameters = one.find(".ftwb-beside tr:has(th:text-is('Parameters'))")
    assert parameters.get_attribute("data-differs") == "true" and "22.7M" in parameters.inner_text() and "5.87M" in parameters.inner_text()
    one.find(".ftwb-beside tbody tr:last-child button:not(:disabled)").first.click()
    assert one.heard() == ["choose"] and one.panel.chosen == "minidoc"
    assert one.type("tiny") == ["search"] and one.find(".ftwb-main").is_visible()  # who searches wants the list
    one.click(".ftwb-chip:has-text('minilm')")
    assert one.panel._compared == ["minidoc"] and one.find("[data-side]").is_disabled()


def test_a_strangers_text_is_drawn_as_text(shown, monkeypatch):
    real = read_once("minidoc", None, batch=8, length=None, trust_remote_code=False)
    licence = replace(real.licence, title=HOSTILE, allows=HOSTILE, asks=HOSTILE)
    card = replace(real, architecture=HOSTILE, dtype=HOSTILE, heads=(HOSTILE,), formats=(HOSTILE,), licence=licence, gated=True, remote_code=True, warnings=(Problem(HOSTILE, HOSTILE),), verdict=replace(real.verdict, reason=HOSTILE, way_out=HOSTILE))
    monkeypatch.setattr("finetune_wb.models.card.inspect_model", lambda id, *rest, **more: replace(card, id=id) if id.startswith("evil") else read_once(id, *rest, **more))
    one = shown(lines=LINES)
    row = one.find(".ftwb-models li:has-text('evil')")
    row.click()
    one.heard()
    drawn = one.find(".ftwb-card").inner_text()
    assert drawn.count("<script>") > 6 and "\\u202e" in drawn and not {"\x1b", "\u202e", "\u200b"} & {*one.root.inner_text()} and not one.hacked()
    row.focus()
    one.page.keyboard.press("c")
    one.find(".ftwb-models li").first.focus()
    one.page.keyboard.press("c")
    one.heard()
    one.find("[data-side]").click()
    one.page.evaluate(FRAMES)
    assert "<script>" in one.find(".ftwb-beside").inner_text() and not one.hacked()
    one.type(HOSTILE.replace("\ud800", "") + " and no other")
    assert "<img" in one.find(".ftwb-empty").inner_text() and not one.hacked() and one.overflow() == []


def test_a_hub_that_can_not_be_reached_and_a_card_that_can_not(shown, monkeypatch, tmp_path):
    from hub import point_at

    point_at(monkeypatch, "http://127.0.0.1:9", tmp_path / "home")
    one = shown(catalog=Catalog(cache=str(tmp_path / "cache")))
    note = one.find(".ftwb-note")
    assert note.inner_text().startswith("The hub can't be reached. Showing only the models on this machine.") and one.names() == ["minidoc", "minilm"]
    ink, edge = note.locator("span").evaluate("one => getComputedStyle(one).color"), note.evaluate("one => getComputedStyle(one).borderLeftColor")
    assert ink == one.find(".ftwb-pager .ftwb-soft").evaluate("one => getComputedStyle(one).color") and edge == one.find(".ftwb-models").evaluate("one => getComputedStyle(one).borderTopColor")  # a state, no alarm
    assert one.click(".ftwb-note button") == ["search"]
    one.page.evaluate("model.send({ type: 'open', asked: 50, values: ['someone/else'], fields: {} })")
    one.heard()
    assert "can't be reached" in one.find(".ftwb-card .ftwb-verdict-box").inner_text() and one.click(".ftwb-card button:text-is('Try again')") == ["open"]


class Fetched:
    """A download as far as a test lets it come."""

    error, file, note = None, "model.safetensors", ""

    def __init__(self): self.state, self.done, self.total = "running", 10, 100
    def cancel(self): self.state = "cancelled"


def test_a_download_is_watched_stopped_gone_on_with_and_put_away(shown, monkeypatch):
    made = []
    monkeypatch.setattr("finetune_wb.models.download.download", lambda name, revision=None, on_progress=None: made.append(Fetched()) or made[-1])
    real = read_once("minidoc", None, batch=8, length=None, trust_remote_code=False)
    monkeypatch.setattr("finetune_wb.models.card.inspect_model", lambda id, *rest, **more: replace(real, id=id, source="hub", download_bytes=100) if id == "someone/tiny" else read_once(id, *rest, **more))
    one = shown(lines=LINES)
    one.find(".ftwb-models li:has-text('someone/tiny')").click()
    one.heard()
    one.find("[data-download]").click()
    assert one.heard(wait=False) == ["download"] and one.find(".ftwb-downloads [role=progressbar]").get_attribute("aria-valuenow") == "10" and one.find("[data-download]").count() == 0
    made[0].done = 40
    time.sleep(0.5)
    one.heard(wait=False)
    assert "40 bytes of 100 bytes · model.safetensors" in one.find(".ftwb-downloads").inner_text()
    one.find(".ftwb-downloads button:text-is('Stop')").click()
    assert one.heard() == ["cancel"] and "Stopped at 40 bytes of 100 bytes" in one.find(".ftwb-downloads").inner_text()
    one.find(".ftwb-downloads button:text-is('Go on')").click()
    one.heard(wait=False)
    made[1].state, made[1].done = "finished", 100
    one.heard()
    assert "here and checked" in one.find(".ftwb-downloads").inner_text()
    one.find(".ftwb-downloads button:text-is('Hide')").click()
    one.heard()
    assert len(made) == 2 and one.find(".ftwb-downloads").is_hidden()


@pytest.mark.parametrize("theme, width", [("light", 1400), ("dark", 1200), ("dark", 380)])
def test_it_stands_on_wide_and_narrow_pages(shown, theme, width):
    one = shown(width=width, theme=theme)
    one.find(".ftwb-models li").first.click()
    one.heard()
    one.find("button:text-is('As code')").click()
    one.page.evaluate(FRAMES)
    assert one.overflow() == []
    contrast = one.contrast(".ftwb-mp :is(p, dt, dd, th, td, b, small, .ftwb-soft, .ftwb-badge, .ftwb-fit, .ftwb-button:not(:disabled), .ftwb-choice span)")
    assert len(contrast) > 60 and min(contrast)[0] >= 4.5, min(contrast)


def test_everything_has_a_name_and_the_keyboard_reaches_it(shown):
    one = shown()
    one.find(".ftwb-models li").first.click()
    one.heard()
    assert one.nameless() == []
    one.page.evaluate("document.activeElement.blur()")
    assert one.tabbed(45) >= {"Search models", "Sort", "Licence", "an option", "Choose with LoRA", "Next page", "As code", "Side by side"}


def test_a_page_that_opens_again_and_one_that_ends(shown):
    one = shown()
    one.type("someone")
    one.page.evaluate("unrender()")
    assert one.page.evaluate("[[...model.heard.values()].flat().length, document.getElementById('here').childElementCount]") == [0, 0]
    one.page.evaluate("([...given]) => begin(...given)", [one.panel.view._esm, base64.b64encode(one.panel.view._packed).decode(), one.traits(), "light"])
    one.heard()
    assert one.find("input[type=search]").input_value() == "someone" and one.names() == ["someone/tiny", "someone/pictures", "someone/closed"]
