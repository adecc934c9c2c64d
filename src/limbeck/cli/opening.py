"""`limbeck open`: the page of a run in a browser, served from this machine alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.terminal import out
from limbeck.errors import LimbeckError


def open_(
    run: Annotated[Path, typer.Argument(help="Run directory with a report, or an HTML page of limbeck.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; a free one if 0.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")] = True,
) -> None:
    """Shows the report of a run in a browser, until Ctrl-C.

    The page is served from this machine alone, also over a forwarded port.
    """
    import webbrowser

    from limbeck.cli.page_server import HOST, server

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
        out().print(f"{page} at {address} until Ctrl-C", soft_wrap=True)
        if browser:
            webbrowser.open(address)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            out().print("stopped")
