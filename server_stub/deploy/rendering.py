"""Rendering: a template of this folder and values in, the text of a file out. The only place that knows jinja2."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import jinja2


@cache
def _templates() -> jinja2.Environment:
    # Nothing here is HTML: what is put into a template was escaped, or checked, for the language of that file.
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files(__package__).joinpath(name).read_text(encoding="utf-8")),
        autoescape=jinja2.select_autoescape(()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, values: dict[str, Any]) -> str:
    """Return the text. `template` is a file of this folder, its suffix `.j2` included."""
    return _templates().get_template(template).render(values)
