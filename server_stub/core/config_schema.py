"""The JSON Schema of configuration files, for editors, made of the table of keys. Pure."""

from __future__ import annotations

from typing import Any

from server_stub.core import config_kinds
from server_stub.core.config_keys import OF_MEMBERS, PLACES, TOP, Key, Place

Schema = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"
"""What editors know best."""
_REMARKS = r"^(_|\$|//|#|x-)"


def schema() -> Schema:
    """Return the schema of a configuration file."""
    return {
        "$schema": DRAFT,
        "title": "Configuration of mcp-remote-server",
        "description": "Keys of the file that are not listed here belong to other programs.",
        "type": "object",
        "properties": {key.name: _property(key) for key in TOP.keys},
        "anyOf": [{"required": [name]} for name in (*OF_MEMBERS, "mcp")],
        "definitions": {name: _definition(place) for name, place in PLACES.items() if place is not TOP},
    }


def _definition(place: Place) -> Schema:
    properties = {spelling: _property(key) for key in place.keys for spelling in (key.name, *key.aliases)}
    properties |= {name: {"description": "Of other programs: does nothing here."} for name in place.ignored}
    made: Schema = {
        "type": "object",
        "description": f"{place.words}.",
        "properties": properties,
        "patternProperties": {_REMARKS: {}},
        "additionalProperties": place.name == "input",
    }
    if place.name == "member":
        made |= _one_way_to_reach(place)
    if place.name == "toolFilter":
        made["dependencies"] = {"list": ["mode"]}
        made["not"] = {"allOf": [_any_of("mode", "list"), _any_of("allow", "block")]}
        made["if"] = {"required": ["mode"], "properties": {"mode": {"const": "allow"}}}
        made["then"] = _has("list")
    return made


def _one_way_to_reach(place: Place) -> Schema:
    """Return what holds between the keys of a server: it has a command, a line for a shell, or a URL."""
    by_name = {key.name: (key.name, *key.aliases) for key in place.keys}
    urls, types = _any_of(*by_name["url"]), by_name["type"]
    line = _has("shell", {"type": "string"})
    local = {"anyOf": [_has("command"), _has("shell", {"enum": [True]}), line]}
    no_stdio = {"not": {"enum": ["stdio", "local"]}}
    of_a_process = {"anyOf": [_has(name, _FULL) for name in ("args", "env", "environment", "cwd")]}
    return {
        "anyOf": [_has("command"), line, urls],
        "allOf": [
            {"not": {"allOf": [local, urls]}},
            {"not": {"allOf": [_has("command"), line]}},
            {"not": {"allOf": [_any_of("shell", value={"not": {"enum": [False, None]}}), _has("args", _FULL)]}},
            {"not": {"allOf": [urls, of_a_process]}},
            {"not": {"allOf": [local, _any_of(*by_name["headers"])]}},
            {"if": urls, "then": {"properties": dict.fromkeys(types, no_stdio)}},
            {"if": local, "then": {"properties": {name: {"enum": ["stdio", "local", None]} for name in types}}},
        ],
    }


_NOT_NULL: Schema = {"not": {"type": "null"}}
_FULL: Schema = {"not": {"enum": [None, "", [], {}]}}


def _has(name: str, value: Schema = _NOT_NULL) -> Schema:
    return {"required": [name], "properties": {name: value}}


def _any_of(*names: str, value: Schema = _NOT_NULL) -> Schema:
    return {"anyOf": [_has(name, value) for name in names]}


def _property(key: Key) -> Schema:
    made: Schema = {"description": key.meaning}
    if key.place is None:
        return made | _or_null(key.kind.schema)
    inner = {"$ref": f"#/definitions/{key.place}"}
    if key.name in OF_MEMBERS:
        return made | {"type": "object", "additionalProperties": inner}
    if key.kind is config_kinds.OBJECTS:
        return made | {"type": "array", "items": inner}
    return made | {"anyOf": [inner, {"type": "null"}]}


def _or_null(schema: Schema) -> Schema:
    """Return the schema that takes null, too: it is as if the key were not there."""
    if "type" in schema:
        return schema | {"type": [schema["type"], "null"]}
    (word,) = schema
    return {word: [*schema[word], {"type": "null"}]}
