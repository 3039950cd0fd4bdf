"""Small SVG drawings, with attributes instead of styles: the Content-Security-Policy allows no inline styles. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from .wording import count, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .timeline import Row
    from .wording import Tone

_SHAPES: dict[Tone, str] = {
    "ok": '<circle cx="6" cy="6" r="5" fill="currentColor"/>',
    "run": '<path d="M3 1.5v9L10.5 6z" fill="currentColor"/>',
    "wait": '<path d="M2 1h8M2 11h8M3 1c0 3 3 4 3 5s-3 2-3 5M9 1c0 3-3 4-3 5s3 2 3 5" stroke="currentColor" '
    'fill="none" stroke-width="1.5"/>',
    "bad": '<path d="M2 2l8 8M10 2l-8 8" stroke="currentColor" stroke-width="2.2"/>',
    "pend": '<circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="2"/>',
}
_SPARK_WIDTH, _SPARK_HEIGHT, _SPARK_BARS = 72, 18, 8
_BAR_WIDTH = 140
_SEEN = 4.0
_STRIPES = (
    # The drawing is stretched to the width of its column, and so are the stripes.
    '<defs><pattern id="waiting" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="scale(2.5 1) rotate(45)">'
    '<rect class="stripe-ground" width="6" height="6"/><line class="stripe" x1="0" y1="0" x2="0" y2="6"/>'
    "</pattern></defs>"
)


def shape(tone: Tone) -> Markup:
    return Markup(f'<svg viewBox="0 0 12 12" aria-hidden="true">{_SHAPES[tone]}</svg>')  # noqa: S704


def sparkline(values: Sequence[float], failed: Sequence[bool] = ()) -> Markup:
    """The last eight of ``values``, in milliseconds, as bars, oldest first; those that ``failed`` have a different
    color."""
    values, failed = values[-_SPARK_BARS:], list(failed)[-_SPARK_BARS:]
    most = max(values, default=0) or 1
    width = _SPARK_WIDTH / _SPARK_BARS
    bars = []
    for number, value in enumerate(values):
        height = max(2.0, _SPARK_HEIGHT * value / most)
        bad = ' class="fill-bad"' if number < len(failed) and failed[number] else ""
        bars.append(
            f'<rect{bad} x="{number * width:.1f}" y="{_SPARK_HEIGHT - height:.1f}" width="{width - 3:.1f}" '
            f'height="{height:.1f}" rx="1"/>'
        )
    view = f"0 0 {_SPARK_WIDTH} {_SPARK_HEIGHT}"
    if not values:
        return Markup(f'<svg class="spark" viewBox="{view}" aria-hidden="true"></svg>')  # noqa: S704
    label = f"{count(len(values), 'run')}, {sum(failed)} failed, the last one took {duration(values[-1] / 1000)}"
    return Markup(  # noqa: S704
        f'<svg class="spark" viewBox="{view}" role="img" aria-label="{label}"><title>{label}</title>'
        f"{''.join(bars)}</svg>"
    )


def shares(parts: Sequence[tuple[Tone, int]]) -> Markup:
    """``parts`` of a whole as one bar."""
    whole = sum(number for _, number in parts) or 1
    # The smallest part is wide enough to be visible; the largest one shrinks accordingly.
    widths = [max(_BAR_WIDTH * number / whole, _SEEN) if number else 0.0 for _, number in parts]
    widths[widths.index(max(widths))] -= max(sum(widths) - _BAR_WIDTH, 0.0)
    drawn, begin = [f'<rect class="fill-rest" width="{_BAR_WIDTH}" height="6" rx="3"/>'], 0.0
    for (tone, _), width in zip(parts, widths, strict=True):
        drawn.append(f'<rect class="fill-{tone}" x="{begin:.1f}" width="{width:.1f}" height="6" rx="3"/>')
        begin += width
    return Markup(  # noqa: S704
        f'<svg class="bar" viewBox="0 0 {_BAR_WIDTH} 6" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(drawn)}</svg>"
    )


def waterfall(row: Row, until: float) -> Markup:
    """The bars of ``row`` on a line that ends at ``until`` seconds, with three lines at the quarters."""
    until = max(until, 0.001)
    drawn = [f'<line x1="{x}" y1="0" x2="{x}" y2="16"/>' for x in (0, 250, 500, 750)]
    for bar in row.bars:
        end = until if bar.end is None else bar.end
        left = min(1000 * bar.start / until, 994.0)
        width = max(1000 * (end - bar.start) / until, 6.0)
        working = ' working"' if bar.end is None and bar.kind == "run" else '"'
        top, height = (6, 4) if bar.kind == "retry" else (3, 10)
        drawn.append(
            f'<rect class="fill-{bar.kind}{working} x="{left:.1f}" y="{top}" '
            f'width="{min(width, 1000 - left):.1f}" height="{height}"/>'
        )
    waited = sum((until if bar.end is None else bar.end) - bar.start for bar in row.bars if bar.kind == "wait")
    label = f"waited {duration(waited)} for locks"
    # The duration is beside it, as text.
    named = f'role="img" aria-label="{label}"><title>{label}</title>' if waited else 'aria-hidden="true">'
    return Markup(  # noqa: S704
        f'<svg class="waterfall" viewBox="0 0 1000 16" preserveAspectRatio="none" {named}{"".join(drawn)}</svg>'
    )


def patterns() -> Markup:
    """The definitions that a page's other drawings refer to; included once per page."""
    return Markup(f'<svg class="patterns" width="0" height="0" aria-hidden="true">{_STRIPES}</svg>')  # noqa: S704
