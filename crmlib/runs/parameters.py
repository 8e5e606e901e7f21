"""The parameters of a notebook: read from its tagged cell, checked strictly before anything starts."""

from __future__ import annotations

import ast
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crmlib.errors import DataError, NotFoundError, UsageError

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a JSON list",
    dict: "a JSON object",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook: its name, default value and the comment behind it."""

    name: str
    default: Any
    help: str = ""


def read(notebook: Path) -> dict[str, Parameter]:
    """Return the parameters of a notebook by name.

    Raises NotFoundError for a missing file, DataError for one that is no notebook, has no single cell tagged
    ``parameters``, or whose tagged cell holds anything but assignments of literals.
    """
    if not notebook.is_file():
        raise NotFoundError(f"{notebook}: no such notebook; `ls notebooks` shows what there is")
    import nbformat  # noqa: PLC0415  (slow to import)

    try:
        content = nbformat.read(notebook, as_version=4)
    except Exception as error:  # nbformat raises many kinds; all mean the same here
        raise DataError(f"{notebook}: not a readable notebook ({str(error).splitlines()[0][:120]})") from error
    tagged = [cell for cell in content.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise DataError(
            f"{notebook}: {len(tagged)} cells are tagged 'parameters', exactly one is needed; "
            "tag the cell in JupyterLab's property inspector"
        )
    return {parameter.name: parameter for parameter in _assignments(notebook, tagged[0].source)}


def _assignments(notebook: Path, source: str) -> list[Parameter]:
    lines = source.splitlines()
    found = []
    try:
        for node in ast.parse(source).body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a text that explains the cell
            if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
                raise ValueError(f"line {node.lineno} is not a plain assignment")
            behind = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset :]
            comment = behind.partition("#")[2].strip()
            value = ast.literal_eval(node.value)
            if value is not None and type(value) not in _KINDS:
                raise ValueError(
                    f"{node.targets[0].id} is a {type(value).__name__}; use a text, number, list or dictionary"
                )
            found.append(Parameter(node.targets[0].id, value, comment))
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{notebook}: the cell tagged 'parameters' may hold literals only ({error})") from error
    return found


def parse(notebook: Path, given: Sequence[str]) -> dict[str, Any]:
    """Return the values of ``name=value`` texts, typed like the notebook's defaults.

    Raises UsageError for an unknown name, a name given twice or a value of another type.
    """
    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"parameter {text!r} has no value; write name=value")
        if name in values:
            raise UsageError(f"parameter {name} is given twice")
        values[name] = value
    known = read(notebook)
    return {name: _typed(_known(notebook, known, name), value) for name, value in values.items()}


def check(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``given`` unchanged if every name is known and every value has the type of its default.

    Raises UsageError otherwise.
    """
    known = read(notebook)
    for name, value in given.items():
        default = _known(notebook, known, name).default
        if default is None or (
            isinstance(value, type(default)) and isinstance(value, bool) == isinstance(default, bool)
        ):
            continue
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            continue
        raise UsageError(f"parameter {name} is {value!r}; {_KINDS[type(default)]} is wanted, like {default!r}")
    return dict(given)


def _known(notebook: Path, known: Mapping[str, Parameter], name: str) -> Parameter:
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(known) or 'none'}"
    raise UsageError(f"{notebook.name} has no parameter {name}{hint}")


def _typed(parameter: Parameter, text: str) -> Any:
    default = parameter.default
    try:
        if default is None or isinstance(default, str):
            return text
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, list | dict):
            value = json.loads(text)
            if not isinstance(value, type(default)):
                raise ValueError(text)
            return value
        value = type(default)(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value
    except (ValueError, KeyError) as error:
        wanted = _KINDS[type(default)]
        raise UsageError(f"parameter {parameter.name} is {text!r}; {wanted} is wanted, like {default!r}") from error
