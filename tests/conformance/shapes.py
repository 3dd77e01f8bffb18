"""Values and documents beside the shapes of botocore's models: what does not keep to a shape, and what a shape does not have."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import regex
from botocore.model import Shape
from botocore.utils import parse_timestamp


def constraints(shape: Shape, value, path: str = "") -> Iterator[str]:
    """Where a value that a parser made does not keep to its shape."""
    check = CHECKS.get(shape.type_name)
    if check is not None:
        yield from check(shape, value, path)


def _structure(shape: Shape, value, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {short(value)} is no structure"
        return
    for name in shape.required_members:
        if name not in value:
            yield f"{path}.{name}: required, and not there"
    for name, one in value.items():
        if name in shape.members:
            yield from constraints(shape.members[name], one, f"{path}.{name}")


def _list(shape: Shape, value, path: str) -> Iterator[str]:
    yield from _bounds(shape, len(value), path, ["items"])
    for one in value:
        yield from constraints(shape.member, one, f"{path}[]")


def _map(shape: Shape, value, path: str) -> Iterator[str]:
    yield from _bounds(shape, len(value), path, ["entries"])
    for key, one in value.items():
        yield from constraints(shape.key, key, f"{path}<key>")
        yield from constraints(shape.value, one, f"{path}<{key}>")


def _string(shape: Shape, value, path: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{path}: {short(value)} is no text"
        return
    yield from _bounds(shape, len(value), path, ["characters"])
    if shape.enum and value not in shape.enum:
        yield f"{path}: {short(value)} is not one of the enum"
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield f"{path}: {short(value)} does not match `{pattern}`"


def _number(*types):
    def check(shape: Shape, value, path: str) -> Iterator[str]:
        if isinstance(value, bool) or not isinstance(value, types):
            yield f"{path}: {short(value)} is no {shape.type_name}"
        else:
            yield from _bounds(shape, value, path, [])

    return check


def _boolean(_: Shape, value, path: str) -> Iterator[str]:
    if not isinstance(value, bool):
        yield f"{path}: {short(value)} is no boolean"


CHECKS = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _number(int),
    "long": _number(int),
    "float": _number(int, float),
    "double": _number(int, float),
    "boolean": _boolean,
}


def _bounds(shape: Shape, size, path: str, unit: list[str]) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if (least is not None and size < least) or (most is not None and size > most):
        yield f"{path}: {' '.join([str(size), *unit])}, the model says {least} to {most}"


@functools.cache
def _compiled(pattern: str):
    return regex.compile(pattern)


def short(value) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


def unknown_json(shape: Shape, value, path: str = "") -> Iterator[str]:
    """What a JSON document has and its shape does not."""
    if shape.type_name == "structure" and isinstance(value, dict):
        members = {one.serialization.get("name", name): one for name, one in shape.members.items()}
        for name, one in value.items():
            if name in members:
                yield from unknown_json(members[name], one, f"{path}.{name}")
            else:
                yield f"{path}.{name}: not in the model"
    elif shape.type_name == "list" and isinstance(value, list):
        for one in value:
            yield from unknown_json(shape.member, one, f"{path}[]")
    elif shape.type_name == "map" and isinstance(value, dict):
        for one in value.values():
            yield from unknown_json(shape.value, one, f"{path}<>")


def tag_of(element) -> str:
    """The name of an element, without its namespace."""
    return element.tag.rpartition("}")[2]


def unknown_xml(shape: Shape, element, path: str = "", more: tuple[str, ...] = ()) -> Iterator[str]:
    """What an XML element has and its shape does not. `more` names children that the protocol adds."""
    if shape.type_name == "structure":
        members = {_xml_name(name, one): one for name, one in shape.members.items()}
        for child in element:
            name = tag_of(child)
            if name not in members and name not in more:
                yield f"{path}.{name}: not in the model"
            elif name in members:
                yield from _unknown_member(members[name], child, f"{path}.{name}")
    elif shape.type_name == "map":
        names = {shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")}
        for entry in element:
            yield from (f"{path}.{tag_of(one)}: not in the model" for one in entry if tag_of(one) not in names)
    elif len(element):
        yield f"{path}: {tag_of(element[0])} in a {shape.type_name}"
    elif shape.type_name == "boolean" and element.text not in ("true", "false"):
        yield f"{path}: `{element.text}` is no boolean"
    elif shape.type_name == "timestamp":
        try:
            parse_timestamp(element.text)
        except (TypeError, ValueError):
            yield f"{path}: `{element.text}` is no time"


def _unknown_member(shape: Shape, element, path: str) -> Iterator[str]:
    if shape.type_name != "list":
        yield from unknown_xml(shape, element, path)
    elif shape.serialization.get("flattened"):
        yield from unknown_xml(shape.member, element, path)
    else:
        name = shape.member.serialization.get("name", "member")
        for child in element:
            if tag_of(child) != name:
                yield f"{path}.{tag_of(child)}: an item, which the model calls `{name}`"
            yield from _unknown_member(shape.member, child, f"{path}[]")


def _xml_name(name: str, shape: Shape) -> str:
    if shape.type_name == "list" and shape.serialization.get("flattened"):
        inner = shape.member.serialization.get("name")
        if inner:
            return inner
    return shape.serialization.get("name", name)
