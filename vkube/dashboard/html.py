"""HTML in which every text is escaped, because only `element` makes markup.

element("td", pod_name, class_="name")      # <td class="name">…</td>
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

from vkube.output.table import visible

_VOID = frozenset({"br", "input", "link", "meta"})
_LONGEST_TEXT = 1000


class Markup(str):
    """HTML that `element` made. Any other string is text."""

    __slots__ = ()


Child: TypeAlias = "str | int | Markup | Iterable[Child] | None"


def element(tag: str, /, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """One element. `tag` and the names of attributes are ours; children and values can be anybody's.

    An underscore at the end of an attribute's name is left out, and one within it is a hyphen. An attribute
    that is None or False is left out; one that is True has no value.
    """
    parts = [f"<{tag}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        spelled = key.rstrip("_").replace("_", "-")
        parts.append(f" {spelled}" if value is True else f' {spelled}="{text(value)}"')
    parts.append(">")
    if tag not in _VOID:
        parts += [*_flat(children), f"</{tag}>"]
    return Markup("".join(parts))


def text(value: object) -> Markup:
    """The value as text, for a place between tags or between quotation marks. Long texts are cut."""
    plain = str(value)
    if len(plain) > _LONGEST_TEXT:
        plain = plain[:_LONGEST_TEXT] + "…"
    return Markup(escape(visible(plain), quote=True))


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str | int):
            yield text(child)
        else:
            yield from _flat(child)
