"""limbeck open: one page, to this machine alone."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from command import Command

from limbeck.cli import page_server
from limbeck.errors import LimbeckError


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    page = tmp_path / "report.html"
    page.write_text("<p>A page.</p>", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("no", encoding="utf-8")
    with page_server.server(page, 0) as serving:
        thread = Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


def test_the_page_is_served_and_nothing_else(address: str) -> None:
    with urllib.request.urlopen(f"{address}/?seed=1") as answer:
        assert answer.read() == b"<p>A page.</p>"
        assert answer.headers.get_content_type() == "text/html"
    for path in ("/secret.txt", "/../secret.txt", "/report.html/.."):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(address + path)
        assert error.value.code == 404


def test_a_port_that_is_taken_is_named(address: str, tmp_path: Path) -> None:
    port = int(address.rpartition(":")[2])
    with pytest.raises(LimbeckError, match=rf"^port {port} cannot be used: Address already in use; --port 0"):
        page_server.server(tmp_path / "report.html", port)


def test_a_run_without_a_report_says_what_writes_one(command: Command, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    answer = command("open", "run")
    assert answer.code == 2
    assert "'run/report.html' is not there; `limbeck evaluate run` writes the report" in answer.err


def test_it_opens_the_browser_and_ends_with_ctrl_c(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.html").write_text("<p>A page.</p>", encoding="utf-8")
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", interrupted)
    answer = command("open", "page.html")
    assert answer.code == 0
    assert answer.out.splitlines() == [f"page.html at {opened[0]} until Ctrl-C", "stopped"]
    assert opened[0].startswith("http://127.0.0.1:")
    opened.clear()
    command("open", "page.html", "--no-browser")
    assert opened == []
