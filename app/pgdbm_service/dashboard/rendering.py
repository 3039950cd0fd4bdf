"""Templates and assets. Jinja and Pygments are imported with the first page, because most replicas never render one."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from litestar import Response

from pgdbm.text import object_in_words
from pgdbm.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment
    from markupsafe import Markup

_FOLDER = Path(__file__).parent
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
# A single script, because htmx processes the page as soon as it is loaded, with or without its extension.
_HTMX = ("htmx-4.0.1.min.js", "hx-sse-4.0.1.min.js")
_ASSETS_AT = "/ui/assets/"
_A_YEAR = "public, max-age=31536000, immutable"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)


class Asset(NamedTuple):
    """A file as it is sent; ``name`` contains the digest of its content."""

    name: str
    content_type: str
    raw: bytes
    packed: bytes


@cache
def assets() -> dict[str, Asset]:
    """Every asset by its plain name."""
    paths = [path for path in sorted((_FOLDER / "assets").iterdir()) if path.suffix in _TYPES]
    contents = {path.name: path.read_bytes() for path in paths}
    contents["htmx.js"] = b"\n".join(contents.pop(name) for name in _HTMX)
    found = {}
    for plain, raw in contents.items():
        stem, _, suffix = plain.rpartition(".")
        name = f"{stem}.{sha256(raw).hexdigest()[:12]}.{suffix}"
        found[plain] = Asset(name, _TYPES[f".{suffix}"], raw, gzip.compress(raw, 9, mtime=0))
    return found


def asset_called(name: str) -> tuple[Asset | None, bool]:
    """The asset with a name that contains its digest, and whether the digest matches its content here.

    During an upgrade, the page may be from a replica with a different version.
    """
    stem, _, suffix = name.rpartition(".")
    asset = assets().get(f"{stem.rpartition('.')[0]}.{suffix}")
    return asset, asset is not None and asset.name == name


def asset_response(asset: Asset, *, is_own: bool, gzipped: bool) -> Response[bytes]:
    headers = {"Cache-Control": _A_YEAR if is_own else "no-store", "Vary": "Accept-Encoding"}
    if gzipped:
        headers["Content-Encoding"] = "gzip"
    return Response(asset.packed if gzipped else asset.raw, media_type=asset.content_type, headers=headers)


@cache
def environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from . import drawings, highlight, lock_words, wording

    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": wording.ago,
        "badge": wording.badge,
        "duration": wording.duration,
        "groupby_day": wording.by_day,
        "eq_failed": "failed".__eq__,
        "host": wording.host,
        "lifetime": wording.lifetime,
        "size": wording.size,
        "until": wording.until,
    }
    environment.globals |= {
        "asset": lambda name: _ASSETS_AT + assets()[name].name,
        "version": __version__,
        "content_of": lock_words.content_of,
        "count": wording.count,
        "shape": drawings.shape,
        "sparkline": drawings.sparkline,
        "shares": drawings.shares,
        "waterfall": drawings.waterfall,
        "patterns": drawings.patterns,
        "sql_lines": highlight.sql_lines,
        "diff_lines": highlight.diff_lines,
        "fix_diff": highlight.fix_diff,
        "object_diff": highlight.object_diff,
        "object_in_words": object_in_words,
        "left_words": wording.left,
        "used_tables": lock_words.used_tables,
        "waits_for": wording.waits_for,
        "with_chosen": wording.with_chosen,
        "works_on": wording.works_on,
    }
    return environment


def render(template: str, **context: object) -> str:
    """The HTML of ``template``, which may use ``now``, the time of rendering."""
    return environment().get_template(template).render(now=datetime.now(UTC), **context)


def call(template: str, macro: str, *args: object, **options: object) -> Markup:
    """The HTML of a macro of ``template``."""
    html: Markup = getattr(environment().get_template(template).module, macro)(*args, **options)
    return html


def page(template: str, context: Mapping[str, object], status_code: int = 200) -> Response[str]:
    return Response(
        render(template, **context),
        status_code=status_code,
        media_type="text/html",
        # With no-referrer, a browser sends "Origin: null" with a form, which is refused as a request from another site.
        headers={"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"},
    )
