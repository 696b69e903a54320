"""Screenshots of every page: `python -m tests.browser.screenshots FOLDER` makes a demo, `--url` takes what runs.

Each page is shown on a wide screen in light and dark, and on a phone. PNGs have a palette: all are a few megabytes.
"""

from __future__ import annotations

import argparse
import io
import sys
from contextlib import ExitStack
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.running import browser_path, pages, printed, running_demo

# Name, width, height, scheme. A phone's page is shown as far as the height says: all of it would be a ribbon.
SCREENS = (("light", 1280, 900, "light"), ("dark", 1280, 900, "dark"), ("phone", 390, 844, "light"))
COLOURS = 128
TALLEST = 2400
# Of a page that shows folders of the machine it runs on, what lies above this heading.
UP_TO = {"pipelines": "Log of a run"}


def settle(page: Page) -> None:
    """Waits until what is on the page is drawn: nothing runs, and no placeholder is left."""
    page.wait_for_selector("h1, h2", timeout=60_000)
    page.wait_for_function(
        """() => !document.querySelector('[data-testid="stSkeleton"], [data-testid="stSpinner"]')
        && document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState !== 'running'""",
        timeout=60_000,
    )
    page.wait_for_timeout(2500)  # charts grow into their place


def shoot(browser: Browser, url: str, folder: Path) -> list[Path]:
    """A picture a page and screen."""
    made = []
    for name, width, height, scheme in SCREENS:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, timezone_id="UTC", locale="en-GB"
        )
        page = context.new_page()
        page.goto(url)  # the first page first: it makes the others known
        settle(page)
        for path, title in pages().items():
            page.set_viewport_size({"width": width, "height": height})
            page.goto(f"{url}/{path}")
            settle(page)
            full = page.get_by_test_id("stMain").evaluate("main => main.scrollHeight")
            shown = max(height, min(int(full) + 60, TALLEST))
            page.set_viewport_size({"width": width, "height": shown})
            page.wait_for_timeout(2500)
            if path in UP_TO:
                below = page.get_by_role("heading", name=UP_TO[path]).bounding_box()
                shown = min(shown, int(below["y"])) if below else shown
            file = folder / f"{path or 'home'}-{name}.png"
            write_small(page.screenshot(clip={"x": 0, "y": 0, "width": width, "height": shown}), file)
            print(f"{file} {file.stat().st_size // 1000} kB: {title}", flush=True)
            made.append(file)
        context.close()
    return made


def write_small(png: bytes, file: Path) -> None:
    """A picture with a palette."""
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(file, optimize=True)


def main() -> int:
    """Makes them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", help="of a dashboard that runs already")
    parser.add_argument("--seed", help="of the demo's market; by default of one in which an alert is open now")
    parser.add_argument("--home", type=Path, default=Path("build/screenshots"), help="where the demo is made")
    arguments = parser.parse_args()
    executable = browser_path()
    if executable is None:
        print("No Chromium is found: install one, or name it with CHROMIUM.", file=sys.stderr)
        return 1
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        url = arguments.url
        if url is None:
            seed = arguments.seed or printed("tests.browser.lively")
            url = stack.enter_context(running_demo(arguments.home, "--seed", seed))["urls"]["dashboard"]
        player = stack.enter_context(sync_playwright())
        browser = player.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        shoot(browser, url, arguments.folder)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
