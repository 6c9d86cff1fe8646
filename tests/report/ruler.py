"""Reads a chart as a person with a ruler would: places of marks by the labeled ticks of the axes."""

from __future__ import annotations

import math
from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"


def parse(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def all_of(chart: str, tag: str, style: str | None = None) -> list[ElementTree.Element]:
    return [node for node in parse(chart).iter(SVG + tag) if style is None or style in (node.get("class") or "").split()]


def words(chart: str, style: str | None = None) -> list[str]:
    return ["".join(node.itertext()) for node in all_of(chart, "text", style)]


def as_number(label: str) -> float:
    label = label.replace("−", "-").replace(",", "")
    return float(label[:-1]) / 100 if label.endswith("%") else float(label)


def at(node: ElementTree.Element) -> tuple[float, float]:
    """(percent from the left, pixels from the top)"""
    names = {"circle": ("cx", "cy"), "line": ("x1", "y1")}.get(node.tag.removeprefix(SVG), ("x", "y"))
    return float(node.get(names[0]).removesuffix("%")), float(node.get(names[1]))


class Ruler:
    """Turns places on the chart into values, from two labeled ticks of each axis."""

    def __init__(self, chart: str, *, log: bool = False):
        ticks = [(at(node), as_number("".join(node.itertext()))) for node in all_of(chart, "text", "tick")]
        self.log = log
        beside = [(y - 4, value) for (x, y), value in ticks if x == 0 and y <= float(parse(chart).get("height")) + 4]
        below = [(x, value) for (x, y), value in ticks if y > float(parse(chart).get("height")) + 4]
        self.y, self.x = (beside[0], beside[-1]), (below[0], below[-1])

    def read(self, ends, place):
        (a, low), (b, high) = ends
        share = (place - a) / (b - a)
        if self.log:
            return low * (high / low) ** share
        return low + share * (high - low)

    def value(self, place: tuple[float, float]) -> tuple[float, float]:
        return self.read(self.x, place[0]), self.read(self.y, place[1])


def area_of(node: ElementTree.Element) -> float:
    """Of a round mark: its shape is 10 wide in a box of 12."""
    return math.pi * (float(node.get("width")) * 10 / 12 / 2) ** 2
