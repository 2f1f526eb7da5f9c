"""vkube.cfg as a text whose values are changed while all else stays: comments, order, indentation. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

import yaml

_NEW_INDENT = "  "


def changed(text: str, values: Mapping[tuple[str, str], str]) -> str:
    """The text with these values, by section and key. JSON is written anew, since it has no comments.

    Raises ValueError where the text is neither JSON nor YAML, or where a section is no mapping.
    """
    if not text.strip() or text.lstrip().startswith("{"):
        try:
            document = json.loads(text) if text.strip() else {}
        except ValueError:
            document = None  # YAML may begin with a brace too
        if isinstance(document, dict):
            for (section, key), value in values.items():
                document.setdefault(section, {})[key] = value
            return json.dumps(document, indent=2) + "\n"
    for (section, key), value in values.items():
        text = _with_value(text, section, key, value)
    return text


def _with_value(text: str, section: str, key: str, value: str) -> str:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    quoted = json.dumps(value)  # a string of JSON is one of YAML
    found = _value_of(root, section)
    if found is None:
        return f"{text.rstrip()}\n{section}:\n{_NEW_INDENT}{key}: {quoted}\n"
    if not isinstance(found, yaml.MappingNode):
        raise ValueError(f"{section}: expected an object with keys")  # noqa: TRY004 - of the file's content
    known = _value_of(found, key)
    if known is not None:
        return f"{text[: known.start_mark.index]}{quoted}{text[known.end_mark.index :]}"
    begins = found.start_mark.index
    if found.flow_style:
        separator = ", " if found.value else ""
        return f"{text[: begins + 1]}{key}: {quoted}{separator}{text[begins + 1 :]}"
    return f"{text[:begins]}{key}: {quoted}\n{' ' * found.start_mark.column}{text[begins:]}"


def _value_of(mapping: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(mapping, yaml.MappingNode):
        raise ValueError("expected an object with keys")  # noqa: TRY004 - of the file's content
    return next((value for name, value in mapping.value if name.value == key), None)
