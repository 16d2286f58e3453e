"""The page in a real browser: nothing is asked of anybody, nothing scrolls sideways, all can be read.

Skipped where there is no Chromium; `.ci/run` sees to it that there is one.
"""

import base64
import zlib

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

LAPPED = """(() => {
  const boxes = [...document.querySelectorAll(".plot .x text, .plot .y text")]
    .filter((e) => e.getClientRects().length).map((e) => [e.textContent, e.getBoundingClientRect()]);
  const lap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  return boxes.flatMap(([t, a], i) =>
    boxes.slice(i + 1).filter(([, b]) => lap(a, b)).map(([u]) => t + "|" + u));
})()"""


@pytest.fixture
def page(tmp_path):
    """A page of two runs; one of them of two million numbers, a few of which failed."""
    ends = [(seq * 2, batch(seq, phones=100)) for seq in range(1, 2000)]
    ends[900:900] = [(1802, pace(rate="5/s", until=at(1802.5), why="breaker: 系统繁忙 " + "long words " * 9))]
    large = page_run(
        tmp_path,
        (0, run(batches=20_000, phones=2_000_000, job="夜间清理" * 9, reason="x" * 150)),
        (0, sending(1, 2000)),
        *ends,
        (4400, batch(2000, "failed", phones=100, left=14, message="参数错误，" * 40)),
        end=False,
    )
    path = tmp_path / "page.html"
    path.write_text(html_of(large, partial(tmp_path)), encoding="utf-8")
    return path.as_uri()


async def test_nothing_is_requested_but_the_page_itself(page):
    async with browser() as tab:
        await tab.open(page)
        for width, scheme in LOOKS:
            await tab.look(width=width, scheme=scheme)
            assert await tab.ask("document.readyState") == "complete"
        assert tab.requested == [page]
        assert tab.complaints == []


async def test_nothing_scrolls_sideways_and_no_words_lie_on_each_other(page):
    async with browser() as tab:
        await tab.open(page)
        for width, scheme in LOOKS:
            await tab.look(width=width, scheme=scheme)
            assert await tab.ask("document.documentElement.scrollWidth") <= width
            assert await tab.ask(OUTSIDE) == []
            assert await tab.ask(LAPPED) == []


async def test_everything_can_be_read_in_light_in_dark_and_on_paper(page):
    async with browser() as tab:
        await tab.open(page)
        looks = [(*look, "screen") for look in LOOKS] + [(800, "dark", "print")]
        for width, scheme, media in looks:
            await tab.look(width=width, scheme=scheme, media=media)
            found = await tab.ask(CONTRASTS)
            assert len(found) > 100
            assert [words for contrast, words in found if contrast < LEAST_CONTRAST] == []


async def test_a_few_failures_in_two_million_are_seen(page):
    async with browser() as tab:
        await tab.open(page)
        for width, scheme in LOOKS:
            await tab.look(width=width, scheme=scheme)
            assert min((await tab.ask(WIDTHS)).values()) >= 3 - 0.01


async def test_light_and_dark_are_two_pictures(page):
    async with browser() as tab:
        await tab.open(page)
        pictures = set()
        for scheme in ("light", "dark"):
            await tab.look(width=800, scheme=scheme)
            pictures.add(zlib.crc32(base64.b64decode(await tab.picture())))
            inks = await tab.ask("[getComputedStyle(document.body)].map((s) => [s.color, s.backgroundColor])")
            assert inks[0][0] != inks[0][1]
        assert len(pictures) == 2
