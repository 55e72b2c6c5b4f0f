"""Parameters: a Python function's signature as a JSON schema, and arguments checked against it.

Understood are str, int, float, bool, None, Any, list[T], dict[str, T], Literal, unions and Optional, and
Annotated[T, "description"]. Nothing here knows MCP.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union

Schema = dict[str, Any]


class Unfit(Exception):
    """An argument that does not fit: `where` it is (`filter.tags[2]`) and what would fit."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"argument {where}: {reason}")
        self.where = where


class Shape(NamedTuple):
    """What a value must be: as a JSON schema, and as a function (value, where) that returns it or raises `Unfit`."""

    schema: Schema
    read: Callable[[Any, str], Any]


class Parameter(NamedTuple):
    """One parameter that a caller fills."""

    name: str
    shape: Shape
    required: bool


class Parameters:
    """The parameters of a function. `given` says by name which are filled by us, with whatever the caller wants."""

    def __init__(self, function: Callable[..., Any], own: Callable[[str, Any], str | None]) -> None:
        """Read the signature. `own(name, annotation)` names what is injected there, or None.

        Raises TypeError for a type that has no schema, and for positional-only and `*args` parameters.
        """
        self.injected: dict[str, str] = {}
        self.asked: dict[str, Parameter] = {}
        self._open = False
        for name, parameter in _signature(function).parameters.items():
            what = own(name, parameter.annotation)
            if what is not None:
                self.injected[name] = what
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                self._open = True
            elif parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL):
                raise TypeError(f"the parameter {name} of {_name(function)} cannot be given by name")
            else:
                self.asked[name] = _parameter(name, parameter, function)

    @property
    def schema(self) -> Schema:
        """The JSON schema of an object with these members."""
        schema: Schema = {
            "type": "object",
            "properties": {name: one.shape.schema for name, one in self.asked.items()},
        }
        required = [name for name, one in self.asked.items() if one.required]
        if required:
            schema["required"] = required
        schema["additionalProperties"] = self._open
        return schema

    def read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments as the function takes them. Raises `Unfit` with the first that does not fit."""
        for name, one in self.asked.items():
            if one.required and name not in arguments:
                raise Unfit(name, "is missing")
        found: dict[str, Any] = {}
        for name, value in arguments.items():
            if name in self.asked:
                found[name] = self.asked[name].shape.read(value, name)
            elif self._open and name not in self.injected:
                found[name] = value
            else:
                known = ", ".join(self.asked) or "none"
                raise Unfit(name, f"is not known (there are: {known})")
        return found


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except NameError as error:
        text = f"{_name(function)}: the annotation {error.name!r} cannot be resolved; import it at the module's top"
        raise TypeError(text) from None


def _parameter(name: str, parameter: inspect.Parameter, function: Callable[..., Any]) -> Parameter:
    try:
        shape = shape_of(parameter.annotation)
    except TypeError as error:
        raise TypeError(f"the parameter {name} of {_name(function)}: {error}") from None
    required = parameter.default is inspect.Parameter.empty
    if not required and _is_json(parameter.default):
        shape = Shape({**shape.schema, "default": parameter.default}, shape.read)
    return Parameter(name, shape, required)


def _is_json(value: object) -> bool:
    """Whether a default can stand in a schema as it is."""
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(item) for name, item in value.items())
    return value is None or isinstance(value, str | int | float | bool)


def shape_of(annotation: Any) -> Shape:
    """Return the shape of an annotation. Raises TypeError for one that has none."""
    if annotation in (inspect.Parameter.empty, Any, object):
        return Shape({}, _as_it_is)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None and annotation in _SCALARS:
        return _SCALARS[annotation]
    if origin is Annotated:
        inner = shape_of(arguments[0])
        texts = [text for text in arguments[1:] if isinstance(text, str)]
        return Shape({**inner.schema, "description": texts[0]}, inner.read) if texts else inner
    if origin is Literal:
        return _literal(arguments)
    if origin in (Union, types.UnionType):
        return _union([shape_of(one) for one in arguments])
    if annotation is list or origin is list:
        return _list(shape_of(arguments[0] if arguments else Any))
    if annotation is dict or origin is dict:
        if arguments and arguments[0] is not str:
            raise TypeError("the keys of a dict are strings in JSON")
        return _dict(shape_of(arguments[1] if arguments else Any))
    raise TypeError(
        f"the type {annotation!r} has no JSON schema here; use str, int, float, bool, list, dict, Optional or Literal"
    )


def _as_it_is(value: Any, where: str) -> Any:
    del where  # everything fits
    return value


def _read_str(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise Unfit(where, "must be a string")
    return value


def _read_bool(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise Unfit(where, "must be true or false")
    return value


def _read_int(value: Any, where: str) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # JSON does not tell 3.0 from 3
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unfit(where, "must be an integer")
    return value


def _read_float(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Unfit(where, "must be a number")
    try:
        return float(value)
    except OverflowError:
        raise Unfit(where, "is too large a number") from None


def _read_none(value: Any, where: str) -> None:
    if value is not None:
        raise Unfit(where, "must be null")


_SCALARS: dict[Any, Shape] = {
    str: Shape({"type": "string"}, _read_str),
    bool: Shape({"type": "boolean"}, _read_bool),
    int: Shape({"type": "integer"}, _read_int),
    float: Shape({"type": "number"}, _read_float),
    None: Shape({"type": "null"}, _read_none),
    type(None): Shape({"type": "null"}, _read_none),
}


def _literal(choices: tuple[Any, ...]) -> Shape:
    def read(value: Any, where: str) -> Any:
        for choice in choices:
            if value == choice and isinstance(value, bool) is isinstance(choice, bool):
                return choice
        raise Unfit(where, f"must be one of {', '.join(repr(choice) for choice in choices)}")

    schema: Schema = {"enum": list(choices)}
    if all(isinstance(choice, str) for choice in choices):
        schema = {"type": "string", **schema}
    return Shape(schema, read)


def _union(shapes: list[Shape]) -> Shape:
    def read(value: Any, where: str) -> Any:
        reasons: list[str] = []
        for shape in shapes:
            try:
                return shape.read(value, where)
            except Unfit as unfit:
                reasons.append(str(unfit).removeprefix(f"argument {where}: "))
        raise Unfit(where, " or ".join(reasons))

    return Shape({"anyOf": [shape.schema for shape in shapes]}, read)


def _list(item: Shape) -> Shape:
    def read(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise Unfit(where, "must be an array")
        return [item.read(one, f"{where}[{index}]") for index, one in enumerate(value)]

    return Shape({"type": "array", "items": item.schema}, read)


def _dict(item: Shape) -> Shape:
    def read(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Unfit(where, "must be an object")
        return {name: item.read(one, f"{where}.{name}") for name, one in value.items()}

    return Shape({"type": "object", "additionalProperties": item.schema or True}, read)
