"""The token panel's page in a real browser, with its real kernel half at the other end of a model of plain JavaScript."""

import pytest
from causal_models import causal_model  # noqa: F401
from panel_page import Shown as Page
from panel_page import browser, no_kernel, pages, shots  # noqa: F401

from finetune_wb.panels import tokens as module
from finetune_wb.panels.tokens import TokenPanel
from finetune_wb.recipe import Recipe

pytest.importorskip("anywidget")
ANIMALS = "cat dog bird cow fish".split()
HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script></pre>\x1b[31m\u202eevil\u202c\u200b"


class Shown(Page):
    def rows(self) -> list[str]: return self.find("article header > b:first-child").all_inner_texts()
    def tip(self) -> str: return self.page.locator(".ftwb-tip").inner_text()


@pytest.fixture
def shown(pages, monkeypatch, causal_model, tmp_path):  # noqa: F811
    """`shown(rows, …)` → a `Shown`."""
    monkeypatch.setattr(module, "_where", lambda live: "widget")

    def make(rows, width: int = 1200, theme: str = "light", kind: str = "llama", **train) -> Shown:
        source = {"train": rows, "valid": [chat(f"valid {i}?", "the cow") for i in range(3)], "test": [chat(f"test {i}?", "the cow") for i in range(3)]} if "messages" in rows[0] else rows
        return pages(TokenPanel(Recipe(model={"id": str(causal_model(kind))}, train=train), source, runs_dir=tmp_path).wait(), width, theme, kind=Shown)

    return make


def chat(question: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def chats(number: int = 23) -> list[dict]: return [chat(f"which {i}?", f"the {ANIMALS[i % 5]} {i}") for i in range(number)]


LONG = [*chats(12), chat("which?", "the dog " * 30), chat("which one?", "the dog " * 60), chat("the " * 120, "the cat")]


def test_an_option_a_cure_and_the_way_back(shown):
    one = shown(LONG, max_length=40)
    assert one.rows() == ["Row 15", "Row 14", "Row 13", "Row 11", "Row 12"] and one.find("li[data-kind=cut_answer] .ftwb-mark").inner_text() == "✕ error"
    assert one.find("dt:text-is('Rows cut') + dd").inner_text().split()[0] == "3"
    cut = one.find("article[data-place='13'] pre .cut")
    lost = next(card["sides"][0]["cut"] for card in one.panel.view.page["cards"] if card["place"] == 13)
    assert cut.count() == lost > 80 and one.find("article[data-place='13'] pre .trained").count() > 10
    one.find("li[data-kind=cut_answer] [data-cure]").click()
    assert one.heard(wait=False) == ["cure"] and cut.count() == 0  # at once: these rows are encoded first, and stay
    assert one.rows() == ["Row 15", "Row 14", "Row 13", "Row 11", "Row 12"]
    one.panel.wait()
    one.heard()
    assert one.find(".ftwb-clean").inner_text() == "✓ Preflight found nothing wrong." and one.find("dt:text-is('Rows cut') + dd").inner_text() == "0"
    one.find("button:text-is('As code')").click()
    (override,) = one.panel.view.state["code"]["overrides"]
    assert override.startswith("train.max_length=") and all(override in line for line in one.find(".ftwb-code code").all_inner_texts())
    one.find("button:text-is('Reset')").click()
    assert one.heard() == ["reset"] and cut.count() == lost and one.find("input[type=number]").input_value() == "40"
    one.find("label:has-text('Loss on') select").select_option("all")
    assert one.heard() == ["set"] and one.find("pre .context").count() == 0 and one.find("li[data-kind=prompts_trained] .ftwb-mark").inner_text() == "⚠ warning"


def test_what_the_kernel_refuses_snaps_back(shown):
    one = shown(chats())
    length = one.find("input[type=number]")
    length.fill("3")
    length.press("Tab")
    assert one.heard() == [] and "whole number from 4" in one.find(".ftwb-problem").inner_text()
    one.page.evaluate("model.send({ type: 'set', asked: 9, values: ['train.max_length=2'], fields: {} })")
    one.heard()
    assert "max_length" in one.find("[role=alert].ftwb-error").inner_text() and one.panel.recipe.train.max_length is None
    length.fill("64")
    length.press("Tab")
    assert one.heard() == ["set"] and one.panel.recipe.train.max_length == 64 and one.find(".ftwb-error").is_hidden()


def test_paging_search_and_the_rows_of_a_finding(shown):
    one = shown(LONG, max_length=40)
    one.find("label:has-text('Order') select").select_option("data")
    one.heard()
    assert one.rows()[0] == "Row 1" and one.find(".ftwb-pager").inner_text().split("\n")[2] == "Page 1 of 3"
    one.find("[aria-label='Last page']").click()
    one.heard()
    assert one.rows() == [f"Row {i}" for i in range(11, 16)] and one.find("[aria-label='Next page']").is_disabled()
    search = one.find("input[type=search]")
    search.fill("FISH")
    search.press("Enter")
    assert one.heard() == ["show"] and one.rows() == ["Row 5", "Row 10"] and "2 rows found" in one.find(".ftwb-tools").last.inner_text()
    assert "".join(one.find("article[data-place='4'] pre .hit").all_inner_texts()).strip().casefold() == "fish"
    search.fill("zzz")
    one.page.wait_for_function("model.sent.length > 0")  # typing is enough
    one.heard()
    assert one.rows() == [] and one.find(".ftwb-empty").inner_text() == "No row says “zzz”."
    search.fill("")
    one.page.wait_for_function("model.sent.length > 0")
    one.heard()
    one.find("li[data-kind=cut_answer] [data-rows]").click()
    one.heard()
    assert one.rows() == ["Row 13", "Row 14"] and one.find("li[data-kind=cut_answer] [data-rows]").get_attribute("aria-pressed") == "true"
    one.find(".ftwb-chip").click()
    one.heard()
    assert len(one.rows()) == 5 and one.find(".ftwb-chip").is_hidden()
    one.find("input[value=valid]").check(force=True)
    one.heard()
    assert one.rows() == ["Row 1", "Row 2", "Row 3"] and one.find("dt:text-is('Rows') + dd").inner_text() == "3"


def test_tokens_under_arrows_and_mouse(shown):
    one = shown(chats(), kind="qwen3")
    text = one.find("pre[role=listbox]").first
    text.focus()
    said = []
    for key in ("Home", "ArrowRight", "ArrowDown", "ArrowUp", "End"):
        one.page.keyboard.press(key)
        said.append(one.tip())
        assert one.page.evaluate("document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).ariaLabel") == said[-1]
    assert said[0].startswith("Token 1 · “<|im_start|>” · id 1 · context") and said[1].startswith("Token 2 ") and said[2].endswith(" · trained") and said[3] == said[0] and said[4].endswith("· context")
    one.page.keyboard.press("Escape")
    assert one.page.locator(".ftwb-tip").is_hidden()
    one.find("pre .end").first.hover()
    assert "“<|im_end|>”" in one.tip() and one.tip().endswith("trained, end of turn")
    one.page.mouse.move(2, 2)
    assert one.page.locator(".ftwb-tip").is_hidden()


def test_losses_as_colours_and_as_numbers(shown):
    one = shown(chats())
    assert one.find(".ftwb-scale").is_hidden() and one.find("pre [data-loss]").count() == 0
    one.find("button:text-is('This page')").click()
    assert one.heard() == ["measure"]
    losses = one.find("pre [data-loss]")
    assert losses.count() == one.find("pre .trained").count() > 10 and one.find(".ftwb-scale").is_visible()
    first = losses.first
    assert first.evaluate("one => getComputedStyle(one, '::after').content") == "none"
    one.find("label:has-text('Numbers') input").check()
    nats = float(first.get_attribute("data-loss"))
    assert first.evaluate("one => getComputedStyle(one, '::after').content") == f'"{nats:.2f}"' and 3 < nats < 9
    first.hover()
    assert f"loss {nats:.2f} nats" in one.tip()
    assert "· loss " in one.find("article header").first.inner_text()


def test_hostile_text_is_drawn_as_text(shown):
    one = shown([chat(f"{HOSTILE} {i}", f"{HOSTILE} the cat {i}") for i in range(20)], kind="qwen3")
    assert not one.hacked()
    drawn = one.find("pre").first.inner_text()
    assert drawn.count("<script>") == 2 and not {"\x1b", "\u202e", "\u200b"} & {*drawn} and all(escape in drawn for escape in ("\\x1b", "\\u202e", "\\u202c", "\\u200b"))
    search = one.find("input[type=search]")
    search.fill(f"{HOSTILE}?")
    search.press("Enter")
    one.heard()
    assert "<img src=x" in one.find(".ftwb-empty").inner_text() and "\u202e" not in one.find(".ftwb-empty").inner_text()
    assert not one.hacked()


def test_a_long_row_is_shown_whole_on_demand(shown):
    one = shown([*chats(12), chat("which? " * 150, "the cat " * 300)], kind="gemma3", max_length=200)
    card = one.find("article").first
    gap = card.locator(".ftwb-gap")
    assert gap.count() == 1 and "more tokens" in gap.first.inner_text()
    held, total = card.locator("[role=option]").count(), one.panel.view.page["cards"][0]["sides"][0]["length"]
    assert 100 < held < 500 < total
    gap.first.click()
    assert one.heard() == ["whole"] and card.locator("[role=option]").count() == total and gap.count() == 0


@pytest.mark.parametrize("theme, width", [("light", 1400), ("dark", 380)])
def test_it_stands_on_wide_and_narrow_pages(shown, theme, width):
    one = shown(LONG, width=width, theme=theme, max_length=40)
    one.find("button:text-is('This page')").click()
    one.heard()
    assert one.overflow() == []
    contrast = one.contrast("pre [data-loss], pre .named:not(.cut), pre .end:not(.cut), .ftwb-legend .trained")
    assert len(contrast) > 20 and min(contrast)[0] >= 4.5, min(contrast)


def test_everything_has_a_name_and_the_keyboard_reaches_it(shown):
    one = shown(LONG, max_length=40)
    assert one.nameless() == []
    reached = one.tabbed(60)
    assert reached >= {"Loss on", "Max length", "Leave out bad rows", "As code", "Search", "Next page", "This page"} and any(name.startswith("Tokens of row 14") for name in reached)


def test_a_kernel_that_does_not_answer_is_spoken_of(shown):
    one = shown(chats())
    one.page.clock.install()
    one.find("[aria-label='Next page']").click()
    assert one.find(".ftwb-busy").inner_text() == ""
    one.page.clock.run_for(9000)
    assert "The kernel does not answer" in one.find(".ftwb-busy").inner_text()
    messages = one.page.evaluate("model.sent.splice(0)")
    for message in messages: one.panel._take(None, message, [])
    one.page.evaluate("traits => model.take(traits)", one.traits())
    one.page.clock.run_for(100)
    assert one.find(".ftwb-busy").inner_text() == "" and one.rows()[0] != "Row 1"


def test_nothing_is_left_behind(shown):
    one = shown(chats())
    one.page.evaluate("unrender()")
    assert one.page.evaluate("[[...model.heard.values()].flat().length, document.getElementById('here').childElementCount]") == [0, 0]
    one.page.evaluate("traits => model.take(traits)", one.traits())
