"""The documentation as a site: it builds without a warning, and its pages load nothing from another host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from .markdown import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# What a browser fetches by itself, as opposed to a link that a reader follows.
_LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=[\"']?(?:https?:)?//"
    r"|<link\b[^>]*\brel=[\"']?(?:stylesheet|preconnect|preload|icon|dns-prefetch)[^>]*\bhref=[\"']?(?:https?:)?//"
    r"|<link\b[^>]*\bhref=[\"']?(?:https?:)?//[^>]*\brel=[\"']?(?:stylesheet|preconnect|preload|icon|dns-prefetch)"
    r"|url\([\"']?(?:https?:)?//"
    r"|@import\s+[\"'](?:https?:)?//"
)


INCIDENTS = {
    "idle in transaction": "run-blocked",
    "invalid index": "invalid-index",
    "changed checksum": "files-changed",
    "stuck": "run-stuck",
}


def test_the_site(tmp_path: Path) -> None:
    # All of it in one test: a build takes seconds.
    _build(tmp_path)
    pages = {
        str(page.relative_to(tmp_path)): page.read_text()
        for kind in ("*.html", "*.css")
        for page in tmp_path.rglob(kind)
    }
    assert len(pages) > 40
    assert {name: found[0] for name, text in pages.items() if (found := _LOADED.search(text))} == {}

    described = pages["reference/library/migrations.html"]
    assert 'id="pgdbm.AsyncMigrationManager.apply_pending_migrations"' in described
    assert "ChecksumMismatchError" in described
    assert [name for name, text in pages.items() if re.search(r":(?:meth|func|class):<code>", text)] == []

    assert 'href="../examples/multi_tenant/index.html"' in pages["explanation/choosing-a-pattern.html"]
    assert "examples/multi_tenant/index.html" in pages
    assert 'href="explanation/dependencies.html"' in pages["CONTRIBUTING.html"]

    assert 'id="post-modulesmodulemigrate"' in pages["reference/http.html"]
    document = json.loads((tmp_path / "reference" / "openapi.json").read_text())
    assert document["openapi"].startswith("3.")
    assert {"ProblemDocument", "Run"} <= json.loads((tmp_path / "reference" / "schemas.json").read_text())[
        "$defs"
    ].keys()
    listed = (tmp_path / "llms.txt").read_text()
    assert "- [Changes without downtime](howto/change-without-downtime.html): Recipes" in listed
    assert [page for page in re.findall(r"\]\((.*?)\)", listed) if not (tmp_path / page).is_file()] == []
    _check_the_search(tmp_path)


def _check_the_search(site: Path) -> None:
    """A search for the words of an incident finds a runbook."""
    entries = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    for words, page in INCIDENTS.items():
        found = {
            entry["location"].partition("#")[0]
            for entry in entries
            if words in f"{entry['title']} {entry['text']}".lower() and "runbooks/" in entry["location"]
        }
        assert f"runbooks/{page}.html" in found, words


def _build(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_counts_as_loaded() -> None:
    assert _LOADED.search('<script src="https://example.org/x.js">')
    assert _LOADED.search("<link rel=stylesheet href=//example.org/x.css>")
    assert _LOADED.search("@font-face{src:url(https://example.org/x.woff2)}")
    assert not _LOADED.search('<a href="https://example.org">')
    assert not _LOADED.search('<script src="assets/x.js">')
