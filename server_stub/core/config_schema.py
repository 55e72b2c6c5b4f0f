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
        starts = ("command", "shell", "url", "serverUrl", "httpUrl")
        made["anyOf"] = [{"required": [name]} for name in starts]
        made["not"] = {"required": ["command", "url"]}
    if place.name == "toolFilter":
        made["dependencies"] = {"list": ["mode"]}
    return made


def _property(key: Key) -> Schema:
    made: Schema = {"description": key.meaning}
    if key.place is None:
        return made | key.kind.schema
    inner = {"$ref": f"#/definitions/{key.place}"}
    if key.name in OF_MEMBERS:
        return made | {"type": "object", "additionalProperties": inner}
    if key.kind is config_kinds.OBJECTS:
        return made | {"type": "array", "items": inner}
    return made | {"allOf": [inner]}
