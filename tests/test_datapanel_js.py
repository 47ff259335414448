"""The data panel's page in a real browser, with its real kernel half at the other end of a model of plain JavaScript."""

import functools
import http.server
import json
import os
import threading
from pathlib import Path

import comm
import numpy as np
import pandas as pd
import pytest
from lab import CHROMIUM, CI, ISOLATED, QUIET, shots  # noqa: F401

from finetune_wb.data.findings import Change, DataFinding
from finetune_wb.data.load import load_data
from finetune_wb.panels import data as module
from finetune_wb.panels.data import DataPanel
from finetune_wb.recipe import DataSpec

pytest.importorskip("anywidget")
ROOT = Path(__file__).parents[1]
HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>\x1b[31m\u202eevil\u202c\u200b [/b] $x$ =1+1"
FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
TRAITS = ("state", "page", "row", "cure", "profile", "map", "error")
CLASSES = {"card": "my card is {} lost in {}", "rate": "what is the {} rate of the {} dollar", "cash": "the {} machine in {} kept my money", "pin": "change the {} pin of {}"}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@pytest.fixture(scope="module")
def site():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=ROOT)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/tests/js/datapanel.html"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None and not CI: pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, ISOLATED])
        yield chromium
        chromium.close()


class Shown:
    """A panel and its page; `heard` carries messages and answers between them."""

    def __init__(self, panel, page):
        self.panel, self.page = panel, page
        self.panel.view.send = lambda content, buffers=None: self.page.evaluate("content => model.tell('msg:custom', content)", content)

    def traits(self) -> dict:
        return json.loads(json.dumps({name: getattr(self.panel.view, name) for name in TRAITS}, allow_nan=False))

    def heard(self, wait: bool = True) -> list[str]:
        """The kernel answers what was asked; the names of it."""
        messages = self.page.evaluate("model.sent.splice(0)")
        for message in messages: self.panel._take(None, message, [])
        if wait: self.panel.wait()
        self.page.evaluate("traits => model.take(traits)", self.traits())
        self.page.evaluate(FRAMES)
        return [message["type"] for message in messages]

    def click(self, selector: str, wait: bool = True) -> list[str]:
        self.find(selector).first.click()
        return self.heard(wait)

    def find(self, selector: str): return self.page.locator(f".ftwb-dp {selector}")
    def places(self) -> list[int]: return [int(place) for place in self.find("tbody tr").evaluate_all("rows => rows.map(row => row.dataset.place)")]
    def texts(self) -> list[str]: return self.find("tbody td[data-main=true]").all_inner_texts()
    def found(self) -> str: return self.find(".ftwb-pager .ftwb-value").inner_text()
    def active(self) -> int | None: return self.page.evaluate("document.activeElement.tagName === 'TR' ? Number(document.activeElement.dataset.place) : null")


@pytest.fixture
def shown(browser, site, monkeypatch, request, shots):  # noqa: F811
    """`shown(data, findings)` → a `Shown`; afterwards the console was quiet and no request left the machine."""
    monkeypatch.setattr(comm, "create_comm", comm.DummyComm)
    monkeypatch.setattr(module, "_where", lambda live: "widget")
    made, wrong = [], []

    def make(data, findings=None, width: int = 1200, theme: str = "light", height: int = 1100, **options) -> Shown:
        panel = DataPanel(data, findings, **options).wait()
        page = browser.new_page(viewport={"width": width, "height": height})
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: said.type == "error" and "Failed to load resource" not in said.text and wrong.append(said.text))
        page.on("request", lambda asked: asked.url.startswith(site.split("/tests")[0]) or wrong.append(asked.url))
        page.goto(site)
        page.wait_for_function("() => Boolean(window.begin)")
        made.append(Shown(panel, page))
        page.evaluate("([traits, theme]) => begin(traits, theme)", [made[-1].traits(), theme])
        made[-1].heard()
        return made[-1]

    yield make
    for number, one in enumerate(made):
        if "FTWB_SHOTS" in os.environ: one.page.screenshot(path=shots / f"data-{request.node.name.removeprefix('test_')}-{number}.png", full_page=True)
        one.page.close()
        one.panel.close()
    assert not wrong, wrong


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
    assert "near_copies: drop" in one.find(".ftwb-ledger").inner_text() and "data.ledger=rows.ledger.json" in one.find(".ftwb-code").inner_text()  # findings that came from elsewhere are no policy
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
    assert one.page.evaluate("[window.hacked, document.querySelectorAll('.ftwb-dp :is(img, script)').length]") == [None, 0]
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
    mouse.click(box["x"] + box["width"] - 10, box["y"] + box["height"] / 2)
    assert one.heard() in ([], ["open"])


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
        wide = one.page.evaluate("""() => { const root = document.querySelector('.ftwb-dp'), right = root.getBoundingClientRect().right; const out = [...root.querySelectorAll('*')].filter(one => one.checkVisibility() && !one.closest('.ftwb-rows') && !one.closest('.ftwb-unseen') && one.getBoundingClientRect().right > right + 1);
            return [root.scrollWidth - root.clientWidth, out.map(one => one.outerHTML.slice(0, 160))] }""")
        assert wide[0] <= 0 and wide[1] == []
    contrast = one.page.evaluate("""() => { const lum = text => { const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(v => { v /= text.startsWith('color(') ? 1 : 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 }); return .2126 * r + .7152 * g + .0722 * b };
        const paper = one => { for (let at = one; at; at = at.parentElement) { const c = getComputedStyle(at).backgroundColor; if (!/, 0\\)|transparent/.test(c) && !c.startsWith('rgba')) return c } return 'rgb(255,255,255)' };
        return [...document.querySelectorAll('.ftwb-dp :is(td, th, del, ins, mark, .ftwb-soft, .ftwb-badge, .ftwb-tab, .ftwb-button, dt, dd)')].filter(one => one.checkVisibility() && one.textContent && !one.disabled && !one.closest('[data-state=dropped]')).map(one => { const [a, b] = [lum(getComputedStyle(one).color), lum(paper(one))].sort((x, y) => y - x); return [(a + .05) / (b + .05), one.outerHTML.slice(0, 120)] }) }""")
    assert len(contrast) > 60 and not [one for one in contrast if one[0] < 4.5]


def test_everything_has_a_name_and_the_keyboard_reaches_it(shown):
    data = dataset()
    one = shown(data, findings_of(data))
    one.click("[data-rows=near_copies]")
    one.click("tbody tr")
    nameless = one.page.evaluate("""() => [...document.querySelectorAll('.ftwb-dp :is(button, input, select, textarea, [role=group], [role=grid])')].filter(one => one.checkVisibility())
        .filter(one => !(one.ariaLabel || one.textContent || one.labels?.[0]?.textContent)?.trim()).map(one => one.outerHTML)""")
    assert nameless == []
    reached = set()
    one.page.evaluate("document.activeElement.blur()")
    for _ in range(70):
        one.page.keyboard.press("Tab")
        name = one.page.evaluate("(document.activeElement.closest('.ftwb-dp') && (document.activeElement.ariaLabel || document.activeElement.labels?.[0]?.innerText || document.activeElement.tagName === 'TR' && 'a row' || document.activeElement.textContent)) || ''")
        reached.add(name.split("\n")[0])
        assert not name or one.page.evaluate("document.activeElement.hasAttribute('data-lm-suppress-shortcuts')"), f"JupyterLab takes the keys from {name}"
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
