"""Takes the pictures of the page in docs/images, of a server that runs:

    make serve-demo
    python tools/page_pictures.py --url http://127.0.0.1:8000

Needs playwright and a browser that it can drive: chromium, chromium-browser or google-chrome on the PATH.
"""

import argparse
import re
import shutil
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT, PHONE = 1180, 900, (390, 780)
SCALE = 1.5  # pixels of the picture per pixel of the page


def main() -> None:
    """Parses the arguments and takes both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the server")
    parser.add_argument("--user", help="id of a user [default: the first one that the page offers]")
    parser.add_argument("--part", default="visual", help="part of the score whose slider is moved")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder of the pictures")
    chosen = parser.parse_args()
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        parser.error(f"no browser: install one of {', '.join(NAMES)}")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        user = chosen.user or first_user(browser, chosen.url)
        plain = f"{chosen.url}/user?{urlencode({'id': user})}"
        moved = f"{plain}&{urlencode({f'w.{chosen.part}': 2.5})}"
        picture(browser, moved, chosen.out / "page.png", WIDTH, HEIGHT)
        picture(browser, plain, chosen.out / "page-phone.png", *PHONE)
        browser.close()


def first_user(browser: Browser, url: str) -> str:
    """Returns the first user that the page offers."""
    page = browser.new_page()
    page.goto(url)
    shown = page.locator(".chips a").first.text_content()
    page.close()
    if not shown:
        raise SystemExit(f"no user on {re.sub(r'[?].*', '', url)}")
    return shown


def picture(browser: Browser, address: str, path: Path, width: int, height: int) -> None:
    """Writes what a window of this size shows."""
    context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=SCALE)
    page = context.new_page()
    answer = page.goto(address)
    if answer is None or not answer.ok:
        raise SystemExit(f"{address} could not be opened")
    page.screenshot(path=path)
    context.close()
    print(path)


if __name__ == "__main__":
    main()
