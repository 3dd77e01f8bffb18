"""Answers as they are on the wire, compared with botocore's models: nothing that a model does not know, no value that is
not in its enumeration, nothing required that is missing. botocore's own parser skips what it does not know."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

# Values that AWS answers although the enumerations of its own models do not have them; the texts of the same models do:
# `InternetGatewayAttachment.State`, and the filter `interface-type` of `DescribeNetworkInterfaces`.
KNOWN = {("AttachmentStatus", "available"), ("NetworkInterfaceType", "nat_gateway")}


def problems(operation, body: bytes) -> list[str]:
    """What is wrong with the body of a successful answer."""
    found: list[str] = []
    shape = operation.output_shape
    protocol = operation.service_model.metadata["protocol"]
    if shape is None or not body or has_stream(shape) or protocol not in ("json", "ec2", "query", "rest-xml"):
        return found
    if protocol == "json":
        _json(shape, json.loads(body), operation.name, found)
        return found
    root = ElementTree.fromstring(body)
    if protocol == "query":
        result = _children(root).get(f"{operation.name}Result", [None])[0]
        if result is not None:
            _xml(shape, result, operation.name, found, set())
    elif protocol == "ec2":
        _xml(shape, root, operation.name, found, {"requestId"})
    else:
        payload = shape.serialization.get("payload")
        _xml(shape.members[payload] if payload else shape, root, operation.name, found, set())
    return found


def has_stream(shape) -> bool:
    payload = shape.serialization.get("payload")
    return payload is not None and shape.members[payload].type_name != "structure"


def _children(node) -> dict[str, list]:
    children: dict[str, list] = {}
    for child in node:
        children.setdefault(child.tag.rsplit("}", 1)[-1], []).append(child)
    return children


def _xml(shape, node, path, found, also):
    if shape.type_name == "structure":
        children = _children(node)
        names = {
            (member.serialization.get("name") or name): (name, member)
            for name, member in shape.members.items()
            if member.serialization.get("location") not in ("header", "headers", "statusCode")
            and not member.serialization.get("xmlAttribute")
        }
        for name, member in shape.members.items():
            if member.type_name == "list" and member.serialization.get("flattened"):
                element = member.member.serialization.get("name") or member.serialization.get("name") or name
                names[element] = (name, member)
        for tag in children.keys() - names.keys() - also:
            found.append(f"{path}: the element {tag} is not in the model")
        for tag, (name, member) in names.items():
            nodes = children.get(tag, [])
            if not nodes:
                if name in shape.required_members:
                    found.append(f"{path}.{name} is missing")
            elif member.type_name == "list" and member.serialization.get("flattened"):
                for index, one in enumerate(nodes):
                    _xml(member.member, one, f"{path}.{name}[{index}]", found, set())
            elif len(nodes) > 1:
                found.append(f"{path}.{name} is there {len(nodes)} times")
            else:
                _xml(member, nodes[0], f"{path}.{name}", found, set())
    elif shape.type_name == "list":
        for index, one in enumerate(node):
            _xml(shape.member, one, f"{path}[{index}]", found, set())
    elif shape.type_name == "map":
        for entry in node:
            parts = _children(entry)
            key, value = (
                parts.get(part.serialization.get("name") or default, [None])[0]
                for part, default in [(shape.key, "key"), (shape.value, "value")]
            )
            if key is None or value is None:
                found.append(f"{path}: an entry without key or value")
            else:
                _xml(shape.key, key, f"{path}<key>", found, set())
                _xml(shape.value, value, f"{path}[{key.text}]", found, set())
    else:
        if len(node):
            found.append(f"{path} has elements inside")
        _scalar(shape, node.text or "", path, found)


def _scalar(shape, text, path, found):
    if shape.type_name == "string" and shape.enum and text not in shape.enum and (shape.name, text) not in KNOWN:
        found.append(f"{path}: {text!r} is not one of {shape.enum[:8]}")
    if shape.type_name == "boolean" and text not in ("true", "false"):
        found.append(f"{path}: {text!r} is not a boolean")
    if shape.type_name in ("integer", "long"):
        try:
            int(text)
        except ValueError:
            found.append(f"{path}: {text!r} is not a number")


def _json(shape, value, path, found):
    kinds = {"string": str, "boolean": bool, "integer": int, "long": int, "list": list, "structure": dict, "map": dict}
    kind = kinds.get(shape.type_name)
    if kind and not isinstance(value, kind):
        found.append(f"{path}: {value!r} is not a {shape.type_name}")
    elif shape.type_name == "structure":
        names = {(member.serialization.get("name") or name): member for name, member in shape.members.items()}
        for name in value.keys() - names.keys():
            found.append(f"{path}: {name} is not in the model")
        for name in set(shape.required_members) - value.keys():
            found.append(f"{path}.{name} is missing")
        for name, member in names.items():
            if name in value:
                _json(member, value[name], f"{path}.{name}", found)
    elif shape.type_name == "list":
        for index, one in enumerate(value):
            _json(shape.member, one, f"{path}[{index}]", found)
    elif shape.type_name == "map":
        for key, one in value.items():
            _json(shape.value, one, f"{path}[{key}]", found)
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        found.append(f"{path}: {value!r} is not one of {shape.enum[:8]}")
