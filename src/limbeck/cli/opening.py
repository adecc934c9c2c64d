"""`limbeck open`: the page of a run in a browser, served from this machine alone."""

from __future__ import annotations

import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from limbeck.errors import LimbeckError

HOST = "127.0.0.1"
out = Console(highlight=False, markup=False)


class Page(SimpleHTTPRequestHandler):
    """Serves one file and nothing else of its directory."""

    def __init__(self, *args: Any, page: Path, **kwargs: Any) -> None:
        self.page = page
        super().__init__(*args, **kwargs)

    def translate_path(self, path: str) -> str:
        """The page at the root; every other path names no file."""
        return str(self.page if path.partition("?")[0] == "/" else self.page / "nothing")

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing for each request."""


def server(page: Path, port: int) -> ThreadingHTTPServer:
    """What serves a page to this machine.

    Args:
        page: an HTML file.
        port: 0 for one that is free.
    Raises:
        LimbeckError: if the port is taken.
    """
    try:
        return ThreadingHTTPServer((HOST, port), partial(Page, page=page.resolve()))
    except OSError as error:
        raise LimbeckError(
            f"port {port} cannot be used: {error.strerror}; --port 0 takes a free one"
        ) from None


def open_(
    run: Annotated[Path, typer.Argument(help="Run directory with a report, or an HTML page of limbeck.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; a free one if 0.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")] = True,
) -> None:
    """Shows the report of a run in a browser, also over a forwarded port, until Ctrl-C."""
    page = run / "report.html" if run.is_dir() else run
    if not page.is_file():
        raise LimbeckError(
            f"{str(page)!r} is not there; `limbeck evaluate {run}` writes the report of a finished run"
            if run.is_dir()
            else f"{str(page)!r} is no file; give a run directory or an HTML page"
        )
    if page.suffix.lower() not in (".html", ".htm"):
        raise LimbeckError(f"{str(page)!r} is no HTML page; give one, or a run directory")
    with server(page, port) as serving:
        address = f"http://{HOST}:{serving.server_address[1]}/"
        out.print(f"{page} at {address} until Ctrl-C", soft_wrap=True)
        if browser:
            webbrowser.open(address)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            out.print("stopped")
