"""The audience builder: put conditions together, see who fulfils them, keep them under a name, go on to a campaign."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from crmlib.decisions import audiences as audience
from crmlib.decisions import small_cells
from crmlib.decisions.audiences import contradictions
from crmlib.decisions.audiences.conditions import Data
from crmlib.errors import CrmError, NotFoundError
from crmlib.views import (
    audience_data,
    audience_words,
    layout,
    origins,
    plots,
    plots_audiences,
    small_cells_words,
    texts,
    wording,
)
from crmlib.views.audience_data import HIDDEN_BELOW, Answer, Builder
from crmlib.views.audience_rows import CSS, Group
from crmlib.views.frame import Frame

_CHARTS = ("steps", "channels", "products", "regions", "ages")


def panel(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the audience builder; ``data`` is the data folder, ``language`` "en" or "ru"."""
    return Panel(Path(data), language).root


class Panel:
    """The widgets of the audience builder; what a person chose is kept in the widgets themselves."""

    def __init__(self, data: Path, language: str) -> None:
        self.data = data
        self.builder: Builder | None = None
        self.groups: list[Group] = []
        self.fixed: Data | None = None  # conditions nested deeper than the builder shows
        self.answer: Answer | None = None
        self.seen = small_cells_words.Seen()
        self.opened: Any = None  # the row of the store the conditions came from or went to
        self.frame = Frame(
            texts.later("Audience builder"),
            data=data,
            dashboard="audience_builder",
            language=language,
            load=self._load,
            draw=self._draw,
            newest=lambda: audience_data.newest(data),
            asked=self._asked,
            settings=lambda: {"conditions": self.conditions()},
            apply=lambda settings: self._put(audience.normal(settings["conditions"])),
        )
        guarded = self.frame.guarded
        self.names = {name: widgets.Label() for name in ("begin", "open", "name", "keep")}
        self.begin, self.saved = widgets.Dropdown(), widgets.Dropdown()
        self.name = widgets.Text(layout={"width": "auto"})
        self.keep = widgets.Button(button_style="primary", layout={"width": "auto"})
        for control in (self.names["name"], self.name, self.names["keep"], self.keep):
            control.add_class("crm-needs-change")
        self.more = widgets.Button(layout={"width": "auto"})
        self.rules = widgets.VBox(layout={"overflow": "visible"})
        self.tiles, self.trouble, self.link = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.titles = {name: widgets.HTML() for name in _CHARTS}
        self.charts = {name: self.frame.chart(name) for name in _CHARTS}
        self.forms = widgets.HTML()
        self.fold = widgets.Accordion([self.forms], selected_index=None)
        self.begin.observe(guarded(self._begun), "value")
        self.saved.observe(guarded(self._open), "value")
        self.keep.on_click(guarded(self._save))
        self.more.on_click(guarded(self._more))
        pairs = ((self.names["begin"], self.begin), (self.names["open"], self.saved), (self.names["name"], self.name))
        chosen = layout.controls(*pairs, (self.names["keep"], self.keep))
        cards = {name: layout.card(self.titles[name], chart) for name, chart in self.charts.items()}
        first = layout.charts(*[cards[name] for name in ("steps", "channels", "products")])
        second = layout.charts(cards["regions"], cards["ages"], columns=2)
        self.pictures = widgets.VBox([first, second], layout={"overflow": "visible"})
        self.root = self.frame.show(
            widgets.HTML(CSS),
            chosen,
            self.tiles,
            self.trouble,
            self.rules,
            layout.bar(self.more, self.link),
            self.pictures,
            self.fold,
        )

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    # ---------------------------------------------------------------- what is asked

    def conditions(self) -> Data:
        """Return the conditions as they stand."""
        if self.fixed is not None:
            return self.fixed
        return audience_data.conditions_of([group.conditions for group in self.groups])

    def _put(self, conditions: Data) -> None:
        """Show conditions in the builder, and who fulfils them."""
        self._place(conditions)
        self._count()

    def _place(self, conditions: Data) -> None:
        """Show conditions in the builder; those nested deeper stand as a line of words."""
        assert self.builder is not None
        groups = audience_data.groups_of(conditions, self.builder.subjects)
        self.fixed = conditions if groups is None else None
        with self.frame.quietly():
            self.groups = [self._group(one) for one in groups or []]
        self._arrange()

    def _group(self, conditions: tuple[str, list[Data]]) -> Group:
        assert self.builder is not None
        guarded, changed = self.frame.guarded, self._count
        return Group(self.builder, self.say, conditions, guarded=guarded, changed=changed, removed=self._less)

    def _arrange(self) -> None:
        if self.fixed is None:
            self.rules.children = [group.box for group in self.groups]
            for group in self.groups:
                group.drop.layout.display = "" if len(self.groups) > 1 else "none"
            return
        note = self.say.text("This audience was written in Python; it is counted here, and changed there.")
        words = html.escape(self._sentence(self.fixed))
        self.rules.children = [widgets.HTML(f'<div class="crm-rules"><p>{html.escape(note)}</p><b>{words}</b></div>')]

    def _more(self) -> None:
        if self.fixed is not None:
            self.fixed, self.groups = None, []
        self.groups.append(self._group(("any" if self.groups else "all", [])))
        self._arrange()
        self.groups[-1].add.click()

    def _less(self, group: Group) -> None:
        self.groups.remove(group)
        self._arrange()
        self._count()

    # ---------------------------------------------------------------- loading, templates, saved audiences

    def _load(self) -> None:
        before = self.conditions() if self.builder is not None else None
        self.builder = self.answer = None
        self.builder = audience_data.load(self.data)
        self.templates = audience_data.templates(self.builder)
        self._list_saved()
        first = next(iter(self.templates), "")
        with self.frame.quietly():
            self.begin.options = [("", ""), *[(name, name) for name in self.templates]]
            self.begin.value = first if before is None else ""
        self._place(before or self.templates.get(first, audience.normal({})))

    def _list_saved(self) -> None:
        """List the newest version of every audience, and the one that is open."""
        found = audience.saved(self.data)
        newest = found.drop_duplicates("name")
        if self.opened is not None:
            newest = pd.concat([newest, found[found["audience_id"] == self.opened.audience_id]]).drop_duplicates()
        shown = [
            (self.say.text("{name}, version {n}", name=row["name"], n=row["audience_version"]), int(row["audience_id"]))
            for row in newest.to_dict("records")
        ]
        with self.frame.quietly():
            self.saved.options = [("", 0), *shown]
            self.saved.value = self.opened.audience_id if self.opened is not None else 0

    def _begun(self) -> None:
        if self.begin.value:
            self.opened = None
            self.name.value = ""
            self._list_saved()
            self._put(self.templates[self.begin.value])

    def _open(self) -> None:
        if self.saved.value:
            self._show_saved(int(self.saved.value))

    def _show_saved(self, number: int) -> None:
        self.opened = audience.by_id(self.data, number)
        self.name.value = self.opened.name
        with self.frame.quietly():
            self.begin.value = ""
        self._list_saved()
        self._put(audience.normal(self.opened.conditions))

    def _save(self) -> None:
        self.frame.require("change")
        if not self.name.value.strip():
            raise NotFoundError(self.say.text("Give the audience a name first."))
        before = self.opened.audience_id if self.opened is not None else None
        frame_ = self.frame
        self.opened = audience.save(self.data, self.name.value, self.conditions(), now=frame_.now(), actor=frame_.actor)
        self._list_saved()
        self._draw_link()
        what = {"name": self.opened.name, "n": self.opened.audience_version}
        if before == self.opened.audience_id:
            frame_.tell(self.say.text("Audience {name} is unchanged: version {n} stays the newest.", **what))
        else:
            frame_.tell(self.say.text("Audience {name} saved as version {n}.", **what))

    def _asked(self, query: dict[str, str]) -> None:
        if "audience" in query:
            number = query["audience"]
            if not number.isdecimal() or len(number) > 9:
                raise NotFoundError(self.say.text("There is no audience {number}.", number=number))
            self._show_saved(int(number))
        elif "conditions" in query:
            try:
                asked = json.loads(query["conditions"])
            except ValueError as error:
                raise NotFoundError(self.say.text("The conditions in the address cannot be read.")) from error
            with self.frame.quietly():
                self.begin.value = ""
            self.opened = None
            self._put(audience.normal(asked))

    # ---------------------------------------------------------------- what is shown

    def _count(self) -> None:
        """Count the conditions as they stand; what excludes itself is said below them."""
        assert self.builder is not None
        self.answer = None
        try:
            conditions = self.conditions()
            self.trouble.value = ""
            excluded = contradictions.first(conditions)
            if excluded is None:
                self.answer = audience_data.answer(self.builder, conditions)
            else:
                self._object(self._contradiction(excluded))
        except CrmError as error:
            self._object(str(error))
        self._show()

    def _object(self, words: str) -> None:
        self.trouble.value = f'<div class="crm-error" role="alert">{html.escape(words)}</div>'

    def _contradiction(self, excluded: list[Data]) -> str:
        listed = "; ".join(self._sentence(one) for one in excluded)
        if len(excluded) == 1:
            return self.say.text(
                "Nobody can ever meet this condition: {condition}. Change or remove it.", condition=listed
            )
        return self.say.text(
            "Nobody can meet these conditions at the same time: {conditions}. Change one of them.", conditions=listed
        )

    def _sentence(self, condition: Data) -> str:
        assert self.builder is not None
        known, products = self.builder.subjects, self.builder.products
        return audience_words.sentence(
            self.say, condition, known=known, products=products, currency=self.builder.currency
        )

    def _draw(self) -> None:
        """Say everything in the language chosen."""
        assert self.builder is not None
        say = self.say
        self.names["begin"].value = say.text("Begin with an example")
        self.names["open"].value = say.text("Open a saved audience")
        self.names["name"].value = say.text("Name of this audience")
        self.names["keep"].value = say.text("Every change is a new version")
        self.begin.tooltip, self.saved.tooltip = self.names["begin"].value, self.names["open"].value
        self.name.tooltip = self.names["name"].value
        self.keep.description = say.text("Save audience")
        self.more.description = say.text("Add a group of conditions")
        self.fold.titles = (say.text("For the data scientist: this audience in Python and as JSON"),)
        examples = {
            "acceptance": say.text("No meeting, high turnover, no loan"),
            "maturing": say.text("A contract matures within two months"),
            "sleeping": say.text("Asleep: no transactions for three months"),
            "likely": say.text("Likely buyers who do not hold the product yet"),
        }
        with self.frame.quietly():
            kept = self.begin.value
            self.begin.options = [("", ""), *[(examples[name], name) for name in self.templates]]
            self.begin.value = kept
            for group in self.groups:
                group.reword(say)
        self._list_saved()
        self._arrange()
        if self.answer is not None and self.answer.conditions == self.conditions():
            self._show()  # another language is no other question
        else:
            self._count()

    def _show(self) -> None:
        """Show the numbers, pictures and forms of the answer."""
        say, answer = self.say, self.answer
        self._origin()
        self._draw_forms()
        self._draw_link()
        self.pictures.layout.display = self.tiles.layout.display = "none" if answer is None else ""
        if answer is None:
            return
        everybody = self.seen.words(say, answer.everybody)
        customers, contactable = self.seen.words(say, answer.customers), self.seen.words(say, answer.contactable)
        share, reached = (
            self._share(answer.customers, answer.everybody),
            self._share(answer.contactable, answer.customers),
        )
        of_audience = say.text("{share} of the audience, by at least one channel", share=reached)
        tiles = [
            (say.text("Customers in this audience"), customers, say.text("{share} of all customers", share=share)),
            (say.text("May be contacted"), contactable, of_audience),
            (say.text("All customers"), everybody, say.text("known and not closed on that day")),
        ]
        self.tiles.value = layout.tiles(tiles)
        for name, (words, note) in self._titles().items():
            self.titles[name].value = layout.title(words, note)
        if not answer.customers:
            self._object(say.text("Nobody meets these conditions; the first picture shows where they drop out."))
        self._draw_charts(answer)

    def _share(self, part: int, whole: int) -> str:
        """Return a share of numbers as they are shown; none where one of them is small."""
        shown, of = self.seen.number(part), self.seen.number(whole)
        if shown is None or of is None:
            return self.say.text("hidden")
        return self.say.percent(min(shown / of, 1.0) if of else 0.0)

    def _origin(self) -> None:
        """Say which data the numbers are counted from, and the scores and segments that the conditions ask for."""
        assert self.builder is not None
        say, known = self.say, self.builder.snapshot
        parts = [say.text("warehouse version {n}", n=known.warehouse.version)]
        if self.answer is not None:
            parts += origins.of_all(say, audience_data.made_with(self.builder, self.answer.conditions))
        self.frame.origin(parts, as_of=known.as_of)

    def _titles(self) -> dict[str, tuple[str, str]]:
        say = self.say
        compared = say.text("Bars: this audience. Marks: all customers.")
        return {
            "steps": (say.text("What each condition leaves"), say.text("From all customers down to the audience.")),
            "channels": (say.text("Who may be contacted"), say.text("With consent to marketing, by channel.")),
            "products": (say.text("Products they hold"), compared),
            "regions": (say.text("Where they live"), compared),
            "ages": (say.text("How old they are"), compared),
        }

    def _draw_charts(self, answer: Answer) -> None:
        say, code = self.say, self.say.code
        parts = answer.conditions.get("all", [answer.conditions])
        labels = [say.text("All customers"), *[self._sentence(one) for one in parts]]
        counts = [answer.everybody, *answer.steps]
        shown_as = [self.seen.words(say, one) for one in counts]
        left = pd.DataFrame({"label": labels, "customers": map(self.seen.number, counts), "shown": shown_as})
        self.charts["steps"].update(plots_audiences.steps(left, language=code))
        described = answer.customers == self.seen.number(answer.customers)
        why = (
            say.text("Fewer than {n} customers: too few to describe.", n=say.number(HIDDEN_BELOW))
            if answer.customers < HIDDEN_BELOW
            else say.text(
                "Only a few customers more or less than a group already shown: not described, so that nobody can tell"
                " those few."
            )
        )
        few = plots.empty(why, language=code)
        tables = {"products": answer.products, "regions": answer.regions, "ages": answer.ages}
        for name, table in tables.items():
            shown = table.assign(label=[self._label(name, one) for one in table["label"]])
            known = described and len(shown)
            self.charts[name].update(plots_audiences.profile(shown, language=code) if known else few)
        channels = answer.channels.assign(label=[wording.value(say, one) for one in answer.channels["channel"]])
        around = {answer.customers, answer.contactable}  # who may not be contacted by a channel may be few as well
        hidden = [small_cells.near(int(one), around) for one in channels["customers"]]
        channels["customers"] = channels["customers"].astype(float).mask(pd.Series(hidden, dtype=bool))
        channels["share"] = channels["customers"] / max(answer.customers, 1)
        known = described and len(channels)
        self.charts["channels"].update(plots_audiences.channels(channels, language=code) if known else few)

    def _label(self, chart: str, value: str) -> str:
        if chart != "ages":
            return wording.value(self.say, value)
        low = int(value)
        high = audience_data.AGES[audience_data.AGES.index(low) + 1] - 1
        if low == 0:
            return self.say.text("under {n}", n=high + 1)
        return self.say.text("{n} and over", n=low) if high > 150 else f"{low}–{high}"

    def _draw_forms(self) -> None:
        try:
            conditions = self.conditions()
        except CrmError:
            return
        python, as_json = audience.python(conditions), json.dumps(conditions, ensure_ascii=False, indent=1)
        shown = "".join(
            f'<p>{name}</p><pre class="{style}" style="white-space: pre-wrap">{html.escape(text)}</pre>'
            for name, style, text in (("Python", "crm-python", python), ("JSON", "crm-json", as_json))
        )
        self.forms.value = shown

    def _draw_link(self) -> None:
        say = self.say
        same = self.opened is not None and audience.same(self.opened.conditions, self.conditions())
        if same:
            words = say.text("Plan a campaign with this audience")
            shown: str = layout.link("campaigns", words, audience=self.opened.audience_id)
        else:
            shown = html.escape(say.text("Save the audience to plan a campaign with it."))
        self.link.value = f'<p class="crm-next">{shown}</p>'
