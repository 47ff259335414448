"""The playground's front end: its functions under node, and the page with a model of plain JavaScript in a real browser."""

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from lab import CI
from test_monitor_js import TAKES_LINE_BREAKS, WATCH, _painted, _Quiet, browser  # noqa: F401

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "finetune_wb" / "static"
NODE = shutil.which("node")
CASES = ("empty", "bare", "done", "writing", "loading", "error", "failed", "hostile", "plain", "single")


@pytest.mark.skipif(NODE is None and not CI, reason="no node on this machine")
def test_functions_under_node():
    assert NODE, "CI has to have node"
    file = ROOT / "tests/js/playground.test.mjs"
    environment = {name: value for name, value in os.environ.items() if name != "NODE_TEST_CONTEXT"}
    done = subprocess.run([NODE, "--test", str(file)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert int(re.search(r"^# pass (\d+)$", done.stdout, re.M)[1]) == len(re.findall(r"^test\(", file.read_text(), re.M)) >= 10


def test_text_is_only_ever_text():
    """No way from data to markup, nothing imported, nothing from elsewhere."""
    pytest.importorskip("anywidget")
    from finetune_wb.panels import view

    script, style = view.script("playground.js"), (STATIC / "playground.css").read_text()  # as it is sent, with what the panels share
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "createContextualFragment", "document.write", "eval(", "new Function", "href"):
        assert word not in script, word
    assert not re.search(r"^import\b|\bimport\(", script, re.M)
    for text in (script, style): assert not re.search(r"https?://|@import|url\(", text)


def test_every_trait_that_the_page_reads_is_there():
    pytest.importorskip("anywidget")
    from finetune_wb.panels.view import PlaygroundView

    script = (STATIC / "playground.js").read_text()
    read = set(re.findall(r'model\.(?:get|set)\("(\w+)"', script)) | set(re.findall(r'"(\w+)"', re.search(r"const TRAITS = \[(.*?)\]", script)[1]))
    assert read == {*PlaygroundView.class_trait_names(sync=True)} & {"facts", "examples", "turns", "status", "settings", "error"} == {"facts", "examples", "turns", "status", "settings", "error"}


# ---- the page ----


@pytest.fixture(scope="module")
def site():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=ROOT)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/tests/js/playground.html"
        server.shutdown()


@pytest.fixture
def visit(browser, site):  # noqa: F811
    """Opens the page with a case; afterwards: no error in the console, no request that left the machine."""
    contexts, wrong = [], []

    def open_page(case: str = "done", width: int = 1000, before: str = "", theme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: said.type == "error" and "Failed to load resource" not in said.text and wrong.append(said.text))
        page.on("request", lambda request: request.url.startswith(site.split("/tests")[0]) or wrong.append(request.url))
        if before: page.add_init_script(f"({before})()")
        page.goto(f"{site}?case={case}&theme={theme}")
        page.wait_for_selector(".ftwb-playground")
        _painted(page)
        return page

    yield open_page
    for context in contexts: context.close()
    assert not wrong, wrong


def answers(page) -> list[str]: return page.locator(".answer .said").all_text_contents()


def type_question(page, text: str) -> None:
    page.locator(".composer .field").first.fill(text)
    _painted(page)


def button(page, name: str): return page.get_by_role("button", name=name, exact=True)


def sent(page, kind: str) -> list[dict]: return page.evaluate("kind => model.sent.filter(one => one.type === kind)", kind)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("theme, width", [("light", 1200), ("dark", 340)])
def test_every_state_stands_on_wide_and_narrow_pages(visit, case, theme, width):
    page = visit(case, width=width, theme=theme)
    overflow, ink, paper = page.evaluate("""() => { const root = document.querySelector('.ftwb-playground'), style = getComputedStyle(root);
        return [root.scrollWidth - root.clientWidth, style.color, style.backgroundColor] }""")
    assert overflow <= 0 and ink != paper
    shown = len(answers(page))
    assert shown == {"empty": 0, "bare": 0, "loading": 0, "writing": 4, "done": 4, "single": 1}.get(case, 2)
    assert page.locator(".empty").is_visible() == (shown == 0)
    assert button(page, "Stop").count() == (case in ("writing", "loading"))
    assert page.locator("[role=alert]").is_visible() == (case in ("error", "failed", "hostile"))


def test_hostile_words_are_shown_and_do_nothing(visit):
    page = visit("hostile")
    page.evaluate("hostile => model.tell('msg:custom', { type: 'exact', turn: 0, blocks: [{ side: 'base', prompt: 1, count: 2, boxes: [[hostile, hostile, 1, true], [hostile, hostile, 2, false]] }] })", "<img src=x onerror='window.hurt=4'>\u202e")
    _painted(page)
    made = page.evaluate("() => [window.hurt, document.querySelectorAll('.ftwb-playground :is(img, script, a, iframe)').length]")
    assert made[0] is None and made[1] == 0
    assert answers(page)[0].startswith('<img src=x onerror="window.hurt=1"><script>') and "\\u{202e}" in page.inner_text(".ftwb-tokens pre")
    page.locator(".offers .offer, .tools .choice").first.wait_for(state="attached")
    page.locator(".tools .choice").select_option("0")
    assert page.locator(".composer .field").first.input_value().startswith("<img")


def test_pieces_stream_into_the_answer_and_a_gap_asks_for_everything(visit):
    page = visit("writing")
    before = answers(page)[2]
    add = "(at, text) => model.tell('msg:custom', { type: 'text', turn: 1, side: 'base', at, text, tokens: 14, rate: 55 })"
    page.evaluate(f"([at, text]) => ({add})(at, text)", [len(before), " reduced"])
    _painted(page)
    assert answers(page)[2] == before + " reduced" and "14 tokens · 55 tokens/s" in page.locator(".foot").nth(2).inner_text()
    assert page.locator(".answer").nth(3).get_attribute("data-state") == "wait"
    asked = len(sent(page, "sync"))
    page.wait_for_timeout(1100)  # a page asks for everything once a second at most
    page.evaluate(f"([at, text]) => ({add})(at, text)", [900, "far ahead"])
    assert len(sent(page, "sync")) == asked + 1 and "far ahead" not in answers(page)[2]
    page.evaluate("""() => { const turns = structuredClone(model.get('turns')); Object.assign(turns[1].answers.base, { text: 'The whole.', tokens: 3, rate: 50, ended: 'stop', why: 'ended by itself (</s>)' });
        model.set('turns', turns); model.set('status', { phase: 'rest', side: '', asked: 8 }) }""")
    _painted(page)
    assert answers(page)[2] == "The whole." and page.locator("[aria-live=polite]").last.text_content().startswith("base: The whole.; ended by itself")


def test_enter_asks_shift_enter_does_not_and_escape_stops(visit):
    page = visit("done")
    field = page.locator(".composer .field").first
    type_question(page, "one")
    field.press("Shift+Enter")
    field.type("two")
    assert field.input_value() == "one\ntwo" and not sent(page, "ask")
    field.press("Enter")
    (asked,) = sent(page, "ask")
    assert asked["text"] == "one\ntwo" and asked["id"] > 7 and asked["settings"]["max_new_tokens"] == 128 and field.input_value() == ""
    type_question(page, "next")
    field.press("Enter")
    assert len(sent(page, "ask")) == 1 and field.input_value() == "next", "one question at a time; what was typed stays"
    page.evaluate("id => { model.set('status', { phase: 'write', side: 'base', asked: id }) }", asked["id"])
    _painted(page)
    assert page.locator(".doing").inner_text() == "base writes …"
    field.press("Escape")
    assert sent(page, "stop") == [{"type": "stop", "id": asked["id"]}]


def test_a_line_break_comes_where_jupyterlab_takes_the_browsers_own(visit):
    page = visit("done", before=TAKES_LINE_BREAKS)
    page.locator("summary").click()
    for field, key in ((page.locator(".composer .field").first, "Shift+Enter"), (page.get_by_label("System prompt"), "Enter")):
        field.fill("")
        field.type("one")
        field.press(key)
        field.type("two")
        assert field.input_value() == "one\ntwo"
    assert page.evaluate("model.saved.settings.system") == "one\ntwo" and not sent(page, "ask")


def test_stop_is_also_a_file_through_the_contents_api(visit):
    page = visit("writing")
    page.evaluate("document.cookie = '_xsrf=2|abc'")
    written = []
    page.route("**/api/contents/**", lambda route: (written.append(route.request), route.fulfill(status=201, content_type="application/json", body="{}")))
    with page.expect_request("**/api/contents/**"): button(page, "Stop").click()
    (request,) = written
    assert request.method == "PUT" and request.url.endswith("/lab%20base/api/contents/runs/minidoc%20lora/playground/1a2b3c4d/stop.json")
    assert request.headers["x-xsrftoken"] == "2|abc" and json.loads(request.post_data_json["content"]) == {"stop": 8}


def test_a_question_the_kernel_does_not_take_waits_and_can_be_called_back(visit):
    page = visit("done")
    type_question(page, "are you there")
    page.locator(".composer .field").first.press("Enter")
    page.wait_for_function("document.querySelector('.doing').textContent.includes('busy with another cell')")
    assert page.locator(".asked .text").all_text_contents()[-1] == "are you there"
    button(page, "Stop").click()
    _painted(page)
    assert page.locator(".waiting .asked").count() == 0
    assert page.locator(".composer .field").first.input_value() == "are you there" and sent(page, "stop")[0]["id"] == sent(page, "ask")[0]["id"]
    button(page, "Ask").click()
    page.evaluate("id => model.tell('msg:custom', { type: 'refused', id })", sent(page, "ask")[1]["id"])
    _painted(page)
    assert page.locator(".composer .field").first.input_value() == "are you there", "a question that was refused comes back"


def test_a_silent_kernel_is_named(visit):
    page = visit("stale")
    page.clock.install()
    page.reload()
    page.wait_for_selector(".ftwb-playground")
    page.clock.run_for(8000)
    assert "No sign of the kernel for" in page.inner_text(".doing") and page.get_attribute(".doing", "data-tone") == "bad"
    page.locator(".composer .field").first.fill("hello")
    page.locator(".composer .field").first.press("Enter")
    assert not sent(page, "ask") and page.locator(".composer .field").first.input_value() == "hello"
    page.evaluate("model.beat()")
    page.clock.run_for(1500)
    assert page.inner_text(".doing") == "" and button(page, "Ask").is_enabled()


def test_examples_settings_and_the_system_prompt(visit):
    page = visit("empty")
    page.locator(".offer").nth(1).click()
    assert page.locator(".composer .field").first.input_value().startswith("def read_table")
    page.locator("summary").click()
    assert page.evaluate("model.saved.settings.system") == "Write the first line of the docstring."
    tokens = page.get_by_label("Max new tokens")
    tokens.fill("none")
    assert page.get_by_text("Has to be a whole number from 1.").is_visible() and tokens.get_attribute("aria-invalid") == "true"
    page.locator(".composer .field").first.press("Enter")
    assert not sent(page, "ask") and tokens.evaluate("one => one === document.activeElement")
    tokens.fill("40")
    page.get_by_label("Temperature").fill("0.7")
    page.get_by_label("Who answers").select_option("tuned")
    page.locator(".composer .field").first.press("Enter")
    assert sent(page, "ask")[0]["settings"] == {"max_new_tokens": 40, "temperature": 0.7, "top_p": 1, "seed": 0, "system": "Write the first line of the docstring.", "only": "tuned"}


def test_the_exact_tokens_on_demand(visit):
    page = visit("done")
    button(page, "Tokens of the answer of tuned").first.click()
    assert sent(page, "exact") == [{"type": "exact", "turn": 0, "side": "tuned"}]
    boxes = [["<|im_start|>", "<|im_start|>", 1, True], ["user", "user", 5, False], ["\n", "Ċ", 6, False], ["Hi", "Hi", 7, False], ["", "ð", 8, False], ["<|im_end|>", "<|im_end|>", 2, True]]
    page.evaluate("boxes => model.tell('msg:custom', { type: 'exact', turn: 0, blocks: [{ side: 'tuned', prompt: 3, count: 6, boxes }] })", boxes)
    _painted(page)
    shown = page.evaluate("[...document.querySelectorAll('.ftwb-tokens pre span')].map(one => [one.className, one.title, one.textContent])")
    assert shown[0] == ["context named", "1: <|im_start|> · id 1", "<|im_start|>"] and shown[3] == ["trained", "4: Hi · id 7 · written", "Hi"]
    assert shown[5][0] == "trained named" and shown[4][2] == "…" and "Tuned: 3 tokens read, 3 written" in page.inner_text(".ftwb-tokens header")
    page.evaluate("boxes => model.tell('msg:custom', { type: 'exact', turn: null, blocks: ['base', 'tuned'].map(side => ({ side, prompt: 6, count: 6, boxes })) })", boxes)
    _painted(page)
    assert page.locator(".ftwb-tokens").count() == 1 and "base and tuned: 6 tokens read" in page.inner_text(".ftwb-tokens header").lower(), "what is the same is shown once"
    button(page, "Close").click()
    _painted(page)
    assert page.locator(".exact").is_hidden()


def test_everything_has_a_name_and_the_keyboard_reaches_it(visit):
    page = visit()
    type_question(page, "so that the buttons work")
    page.locator("summary").click()
    nameless = page.evaluate("""() => [...document.querySelectorAll('.ftwb-playground :is(button, input, select, textarea)')]
        .filter(one => !(one.ariaLabel || one.textContent || one.labels?.[0]?.textContent)?.trim()).map(one => one.outerHTML)""")
    assert nameless == []
    page.locator(".log").focus()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(document.activeElement.closest('.ftwb-playground') && (document.activeElement.ariaLabel || document.activeElement.labels?.[0]?.firstChild.textContent || document.activeElement.textContent)) || ''"))
        assert page.evaluate("!document.activeElement.closest('.ftwb-playground') || document.activeElement.hasAttribute('data-lm-suppress-shortcuts')")
    assert reached >= {"Your question", "Ask", "Exact prompt", "Copy all", "New conversation", "Temperature", "System prompt", "Tokens of the answer of tuned", "Copy the answer of base"}


def test_copying_is_plain_text(visit):
    page = visit()
    page.evaluate("() => { Object.defineProperty(navigator, 'clipboard', { value: { writeText: async text => { window.copied = text } } }) }")
    button(page, "Copy all").click()
    page.wait_for_function("window.copied")
    assert page.evaluate("window.copied").startswith("user: def quantile(a, q") and "tuned: Compute the q-th quantile" in page.evaluate("window.copied")
    page.evaluate("() => { navigator.clipboard.writeText = async () => { throw new Error('not allowed') } }")
    button(page, "Copy the answer of base").first.click()
    page.wait_for_function("!document.querySelector('.copied').hidden")
    assert page.evaluate("getSelection().toString() || document.querySelector('.copied').value").startswith("Return a new array")


def test_the_clean_up_leaves_nothing(visit):
    page = visit("writing", before=WATCH)
    before = page.evaluate("[held.intervals.size, held.observers.size, held.listeners, [...model.heard.values()].flat().length]")
    assert before[3] >= 7
    page.evaluate("unrender(); uninitialize()")
    after = page.evaluate("[held.intervals.size, held.observers.size, held.listeners, [...model.heard.values()].flat().length]")
    assert after == [before[0] - 1, before[1], before[2], 0] and page.evaluate("document.getElementById('here').childElementCount") == 0
    page.evaluate("model.beat()")
