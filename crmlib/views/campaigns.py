"""The campaigns dashboard: plan one, follow those that run, see what each really earned."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from crmlib.decisions import campaigns, experiments
from crmlib.errors import CrmError, NotFoundError
from crmlib.store.tables import Campaign
from crmlib.views import (
    campaign_tables,
    campaigns_data,
    effect_words,
    layout,
    plots,
    plots_campaigns,
    plots_effects,
    texts,
    wording,
)
from crmlib.views import campaign_words as words
from crmlib.views.campaign_form import Form
from crmlib.views.campaigns_data import Loaded, Measured
from crmlib.views.chart import Chart
from crmlib.views.frame import Frame

PARTS = ("plan", "follow", "effect")
SHOWN = 24
"""Campaigns in the calendar, the newest ones."""

_MEASURES = ("conversions", "profit_minor")
_CSS = """<style>
.crm-parts .widget-toggle-button, .crm-parts button { font-size: 14px; }
.crm-parts { margin-top: 12px; }
.crm-arm { border: 0; padding: 4px 0 0; margin: 0; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.crm-panel .crm-controls input, .crm-panel .crm-controls select { height: 34px; font-size: 14px; border-radius: 6px; box-sizing: border-box; }
.crm-panel .crm-controls select[multiple] { height: 66px; }
.crm-controls .widget-text, .crm-controls .widget-datepicker, .crm-controls .widget-select-multiple { width: 100%; margin: 0; height: auto; }
.crm-panel .widget-vbox > .crm-card { margin-top: 12px; }
.crm-panel p.crm-say { font-size: 19px; font-weight: 600; line-height: 1.35; margin: 6px 0 10px; color: #23272f; }
.crm-controls .widget-button { height: 34px; border-radius: 6px; margin: 0; }
</style>"""


def panel(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the campaigns dashboard; ``data`` is the data folder, ``language`` "en" or "ru"."""
    return Panel(Path(data), language).root


class Panel:
    """The widgets of the dashboard; what a person chose is kept in the widgets themselves."""

    def __init__(self, data: Path, language: str) -> None:
        self.data = data
        self.loaded: Loaded | None = None
        self.row: Campaign | None = None  # the planned campaign in the form; None for a new one
        self.frame = Frame(
            texts.later("Campaigns"),
            data=data,
            dashboard="campaigns",
            language=language,
            load=self._load,
            draw=self._draw,
            newest=lambda: campaigns_data.newest(data),
            asked=self._asked,
            settings=lambda: {"part": self.part.value, "measured": self.measured.value, "form": self.form.settings()},
            apply=self._apply,
        )
        guarded = self.frame.guarded
        self.part = widgets.ToggleButtons(options=list(PARTS))
        self.part.add_class("crm-parts")
        self.form = Form(guarded(self._answer))
        self._planning(guarded)
        self._following(guarded)
        self.boxes = {"plan": self.plan_box, "follow": self.follow_box, "effect": self.effect_box}
        self.part.observe(guarded(self._turned), "value")
        self.root = self.frame.show(widgets.HTML(_CSS), self.part, *self.boxes.values())

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    # ---------------------------------------------------------------- what it is made of

    def _planning(self, guarded: Callable[..., Callable[..., None]]) -> None:
        wide = {"width": "auto"}
        self.labels = {name: widgets.Label() for name in ("open", "approver", "measured", "followed")}
        self.open, self.approver = widgets.Dropdown(layout=wide), widgets.Text(layout=wide)
        names = ("save", "approve", "assign", "csv", "xlsx", "cancel")
        self.buttons = {name: widgets.Button(layout=wide) for name in names}
        self.buttons["save"].button_style = "primary"
        actions = {"save": self._save, "approve": self._approve, "assign": self._assign, "cancel": self._cancel}
        for name, action in actions.items():
            self.buttons[name].on_click(guarded(action))
        for name in ("csv", "xlsx"):
            self.buttons[name].on_click(guarded(lambda format=name: self._release(format)))
        self.open.observe(guarded(self._opened), "value")
        self.state, self.tiles, self.trouble, self.clashes = (widgets.HTML() for _ in range(4))
        self.titles = {
            name: widgets.HTML() for name in ("reach", "schedule", "calendar", "contacted", "refused", "bought")
        }
        self.titles |= {name: widgets.HTML() for name in (*_MEASURES, "groups", "programme")}
        self.charts = {name: Chart(plots.empty("")) for name in self.titles if name not in ("groups", "programme")}
        head = layout.controls((self.labels["open"], self.open), (self.labels["approver"], self.approver))
        cards = [layout.card(self.titles[name], self.charts[name]) for name in ("reach", "schedule")]
        bar = layout.bar(*self.buttons.values())
        pictures = layout.charts(*cards, columns=2)
        self.plan_box = widgets.VBox(
            [head, self.state, self.tiles, self.trouble, self.form.root, bar, self.clashes, pictures]
        )

    def _following(self, guarded: Callable[..., Callable[..., None]]) -> None:
        self.followed, self.measured = (widgets.Dropdown(layout={"width": "auto"}) for _ in range(2))
        self.counts, self.sentence, self.effect_tiles, self.table, self.all = (widgets.HTML() for _ in range(5))
        self.measure_all = widgets.Button(layout={"width": "auto"})
        self.followed.observe(guarded(self._follow), "value")
        self.measured.observe(guarded(self._effect), "value")
        self.measure_all.on_click(guarded(self._programme))
        lines = [layout.card(self.titles[name], self.charts[name]) for name in ("contacted", "refused", "bought")]
        calendar = layout.charts(layout.card(self.titles["calendar"], self.charts["calendar"]), columns=1)
        chosen = layout.controls((self.labels["followed"], self.followed))
        self.follow_box = widgets.VBox([calendar, chosen, self.counts, layout.charts(*lines)])
        pictures = [layout.card(self.titles[name], self.charts[name]) for name in _MEASURES]
        rest = [layout.card(self.titles["groups"], self.table), layout.card(self.titles["programme"], self.all)]
        self.effect_box = widgets.VBox(
            [
                layout.controls((self.labels["measured"], self.measured)),
                layout.card(self.sentence),
                self.effect_tiles,
                layout.charts(*pictures, columns=2),
                layout.charts(rest[0], columns=1),
                layout.charts(widgets.VBox([rest[1], layout.bar(self.measure_all)]), columns=1),
            ]
        )

    # ---------------------------------------------------------------- what happens

    def _load(self) -> None:
        first = self.loaded is None
        self.loaded = campaigns_data.load(self.data)
        with self.frame.quietly():
            if first:
                self.form.offer(self.loaded, self.say)
                self.form.begin(today=self.frame.now().date(), owner="")
                # Read before anybody asks: pages are made ready ahead, and the first answer should come at once.
                campaigns_data.reached(self.loaded, [], day=self.form.starts.value)
            if self.row is not None:
                self.row = next((one for one in self.loaded.planned if one.campaign_id == self.row.campaign_id), None)

    def _draw(self) -> None:
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        parts = [say.text("warehouse version {n}", n=loaded.warehouse.version)]
        self.frame.origin(parts, as_of=loaded.snapshot.as_of)
        with self.frame.quietly():
            part = self.part.value
            named = (say.text("Plan"), say.text("Follow"), say.text("Effect"))
            self.part.options = list(zip(named, PARTS, strict=True))
            self.part.value = part or "plan"
            self._name()
            self.form.offer(loaded, say)
            self._choices()
        self._turned()

    def _name(self) -> None:
        say = self.say
        self.labels["open"].value = self.open.tooltip = say.text("Campaign")
        self.labels["approver"].value = self.approver.tooltip = say.text("Approved by (not the owner)")
        self.labels["followed"].value = self.followed.tooltip = say.text("Choose a campaign to follow")
        self.labels["measured"].value = self.measured.tooltip = say.text("Choose a campaign to measure")
        named = {
            "save": say.text("Save draft"),
            "approve": say.text("Approve"),
            "assign": say.text("Assign people"),
            "csv": say.text("Download {format}", format="CSV"),
            "xlsx": say.text("Download {format}", format="XLSX"),
            "cancel": say.text("Cancel campaign"),
        }
        for name, label in named.items():
            self.buttons[name].description = label
        self.measure_all.description = say.text("Measure all campaigns together")
        for chart in self.charts.values():
            chart.trouble = say.text("This chart could not be drawn; reload the page.")

    def _choices(self) -> None:
        """Offer the campaigns there are, keeping those chosen."""
        assert self.loaded is not None
        planned = [(f"{row.name} · {words.state(self.say, row.state)}", row.campaign_id) for row in self.loaded.planned]
        self.open.options = [(self.say.text("New campaign"), ""), *planned]
        self.open.value = self.row.campaign_id if self.row else ""
        begun = campaigns_data.measurable(self.loaded)
        options = list(zip(begun["name"], begun["campaign_id"], strict=True))
        for chooser in (self.followed, self.measured):
            kept = chooser.value
            chooser.options = options
            if options:
                chooser.value = kept if kept in set(begun["campaign_id"]) else options[0][1]

    def _turned(self) -> None:
        for name, box in self.boxes.items():
            box.layout.display = "" if name == self.part.value else "none"
        {"plan": self._answer, "follow": self._follow, "effect": self._effect}[self.part.value]()

    def _asked(self, query: dict[str, str]) -> None:
        """The address asked for an audience, a product, a campaign or a part of the page."""
        assert self.loaded is not None
        if query.get("part") in PARTS:
            self.part.value = query["part"]
        with self.frame.quietly():
            number = query.get("audience", "")
            if number:
                known = set(self.loaded.audiences["audience_id"].astype(str))
                if number not in known:
                    raise NotFoundError(self.say.text("There is no saved audience {n}.", n=number))
                self.form.audience.value = int(number)
            if query.get("product") in set(self.loaded.products["product_id"]):
                self.form.arms[0].product.value = query["product"]
        self._turned()

    def _apply(self, settings: dict[str, Any]) -> None:
        with self.frame.quietly():
            self.row = None
            self.open.value = ""
            self.form.apply(settings["form"])
            known = {value for _, value in self.measured.options}
            if settings["measured"] in known:
                self.measured.value = settings["measured"]
            self.part.value = settings["part"]
        self._turned()

    def _opened(self) -> None:
        """A campaign was chosen: show its plan."""
        assert self.loaded is not None
        self.row = next((one for one in self.loaded.planned if one.campaign_id == self.open.value), None)
        with self.frame.quietly():
            if self.row is None:
                self.form.begin(today=self.frame.now().date(), owner="")
            else:
                self.form.put(campaigns.plan_of(self.row), self.loaded)
        self._answer()

    def _save(self) -> None:
        assert self.loaded is not None
        plan, now = self.form.plan(self.loaded), self.frame.now()
        if self.row is None:
            self.row = campaigns.draft(self.data, plan, now=now)
        else:
            self.row = campaigns.change(self.data, self.row.campaign_id, plan, revision=self.row.revision, now=now)
        self._stored(self.say.text("Campaign {name} is saved as a draft.", name=self.row.name))

    def _approve(self) -> None:
        row = self._chosen()
        done = campaigns.approve(
            self.data, row.campaign_id, revision=row.revision, by=self.approver.value, now=self.frame.now()
        )
        self._stored(self.say.text("Campaign {name} is approved by {who}.", name=done.name, who=str(done.approved_by)))

    def _assign(self) -> None:
        row, now = self._chosen(), self.frame.now()
        seed = int(now.timestamp()) % 2**31
        made = campaigns.assign(self.data, row.campaign_id, revision=row.revision, seed=seed, now=now)
        control = int(made.members["control"].sum())
        self._stored(
            self.say.text(
                "{treated} customers are assigned to the arms, {control} are left alone; both are on record.",
                treated=self.say.number(len(made.members) - control),
                control=self.say.number(control),
            )
        )

    def _cancel(self) -> None:
        row = self._chosen()
        campaigns.cancel(self.data, row.campaign_id, revision=row.revision, now=self.frame.now())
        self._stored(self.say.text("Campaign {name} is cancelled.", name=row.name))

    def _release(self, format: str) -> None:
        row, say = self._chosen(), self.say
        out = campaigns.release(self.data, row.campaign_id, actor=self.frame.actor, now=self.frame.now(), format=format)
        self.frame.save(out.file)
        told = say.plural(
            "{n} customer saved as {name}.", "{n} customers saved as {name}.", out.rows, name=out.file.name
        )
        for code, count in out.left_out.items():
            told += " " + say.text("Left out: {n} ({why}).", n=say.number(count), why=words.refusal(say, code))
        self.frame.tell(told)

    def _chosen(self) -> Campaign:
        if self.row is None:
            raise NotFoundError(self.say.text("Save the campaign first."))
        return self.row

    def _stored(self, told: str) -> None:
        """Something was recorded: read the plans anew and say so."""
        self.loaded = campaigns_data.load(self.data)
        assert self.row is not None
        number = self.row.campaign_id
        self.row = next(one for one in self.loaded.planned if one.campaign_id == number)
        with self.frame.quietly():
            self._choices()
        self._answer()
        self.frame.tell(told)

    # ---------------------------------------------------------------- plan

    def _answer(self) -> None:
        """Say what the plan in the form would come to."""
        assert self.loaded is not None
        say, loaded, row = self.say, self.loaded, self.row
        state = row.state if row else ""
        self.state.value = f"<p>{html.escape(self._standing())}</p>"
        self.form.lock(state not in ("", "draft", "approved"))
        enabled = {"save": ("", "draft", "approved"), "approve": ("draft",), "assign": ("approved",)}
        enabled |= {"csv": ("assigned",), "xlsx": ("assigned",), "cancel": ("draft", "approved", "assigned")}
        for name, states in enabled.items():
            self.buttons[name].disabled = state not in states
        self.tiles.value = self.clashes.value = self.trouble.value = ""
        try:
            plan = self.form.plan(loaded)
            today = min(self.frame.now().date(), plan.starts_on) if row else self.frame.now().date()
            answer = campaigns_data.ask(loaded, plan, today=today)
            found = campaigns_data.clashes(loaded, plan, answer, own=row.campaign_id if row else "")
        except CrmError as error:
            self.trouble.value = f'<div class="crm-note" role="status">{html.escape(str(error))}</div>'
            for name in ("reach", "schedule"):
                self.titles[name].value = ""
                self.charts[name].update(plots.empty(say.text("Fill in the form to see."), language=say.code))
            return
        self.tiles.value = campaign_tables.plan_tiles(say, answer, loaded, clashes=len(found))
        self._clashes(found)
        reached = answer.refusals
        labels = {code: words.refusal(say, code) for code in {*reached["code"], ""}}
        table = campaign_tables.with_reached(answer)
        self.titles["reach"].value = layout.title(
            say.text("Whom each arm may contact"), say.text("Consent, contact policy and the product's own rules.")
        )
        self.charts["reach"].update(
            plots_campaigns.refusals(
                table.assign(arm=table["arm"].map(self._arm_name)),
                audience=answer.audience,
                words=labels,
                language=say.code,
            )
        )
        self.titles["schedule"].value = layout.title(
            say.text("Contact plan"), say.text("As early as the contacts a day allow; holidays and weekends left out.")
        )
        channels = {name: wording.value(say, name) for name in plan.channels}
        self.charts["schedule"].update(plots_campaigns.schedule(answer.schedule, words=channels, language=say.code))

    def _arm_name(self, name: str) -> str:
        """Return an arm's name with the product's own name and the channel in words."""
        assert self.loaded is not None
        product, _, channel = name.partition(" by ")
        names = dict(zip(self.loaded.products["product_id"], self.loaded.products["name"], strict=True))
        if not channel:
            return words.arm(self.say, name)
        return f"{names.get(product, product)}, {wording.value(self.say, channel)}"

    def _standing(self) -> str:
        say, row = self.say, self.row
        if row is None:
            return say.text("A new campaign: nothing is recorded yet.")
        if row.state == "draft":
            return say.text("Draft: somebody other than {owner} approves it.", owner=row.owner)
        if row.state == "approved":
            return say.text("Approved by {who}: people can be assigned.", who=str(row.approved_by))
        if row.state == "assigned":
            return say.text(
                "{n} customers are assigned since {day}; the list can be downloaded.",
                n=say.number(row.members or 0),
                day=say.date(row.assigned_at.date()) if row.assigned_at else "",
            )
        return words.state(say, row.state).capitalize() + "."

    def _clashes(self, found: Any) -> None:
        say = self.say
        assert self.loaded is not None
        if found.empty:
            self.clashes.value = ""
            return
        names = dict(zip(self.loaded.products["product_id"], self.loaded.products["name"], strict=True))
        rows = []
        for row in found.to_dict("records"):
            kind, what = words.clash(say, row, products=names)
            rows.append((row["name"], kind, what, f"{say.date(row['first_day'])} – {say.date(row['last_day'])}"))
        heads = [("", say.text("Campaign")), ("", say.text("Clash")), ("", say.text("What")), ("", say.text("When"))]
        body = layout.title(say.text("Clashes with other campaigns")) + layout.table(heads, rows)
        self.clashes.value = f'<div class="crm-card" style="margin-top:12px">{body}</div>'

    # ---------------------------------------------------------------- follow and effect

    def _follow(self) -> None:
        assert self.loaded is not None
        say = self.say
        table = campaigns_data.calendar_table(self.loaded)
        first = max([self.loaded.snapshot.as_of, *table["starts_on"]]) - dt.timedelta(days=400)
        shown = table[table["ends_on"] >= first].sort_values("starts_on").tail(SHOWN)
        states = {code: words.state(say, code) for code in set(table["state"])}
        note = say.text("The dotted line is the last day with records; hover over a bar for its dates.")
        self.titles["calendar"].value = layout.title(say.text("Campaign calendar"), note)
        figure = plots_campaigns.gantt(shown, words=states, language=say.code, today=self.loaded.snapshot.as_of)
        empty = plots.empty(say.text("No campaign is planned yet, and the warehouse holds none."), language=say.code)
        self.charts["calendar"].update(figure if len(shown) else empty)
        heads = {
            "contacted": (say.text("Contacted so far"), say.text("Share of each arm that was reached.")),
            "refused": (say.text("Refused so far"), say.text("Share of each arm that said no.")),
            "bought": (say.text("Bought so far"), say.text("The gap to the control group is what counts.")),
        }
        for name, head in heads.items():
            self.titles[name].value = layout.title(*head)
        found = self._found(self.followed.value, self.counts, ("contacted", "refused", "bought"))
        if found is None:
            return
        arms = {arm: self._arm_name(arm) for arm in set(found.progress["arm"])}
        for name in heads:
            drawn = plots_campaigns.progress(found.progress, column=name, words=arms, language=say.code)
            self.charts[name].update(drawn)
        last = found.progress.groupby("arm").tail(1)
        sums = {name: int(last[name].sum()) for name in ("members", "contacted", "refused", "bought")}
        control = last[last["arm"] == "control"]
        self.counts.value = layout.tiles(
            [
                (say.text("Members"), say.number(sums["members"]), ""),
                (say.text("Left alone"), say.number(int(control["members"].sum())), say.text("control group")),
                (say.text("Contacted"), say.number(sums["contacted"]), ""),
                (say.text("Refused"), say.number(sums["refused"]), ""),
                (say.text("Bought"), say.number(sums["bought"]), say.text("control group included")),
            ]
        )

    def _found(self, campaign_id: str | None, place: widgets.HTML, charts: tuple[str, ...]) -> Measured | None:
        """Return what came of a campaign; where that cannot be said, say why and empty the pictures."""
        assert self.loaded is not None
        why = self.say.text("No campaign has begun yet: there is nothing to measure.")
        if campaign_id:
            try:
                return campaigns_data.measure(self.loaded, campaign_id)
            except CrmError as error:
                why = str(error)
        place.value = f'<div class="crm-note" role="status">{html.escape(why)}</div>'
        for name in charts:
            self.charts[name].update(plots.empty("–", language=self.say.code))
        return None

    def _effect(self) -> None:
        assert self.loaded is not None
        say, currency = self.say, self.loaded.company.currency
        self.titles["programme"].value = layout.title(
            say.text("All campaigns together"),
            say.text("Everybody against the universal hold-out, whom no campaign contacts."),
        )
        self.effect_tiles.value = self.table.value = ""
        found = self._found(self.measured.value, self.sentence, _MEASURES)
        if found is None:
            return
        profit = experiments.verdict(found.effects)
        buyers = experiments.verdict(found.effects, measure="conversions")
        kind = (
            say.text("Final: every purchase that counts could have happened by now.")
            if found.final
            else say.text(
                "Interim: purchases count until {day}. The interval stays valid however often you look.",
                day=say.date(found.complete_on),
            )
        )
        # The whole campaign is meant, of one arm or of several: no arm's name before the sentence.
        whole = [{**one, "arm": ""} for one in (profit, buyers)]
        lines = [effect_words.sentence(one, say.code, currency=currency) for one in whole]
        if profit["code"] == buyers["code"] == "not_enough_data":
            lines = lines[:1]
        rest = "".join(f"<p>{html.escape(line)}</p>" for line in [*lines[1:], kind])
        self.sentence.value = f'<p class="crm-say">{html.escape(lines[0])}</p>{rest}'
        self.effect_tiles.value = layout.tiles(campaign_tables.effect_tiles(say, found, currency))
        self._forest(found, currency)

    def _forest(self, found: Measured, currency: str) -> None:
        say = self.say
        titles = {"conversions": say.text("Additional buyers"), "profit_minor": say.text("Additional profit")}
        note = say.text("The best estimate with its 95% interval; one that reaches over zero is not certain.")
        shown = found.effects.assign(arm=found.effects["arm"].map(self._arm_name))
        for name, title in titles.items():
            self.titles[name].value = layout.title(title, note)
            known = shown.loc[shown["measure"] == name, "total"].notna().any()
            drawn = plots_effects.effects(shown, currency=currency, language=say.code, measure=name)
            empty = plots.empty(say.text("too few purchases"), language=say.code)
            self.charts[name].update(drawn if known else empty)
        self.titles["groups"].value = layout.title(say.text("The groups"))
        self.table.value = layout.table(*campaign_tables.group_table(say, found, self._arm_name, currency))

    def _programme(self) -> None:
        assert self.loaded is not None
        say, currency = self.say, self.loaded.company.currency
        found = campaigns_data.programme(self.loaded)
        if isinstance(found, str):
            self.all.value = f'<div class="crm-note" role="status">{html.escape(found)}</div>'
            return
        parts = [experiments.verdict(found), experiments.verdict(found, measure="conversions")]
        lines = [effect_words.sentence(one, say.code, currency=currency) for one in parts]
        self.all.value = f'<p class="crm-say">{html.escape(lines[0])}</p><p>{html.escape(lines[1])}</p>'
