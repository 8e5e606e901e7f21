"""The dashboard of product matrices: who holds, wants and is worth what, and what is taken after what."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from crmlib.decisions import matrices, memberships
from crmlib.decisions.audiences import sources
from crmlib.errors import UsageError
from crmlib.store.tables import Audience
from crmlib.views import certainty, layout, matrices_data, origins, plots_matrices, small_cells_words, texts
from crmlib.views import matrices_words as words
from crmlib.views.frame import Frame

TOP = 12
"""Cells listed below the heat map."""


def panel(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the panel of product matrices: choose rows and a measure, pick a cell, and start cross-selling from it.

    ``data`` is the data folder, ``language`` "en" or "ru". What goes wrong is said on the panel in words.
    """
    return Panel(Path(data), language).root


class Panel:
    """The widgets of the panel; what a person chose is kept in the widgets themselves."""

    def __init__(self, data: Path, language: str) -> None:
        self.data = data
        self.loaded: matrices_data.Loaded | None = None
        self.table = pd.DataFrame()
        self.saved: Audience | None = None
        self.suggested = ""
        self.frame = Frame(
            texts.later("Product matrices"),
            data=data,
            dashboard="product_matrices",
            language=language,
            load=self._load,
            draw=self._reworded,
            newest=lambda: matrices_data.newest(data),
            asked=self._asked,
            settings=self._settings,
            apply=self._apply,
        )
        wide = {"width": "auto"}
        self.labels = {name: widgets.Label() for name in ("by", "measure", "days", "row", "product")}
        self.by, self.measure, self.days, self.row, self.product = (widgets.Dropdown(layout=wide) for _ in range(5))
        self.next_only = widgets.Checkbox(indent=False)
        self.chart = self.frame.chart("matrix", clicked=self._clicked)
        self.title, self.cell, self.link = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.name, self.name_label = widgets.Text(layout=wide), widgets.Label()
        self.keep = widgets.Button(button_style="primary")
        self.list_title, self.listing = widgets.HTML(), widgets.HTML()
        self.downloads = {kind: widgets.Button() for kind in ("csv", "xlsx")}
        for control in (self.name_label, self.name, self.keep):
            control.add_class("crm-needs-change")
        for button in self.downloads.values():
            button.add_class("crm-needs-export")
        self.when = layout.bar(self.labels["days"], self.days, self.next_only)
        self._wire()
        self.root = self.frame.show(*self._arranged())

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    def _wire(self) -> None:
        guarded = self.frame.guarded
        self.by.observe(guarded(self._rows_chosen), "value")
        for control in (self.measure, self.days, self.next_only):
            control.observe(guarded(self._counted), "value")
        for control in (self.row, self.product):
            control.observe(guarded(self._picked), "value")
        self.keep.on_click(guarded(self._keep))
        for kind, button in self.downloads.items():
            button.on_click(guarded(lambda kind=kind: self._export(kind)))

    def _arranged(self) -> list[widgets.Widget]:
        chosen = layout.controls(
            (self.labels["by"], self.by),
            (self.labels["measure"], self.measure),
            (self.labels["row"], self.row),
            (self.labels["product"], self.product),
        )
        self.days.layout.width = "130px"
        self.name.layout.width = "380px"
        cell = layout.card(self.cell, layout.bar(self.name_label, self.name, self.keep), self.link)
        matrix = layout.card(self.title, self.when, self.chart)
        below = layout.card(self.list_title, self.listing, layout.bar(*self.downloads.values()))
        return [chosen, *[layout.charts(one, columns=1) for one in (cell, matrix, below)]]

    # ---------------------------------------------------------------- what happens

    def _load(self) -> None:
        self.loaded = None
        self.loaded = matrices_data.load(self.data)

    def _asked(self, query: dict[str, str]) -> None:
        """Show what the address asked for: ?by=region&measure=penetration&product=mortgage."""
        assert self.loaded is not None
        if "audience" in query:
            query = {**query, "by": f"{memberships.AUDIENCE}{query['audience']}"}
        if query.get("by") and query["by"] not in self.loaded.rows:
            raise UsageError(self.say.text("There are no rows {name}; choose others.", name=query["by"]))
        self._apply(
            {**self._settings(), **{name: query[name] for name in ("by", "measure", "product") if name in query}}
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "by": self.by.value,
            "measure": self.measure.value,
            "segment": self.row.value,
            "product": self.product.value,
            "days": self.days.value,
            "next_only": self.next_only.value,
        }

    def _apply(self, settings: dict[str, Any]) -> None:
        with self.frame.quietly():
            self.by.value = settings["by"]
            self._fill_measures()
            if settings["measure"] in [code for _, code in self.measure.options]:
                self.measure.value = settings["measure"]
            self.days.value, self.next_only.value = settings["days"], bool(settings["next_only"])
        self._count()
        with self.frame.quietly():
            for control, wanted in ((self.row, settings["segment"]), (self.product, settings["product"])):
                if wanted in [code for _, code in control.options]:
                    control.value = wanted
        self._draw()

    def _rows_chosen(self) -> None:
        with self.frame.quietly():
            self._fill_measures()
            self.row.options = self.product.options = ()  # other rows: begin with their best cell
        self._counted()

    def _counted(self) -> None:
        self._count()
        self._draw()

    def _picked(self) -> None:
        self._draw()

    def _clicked(self, point: dict[str, Any]) -> None:
        """A cell of the heat map was clicked: x and y are its places."""

        def pick() -> None:
            column, line = point["x"], point["y"]
            if column not in range(len(self.product.options)) or line not in range(len(self.row.options)):
                raise UsageError(self.say.text("There is no such cell; choose another."))
            with self.frame.quietly():
                self.row.value = self.row.options[int(line)][1]
                self.product.value = self.product.options[int(column)][1]
            self._draw()

        self.frame.guarded(pick)()

    def _keep(self) -> None:
        self.frame.require("change")
        assert self.loaded is not None
        say, product = self.say, self.product.value
        cell, count = matrices_data.cell_audience(
            self.loaded, self.by.value, self.measure.value, self.row.value, product
        )
        if count == 0:
            raise UsageError(say.text("Nobody in this cell may be offered the product; choose another cell."))
        name = " ".join(self.name.value.split()) or self.suggested
        self.saved = matrices_data.save_audience(self.loaded, name, cell, now=self.frame.now(), actor=self.frame.actor)
        if count < matrices.FEWEST:
            few = small_cells_words.few(say)
            told = say.text("Audience {name} saved: {count} customers.", name=name, count=few)
        else:
            told = say.plural(
                "Audience {name} saved: {n} customer.", "Audience {name} saved: {n} customers.", count, name=name
            )
        left = words.unchecked(say, cell.unchecked)
        number = self.saved.audience_id
        links = [
            layout.link("campaigns", say.text("Plan a campaign for it"), audience=number, product=product),
            layout.link("audience_builder", say.text("Look at it in the audience builder"), audience=number),
        ]
        note = f'<p class="crm-note">{html.escape(left)}</p>' if left else ""
        self.link.value = f'<p role="status"><b>{html.escape(told)}</b> {" · ".join(links)}</p>{note}'

    def _export(self, kind: str) -> None:
        assert self.loaded is not None
        content = {**self._settings(), "warehouse_version": self.loaded.snapshot.warehouse.version}
        if self.loaded.score_set is not None:
            content["score_set_id"] = self.loaded.score_set.score_set_id
        say, names = self.say, self.loaded.names
        of = self._row_names()
        row = [of[code] for code in self.table["segment"]]
        told = self.table.assign(row=row, product=self.table["product_id"].map(names))
        first = ["row", "segment", "product", "product_id"]
        columns = [*first, *[name for name in told if name not in first]]
        path = self.frame.take(told[columns], name="matrix", purpose="product matrices", format=kind, content=content)
        self.frame.tell(say.plural("{n} row saved as {name}.", "{n} rows saved as {name}.", len(told), name=path.name))

    # ---------------------------------------------------------------- what is shown

    def _reworded(self) -> None:
        """Say everything in the language chosen."""
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        for name, text in {
            "by": say.text("Customers in rows by"),
            "measure": say.text("What to show"),
            "days": say.text("Taken within"),
            "row": say.text("Row of the cell"),
            "product": say.text("Product of the cell"),
        }.items():
            self.labels[name].value = text
        self.next_only.description = say.text("only what was taken first")
        self.name_label.value = say.text("Name of the audience")
        self.keep.description = say.text("Make an audience of this cell")
        for kind, button in self.downloads.items():
            button.description = say.text("Download {format}", format=kind.upper())
        with self.frame.quietly():
            _fill(self.by, [(words.rows(say, name), name) for name in loaded.rows], first=memberships.HOLDS)
            days = [(say.plural("{n} day", "{n} days", number), number) for number in matrices_data.PERIODS]
            _fill(self.days, days, first=90)
            self._fill_measures()
        self._count()
        self._draw()

    def _fill_measures(self) -> None:
        assert self.loaded is not None
        found = self.loaded.measures(self.by.value)
        first = "lift" if "lift" in found else "expected_profit" if "expected_profit" in found else found[0]
        _fill(self.measure, [(words.measure(self.say, name), name) for name in found], first=first)

    def _origin(self, loaded: matrices_data.Loaded) -> None:
        say, scores = self.say, loaded.score_set
        parts = [say.text("warehouse version {n}", n=loaded.snapshot.warehouse.version)]
        note = ""
        if scores is not None:
            parts += [*origins.made(say, scores), say.text("scores {n}", n=scores.score_set_id)]
        if self.by.value in loaded.saved:
            parts += origins.segments(say, sources.segments(loaded.data, self.by.value, loaded.snapshot.as_of))
        if scores is None:
            note = say.text("There are no scores yet, so probabilities and profits are missing; run `crm score`.")
        elif loaded.unpriced:
            note = say.text("Without a margin, so without a profit: {products}.", products=", ".join(loaded.unpriced))
        self.frame.origin(parts, as_of=loaded.snapshot.as_of, note=note)

    def _count(self) -> None:
        """Count the matrix chosen, and offer its rows and products."""
        assert self.loaded is not None
        say, loaded, by = self.say, self.loaded, self.by.value
        self._origin(loaded)
        self.table = matrices_data.table(
            loaded, by, self.measure.value, within_days=self.days.value, next_only=self.next_only.value
        )
        found = set(self.table["segment"])
        codes = [code for code in loaded.names if code in found] if by == memberships.HOLDS else sorted(found - {""})
        codes += [""] if "" in found else []
        with self.frame.quietly():
            best = self.table.sort_values("value", ascending=False, na_position="last").iloc[0]
            known = loaded.names if by == memberships.HOLDS else loaded.segment_names(say, by)
            rows = [(words.segment(say, by, code, known), code) for code in codes]
            _fill(self.row, rows, first=best["segment"])
            products = [(loaded.names[name], name) for name in loaded.names if name in set(self.table["product_id"])]
            _fill(self.product, products, first=best["product_id"])

    def _draw(self) -> None:
        assert self.loaded is not None
        say, loaded, name = self.say, self.loaded, self.measure.value
        currency = loaded.company.currency
        crossed = name in matrices_data.CROSS_MEASURES
        self.when.layout.display = "" if crossed else "none"
        unit = f", {say.symbol(currency)}" if name == "expected_profit" else ""
        self.title.value = layout.title(
            words.measure(say, name) + unit,
            words.note(say, name)
            + " "
            + say.text(
                "Grey: fewer than {n} customers, or a cell that would give such a number away. Click a cell to choose it.",
                n=matrices.FEWEST,
            ),
        )
        chosen = (self.row.value, self.product.value)
        figure = plots_matrices.heat_map(
            self.table,
            rows=[(code, words_) for words_, code in self.row.options],
            columns=[(code, words_) for words_, code in self.product.options],
            measure=name,
            write=lambda value: words.cell(say, name, value, currency),
            between=lambda low, high: words.between(say, {"low": low, "high": high}, name=name, currency=currency),
            unit=texts.major(1, currency) if name == "expected_profit" else 1.0,
            language=say.code,
            chosen=chosen,
        )
        bounds = bool(self.table["low"].notna().any())
        self.chart.update(certainty.told(figure, words.sure(say, name, bounds=bounds)))
        self._say_cell(chosen)
        self._list()

    def _say_cell(self, chosen: tuple[str, str]) -> None:
        assert self.loaded is not None
        say, loaded, name = self.say, self.loaded, self.measure.value
        row = self.table[(self.table["segment"] == chosen[0]) & (self.table["product_id"] == chosen[1])].iloc[0]
        days = self.days.value
        line, product = _label(self.row), _label(self.product)
        who = words.group(say, self.by.value, line)
        day = matrices_data.cross_date(loaded, days)
        text = words.sentence(
            say, row, name=name, who=who, product=product, currency=loaded.company.currency, day=day, within_days=days
        )
        self.cell.value = (
            f'<h2>{html.escape(who)} · {html.escape(product)}</h2><p class="crm-said">{html.escape(text)}</p>'
        )
        self.suggested = f"{product}: {who if self.by.value == memberships.HOLDS else line}"
        self.name.value, self.link.value = self.suggested[:128], ""
        self.keep.disabled = bool(row["hidden"])

    def _row_names(self) -> dict[str, str]:
        return {code: name for name, code in self.row.options}

    def _list(self) -> None:
        assert self.loaded is not None
        say, name, currency = self.say, self.measure.value, self.loaded.company.currency
        shown = self.table[self.table["value"].notna()].sort_values("value", ascending=False, kind="stable").head(TOP)
        self.list_title.value = layout.title(say.text("The largest cells"), say.text("All cells are in the download."))
        of = self._row_names()
        rows = [
            (
                str(of[row["segment"]]),
                self.loaded.names[row["product_id"]],
                words.whole(say, name, float(row["value"]), currency),
                words.between(say, row, name=name, currency=currency),
                say.number(int(row["base"])),
            )
            for _, row in shown.iterrows()
        ]
        heads = [
            ("", words.rows(say, self.by.value)),
            ("", say.text("Product")),
            ("n", words.measure(say, name)),
            ("", say.text("Interval")),
            ("n", say.text("Customers behind it")),
        ]
        self.listing.value = layout.table(heads, rows)


def _fill(control: widgets.Dropdown, options: list[tuple[str, Any]], *, first: Any) -> None:
    """Offer options, keeping what was chosen where it is still among them, else beginning with ``first``."""
    kept = control.value
    control.options = options
    known = [code for _, code in options]
    control.value = kept if kept in known else first if first in known else known[0]


def _label(control: widgets.Dropdown) -> str:
    return next(text for text, code in control.options if code == control.value)
