"""Draw the documentation's diagrams that changed, by Mermaid in a headless Chromium: ``make diagrams``.

Pictures are committed, so that neither the site's build nor its readers need Mermaid. Each is named by the
digest of its source; those of sources that are gone are deleted.
"""

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))
from pictures import FOLDER, picture_of, sources  # noqa: E402

_PAGE = """<!doctype html><meta charset="utf-8"><body><script src="{mermaid}"></script><script>
const draw = async () => {{
  const settings = {{startOnLoad: false, theme: "neutral", htmlLabels: false, fontFamily: "sans-serif",
    flowchart: {{htmlLabels: false}}, deterministicIds: true}};
  (globalThis.mermaid.default ?? globalThis.mermaid).initialize(settings);
  const drawn = {{}};
  for (const [name, source] of Object.entries({sources})) {{
    drawn[name] = (await (globalThis.mermaid.default ?? globalThis.mermaid).render("d" + name, source)).svg;
  }}
  document.body.textContent = "<<" + JSON.stringify(drawn) + ">>";
}};
draw().catch((error) => {{ document.body.textContent = "failed: " + error; }});
</script>"""


def main(mermaid: Path) -> None:
    """Draw what has no picture; delete pictures that nothing shows."""
    wanted = {picture_of(source): source for source in sources()}
    for path in FOLDER.glob("*.svg"):
        if path not in wanted:
            path.unlink()
    missing = {path.stem: source for path, source in wanted.items() if not path.exists()}
    if not missing:
        return
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is missing: apt-get install chromium")
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory) / "page.html"
        page.write_text(_PAGE.format(mermaid=mermaid.resolve().as_uri(), sources=json.dumps(missing)))
        command = [browser, "--headless", "--no-sandbox", "--allow-file-access-from-files"]
        command += [f"--user-data-dir={directory}/profile", "--virtual-time-budget=60000", "--dump-dom"]
        done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, check=True)  # noqa: S603
    found = re.search(r"<<(.*)>>", html.unescape(done.stdout), re.DOTALL)
    if found is None:
        sys.exit(f"Mermaid drew nothing: {done.stdout[-500:]}")
    for name, drawn in json.loads(found[1]).items():
        (FOLDER / f"{name}.svg").write_text(f"{drawn}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
