"""Pictures of what was measured: horizontal bars, the peer and the floor beside each other, as SVG without a library.

Dark and light readers both see them: ink in the middle greys, no background. Used by the benchmarks, which write to
``docs/pictures``.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

WIDE, LEFT, ROW, TOP = 860, 330, 34, 62
COLOURS = {"own": "#2F6BD0", "peer": "#B4690E", "floor": "#7A828E"}
INK = "#6B7480"


@dataclass(frozen=True)
class Bar:
    """One thing measured: its label, its amount, whose it is (own, peer or floor), and what stands behind the bar."""

    label: str
    amount: float
    whose: str = "own"
    note: str = ""


def bars(rows: Sequence[Bar], *, title: str, unit: str, to: Path, target: float | None = None) -> Path:
    """Write the bars of amounts in ``unit`` to an SVG file, with a line at ``target``, and return the file.

    >>> import tempfile
    >>> file = bars([Bar("ours", 2.0), Bar("theirs", 4.0, "peer")], title="t", unit="s", to=Path(tempfile.mkdtemp()) / "a.svg")
    >>> file.read_text(encoding="utf-8").count("<rect")
    2
    """
    longest = max([row.amount for row in rows] + [target or 0]) or 1.0
    scale = (WIDE - LEFT - 190) / longest
    high = TOP + ROW * len(rows) + (30 if target is not None else 8)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {high}" font-family="system-ui, sans-serif" '
        f'font-size="14" fill="{INK}" role="img"><title>{html.escape(title)}</title>',
        f'<text x="12" y="26" font-size="17" font-weight="600">{html.escape(title)}</text>',
        f'<text x="12" y="47" font-size="13">{html.escape(unit)}</text>',
    ]
    for place, row in enumerate(rows):
        y = TOP + place * ROW
        long = max(1.0, row.amount * scale)
        note = f" · {row.note}" if row.note else ""
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 17}" text-anchor="end">{html.escape(row.label)}</text>',
            f'<rect x="{LEFT}" y="{y + 2}" width="{long:.1f}" height="21" rx="3" fill="{COLOURS[row.whose]}"/>',
            f'<text x="{LEFT + long + 8:.1f}" y="{y + 17}">{amount(row.amount)}{html.escape(note)}</text>',
        ]
    if target is not None:
        x, end = LEFT + target * scale, TOP + ROW * len(rows)
        parts += [
            f'<path d="M{x:.1f} {TOP - 4}V{end}" stroke="{INK}" stroke-dasharray="4 4" fill="none"/>',
            f'<text x="{x:.1f}" y="{end + 18}" text-anchor="middle" font-size="13">target {amount(target)}</text>',
        ]
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")
    return to


def amount(number: float) -> str:
    """Return a number with three significant digits, and thousands apart.

    >>> amount(0.0123456), amount(12345.6), amount(2.0)
    ('0.0123', '12,346', '2')
    """
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"
