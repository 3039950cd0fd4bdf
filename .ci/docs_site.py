"""Hooks of mkdocs.yml: pages from outside docs/, links between the two, and the roles in docstrings.

The documents are written for whoever reads them in the repository, where a page may link to any file of it. In the
site, documents from outside docs/ become pages at the same path, and a link to anything else loses its address.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs/"
OUTSIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", "examples/*/README.md", "migrations_repo/README.md")

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?!\w+:|#)(?P<target>[^)#]+)(?P<anchor>#[^)]*)?\)")
_ROLE = re.compile(r":(?:meth|func|class|mod|attr):<code>~?\.?([^<]*)</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            uri = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    here = page.file.src_uri
    outside = files.get_file_from_path(here) is not None and not (ROOT / DOCS / here).exists()
    repository_folder = posixpath.dirname(here if outside else DOCS + here)

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(repository_folder, found["target"]))
        if (ROOT / target).is_dir():
            target = posixpath.join(target, "README.md")
        if target in ("README.md", "docs/README.md"):
            target = "docs/index.md"
        uri = target.removeprefix(DOCS)
        if target.startswith(DOCS) or files.get_file_from_path(uri) is not None:
            relative = posixpath.relpath(uri, posixpath.dirname(here) or ".")
            return f"[{found['text']}]({relative}{found['anchor'] or ''})"
        return found["text"]

    return _LINK.sub(link, markdown)


def on_page_content(html: str, **_: Any) -> str:
    return _ROLE.sub(r"<code>\1</code>", html)
