"""The data panel's page in a real browser, with its real kernel half at the other end of a model of plain JavaScript."""

import json

import numpy as np
import pandas as pd
import pytest
from panel_page import FRAMES, browser, no_kernel, pages, shots  # noqa: F401
from panel_page import Shown as Page

from finetune_wb.data.findings import Change, DataFinding
from finetune_wb.data.load import load_data
from finetune_wb.panels import data as module
from finetune_wb.panels.data import DataPanel
from finetune_wb.recipe import DataSpec

pytest.importorskip("anywidget")
HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>\x1b[31m\u202eevil\u202c\u200b [/b] $x$ =1+1"
CLASSES = {"card": "my card is {} lost in {}", "rate": "what is the {} rate of the {} dollar", "cash": "the {} machine in {} kept my money", "pin": "change the {} pin of {}"}


class Shown(Page):
    def places(self) -> list[int]: return [int(place) for place in self.find("tbody tr[data-place]").evaluate_all("rows => rows.map(row => row.dataset.place)")]
    def texts(self) -> list[str]: return self.find("tbody td[data-main=true]").all_inner_texts()
    def found(self) -> str: return self.find(".ftwb-pager .ftwb-value").inner_text()
    def active(self) -> int | None: return self.page.evaluate("document.activeElement.tagName === 'TR' ? Number(document.activeElement.dataset.place) : null")


@pytest.fixture
def shown(pages, monkeypatch):  # noqa: F811
    """`shown(data, findings)` → a `Shown`."""
    monkeypatch.setattr(module, "_where", lambda live: "widget")

    def make(data, findings=None, width: int = 1200, theme: str = "light", height: int = 1100, **options) -> Shown:
        return pages(DataPanel(data, findings, **options).wait(), width, theme, height, Shown)

    return make


def frame(number: int = 200) -> pd.DataFrame:
    names = [*CLASSES]
    return pd.DataFrame({"text": [CLASSES[names[i % 4]].format(f"number{i}", f"town{i * 7 % 50}") for i in range(number)], "label": [names[i % 4] for i in range(number)]})


def dataset(number: int = 200, **more): return load_data(DataSpec(), frame(number).assign(**more))


def findings_of(data) -> list[DataFinding]:
    """Findings as the gate gives them: copies with groups and scores, labels, personal data."""
    ids = data.train["origin"].tolist()
    text = data.train["text"].tolist()
    return [
        DataFinding("near_copies", "warning", "4 rows are near copies of 2 others", rows=tuple(ids[i] for i in (1, 2, 6, 7)), scores=(0.99, 0.97, 0.93, 0.91), scored="similarity", groups=((ids[0], ids[1], ids[2]), (ids[5], ids[6], ids[7])),
                    evidence=((ids[1], "one word more"), (ids[6], "one word less")), fix="Keep one of each group.", cures={"drop": tuple(Change(ids[i], "drop") for i in (1, 2, 6, 7))}),
        DataFinding("label_error", "warning", "2 labels are likely wrong", rows=(ids[10], ids[11]), scores=(0.98, 0.91), scored="confidence", fix="Look at each of them.", cures={"relabel": (Change(ids[10], "relabel", "label", "pin"), Change(ids[11], "relabel", "label", "cash"))}),
        DataFinding("personal_data", "error", "1 row holds an e-mail address", rows=(ids[20],), evidence=((ids[20], "e-mail n•••"),), fix="Redact it.", cures={"redact": (Change(ids[20], "edit", "text", text[20].replace("number", "[EMAIL] ")),), "drop": (Change(ids[20], "drop"),)}),
        DataFinding("imbalance", "note", "the classes are even", fix="Nothing is to be done."),
    ]


def test_rows_are_paged_sorted_and_searched(shown):
    one = shown(dataset(), [])
    assert one.places() == [*range(15)] and one.found() == "Rows 1–15 of 200"
    one.click("[aria-label='Last page']")
    assert one.places() == [*range(195, 200)] and one.find("[aria-label='Next page']").is_disabled()
    one.click(".ftwb-sort:text-is('text')")
    ascending = one.texts()
    assert ascending == sorted(ascending) and one.find("th[aria-sort=ascending]").count() == 1
    one.click(".ftwb-sort:has-text('text')")
    assert one.texts()[0] > ascending[-1] and one.find("th[aria-sort=descending]").count() == 1
    one.click(".ftwb-sort:has-text('text')")
    assert one.places() == [*range(15)]
    search = one.find("input[type=search]")
    search.fill("NUMBER17")
    one.page.wait_for_function("model.sent.length > 0")  # typing is enough
    assert one.heard() == ["show"] and one.find("mark").all_inner_texts() == ["number17"] * 11 and "11 rows found" in one.find(".ftwb-tools").inner_text()
    search.fill("nobody says this")
    search.press("Enter")
    one.heard()
    assert one.places() == [] and one.find(".ftwb-empty").inner_text() == "No row says “nobody says this”."


def test_filters_are_chips_and_go_again(shown):
    one = shown(dataset(), [])
    one.find("input[value=valid]").check(force=True)
    one.heard()
    assert {*one.find("tbody td:nth-child(2)").all_inner_texts()} == {"valid"}
    one.find(".ftwb-tools label:has-text('Label') select").select_option("=pin")
    one.heard()
    assert {*one.find("tbody td:nth-child(3)").all_inner_texts()} == {"pin"}
    one.find("[aria-label='Lengths of text'] button").first.click()
    one.heard()
    assert "characters ×" in one.find(".ftwb-chip").inner_text()
    one.click(".ftwb-chip")
    one.find("input[value='']").check(force=True)
    one.heard()
    one.find(".ftwb-tools label:has-text('Label') select").select_option("")
    one.heard()
    assert one.found() == "Rows 1–15 of 200"
    one.click(".ftwb-class:has-text('cash')")  # the balance's bar is a filter
    assert one.find(".ftwb-tools label:has-text('Label') select").input_value() == "=cash" and "of 50 found among 200" in one.found()


def test_the_keyboard_walks_through_all_rows(shown):
    one = shown(dataset(40), [])
    one.find("tbody tr").first.focus()
    press = one.page.keyboard.press
    press("ArrowDown")
    assert one.active() == 1
    press("End")
    one.heard()
    assert one.active() == 39
    press("Home")
    one.heard()
    assert one.active() == 0
    press("PageDown")
    one.heard()
    assert one.active() == 15
    press("ArrowUp")
    one.heard()
    assert one.active() == 14
    press("Enter")
    assert one.heard() == ["open"] and one.find(".ftwb-detail header b").inner_text() == "Row 15" and one.active() == 14
    press("ArrowUp")  # an open row follows
    assert one.heard() == ["open"] and one.find(".ftwb-detail header b").inner_text() == "Row 14"
    assert one.click("tbody tr >> nth=2") == ["open"] and one.find(".ftwb-detail header b").inner_text() == "Row 3"  # a click opens another, and the same again closes it
    assert one.click("tbody tr >> nth=2") == [] and one.find(".ftwb-detail").is_hidden()
    assert one.click("tbody tr >> nth=13") == ["open"] and one.find(".ftwb-detail header b").inner_text() == "Row 14"
    press("Escape")
    assert one.find(".ftwb-detail").is_hidden() and one.active() == 13
    press("/")
    assert one.page.evaluate("document.activeElement.type") == "search"
    press("ArrowDown")
    assert one.active() == 0


def test_a_finding_leads_to_its_rows_and_a_cure_can_be_undone(shown):
    data = dataset()
    one = shown(data, findings_of(data))
    assert one.find(".ftwb-tab[aria-selected=true]").inner_text() == "Findings 4" and one.find("dt:text-is('Findings') + dd").inner_text().split("\n")[0].startswith("4")
    one.click("[data-rows=near_copies]")
    assert one.places() == [0, 1, 2, 5, 6, 7] and one.find("tbody tr td:nth-child(2)").all_inner_texts() == ["1 ★", "1", "1", "2 ★", "2", "2"]
    assert one.find("tbody tr td:nth-child(3)").all_inner_texts() == ["", "0.99", "0.97", "", "0.93", "0.91"] and "one word more" in one.find("tbody").inner_text()
    assert one.find(".ftwb-samples del").count() == 4 and "stays: " in one.find(".ftwb-samples").inner_text()
    one.click("[data-apply=drop]")
    assert one.find("tbody tr[data-state=dropped]").count() == 4 and one.find("dt:text-is('Changed') + dd").inner_text().startswith("4")
    assert len(one.panel.dataset.train) == len(data.train) - 4 and len(data.train) == len(one.panel._original.train)
    assert one.find("li[data-kind=near_copies] .ftwb-badge").inner_text() == "✓ drop"
    one.find(".ftwb-tab:has-text('Changes')").click()
    assert "near_copies: drop" in one.find(".ftwb-ledger").inner_text() and "panel.save_ledger('rows.ledger.json')" in one.find(".ftwb-code").inner_text()  # findings that came from elsewhere are no policy
    one.click("[data-undo]")
    assert one.find("tbody tr[data-state=dropped]").count() == 0 and one.panel.dataset.fingerprint == data.fingerprint


def test_rows_are_changed_by_hand(shown):
    data = dataset()
    one = shown(data, [])
    one.click("tbody tr >> nth=3")
    label = one.find(".ftwb-detail input[aria-label=Label]")
    label.fill("nonsense")
    one.click(".ftwb-detail button:text-is('Relabel')")
    assert "is no class of these rows" in one.find(".ftwb-error").inner_text() and not one.panel._steps
    label.fill("pin" if data.train["label"][3] != "pin" else "card")
    label.press("Enter")
    one.heard()
    assert one.find(".ftwb-error").is_hidden() and one.find(".ftwb-detail .ftwb-badge").inner_text() == "relabelled" and one.panel.dataset.train["label"][3] == one.find("tbody tr >> nth=3").locator("td").nth(1).inner_text()
    one.find(".ftwb-detail button:text-is('Edit')").first.click()
    one.find(".ftwb-detail textarea").fill("one line\nand another")
    one.click(".ftwb-detail button:text-is('Save')")
    assert one.panel.dataset.train["text"][3] == "one line\nand another" and one.find(".ftwb-detail pre").first.inner_text() or "was: " in one.find(".ftwb-detail").inner_text()
    assert f"was: {data.train['text'][3]}" in one.find(".ftwb-detail").inner_text()
    one.click(".ftwb-detail button:text-is('Drop row')")
    assert one.find("tbody tr >> nth=3").get_attribute("data-state") == "dropped" and len(one.panel.dataset.train) == len(data.train) - 1
    one.click(".ftwb-detail button:text-is('Keep')")
    assert one.find("tbody tr >> nth=3").get_attribute("data-state") == "edited" and len(one.panel.dataset.train) == len(data.train)


def test_conversations_are_shown_and_changed_turn_by_turn(shown):
    chats = [{"messages": [{"role": "user", "content": f"which {i}?"}, {"role": "assistant", "content": f"the cat {i}"}]} for i in range(40)]
    one = shown(load_data(DataSpec(), chats), [])
    one.click("tbody tr >> nth=2")
    assert one.find(".ftwb-turn b").all_inner_texts() == ["user", "assistant"]
    one.find(".ftwb-detail button:text-is('Edit')").click()
    one.find(".ftwb-detail textarea").nth(1).fill("the dog")
    one.click(".ftwb-detail button:text-is('Save')")
    assert one.panel.dataset.train["messages"][2][1] == {"role": "assistant", "content": "the dog"} and "the dog" in one.texts()[2]


def test_what_is_private_stays_covered_until_it_is_asked_for(shown):
    data = dataset()
    one = shown(data, findings_of(data))
    secret = data.train["text"][20]
    assert secret not in json.dumps(one.traits(), ensure_ascii=False)
    one.click("[data-rows=personal_data]")
    assert "[EMAIL]" in one.texts()[0] and "masked" in one.texts()[0] and "•••" in one.find(".ftwb-samples").inner_text() and secret not in one.page.content()
    one.click("tbody tr")
    assert secret not in one.page.content()
    one.click(".ftwb-detail button:text-is('Uncover')")
    assert secret in one.find(".ftwb-detail").inner_text() and secret not in json.dumps(one.traits(), ensure_ascii=False)  # nothing that a notebook would save
    one.click(".ftwb-detail button:text-is('Cover')")
    assert secret not in one.page.content()
    one.click("[data-apply=redact]")
    assert secret not in one.page.content() and "[EMAIL]" in one.panel.dataset.train["text"][20]


def test_hostile_text_is_drawn_as_text(shown):
    rows = frame(60)
    rows["text"] = [f"{HOSTILE} {text}" for text in rows["text"]]
    rows["label"] = [f"{HOSTILE} {label}" for label in rows["label"]]
    data = load_data(DataSpec(), rows)
    origin = data.train["origin"][0]
    one = shown(data, [DataFinding(HOSTILE, "error", HOSTILE, rows=(origin,), evidence=((origin, HOSTILE),), fix=HOSTILE, cures={"edit": (Change(origin, "edit", "text", HOSTILE),)})], vectors=np.random.default_rng(0).normal(size=(60, 4)))
    for name in ("Findings", "Columns", "Map", "Changes"):
        if one.find(f".ftwb-tab:has-text('{name}')").get_attribute("aria-selected") == "false": one.find(f".ftwb-tab:has-text('{name}')").click()
        one.heard()
        one.heard()
    one.click("tbody tr")
    one.find(".ftwb-tab:has-text('Findings')").click()
    one.click("[data-rows]")
    one.click("[data-apply]")
    assert not one.hacked()
    drawn = one.page.evaluate("document.querySelector('.ftwb-dp').innerText")
    assert drawn.count("<script>") > 10 and not {"\x1b", "\u202e", "\u200b"} & {*drawn} and all(escape in drawn for escape in ("\\x1b", "\\u202e", "\\u200b"))


def test_the_map_leads_to_rows_by_lasso_click_and_legend(shown):
    data = dataset()
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    one = shown(data, findings_of(data), vectors=np.stack([np.cos(angle), np.sin(angle)], 1))
    one.find(".ftwb-tab:has-text('Map')").click()
    assert one.heard() == ["map"]
    box = one.find(".ftwb-map").bounding_box()
    one.find("label:has-text('Projection') select").select_option("pca")
    one.heard()
    assert one.page.evaluate("(() => { const c = document.querySelector('.ftwb-map canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n })()") > 1000
    mouse = one.page.mouse
    mouse.move(box["x"] + 2, box["y"] + 2)
    mouse.down()
    for x, y in ((box["width"] - 3, 2), (box["width"] - 3, box["height"] / 2), (2, box["height"] / 2)): mouse.move(box["x"] + x, box["y"] + y, steps=4)
    mouse.up()
    assert one.heard() == ["show"]
    count = one.panel._viewing.found().size
    assert 80 <= count <= 120 and f"{count} rows of the map ×" in one.find(".ftwb-chip").all_inner_texts()
    one.click(".ftwb-chip")
    key = one.find(".ftwb-map-key:has-text('cash')")
    key.focus()
    one.page.keyboard.press("Enter")  # the same without a mouse
    one.heard()
    assert one.find(".ftwb-tools label:has-text('Label') select").input_value() == "=cash" and key.get_attribute("aria-pressed") == "true"
    one.find("label:has-text('Colour') select").select_option("finding")
    one.click(".ftwb-map-key:has-text('near copies')")
    assert one.panel._viewing.finding == 0
    drawn = "(() => { const c = document.querySelector('.ftwb-map canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let sum = 0; for (let i = 0; i < d.length; i++) sum = (31 * sum + d[i]) | 0; return sum })()"
    light = one.page.evaluate(drawn)
    one.page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    one.page.evaluate(FRAMES)
    assert one.page.evaluate(drawn) != light  # the points are in the colours of the theme
    one.page.evaluate("""() => { const { style } = document.querySelector('.ftwb-dp'); style.display = 'none'; document.body.dataset.jpThemeLight = 'true'; queueMicrotask(() => { style.display = '' }) }""")  # as JupyterLab does: nothing has a size meanwhile
    one.page.wait_for_function(f"light => {drawn} === light", arg=light)
    mouse.click(box["x"] + box["width"] - 10, box["y"] + box["height"] / 2)
    assert one.heard() in ([], ["open"])


def test_the_keyboard_catches_points_of_the_map_too(shown):
    data = dataset()
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    one = shown(data, findings_of(data), vectors=np.stack([np.cos(angle), np.sin(angle)], 1))
    one.find(".ftwb-tab:has-text('Map')").click()
    one.heard()
    one.find("label:has-text('Projection') select").select_option("pca")
    one.heard()
    one.find(".ftwb-map").focus()
    hint, press = one.find(".ftwb-map-tools [aria-live]"), one.page.keyboard.press
    assert "Arrow keys" in hint.inner_text()
    press("ArrowDown")
    assert hint.inner_text().startswith("0 rows in the circle")
    for _ in range(7): press("ArrowDown")  # to the lower edge of the ring of points
    count = int(hint.inner_text().split()[0])
    press("+")
    assert int(hint.inner_text().split()[0]) > count > 3
    press("-"), press("Enter")
    assert one.heard() == ["show"] and one.panel._viewing.found().size == count and f"{count} rows of the map ×" in one.find(".ftwb-chip").all_inner_texts()
    press("Escape")
    assert "Arrow keys" in hint.inner_text() and one.active() is None


def test_a_row_is_cured_alone_and_the_keys_stay_with_it(shown):
    data = dataset()
    one = shown(data, findings_of(data))
    one.click("[data-rows=label_error]")
    assert one.find("li[data-kind]").count() == 1 and one.find("[data-next]").is_visible()  # the others make room for the rows
    one.click("tbody tr >> nth=1")
    assert "confidence" in one.find("thead").inner_text() and one.find("tr.ftwb-open").count() == 1 and one.find("tbody tr").nth(2).get_attribute("class") == "ftwb-open"  # below its line
    one.find(".ftwb-detail [data-one=relabel]:text-is('Relabel to cash')").focus()
    one.page.keyboard.press("Enter")
    one.heard()
    assert one.panel.dataset.train["label"][11] == "cash" and one.panel.dataset.train["label"][10] == data.train["label"][10] and one.find("[data-one]").count() == 0
    assert one.page.evaluate("document.activeElement.closest('.ftwb-dp') !== null")  # what was drawn anew did not give the keys to JupyterLab
    one.page.keyboard.press("Escape")
    assert one.find(".ftwb-detail").count() == 0 and one.active() == 11
    one.click("[data-next]")
    assert one.panel._viewing.finding == 2
    one.click("[data-rows]")
    assert one.find("li[data-kind]").count() == 4


def test_the_keys_stay_in_the_panel_when_a_button_has_done_its_work(shown):
    data = dataset()
    one = shown(data, findings_of(data))
    here = lambda: one.page.evaluate("document.activeElement.closest('.ftwb-dp') && (document.activeElement.ariaLabel || document.activeElement.textContent)")
    for button in ("[data-cure=near_copies]", "[data-rows=label_error]", "[data-apply=relabel]", "[data-rows=label_error]", ".ftwb-tab:has-text('Changes')", "[data-undo='0']", "[data-undo='0']"):
        one.find(button).first.focus()
        one.page.keyboard.press("Enter")
        one.heard()
        assert here(), f"the keys are JupyterLab's after {button}"
    assert not one.panel._steps


def test_rows_found_are_changed_together_and_each_step_is_undone(shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = dataset()
    one = shown(data, [])
    assert one.find("[data-many=drop]").is_hidden()
    one.find("input[type=search]").fill("number17")
    one.find("input[type=search]").press("Enter")
    one.heard()
    one.find("[data-many=relabel]").click()
    one.find("[aria-label='Class for the rows found']").fill("pin")
    one.page.keyboard.press("Enter")
    one.heard()
    assert {*one.find("tbody td:nth-child(3)").all_inner_texts()} == {"pin"} and one.find("[aria-label='Class for the rows found']").count() == 0
    one.click("[data-many=drop]")
    assert one.find("tbody tr[data-state=dropped]").count() == 11
    one.find(".ftwb-tab:has-text('Changes')").click()
    one.click("[data-undo='0']")
    assert [step.what.split(": ")[-1] for step in one.panel._steps] == ["dropped"]
    one.click("[data-save]")
    assert (tmp_path / "rows.ledger.json").exists() and "saved as rows.ledger.json" in one.find(".ftwb-changes").inner_text() and one.find("[data-save]").count() == 0


def test_bad_rows_can_be_left_out_and_a_changed_file_is_said(shown, tmp_path):
    file = tmp_path / "rows.csv"
    rows = frame(60)
    rows.loc[7, "text"] = ""
    rows.to_csv(file, index=False)
    one = shown(str(file))
    one.click(".ftwb-note button:text-is('Leave such rows out')")
    assert "1 row was left out" in one.find(".ftwb-note").inner_text() and one.panel._original is not None and one.find(".ftwb-tab[aria-selected=true]").inner_text().startswith("Findings")
    frame(30).to_csv(file, index=False)
    one.click("[aria-label='Next page']")
    assert "has changed on disk" in one.find(".ftwb-note").inner_text()


def test_a_file_that_cannot_be_split_is_still_shown(shown, tmp_path):
    file = tmp_path / "odd.csv"
    file.write_text("text,label\n" + "\n".join(f"row {i},same" for i in range(30)), encoding="utf-8")
    one = shown(str(file))
    assert len(one.places()) == 15 and "can't be split yet" in one.find(".ftwb-note").inner_text() and one.find(".ftwb-note button").count() == 0
    assert one.find(".ftwb-card").count() == 3 and one.find(".ftwb-choices").is_hidden()


def test_many_rows_wait_to_be_asked(shown, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "UNASKED", 50)
    file = tmp_path / "many.csv"
    frame(120).to_csv(file, index=False)
    one = shown(str(file))
    assert one.panel._original is None and "takes minutes" in one.find(".ftwb-note").inner_text() and one.found() == "Rows 1–15 of 120"
    one.click(".ftwb-note button")
    assert one.panel._original is not None and one.find("input[value=valid]").count() == 1 and one.find(".ftwb-note").is_hidden()
    one.find(".ftwb-tab:has-text('Findings')").click()
    assert "have not been checked yet" in one.find(".ftwb-clean").inner_text()
    assert one.click(".ftwb-sheet button:text-is('Check')") == ["check"] and one.panel._checked


@pytest.mark.parametrize("theme, width", [("light", 1400), ("dark", 1200), ("dark", 380)])
def test_it_stands_on_wide_and_narrow_pages(shown, theme, width):
    data = dataset()
    one = shown(data, findings_of(data), width=width, theme=theme)
    one.click("[data-rows=near_copies]")
    one.click("tbody tr")
    for name in ("Findings", "Columns", "Map", "Changes"):
        if one.find(f".ftwb-tab:has-text('{name}')").get_attribute("aria-selected") == "false": one.find(f".ftwb-tab:has-text('{name}')").click()
        one.heard()
        assert one.overflow() == []
    contrast = one.contrast(".ftwb-dp :is(td, th, del, ins, mark, .ftwb-soft, .ftwb-badge, .ftwb-tab, .ftwb-button:not(:disabled), dt, dd):not([data-state=dropped] *)")
    assert len(contrast) > 60 and not [one for one in contrast if one[0] < 4.5]


def test_everything_has_a_name_and_the_keyboard_reaches_it(shown):
    data = dataset()
    one = shown(data, findings_of(data))
    one.click("[data-rows=near_copies]")
    one.click("tbody tr")
    assert one.nameless() == []
    one.page.evaluate("document.activeElement.blur()")
    reached = one.tabbed(70)
    assert reached >= {"Findings 4", "Search", "a row", "Save as csv", "Drop row", "Close the row", "Label"} and any(name.startswith("Apply: drop") for name in reached)


def test_a_kernel_that_does_not_answer_is_spoken_of(shown):
    one = shown(dataset(40), [])
    one.page.clock.install()
    one.find("[aria-label='Next page']").click()
    assert one.find(".ftwb-busy").inner_text() == ""
    one.page.clock.run_for(9000)
    assert "The kernel does not answer" in one.find(".ftwb-busy").inner_text()
    for message in one.page.evaluate("model.sent.splice(0)"): one.panel._take(None, message, [])
    one.page.evaluate("traits => model.take(traits)", one.traits())
    one.page.clock.run_for(100)
    assert one.find(".ftwb-busy").inner_text() == "" and one.places()[0] == 15


def test_nothing_is_left_behind(shown):
    one = shown(dataset(40), [])
    one.page.evaluate("unrender()")
    assert one.page.evaluate("[document.querySelectorAll('.ftwb').length, [...model.heard.values()].flat().length]") == [0, 0]
