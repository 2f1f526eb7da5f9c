"""The page of a busy cluster in a real browser: nothing is cut off at any width, and it can be read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chromium import Chromium
from tests.vkube.dashboard.sample import now, sample, served
from tests.vkube.dashboard.screenshots import WIDTHS

# The width that the content takes, and the lowest contrast of a text (WCAG 2.1, 1.4.3) with its words.
_TOO_WIDE = "document.documentElement.scrollWidth"
_LOWEST_CONTRAST = """(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = channels(getComputedStyle(one).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  let lowest = [21, ""];
  for (const one of document.querySelectorAll("body *")) {
    if (![...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
    const [a, b] = [light(channels(getComputedStyle(one).color)), light(behind(one))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < lowest[0]) lowest = [contrast, one.textContent];
  }
  return lowest;
})()"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    moment = now()
    with served(lambda: sample(moment)) as running:
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window_and_every_text_has_contrast(
    url: str, chromium: Chromium, scheme: str
) -> None:
    page = chromium.page()
    page.colours(scheme)
    page.open(url)
    for one in WIDTHS.values():
        page.resize(one)
        page.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert page.value(_TOO_WIDE) == one
    contrast, text = page.value(_LOWEST_CONTRAST)
    assert contrast >= 4.5, text
    assert page.complaints() == []
