"""The pictures of the dashboard in the documents: python -m tests.vkube.dashboard.screenshots [DIRECTORY]"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.chromium import browser, find_chromium
from tests.palette_png import with_palette
from tests.vkube.dashboard.sample import now, sample, served

_OPENED = "document.querySelector('[data-key=\"acme:prod:shop:web\"] details').open = true"
WIDTHS = {"": 1280, "-narrow": 375}


def take(directory: Path) -> None:
    """Writes dashboard-light.png and the others."""
    moment, program = now(), find_chromium()
    if program is None:
        raise SystemExit("there is no Chromium on PATH (Debian's package chromium has it)")
    with served(lambda: sample(moment)) as url, browser(program) as chromium:
        for scheme in ("light", "dark"):
            for suffix, width in WIDTHS.items():
                page = chromium.page(width, 700)
                page.colours(scheme)
                page.open(url)
                page.value(_OPENED)
                page.resize(width, page.value("document.documentElement.scrollHeight"))
                file = directory / f"dashboard-{scheme}{suffix}.png"
                file.write_bytes(with_palette(page.screenshot()))


if __name__ == "__main__":
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs"))
