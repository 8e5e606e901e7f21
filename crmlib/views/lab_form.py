"""The form of "run with parameters": one control for each typed parameter of a notebook."""

from __future__ import annotations

import html
import json
from typing import Any

import ipywidgets as widgets

from crmlib.views import layout, texts
from crmlib.views.lab_work import Field, Notebook

GIVEN_BY_US = "data"
"""The parameter that every run gets from the panel's own data folder."""


def written(value: Any) -> str:
    """Return a parameter's value as a person types it.

    >>> written(["call"]), written(0.2), written(None), written(True)
    ('["call"]', '0.2', '', 'true')
    """
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


class Form:
    """The controls of one notebook at a time; ``root`` is the widget to show, ``values`` what was changed in it."""

    def __init__(self) -> None:
        self.controls: dict[str, widgets.Widget] = {}
        self._fields: dict[str, Field] = {}
        self.root = widgets.VBox()

    def show(self, notebook: Notebook) -> None:
        """Show the parameters of another notebook with their defaults."""
        self._fields = {field.name: field for field in notebook.fields if field.name != GIVEN_BY_US}
        self.controls = {name: _control(field) for name, field in self._fields.items()}
        pairs = [(_label(field), self.controls[name]) for name, field in self._fields.items()]
        self.root.children = [layout.controls(*pairs)] if pairs else []

    def values(self) -> dict[str, str]:
        """Return what differs from the defaults, as it was typed."""
        typed = {name: written(control.value) for name, control in self.controls.items()}
        return {name: text for name, text in typed.items() if text != written(self._fields[name].default)}


def _label(field: Field) -> widgets.Widget:
    note = f" – {html.escape(field.help)}" if field.help else ""
    return widgets.HTML(f'<div class="crm-field"><b>{html.escape(field.name)}</b>{note}</div>')


def _control(field: Field) -> widgets.Widget:
    name = {"tooltip": field.name, "layout": {"width": "100%", "margin": "0"}}
    if isinstance(field.default, bool):
        return widgets.Checkbox(value=field.default, description=field.name, indent=False, **name)
    if field.name == "language" and field.default in texts.LANGUAGES:
        options = [(words, code) for code, words in texts.LANGUAGES.items()]
        return widgets.Dropdown(options=options, value=field.default, **name)
    return widgets.Text(value=written(field.default), **name)
