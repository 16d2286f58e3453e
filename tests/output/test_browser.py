"""The page in a real browser: nothing is asked of anybody, nothing scrolls sideways, all can be read.

Skipped where there is no Chromium; `.ci/run` sees to it that there is one.
"""

import asyncio
import base64
import zlib
from dataclasses import dataclass, field

import pytest

from tests.output.test_report_html import at, html_of, page_run, partial
from tests.support.audits import batch, pace, run, sending
from tests.support.browser import browser, find_browser

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium: apt install chromium")

LOOKS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
LEAST_CONTRAST = 4.5
"""WCAG's AA for text of ordinary size."""

CONTRASTS = """(() => {
  const rgb = (text) => (text.match(/[0-9.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length && (colour.length < 4 || colour[3] > 0)) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join("");
    if (!own || element.tagName === "title" || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(rgb(ink)), light(behind(element))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), element.tagName + " " + own]);
  }
  return found;
})()"""

OUTSIDE = """[...document.querySelectorAll("body *")]
  .filter((e) => e.getClientRects().length && !e.closest("svg svg") && e.tagName !== "title")
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5 || e.getBoundingClientRect().left < -0.5)
  .map((e) => e.tagName + " " + e.textContent.slice(0, 40))"""

WIDTHS = """Object.fromEntries([".bar .failed", ".rug"].map((name) =>
  [name, Math.min(...[...document.querySelectorAll(name)].map((e) => e.getBoundingClientRect().width))]))"""

INKS = "[getComputedStyle(document.body)].map((s) => [s.color, s.backgroundColor])"

LAPPED = """(() => {
  const boxes = [...document.querySelectorAll(".plot .x text, .plot .y text")]
    .filter((e) => e.getClientRects().length).map((e) => [e.textContent, e.getBoundingClientRect()]);
  const lap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  return boxes.flatMap(([t, a], i) =>
    boxes.slice(i + 1).filter(([, b]) => lap(a, b)).map(([u]) => t + "|" + u));
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of two runs; one of them of two million numbers, a few of which failed."""
    folder = tmp_path_factory.mktemp("page")
    ends = [(seq * 2, batch(seq, phones=100)) for seq in range(1, 2000)]
    ends[900:900] = [(1802, pace(rate="5/s", until=at(1802.5), why="breaker: 系统繁忙 " + "long words " * 9))]
    large = page_run(
        folder,
        (0, run(batches=20_000, phones=2_000_000, job="夜间清理" * 9, reason="x" * 150)),
        (0, sending(1, 2000)),
        *ends,
        (4400, batch(2000, "failed", phones=100, left=14, message="参数错误，" * 40)),
        end=False,
    )
    path = folder / "page.html"
    path.write_text(html_of(large, partial(folder)), encoding="utf-8")
    return path.as_uri()


@dataclass
class Seen:
    """What there was to see in one look at the page, and what was told meanwhile."""

    page: str
    requested: list
    complaints: list
    states: list = field(default_factory=list)
    widths: dict = field(default_factory=dict)
    outside: list = field(default_factory=list)
    lapped: list = field(default_factory=list)
    narrow: list = field(default_factory=list)
    contrasts: list = field(default_factory=list)
    pictures: set = field(default_factory=set)
    inks: list = field(default_factory=list)


@pytest.fixture(scope="module")
def seen(page):
    """All that the tests look at, of one browser."""
    return asyncio.run(_look_at(page))


async def _look_at(page):
    async with browser() as tab:
        await tab.open(page)
        seen = Seen(page, tab.requested, tab.complaints)
        for width, scheme in LOOKS:
            await tab.look(width=width, scheme=scheme)
            seen.states.append(await tab.ask("document.readyState"))
            seen.widths[width, scheme] = await tab.ask("document.documentElement.scrollWidth")
            seen.outside += await tab.ask(OUTSIDE)
            seen.lapped += await tab.ask(LAPPED)
            seen.narrow += (await tab.ask(WIDTHS)).values()
            seen.contrasts.append(await tab.ask(CONTRASTS))
        await tab.look(width=800, scheme="dark", media="print")
        seen.contrasts.append(await tab.ask(CONTRASTS))
        for scheme in ("light", "dark"):
            await tab.look(width=800, scheme=scheme)
            seen.pictures.add(zlib.crc32(base64.b64decode(await tab.picture())))
            seen.inks += await tab.ask(INKS)
        return seen


def test_nothing_is_requested_but_the_page_itself(seen):
    assert set(seen.states) == {"complete"}
    assert seen.requested == [seen.page]
    assert seen.complaints == []


def test_nothing_scrolls_sideways_and_no_words_lie_on_each_other(seen):
    assert set(seen.widths) == set(LOOKS)
    assert all(wide <= width for (width, _), wide in seen.widths.items())
    assert (seen.outside, seen.lapped) == ([], [])


def test_everything_can_be_read_in_light_in_dark_and_on_paper(seen):
    assert len(seen.contrasts) == len(LOOKS) + 1
    for found in seen.contrasts:
        assert len(found) > 100
        assert [words for contrast, words in found if contrast < LEAST_CONTRAST] == []


def test_a_few_failures_in_two_million_are_seen(seen):
    assert min(seen.narrow) >= 3 - 0.01


def test_light_and_dark_are_two_pictures(seen):
    assert len(seen.inks) == len(seen.pictures) == 2
    assert all(ink != behind for ink, behind in seen.inks)
