"""The card in which a person puts a quantity in place of a forecast, with a reason, or takes it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd

from crmlib.errors import NotFoundError
from crmlib.store import overrides
from crmlib.views import demand_parts, layout
from crmlib.views import demand_words as words
from crmlib.views.demand_data import Chosen
from crmlib.views.frame import Frame
from crmlib.views.texts import Language

LONGEST_REASON = overrides.LONGEST_REASON


class OverrideCard:
    """The widgets of the card; ``rows`` is what the store knew of the series when it was shown.

    ``changed`` is called after an override was put or withdrawn.
    """

    def __init__(self, framed: Frame, data: Path, changed: Callable[[], None]) -> None:
        self.frame, self.data, self.changed = framed, data, changed
        self.rows = pd.DataFrame()
        self.chosen: Chosen | None = None
        wide = {"width": "auto"}
        self.title, self.list = widgets.HTML(), widgets.HTML()
        self.period, self.standing = widgets.Dropdown(layout=wide), widgets.Dropdown(layout=wide)
        self.quantity = widgets.BoundedFloatText(min=0, max=1e12, layout=wide)
        # Sent when the field is left: letters still on their way would miss the click on the button.
        self.reason = widgets.Text(continuous_update=False, layout=wide)
        self.put, self.withdraw = widgets.Button(button_style="primary"), widgets.Button()
        for button in (self.put, self.withdraw):
            button.add_class("crm-needs-change")
        self.labels = {name: widgets.Label() for name in ("period", "quantity", "reason", "standing")}
        self.period.observe(framed.guarded(self._prefill), "value")
        self.standing.observe(framed.guarded(self._offer_withdrawal), "value")
        self.put.on_click(framed.guarded(self._put))
        self.withdraw.on_click(framed.guarded(self._withdraw))
        asked = layout.controls(
            *[(self.labels[name], getattr(self, name)) for name in ("period", "quantity", "reason")]
        )
        taken = layout.controls((self.labels["standing"], self.standing))
        for box in (asked, taken):
            box.add_class("crm-inner")
        self.root = layout.card(self.title, asked, layout.bar(self.put), self.list, taken, layout.bar(self.withdraw))
        self._taken = taken

    def reword(self, say: Language) -> None:
        """Say everything in a language; the values stay."""
        self.title.value = layout.title(
            say.text("Do you know better?"),
            say.text("Put your number in place of the forecast. Later it is shown what overrides were worth."),
        )
        self.labels["period"].value = say.text("Period")
        self.labels["quantity"].value = say.text("Your number")
        self.labels["reason"].value = say.text("Why (needed)")
        self.labels["standing"].value = say.text("Overrides in force")
        self.reason.placeholder = say.text("for example: a big order")
        self.put.description = say.text("Override the forecast")
        self.withdraw.description = say.text("Withdraw")

    def show(self, chosen: Chosen, rows: pd.DataFrame, *, elsewhere: int) -> None:
        """Offer the periods of a series, and list its overrides; ``elsewhere`` so many of other series are in force."""
        other = self.chosen is None or (chosen.level, chosen.series_id) != (self.chosen.level, self.chosen.series_id)
        self.chosen, self.rows = chosen, rows
        say = self.frame.say
        with self.frame.quietly():
            kept = None if other else self.period.value
            places = list(enumerate(chosen.forecast["period"]))
            self.period.options = [(words.period(say, chosen.step, day), place) for place, day in places]
            if places:
                self.period.value = kept if kept is not None and kept < len(places) else 0
            if other:
                self.reason.value = ""
            held = rows[rows["in_force"]].sort_values("period")
            self.standing.options = [
                (
                    f"{words.period(say, chosen.step, row['period'])}: {say.number(row['quantity'])}",
                    int(row["override_id"]),
                )
                for _, row in held.iterrows()
            ]
            self.standing.value = self.standing.options[0][1] if len(held) else None
            self._taken.layout.display = self.withdraw.layout.display = "" if len(held) else "none"
            self.put.disabled = not places
            if other:
                self._prefill()
        self.list.value = demand_parts.override_list(say, chosen, rows, elsewhere=elsewhere)

    def _row(self) -> pd.Series:
        if self.chosen is None or self.period.value is None:
            raise NotFoundError(self.frame.say.text("Choose a series with a forecast first."))
        row: pd.Series = self.chosen.forecast.iloc[self.period.value]
        return row

    def _own(self, period: pd.Timestamp) -> pd.DataFrame:
        return self.rows[self.rows["period"] == period] if len(self.rows) else self.rows

    def _prefill(self) -> None:
        """Begin with what is expected now: the override in force, else the forecast."""
        if self.chosen is None or self.period.value is None:
            return
        row = self._row()
        own = self._own(row["period"])
        own = own[own["in_force"]] if len(own) else own
        expected = float(own["quantity"].iloc[0]) if len(own) else float(row["mean"])
        self.quantity.value = round(max(0.0, expected) if np.isfinite(expected) else 0.0)

    def _offer_withdrawal(self) -> None:
        self.withdraw.disabled = self.standing.value is None

    def _put(self) -> None:
        self.frame.require("change")
        row, say, chosen = self._row(), self.frame.say, self.chosen
        assert chosen is not None
        if not self.reason.value.strip():
            self.frame.complain(
                say.text("Say why you override the forecast: without a reason nobody can learn from it.")
            )
            return
        own = self._own(row["period"])
        overrides.put(
            self.data,
            level=chosen.level,
            series_id=chosen.series_id,
            period=row["period"].date(),
            quantity=self.quantity.value,
            previous=float(row["mean"]),
            reason=self.reason.value[:LONGEST_REASON],
            now=self.frame.now(),
            actor=self.frame.actor,
            seen=int(own["revision"].max()) if len(own) else 0,
        )
        self.reason.value = ""
        self.changed()
        period, value = words.period(say, chosen.step, row["period"]), say.number(self.quantity.value)
        self.frame.tell(
            say.text(
                "{period} is {value} now, instead of {forecast}.",
                period=period,
                value=value,
                forecast=say.number(row["mean"]),
            )
        )

    def _withdraw(self) -> None:
        self.frame.require("change")
        if self.standing.value is None:
            return
        overrides.withdraw(self.data, int(self.standing.value), now=self.frame.now(), actor=self.frame.actor)
        self.changed()
        self.frame.tell(self.frame.say.text("The override was withdrawn; the forecast counts again."))
