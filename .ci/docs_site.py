"""Hooks of mkdocs.yml: pages from outside docs/, links to them, and the roles in docstrings.

The documents are written to be read in the repository, where a page can link to any file. In the site, documents from
outside docs/ become pages at the same path, and links to other files are replaced by their text.
"""

from __future__ import annotations

import json
import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).resolve().parent))
import http_reference

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.nav import Navigation
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs/"
OUTSIDE = (
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "examples/README.md",
    "examples/*/README.md",
    "migrations_repo/README.md",
    "helm/pgdbm/README.md",
    "integrations/README.md",
    "integrations/*/README.md",
    "integrations/helm/*/README.md",
)

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?!\w+:|#)(?P<target>[^)#]+)(?P<anchor>#[^)]*)?\)")
_ANY_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_ROLE = re.compile(r":(?:meth|func|class|mod|attr):<code>~?\.?([^<]*)</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            uri = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    document = http_reference.openapi()
    for name, content in (
        ("reference/http.md", http_reference.page(document)),
        (f"reference/{http_reference.DOCUMENT}", json.dumps(document, indent=2)),
        (f"reference/{http_reference.SCHEMAS}", http_reference.schemas(document)),
    ):
        files.append(File.generated(config, name, content=content))
    return files


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> None:
    """Write ``llms.txt``: the title, the address and the first sentences of each page, for programs that read."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", ""]
    for page in nav.pages:
        title, first = _beginning(page.file.content_string)
        lines.append(f"- [{title}]({page.file.dest_uri}): {first}")
    files.append(File.generated(config, "llms.txt", content="\n".join(lines) + "\n"))


def _beginning(markdown: str) -> tuple[str, str]:
    """The heading of a page and its first paragraph, on one line and without links."""
    heading, _, rest = markdown.lstrip().partition("\n")
    paragraph = next((" ".join(one.split()) for one in rest.split("\n\n") if one.strip()[:1].isalpha()), "")
    return heading.removeprefix("# "), _ANY_LINK.sub(r"\1", paragraph)


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
