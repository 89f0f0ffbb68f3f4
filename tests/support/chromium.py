"""A real browser for the console's tests, which notes whatever a page does that it should not."""

import io
import re
import shutil
from pathlib import Path

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: make console-test"
)
axe_module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="make console-test")

image, image_chops, image_stat = (
    pytest.importorskip(f"PIL.{name}", reason="make console-test")
    for name in ("Image", "ImageChops", "ImageStat")
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
SIZES = [("light", 1400), ("dark", 1400), ("light", 400), ("dark", 400)]
IMAGES = Path(__file__).parents[1] / "screenshots"
IN_DOCS = Path(__file__).parents[2] / "docs/images/console"
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.eyJ")
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


def difference(one: bytes, other: bytes) -> float:
    """Return how much two screenshots differ, 0 to 1, in their layout: details are blurred away."""
    pictures = [image.open(io.BytesIO(each)).convert("L") for each in (one, other)]
    if pictures[0].size != pictures[1].size:
        return 1.0
    small = [picture.resize((picture.width // 16, picture.height // 16)) for picture in pictures]
    return image_stat.Stat(image_chops.difference(*small)).mean[0] / 255


def smaller(shot: bytes) -> bytes:
    """Return a screenshot with fewer colours, in a third of the bytes."""
    output = io.BytesIO()
    image.open(io.BytesIO(shot)).convert("RGB").quantize(96).save(output, "PNG", optimize=True)
    return output.getvalue()
