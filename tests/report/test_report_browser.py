"""The page in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from runs_for_reports import contenders, figures, history, result

from limbeck.files import write_text
from limbeck.report import run_report, study_report

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open the page in"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=["run", "study"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "report.html"
    if request.param == "run":
        write_text(path, run_report(result(), history(phases=("mgd.low",))))
    else:
        pair = [("student distilled", "student alone")]
        write_text(path, study_report(contenders(), title="Digits", lead="Five seeds.", comparisons=pair))
    return path


@pytest.fixture(params=[380, 1400])
def page(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Page]:
    """The open page; at the end, nothing may have been complained of in its console or asked of a network."""
    complaints: list[str] = []
    asked: list[str] = []
    page = browser.new_page(viewport={"width": request.param, "height": 900}, color_scheme="light")
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length > 0")
    yield page
    page.close()
    assert complaints == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def stroke(page: Page) -> str:
    """The colour of the first series of the first chart."""
    mark = page.locator(".plot").first.locator("path.js-line, path.point").first
    return str(mark.evaluate("path => path.style.stroke + path.style.fill"))


def test_every_chart_draws_its_series(page: Page, report: Path) -> None:
    expected = figures(report.read_text(encoding="utf-8"))
    assert page.locator(".plot").count() == len(expected) > 1
    for number, figure in enumerate(expected):
        plot = page.locator(".plot").nth(number)
        assert plot.locator(".scatterlayer .trace").count() == len(figure["data"])
        marks = plot.locator(".scatterlayer").locator("path.js-line, path.point, path.js-fill")
        boxes = [box for mark in marks.all() if (box := mark.bounding_box())]
        assert len(boxes) >= len(figure["data"])
        area = plot.bounding_box()
        assert area is not None
        assert all(
            area["x"] <= box["x"] <= box["x"] + box["width"] <= area["x"] + area["width"] for box in boxes
        )
        assert (
            max(box["x"] + box["width"] for box in boxes) - min(box["x"] for box in boxes) > area["width"] / 2
        )


def test_the_page_never_scrolls_sideways(page: Page) -> None:
    for details in page.locator("details").all():
        details.locator("summary").click()
    width = page.evaluate("innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_theme_can_be_changed_and_follows_the_system(page: Page) -> None:
    light, blue = background(page), stroke(page)
    page.get_by_role("button", name="Dark theme").click()
    assert background(page) != light
    assert stroke(page) != blue
    page.get_by_role("button", name="Light theme").click()
    assert (background(page), stroke(page)) == (light, blue)
    page.reload()
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="Light theme").wait_for()
    assert background(page) != light


def test_a_series_is_hidden_and_shown_by_keyboard(page: Page) -> None:
    chart = page.locator(".chart").filter(has=page.locator(".legend")).first
    key = chart.locator(".legend button").first
    traces = chart.locator(".scatterlayer .trace")
    before = traces.count()
    key.focus()
    page.keyboard.press("Enter")
    assert key.get_attribute("aria-pressed") == "false"
    assert traces.count() < before
    page.keyboard.press("Space")
    assert key.get_attribute("aria-pressed") == "true"
    assert traces.count() == before


def test_arrow_keys_step_through_the_values(page: Page) -> None:
    plot = page.locator(".plot").last
    plot.focus()
    # "epoch 2" in a run, "optimiser step 18" in a study; the number alone with the oldest plotly there may be
    header = plot.locator(".hoverlayer text").first
    for key, epoch in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2)):
        page.keyboard.press(key)
        expect(header).to_have_text(re.compile(rf"^((epoch )?{epoch}|(optimiser step )?{9 * epoch})$"))


def test_hovering_shows_values(page: Page) -> None:
    plot = page.locator(".plot").last
    plot.hover()
    plot.locator(".hoverlayer text").first.wait_for()
    assert any(
        "kd" in text or "student alone" in text
        for text in plot.locator(".hoverlayer text").all_text_contents()
    )


def test_values_can_be_had_without_a_pointer(page: Page) -> None:
    summary = page.locator("summary").first
    table = page.locator("details table").first
    assert not table.is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    assert table.is_visible()


def test_paper_is_light_and_charts_fit_it(page: Page) -> None:
    page.get_by_role("button", name="Dark theme").click()
    dark = background(page)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert background(page) != dark
    assert page.locator(".plot .main-svg").first.evaluate("svg => svg.clientWidth") <= 640
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert background(page) == dark
