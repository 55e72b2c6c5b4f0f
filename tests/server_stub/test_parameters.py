"""server_stub.parameters: a signature as a schema, and arguments checked against it."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_stub.parameters import Parameters, Unfit, shape_of


def _none(name: str, annotation: Any) -> str | None:
    return None


def parameters(function: Any) -> Parameters:
    return Parameters(function, _none)


def test_a_signature_becomes_an_object_schema() -> None:
    def function(  # type: ignore[no-untyped-def]  # one parameter is bare on purpose
        city: str,
        days: Annotated[int, "How many."] = 3,
        tags: list[str] | None = None,
        where: dict[str, float] | None = None,
        unit: Literal["C", "F"] = "C",
        anything: Any = None,
        untyped=1,
    ) -> str:
        return ""

    assert parameters(function).schema == {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "description": "How many.", "default": 3},
            "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}], "default": None},
            "where": {
                "anyOf": [{"type": "object", "additionalProperties": {"type": "number"}}, {"type": "null"}],
                "default": None,
            },
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "anything": {"default": None},
            "untyped": {"default": 1},
        },
        "required": ["city"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (list, {"type": "array", "items": {}}),
        (dict, {"type": "object", "additionalProperties": True}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
        (Union[int, str], {"anyOf": [{"type": "integer"}, {"type": "string"}]}),  # noqa: UP007
        (Literal[1, "a"], {"enum": [1, "a"]}),
        (Annotated[str, {"no": "text"}], {"type": "string"}),
        (list[list[bool]], {"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}}),
    ],
)
def test_types_become_schemas(annotation: Any, schema: dict[str, Any]) -> None:
    assert shape_of(annotation).schema == schema


@pytest.mark.parametrize("annotation", [bytes, set[str], dict[int, str], tuple[int, ...], Parameters])
def test_a_type_without_a_schema_is_refused_when_it_is_registered(annotation: Any) -> None:
    with pytest.raises(TypeError):
        shape_of(annotation)


def test_the_refusal_names_parameter_and_function() -> None:
    def my_tool(data: bytes) -> None: ...

    with pytest.raises(TypeError, match="the parameter data of my_tool"):
        parameters(my_tool)


def test_an_annotation_that_cannot_be_resolved_is_named() -> None:
    def my_tool(data: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match="'Missing' cannot be resolved"):
        parameters(my_tool)


def test_parameters_that_cannot_be_given_by_name_are_refused() -> None:
    def positional(a: int, /) -> None: ...

    def many(*a: int) -> None: ...

    for function in (positional, many):
        with pytest.raises(TypeError, match="cannot be given by name"):
            parameters(function)


def test_partial_functions_and_callable_objects_are_understood() -> None:
    def function(a: int, b: int) -> None: ...

    class Thing:
        def __call__(self, c: str) -> None: ...

    assert parameters(functools.partial(function, 1)).schema["required"] == ["b"]
    assert parameters(Thing()).schema["required"] == ["c"]


def test_what_we_fill_ourselves_is_in_no_schema() -> None:
    def function(a: int, session: str, **more: Any) -> None: ...

    found = Parameters(function, lambda name, _: name if name == "session" else None)
    assert found.injected == {"session": "session"}
    assert set(found.schema["properties"]) == {"a"}
    assert found.schema["additionalProperties"] is True
    assert found.read({"a": 1, "b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(Unfit):
        found.read({"a": 1, "session": "mine"})


def fits(annotation: Any, value: Any) -> Any:
    return shape_of(annotation).read(value, "x")


@pytest.mark.parametrize(
    ("annotation", "value", "read"),
    [
        (int, 3, 3),
        (int, 3.0, 3),
        (float, 3, 3.0),
        (bool, True, True),
        (Optional[str], None, None),  # noqa: UP045
        (Union[int, str], "a", "a"),  # noqa: UP007
        (Literal[1, "a"], "a", "a"),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Any, object, object),
        (Annotated[int, "doc"], 1, 1),
    ],
)
def test_what_fits_is_read(annotation: Any, value: Any, read: Any) -> None:
    assert fits(annotation, value) == read
    assert type(fits(annotation, value)) is type(read)


@pytest.mark.parametrize(
    ("annotation", "value", "complaint"),
    [
        (str, 1, "argument x: must be a string"),
        (int, True, "argument x: must be an integer"),
        (int, 1.5, "argument x: must be an integer"),
        (int, "1", "argument x: must be an integer"),
        (float, True, "argument x: must be a number"),
        (float, 10**400, "argument x: is too large a number"),
        (bool, 1, "argument x: must be true or false"),
        (None, 0, "argument x: must be null"),
        (list[int], [1, "2"], "argument x[1]: must be an integer"),
        (list[int], {}, "argument x: must be an array"),
        (dict[str, list[int]], {"a": [1, None]}, "argument x.a[1]: must be an integer"),
        (dict, [], "argument x: must be an object"),
        (Literal[1], True, "argument x: must be one of 1"),
        (Literal["a", "b"], "c", "argument x: must be one of 'a', 'b'"),
        (Union[int, None], "s", "argument x: must be an integer or must be null"),  # noqa: UP007
    ],
)
def test_what_does_not_fit_is_named_with_its_place(annotation: Any, value: Any, complaint: str) -> None:
    with pytest.raises(Unfit) as caught:
        fits(annotation, value)
    assert str(caught.value) == complaint


def test_missing_and_unknown_arguments_are_named() -> None:
    def function(a: int, b: int = 0) -> None: ...

    with pytest.raises(Unfit, match="argument a: is missing"):
        parameters(function).read({"b": 1})
    with pytest.raises(Unfit, match=r"argument c: is not known \(there are: a, b\)"):
        parameters(function).read({"a": 1, "c": 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_reading_ends_in_a_value_or_in_unfit(value: Any) -> None:
    for annotation in (int, float, str, list[int], dict[str, list[float]], Union[int, list[str], None]):  # noqa: UP007
        try:
            fits(annotation, value)
        except Unfit as caught:
            complaint = caught
        else:
            continue
        assert complaint.where.startswith("x")
