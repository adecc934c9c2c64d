"""What serves one page to a browser of this machine."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError

HOST = "127.0.0.1"


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
