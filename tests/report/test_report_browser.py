"""The page in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from evaluations_for_reports import evaluation
from playwright.sync_api import Browser, Page, expect, sync_playwright
from runs_for_reports import alone, comparison, contenders, figures, history, result

from limbeck import data
from limbeck.files import write_text
from limbeck.report.comparison_page import comparison_report
from limbeck.report.inputs import examples
from limbeck.report.run import run_report
from limbeck.report.study import study_report
from limbeck.studies.measures import measures

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


@pytest.fixture(scope="module", params=["run", "study", "comparison"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "report.html"
    if request.param == "run":
        write_text(path, evaluated_run())
    elif request.param == "comparison":
        found = [replace(it, evaluations=[evaluation(), evaluation()]) for it in contenders()]
        write_text(
            path,
            comparison_report(comparison("student alone", found), measures(["top1", "nll"], found[0].task)),
        )
    else:
        pair = [("student distilled", "student alone")]
        write_text(path, study_report(contenders(), title="Digits", lead="Five seeds.", comparisons=pair))
    return path


def evaluated_run() -> str:
    """The page of a run with everything that can be on it."""
    found = evaluation()
    return run_report(
        result(baseline=alone(5)),
        history(phases=("mgd.low",)),
        evaluation=found,
        examples=examples(found, data.load("digits")),
        settings={"training": {"epochs": 40, "clip": None}},
        environment={"python": "3.11"},
    )


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
    page.locator(".plot .main-svg").first.wait_for(state="attached")
    unfold(page)
    yield page
    page.close()
    assert complaints == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}


def unfold(page: Page) -> None:
    """Shows the sections that are folded on a phone."""
    while (folded := page.locator("h2 button[aria-expanded=false]")).count():
        folded.first.click()


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def stroke(page: Page) -> str:
    """The color of the first series of the first chart."""
    mark = page.locator(".plot").first.locator("path.js-line, path.point").first
    return str(mark.evaluate("path => path.style.stroke + path.style.fill"))


def test_every_chart_draws_its_series(page: Page, report: Path) -> None:
    expected = figures(report.read_text(encoding="utf-8"))
    assert page.locator(".plot").count() == len(expected) > 1
    for number, figure in enumerate(expected):
        plot = page.locator(".plot").nth(number)
        area = plot.bounding_box()
        assert area is not None
        if figure["data"][0]["type"] == "heatmap":
            box = plot.locator(".heatmaplayer image").bounding_box()
            assert box is not None
            assert box["width"] > area["width"] / 2
            assert plot.locator(".heatmap-label").count() == sum(
                text != "" for row in figure["data"][0]["text"] for text in row
            )
            continue
        assert plot.locator(".scatterlayer .trace").count() == len(figure["data"])
        marks = plot.locator(".scatterlayer").locator("path.js-line, path.point, path.js-fill")
        boxes = [box for mark in marks.all() if (box := mark.bounding_box())]
        assert len(boxes) >= len(figure["data"])
        assert all(
            area["x"] <= box["x"] <= box["x"] + box["width"] <= area["x"] + area["width"] for box in boxes
        )
        if figure["layout"]["hovermode"] == "x unified":  # lines
            right, left = max(box["x"] + box["width"] for box in boxes), min(box["x"] for box in boxes)
            assert right - left > area["width"] / 2


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
    # "epoch 2" in a run, "optimizer step 18" in a study; the number alone with the oldest plotly there may be
    header = plot.locator(".hoverlayer text").first
    for key, epoch in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2)):
        page.keyboard.press(key)
        expect(header).to_have_text(re.compile(rf"^((epoch )?{epoch}|(optimizer step )?{9 * epoch})$"))


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


def test_the_theme_is_changed_by_keyboard(page: Page) -> None:
    light = background(page)
    page.get_by_role("button", name="Dark theme").focus()
    page.keyboard.press("Enter")
    assert background(page) != light
    page.keyboard.press("Space")
    assert background(page) == light


def test_no_name_of_a_row_runs_out_of_its_plot(page: Page) -> None:
    for plot in page.locator(".plot").all():
        area = plot.bounding_box()
        assert area is not None
        for name in plot.locator(".annotation-text").all():
            box = name.bounding_box()
            assert box is not None
            assert area["x"] <= box["x"]
            assert box["x"] + box["width"] <= area["x"] + area["width"]
            assert area["y"] <= box["y"]


def test_on_a_phone_all_sections_but_the_first_are_folded(browser: Browser, tmp_path: Path) -> None:
    write_text(tmp_path / "report.html", evaluated_run())
    heights = {}
    for width in (390, 1400):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto((tmp_path / "report.html").as_uri())
        page.locator(".plot .main-svg").first.wait_for(state="attached")
        buttons = page.locator("main > section > h2 button").all()
        states = [button.get_attribute("aria-expanded") for button in buttons]
        sections = page.locator("main > section").count()
        assert states == (["true", *["false"] * (sections - 1)] if width == 390 else [])
        folded = page.evaluate("document.documentElement.scrollHeight")
        unfold(page)
        heights[width] = folded, page.evaluate("document.documentElement.scrollHeight")
        drawn = page.locator(".plot .main-svg").last.bounding_box()
        assert drawn is not None
        assert 0 < drawn["width"] <= width
        page.close()
    assert heights[390][0] < heights[390][1] / 2
    assert heights[1400][0] == heights[1400][1]


@pytest.fixture
def run_page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """The page of a run, on a phone."""
    write_text(tmp_path / "report.html", evaluated_run())
    page = browser.new_page(viewport={"width": 380, "height": 900})
    page.goto((tmp_path / "report.html").as_uri())
    page.locator(".plot .main-svg").first.wait_for(state="attached")
    unfold(page)
    yield page
    page.close()


def test_arrow_keys_step_through_the_cells_of_a_matrix(run_page: Page) -> None:
    plot = run_page.locator(".chart", has_text="What is taken for what").locator(".plot")
    plot.focus()
    for _ in range(2):
        run_page.keyboard.press("ArrowRight")
    expect(plot.locator(".hoverlayer text").first).to_have_text("true class 0, answer 1: 4")


def test_inputs_are_shown_as_they_are(run_page: Page) -> None:
    images = run_page.locator(".sample img")
    assert images.count() == 12
    assert images.first.evaluate("image => [image.naturalWidth, getComputedStyle(image).imageRendering]") == [
        8,
        "pixelated",
    ]
    assert images.first.get_attribute("alt") == "a sample of 0"


def test_settings_are_folded_away(run_page: Page) -> None:
    cell = run_page.get_by_role("rowheader", name="training.epochs")
    assert not cell.is_visible()
    run_page.locator("summary", has_text="Settings").click()
    assert cell.is_visible()


def test_a_script_that_got_into_the_page_is_not_run(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    evil = "<script>document.title = 'ran'</script><img src=x onerror=\"document.title = 'ran'\">"
    write_text(path, evaluated_run().replace("<main>", f"<main>{evil}", 1))
    page = browser.new_page()
    page.goto(path.as_uri())
    page.locator(".plot .main-svg").first.wait_for(state="attached")
    assert page.title() != "ran"
    page.close()
