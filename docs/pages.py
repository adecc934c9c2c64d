"""Pages of the site that lie elsewhere: README, changelog, examples, benchmarks."""

from __future__ import annotations

import ast
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
EXAMPLE = "# {}\n\n`examples/{}`\n\n```python\n{}```\n"
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)(#[^)\s]*)?\)")


def pages() -> dict[str, str]:
    """Markdown by the path it has on the site."""
    found = {place: _read(path) for path, place in AT_TOP.items()}
    for readme in sorted((ROOT / "benchmarks").glob("*/*.md")):
        found[f"benchmarks/{readme.parent.name}/{readme.name}"] = _read(readme)
    examples = "# Examples\n\nEach runs in a minute on two cores, and is run by the tests.\n\n"
    for script in sorted((ROOT / "examples").glob("*.py")):
        text = _read(script)
        title = (ast.get_docstring(ast.parse(text)) or script.stem).partition("\n")[0].rstrip(".")
        found[f"examples/{script.stem}.md"] = EXAMPLE.format(title, script.name, text)
        examples += f"- [{title}]({script.name})\n"
    found["examples/index.md"] = examples
    return found


def on_files(files: Files, *, config: Any) -> Files:
    """Adds the pages."""
    from mkdocs.structure.files import File

    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Links lead to pages of the site, also those into the repository; names of methods to their pages."""
    place = page.file.src_uri
    if place == "methods.md":
        markdown = re.sub(r"^\| `(\w+)([^`]*)`", partial(_to_method, files), markdown, flags=re.M)
    markdown = markdown.replace('src="docs/', 'src="')  # of images in README, which lie beside the page there
    return LINK.sub(lambda found: _link(found, place, files), re.sub(r"\[([\w-]+)\.md\]", r"[\1]", markdown))


def _to_method(files: Files, found: re.Match[str]) -> str:
    page = f"methods/{found[1]}.md"
    return f"| [`{found[1]}{found[2]}`]({page})" if files.get_file_from_path(page) else found[0]


def _link(found: re.Match[str], page: str, files: Files) -> str:
    target, anchor = found[1], found[2] or ""
    home = page.startswith(("benchmarks/", "examples/"))
    here = HOMES.get(page) or (Path(page).parent if home else Path("docs"))
    path = _normal(here / target)
    place = _on_site(path)
    if place is None or files.get_file_from_path(place) is None:
        return f"](#){{title='{path}, in the repository'}}" if (ROOT / path).exists() else found[0]
    up = "../" * page.count("/")
    return f"]({up}{place}{anchor})"


AT_TOP = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "benchmarks/README.md": "benchmarks/index.md",
}
"""Pages of the repository, by the path that they have on the site."""

HOMES = {"index.md": Path(), "changelog.md": Path(), "contributing.md": Path(), "code-of-conduct.md": Path()}


def _on_site(path: str) -> str | None:
    if path in AT_TOP:
        return AT_TOP[path]
    if path in ("examples", "benchmarks"):
        return f"{path}/index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("examples/") and path.endswith(".py"):
        return path.removesuffix(".py") + ".md"
    return path if path.startswith("benchmarks/") and path.endswith(".md") else None


def _normal(path: Path) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/".join(parts)


def _read(path: Path | str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")
