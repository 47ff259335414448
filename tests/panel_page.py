"""A panel in a real browser without Jupyter: what its widget sends, on a page of plain JavaScript whose other end is the real kernel half. Not a test file."""

import base64
import json
import os
from pathlib import Path

import comm
import pytest
from lab import browser, shots  # noqa: F401

PAGE = (Path(__file__).parent / "js" / "panel.html").read_text(encoding="utf-8")
ADDRESS = "http://localhost/panel"  # answered by the test itself: every request that leaves the page is one too many
FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
OVERFLOW = """() => { const root = document.querySelector('.ftwb'), { right } = root.getBoundingClientRect(), held = one => one !== root && (getComputedStyle(one).overflowX !== 'visible' || held(one.parentElement));
    return [...root.querySelectorAll('*')].filter(one => one.checkVisibility() && one.getBoundingClientRect().right > right + 1 && !held(one) && !one.closest('.ftwb-unseen')).map(one => one.outerHTML.slice(0, 200)) }"""
NAMELESS = """() => [...document.querySelectorAll('.ftwb :is(button, input, select, [role=listbox], [tabindex="0"])')].filter(one => one.checkVisibility())
    .filter(one => !(one.ariaLabel || one.textContent || one.labels?.[0]?.textContent)?.trim()).map(one => one.outerHTML)"""
FOCUSED = """() => { const one = document.activeElement; return one.closest('.ftwb') ? [one.ariaLabel || one.tagName === 'TR' && 'a row' || one.role === 'option' && 'an option' || one.labels?.[0]?.innerText || one.textContent || '', one.hasAttribute('data-lm-suppress-shortcuts')] : null }"""
CONTRAST = """selector => { const parts = text => { const found = text.match(/[\\d.]+/g).map(Number); return text.startsWith('color(') ? found.map((v, i) => i < 3 ? v * 255 : v) : found };
    const over = ([r, g, b, a = 1], under) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a)), behind = one => one ? over(parts(getComputedStyle(one).backgroundColor), behind(one.parentElement)) : [255, 255, 255];
    const light = rgb => { const [r, g, b] = rgb.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 }); return .2126 * r + .7152 * g + .0722 * b };
    return [...document.querySelectorAll(selector)].filter(one => one.checkVisibility() && one.textContent.trim()).map(one => { const paper = behind(one), [a, b] = [light(over(parts(getComputedStyle(one).color), paper)), light(paper)].sort((x, y) => y - x); return [(a + .05) / (b + .05), one.outerHTML.slice(0, 160)] }) }"""


class Shown:
    """A panel and its page; `heard` carries messages and answers between them."""

    def __init__(self, panel, page):
        self.panel, self.page = panel, page
        self.root = page.locator(".ftwb").first
        panel.view.send = lambda content, buffers=None: page.evaluate("content => model.tell('msg:custom', content)", content)

    def traits(self) -> dict: return held(self.panel.view)

    def heard(self, wait: bool = True) -> list[str]:
        """The kernel answers what was asked; the names of it."""
        messages = self.page.evaluate("model.sent.splice(0)")
        for message in messages: self.panel._take(None, message, [])
        if wait: self.panel.wait()
        self.page.evaluate("traits => model.take(traits)", self.traits())
        self.page.evaluate(FRAMES)
        return [message["type"] for message in messages]

    def find(self, selector: str): return self.root.locator(selector)

    def click(self, selector: str, wait: bool = True) -> list[str]:
        self.find(selector).first.click()
        return self.heard(wait)

    def hacked(self) -> bool:
        """Whether a stranger's text became markup or ran."""
        return self.page.evaluate("Boolean(window.hacked) || document.querySelectorAll('.ftwb :is(img, script, iframe, svg)').length > 0")

    def overflow(self) -> list[str]: return self.page.evaluate(OVERFLOW)
    def nameless(self) -> list[str]: return self.page.evaluate(NAMELESS)

    def contrast(self, selector: str) -> list:
        """[ratio to its background, element] of each text that is seen."""
        return self.page.evaluate(CONTRAST, selector)

    def tabbed(self, presses: int) -> set[str]:
        """Names of all that Tab reaches; JupyterLab must leave its keys alone."""
        reached = set()
        for _ in range(presses):
            self.page.keyboard.press("Tab")
            name, ours = self.page.evaluate(FOCUSED) or ("", True)
            assert ours, f"JupyterLab takes the keys from {name}"
            reached.add(name.split("\n")[0])
        return reached


def traits_of(view: type) -> set[str]:
    """The traits of a panel's own, as its script reads them."""
    return {name for name, trait in view.class_traits(sync=True).items() if not name.startswith("_")} - {"layout", "tabbable", "tooltip"}


def held(view) -> dict:
    """What a widget holds, as JSON carries it."""
    return json.loads(json.dumps({name: getattr(view, name) for name in traits_of(type(view))}, allow_nan=False, ensure_ascii=False).encode())


@pytest.fixture
def no_kernel(monkeypatch):
    """Widgets whose comm leads nowhere; the page is given what they hold."""
    monkeypatch.setattr(comm, "create_comm", comm.DummyComm)


@pytest.fixture
def pages(browser, no_kernel, shots, request):  # noqa: F811
    """`pages(panel, width, theme)` → a `Shown`; afterwards the console was quiet and nothing was asked of anybody."""
    made, wrong = [], []

    def make(panel, width: int = 1200, theme: str = "light", height: int = 1000, kind: type = Shown) -> Shown:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
        page.route("**/*", lambda route: route.fulfill(body=PAGE, content_type="text/html") if route.request.url == ADDRESS else (wrong.append(route.request.url), route.abort()))
        page.goto(ADDRESS)
        page.wait_for_function("() => Boolean(window.begin)")
        page.evaluate("([...given]) => begin(...given)", [panel.view._esm, base64.b64encode(panel.view._packed).decode(), held(panel.view), theme])
        made.append(kind(panel, page))
        made[-1].heard()
        return made[-1]

    yield make
    for number, one in enumerate(made):
        if "FTWB_SHOTS" in os.environ: one.page.screenshot(path=shots / f"{request.node.name.removeprefix('test_')}-{number}.png", full_page=True)
        one.page.close()
        one.panel.close()
    assert not [what for what in wrong if not what.endswith("/favicon.ico") and "Failed to load resource" not in what], wrong
