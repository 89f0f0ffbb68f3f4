"""A real browser for the console's tests, which notes whatever a page does that it should not."""

import io
import json
import re
import shutil
from pathlib import Path

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: make console-test"
)
axe_module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="make console-test")

image, image_chops = (
    pytest.importorskip(f"PIL.{name}", reason="make console-test") for name in ("Image", "ImageChops")
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
SIZES = [("light", 1400), ("dark", 1400), ("light", 400), ("dark", 400)]
IMAGES = Path(__file__).parents[1] / "screenshots"
FONTS = IMAGES / "fonts.json"
SAME_FONTS, OTHER_FONTS = 6, 0.32
"""How much of a screenshot may differ from the committed one: cells, with the fonts of the machine that took it (a
button is twelve); and a share of all cells with other fonts, which break lines elsewhere: pages in serif and in
monospace letters differ by 0.01 to 0.30, pages without the style sheet by 0.35 and more."""

IN_DOCS = Path(__file__).parents[2] / "docs/images/console"
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.eyJ")
_CELL = 16  # pixels
_ALIKE = 8  # of 255: the difference of brightness that counts; a card and the page behind it differ by 9
_VOLATILE = (
    "time, .frame svg, .scale, .legends, .tile .value, .tile .more, .bars span, meter, .n, .facts dd, code,"
    " pre.claims, #acts, #sessions td *, table:has([data-label=Number])"
)
_SERIOUS = ("serious", "critical")


class Browser:
    """Chromium, with one context for each test."""

    def __init__(self):
        self._playwright = playwright.sync_playwright().start()
        # A name of an attacker that leads here, as after DNS rebinding.
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP evil.example 127.0.0.1"]
        self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        self.faults = []
        self.bodies = []

    def close(self):
        self._browser.close()
        self._playwright.stop()

    def context(self, scheme="light", width=1400, **options):
        """Return a context that notes errors and the content of every response."""
        context = self._browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce", **options
        )
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.faults.append(f"error: {error.error}"))
        context.on(
            "dialog", lambda dialog: (self.faults.append(f"dialog: {dialog.message}"), dialog.dismiss())
        )
        context.on("response", self._on_response)
        return context

    def _on_console(self, message):
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text} at {message.location.get('url')}")

    def _on_response(self, response):
        self.bodies.append(f"{response.url} {response.headers}")
        if "event-stream" in response.headers.get("content-type", "") or response.status in (
            204,
            301,
            303,
            304,
        ):
            return
        try:
            self.bodies.append(response.text())
        except playwright.Error:  # the page has gone on meanwhile
            return


def log_in(page, url, account="demo-admin"):
    """Go to the console and log in at the demo's identity provider."""
    page.goto(url)
    page.get_by_role("link", name=account, exact=True).click()
    page.wait_for_url(f"{url}/**")
    page.get_by_role("button", name="Log out").wait_for()


def serious(page):
    """Return what axe finds to be serious on a page."""
    violations = axe_module.Axe().run(page).response["violations"]
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in violations
        if each["impact"] in _SERIOUS
    ]


def tokens_in(text):
    """Return what looks like a token in a text."""
    return _JWT.findall(text)


def steady(page):
    """Hide what differs each time: times, ids, figures, curves, and sessions, which have no order. Nothing new comes."""
    page.evaluate(
        """selector => {
          dispatchEvent(new Event('pagehide'));  // the streams end
          for (const each of document.querySelectorAll(selector)) each.style.visibility = 'hidden';
        }""",
        _VOLATILE,
    )


def difference(one: bytes, other: bytes) -> int:
    """Return how many cells of 16 pixels are not as bright in one screenshot as in the other.

    Letters are blurred away, so that another number in a place is alike, and a missing button is not.
    """
    pictures = [image.open(io.BytesIO(each)).convert("L") for each in (one, other)]
    size = pictures[0].width // _CELL, pictures[0].height // _CELL
    if pictures[0].size != pictures[1].size:
        return size[0] * size[1]
    cells = [picture.resize(size, image.Resampling.BOX) for picture in pictures]
    return sum(image_chops.difference(*cells).histogram()[_ALIKE:])


def fonts(page):
    """Return how wide this machine's fonts are."""
    return page.evaluate(
        """() => {
          const canvas = document.createElement('canvas').getContext('2d');
          return [getComputedStyle(document.body).fontFamily, 'monospace'].map(family => {
            canvas.font = `15px ${family}`;
            return Math.round(canvas.measureText('Sphinx of black quartz, judge my vow 0123456789').width);
          });
        }"""
    )


def tolerance(page):
    """Return how many cells of a screenshot may differ on this machine."""
    if fonts(page) == json.loads(FONTS.read_text()):
        return SAME_FONTS
    size = page.viewport_size
    return round(OTHER_FONTS * size["width"] * size["height"] / _CELL**2)


def smaller(shot: bytes) -> bytes:
    """Return a screenshot with fewer colours, in a third of the bytes."""
    output = io.BytesIO()
    image.open(io.BytesIO(shot)).convert("RGB").quantize(96).save(output, "PNG", optimize=True)
    return output.getvalue()
