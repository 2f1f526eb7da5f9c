"""Draws docs/flow.svg, the picture of the README, from docs/flow.txt.

python -m tests.flow
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from tests.checkout import CHECKOUT

SOURCE = CHECKOUT / "docs" / "flow.txt"
PICTURE = CHECKOUT / "docs" / "flow.svg"

_WIDTH, _HEIGHT = 236, 76
_ACROSS, _DOWN = 366, 148
_MARGIN = 24
_LINE = 18
# What a character of a label takes, at most, and from a line's middle to its base.
_CHARACTER, _BASE = 7.2, 5
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #57606a; text-anchor: middle; }
  .title { font-weight: 600; font-size: 15px; fill: #1f2328; }
  .label { font-size: 12px; fill: #0550ae; }
  .ground { fill: #ffffff; }
  .box { fill: #f6f8fa; stroke: #8c959f; stroke-width: 1.5px; }
  .arrow { fill: none; stroke: #0969da; stroke-width: 1.5px; }
  .head { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1; }
    .title { fill: #f0f6fc; }
    .label { fill: #79c0ff; }
    .ground { fill: #0d1117; }
    .box { fill: #151b23; stroke: #656c76; }
    .arrow { stroke: #4493f8; }
    .head { fill: #4493f8; }
  }
"""

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    column: float
    row: float
    lines: Sequence[str]

    @property
    def corner(self) -> Point:
        """The left and upper one."""
        return _MARGIN + self.column * _ACROSS, _MARGIN + self.row * _DOWN

    def at(self, side: str, share: float) -> Point:
        """The point at a share of a side, from its left or upper end."""
        left, top = self.corner
        return {
            "left": (left, top + share * _HEIGHT),
            "right": (left + _WIDTH, top + share * _HEIGHT),
            "top": (left + share * _WIDTH, top),
            "bottom": (left + share * _WIDTH, top + _HEIGHT),
        }[side]


@dataclass(frozen=True)
class Arrow:
    points: Sequence[Point]
    label: str


def picture(source: str) -> str:
    """The SVG of that text. Raises ValueError for a line that it does not understand."""
    boxes: dict[str, Box] = {}
    arrows: list[Arrow] = []
    for number, line in enumerate(source.splitlines(), start=1):
        words = line.split()
        match words:
            case [] | ["#", *_] | ["#"]:
                continue
            case ["box", name, column, row, *text]:
                lines = [part.strip() for part in " ".join(text).split(" / ")]
                boxes[name] = Box(float(column), float(row), lines)
            case ["arrow", *_]:
                ends, _, label = line.partition(" : ")
                arrows.append(Arrow([_point(end, boxes) for end in ends.split()[1:]], label.strip()))
            case _:
                raise ValueError(f"line {number} is neither a box nor an arrow: {line!r}")
    return "\n".join(_svg(boxes.values(), arrows)) + "\n"


def _point(end: str, boxes: Mapping[str, Box]) -> Point:
    if bend := re.fullmatch(r"([\d.]+),([\d.]+)", end):
        left, top = Box(float(bend[1]), float(bend[2]), ()).corner
        return left + _WIDTH / 2, top + _HEIGHT / 2
    name, side, share = [*end.split(".", 2), "0.5"][:3]
    return boxes[name].at(side, float(share))


def _svg(boxes: Collection[Box], arrows: Collection[Arrow]) -> Iterator[str]:
    places = [box.corner for box in boxes]
    points = [point for arrow in arrows for point in arrow.points]
    width = max([x + _WIDTH for x, _ in places] + [x for x, _ in points]) + _MARGIN
    height = max(y + _HEIGHT for _, y in places) + _MARGIN
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-label="How a replica gets its name">'
    )
    yield f"<style>{_STYLE}</style>"
    yield (
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path class="head" d="M0 0 8 4 0 8z"/></marker>'
    )
    yield f'<rect class="ground" width="{width:g}" height="{height:g}"/>'
    for arrow in arrows:
        path = " ".join(f"{x:g} {y:g}" for x, y in arrow.points)
        yield f'<path class="arrow" marker-end="url(#head)" d="M{path}"/>'
    for box in boxes:
        yield from _box(box)
    for arrow in arrows:
        # In the middle of the longest stretch.
        (x1, y1), (x2, y2) = max(
            zip(arrow.points, arrow.points[1:], strict=False), key=lambda ends: _length(*ends)
        )
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        width = len(arrow.label) * _CHARACTER
        yield f'<rect class="ground" x="{x - width / 2:g}" y="{y - 9:g}" width="{width:g}" height="18"/>'
        yield f'<text class="label" x="{x:g}" y="{y + _BASE:g}">{escape(arrow.label)}</text>'
    yield "</svg>"


def _box(box: Box) -> Iterator[str]:
    left, top = box.corner
    yield f'<rect class="box" x="{left:g}" y="{top:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>'
    first = top + _HEIGHT / 2 - (len(box.lines) - 1) * _LINE / 2 + _BASE
    for number, line in enumerate(box.lines):
        style = ' class="title"' if number == 0 else ""
        yield f'<text{style} x="{left + _WIDTH / 2:g}" y="{first + number * _LINE:g}">{escape(line)}</text>'


def _length(one: Point, other: Point) -> float:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


if __name__ == "__main__":
    PICTURE.write_text(picture(SOURCE.read_text()))
