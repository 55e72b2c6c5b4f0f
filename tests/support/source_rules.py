"""Reading syntax trees: what each module imports and uses, and the rules about it as plain functions.

Nothing here knows the project's own lists (which library lives where, who is above whom): `test_architecture` has
them and hands them in, so that every rule can be tried on made-up source as well.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """One module: its path below the repository, its dotted name, its syntax tree."""

    path: str
    name: str
    tree: ast.Module


class Import(NamedTuple):
    """One imported thing. `module` is a dotted module; `member` is what was taken out of it, if that is no module."""

    module: str
    member: str | None
    line: int
    lazy: bool
    """Inside a function, so that it costs nothing at start."""
    typing_only: bool
    """Under `if TYPE_CHECKING:`."""


class Violation(NamedTuple):
    """Where a rule is broken. `str()` is the line that the failing test shows."""

    path: str
    line: int
    rule: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}"


def parse(path: str, text: str) -> Source:
    """Make a `Source` of text that stands, or could stand, at this path."""
    parts = path.removesuffix(".py").split("/")
    if parts[-1] == "__init__":
        parts.pop()
    return Source(path, ".".join(parts), ast.parse(text, filename=path))


def read_package(root: Path, package: str) -> list[Source]:
    """Read every module of a package below the repository root."""
    files = sorted((root / package).rglob("*.py"))
    return [parse(file.relative_to(root).as_posix(), file.read_text(encoding="utf-8")) for file in files]


# --- What a module imports -------------------------------------------------------------------------------------------


def imports_of(source: Source, modules: Collection[str]) -> list[Import]:
    """Return every import of a module; `modules` are the dotted names that exist, to tell modules from members."""
    return list(_imports_in(source, source.tree.body, modules, lazy=False, typing_only=False))


def _imports_in(
    source: Source, body: Iterable[ast.AST], modules: Collection[str], *, lazy: bool, typing_only: bool
) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, node.lineno, lazy, typing_only)
        elif isinstance(node, ast.ImportFrom):
            yield from _members(source, node, modules, lazy, typing_only)
        elif isinstance(node, ast.Call) and (name := _imported_by_call(node)) is not None:
            yield Import(name, None, node.lineno, lazy, typing_only)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            yield from _imports_in(source, node.body, modules, lazy=lazy, typing_only=True)
            yield from _imports_in(source, node.orelse, modules, lazy=lazy, typing_only=typing_only)
            continue
        inner = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        children = ast.iter_child_nodes(node)
        yield from _imports_in(source, children, modules, lazy=inner, typing_only=typing_only)


def _members(
    source: Source, node: ast.ImportFrom, modules: Collection[str], lazy: bool, typing_only: bool
) -> Iterator[Import]:
    origin = node.module or ""
    if node.level:
        package = source.name.split(".")
        if not source.path.endswith("__init__.py"):
            package.pop()
        package = package[: len(package) - (node.level - 1)]
        origin = ".".join([*package, *([origin] if origin else [])])
    for alias in node.names:
        inner = f"{origin}.{alias.name}"
        if inner in modules:
            yield Import(inner, None, node.lineno, lazy, typing_only)
        else:
            yield Import(origin, alias.name, node.lineno, lazy, typing_only)


def _imported_by_call(node: ast.Call) -> str | None:
    """Return the module of `import_module("x")` or `__import__("x")`, where it is written out."""
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    if name in ("import_module", "__import__") and node.args:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            return first.value
    return None


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def is_within(module: str, package: str) -> bool:
    """Whether a dotted name is a package or something below it."""
    return module == package or module.startswith(package + ".")


# --- Rules -----------------------------------------------------------------------------------------------------------


def pure(sources: Sequence[Source], ring: str, also: str, stdlib: Collection[str], async_in: str) -> list[Violation]:
    """A pure ring imports a few modules of the standard library, itself, and the ring `also`; and it never awaits."""
    modules = {source.name for source in sources}
    found: list[Violation] = []
    for source in sources:
        if not is_within(source.name, ring):
            continue
        for item in imports_of(source, modules):
            allowed = item.module in stdlib or any(item.module.startswith(name + ".") for name in stdlib)
            if item.module == "urllib":
                allowed = item.member == "parse"
            own = is_within(item.module, ring) or is_within(item.module, also)
            if not (allowed or own or item.module == "__future__"):
                rule = f"the pure ring {ring} may not import {item.module} (allowed: {also} and {sorted(stdlib)})"
                found.append(Violation(source.path, item.line, rule))
        if source.path == async_in:
            continue
        found.extend(
            Violation(source.path, node.lineno, f"the pure ring {ring} never awaits")
            for node in ast.walk(source.tree)
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
        )
    return found


def layered(sources: Sequence[Source], layers: Sequence[Collection[str]]) -> list[Violation]:
    """Each module may import modules of its own layer and of the layers before it, lazily or not."""
    modules = {source.name for source in sources}
    found: list[Violation] = []
    for source in sources:
        here = _layer(source.name, layers)
        if here is None:
            rule = f"{source.name} is in no layer: put it into LAYERS where it belongs"
            found.append(Violation(source.path, 1, rule))
            continue
        for item in imports_of(source, modules):
            there = _layer(item.module, layers)
            if there is not None and there > here:
                rule = f"imports point downwards: {source.name} (layer {here}) imports {item.module} (layer {there})"
                found.append(Violation(source.path, item.line, rule))
    return found


def _layer(module: str, layers: Sequence[Collection[str]]) -> int | None:
    """Return the layer that names the module or, where none does, the package nearest above it.

    A top-level package stands for its `__init__` alone: else every module would be in a layer without being named.
    """
    parts = module.split(".")
    for length in range(len(parts), min(len(parts), 2) - 1, -1):
        name = ".".join(parts[:length])
        for number, layer in enumerate(layers):
            if name in layer:
                return number
    return None


def acyclic(sources: Sequence[Source]) -> list[Violation]:
    """No module imports itself through others, not even lazily. (A package and its parts count as different.)"""
    modules = {source.name: source for source in sources}
    edges = {
        source.name: {item.module: item.line for item in imports_of(source, modules) if item.module in modules}
        for source in sources
    }
    done: set[str] = set()
    found: list[Violation] = []

    def visit(name: str, trail: list[str]) -> None:
        for target, line in edges[name].items():
            if target in trail:
                ring = " -> ".join([*trail[trail.index(target) :], target])
                found.append(Violation(modules[name].path, line, f"these modules import each other: {ring}"))
            elif target not in done:
                visit(target, [*trail, target])
        done.add(name)

    for name in edges:
        if name not in done:
            visit(name, [name])
    return found


def never(sources: Sequence[Source], package: str, forbidden: str, but: Collection[str] = ()) -> list[Violation]:
    """A package imports nothing of another, except the listed modules and members (`a.b` or `a:member`)."""
    modules = {source.name for source in sources}
    found: list[Violation] = []
    for source in sources:
        if not is_within(source.name, package):
            continue
        for item in imports_of(source, modules):
            if not is_within(item.module, forbidden):
                continue
            if any(is_within(item.module, name) for name in but) or f"{item.module}:{item.member}" in but:
                continue
            rule = f"{package} may not import {item.module}" + (f" (only {', '.join(sorted(but))})" if but else "")
            found.append(Violation(source.path, item.line, rule))
    return found


def at_home(sources: Sequence[Source], homes: Mapping[str, Collection[str]], own: Collection[str]) -> list[Violation]:
    """Each third-party library is imported in its listed files alone, and no other library is imported at all."""
    modules = {source.name for source in sources}
    found: list[Violation] = []
    for source in sources:
        for item in imports_of(source, modules):
            library = item.module.split(".")[0]
            if library in own or library in sys.stdlib_module_names:
                continue
            if library not in homes:
                rule = f"{library} is no library of this project: see docs/decisions/dependencies.md"
                found.append(Violation(source.path, item.line, rule))
            elif not any(fnmatchcase(source.path, pattern) for pattern in homes[library]):
                rule = f"{library} is imported in {', '.join(sorted(homes[library]))} alone"
                found.append(Violation(source.path, item.line, rule))
    return found


def cold(sources: Sequence[Source], start: str, heavy: Collection[str]) -> list[Violation]:
    """What a module imports before its first line runs, through all of its imports, has none of the heavy libraries."""
    modules = {source.name: source for source in sources}
    waiting = [(start, start)] if start in modules else []
    seen: set[str] = set()
    found: list[Violation] = []
    while waiting:
        name, trail = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        source = modules[name]
        for item in imports_of(source, modules):
            if item.lazy or item.typing_only:
                continue
            for heavy_one in heavy:
                if is_within(item.module, heavy_one):
                    rule = f"{item.module} is loaded at start ({trail}): import it inside the function that needs it"
                    found.append(Violation(source.path, item.line, rule))
            parts = item.module.split(".")
            for length in range(1, len(parts) + 1):  # importing a.b.c runs a, a.b and a.b.c
                part = ".".join(parts[:length])
                if part in modules:
                    waiting.append((part, f"{trail} -> {part}"))
    return found


def unlisted_import(sources: Sequence[Source], module: str, allowed: Mapping[str, str]) -> list[Violation]:
    """A module of the standard library is imported in the listed files alone; the list maps path to reason."""
    names = {source.name for source in sources}
    return [
        Violation(source.path, item.line, f"{module} may be imported only in: {', '.join(sorted(allowed))}")
        for source in sources
        for item in imports_of(source, names)
        if is_within(item.module, module) and source.path not in allowed
    ]


def prints(sources: Sequence[Source]) -> list[Violation]:
    """The packages never call `print`: stdout belongs to the protocol."""
    return [
        Violation(source.path, node.lineno, "print() is banned: stdout belongs to the protocol; use log, or write()")
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def reads_environment(sources: Sequence[Source], allowed: Mapping[str, str]) -> list[Violation]:
    """The environment is read in the listed files alone; everything else is handed its settings."""
    found: list[Violation] = []
    for source in sources:
        if source.path in allowed:
            continue
        for node in ast.walk(source.tree):
            names: set[str] = set()
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                names = {node.attr}
            elif isinstance(node, ast.ImportFrom) and node.module == "os":
                names = {alias.name for alias in node.names}
            if names & {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}:
                line: int = getattr(node, "lineno", 0)
                rule = f"the environment is read only in: {', '.join(sorted(allowed))}"
                found.append(Violation(source.path, line, rule))
    return found


def undocumented(sources: Sequence[Source]) -> list[Violation]:
    """Every module says in its docstring what lives in it."""
    return [
        Violation(source.path, 1, "a module begins with a docstring: what lives here, and what may not")
        for source in sources
        if ast.get_docstring(source.tree) is None
    ]


def badly_named(sources: Sequence[Source], banned: Collection[str]) -> list[Violation]:
    """No module, class or function has a name that says nothing."""
    found: list[Violation] = []
    for source in sources:
        if set(_words(source.name.rsplit(".", 1)[-1])) & set(banned):
            found.append(Violation(source.path, 1, f"the module's name says nothing (banned: {sorted(banned)})"))
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and set(_words(node.name)) & set(
                banned
            ):
                rule = f"the name {node.name} says nothing (banned: {sorted(banned)})"
                found.append(Violation(source.path, node.lineno, rule))
    return found


def _words(name: str) -> list[str]:
    """`LineFramer` and `line_framer` are both `line`, `framer`."""
    spaced = "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)
    words = [word for word in spaced.split("_") if word]
    return words + [word.removesuffix("s") for word in words]
