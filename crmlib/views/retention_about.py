"""Longer words of the retention watchlist: one customer, and how the decisions are worked out."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd

from crmlib.views import churn_words, layout, retention_data, texts, wording
from crmlib.views import retention_words as words
from crmlib.views.retention_data import Loaded
from crmlib.views.texts import Language

REASONS = 4
"""Reasons of the risk that are told of a customer."""
_LEAST = 0.001  # the smallest share that is told


def customer(say: Language, loaded: Loaded, row: pd.Series) -> str:
    """Return the HTML about one customer: the decision, why, the figures, the break-even, and what the risk comes from."""
    currency, name = loaded.company.currency, str(row["customer_id"])
    out = [
        f"<h2>{html.escape(say.text('Customer {name}', name=name))}</h2>",
        f'<p class="crm-said"><b>{html.escape(words.decision(say, row))}</b></p>',
        f"<p>{html.escape(words.explained(say, row, currency))}</p>",
    ]
    facts = [*_facts(say, loaded, row), *_break_even(say, loaded, row)]
    out.append("<ul>" + "".join(f"<li>{html.escape(fact)}</li>" for fact in facts) + "</ul>")
    if row["code"] != "profiling_objected":
        out.append(_risk_reasons(say, loaded, name))
    if row["kind"] == "let_go":
        out.append(f'<p class="crm-note">{html.escape(say.text(words.DECENTLY))}</p>')
    out.append(f"<p>{layout.link('customer_card', say.text('Open the customer card'), customer=name)}</p>")
    return "".join(out)


def _facts(say: Language, loaded: Loaded, row: pd.Series) -> list[str]:
    currency, out = loaded.company.currency, []
    if pd.notna(row["risk_90"]):
        share = say.percent(row["risk_90"])
        if pd.notna(row.get("low_90")):
            share += f" ({say.percent(row['low_90'])} – {say.percent(row['high_90'])})"
        times = say.number(row["risk_90"] / loaded.average, 1)
        out.append(
            say.text("Risk of leaving within 90 days: {share}, {times} times the average", share=share, times=times)
        )
    if row["reason"]:
        out.append(say.text("Likeliest reason: {reason}", reason=words.reason(say, str(row["reason"]))))
    if pd.notna(row["value_at_stake_minor"]):
        out.append(say.text("Value at stake: {value}", value=say.money(row["value_at_stake_minor"], currency)))
    if pd.notna(row["stake_minor"]) and row["stake_minor"] > 0:
        loss = say.money(row["stake_minor"], currency, 2)
        out.append(say.text("Expected loss if nothing is done: {loss}", loss=loss))
    return out


def _break_even(say: Language, loaded: Loaded, row: pd.Series) -> list[str]:
    """Return from which share of departures prevented each action pays for this customer."""
    if not (pd.notna(row["stake_minor"]) and row["stake_minor"] > 0):
        return []
    out, known = [], loaded.prevented
    for channel in known or ([] if "call" not in loaded.company.contact_costs_minor else ["call"]):
        need = retention_data.needed(loaded, row, channel)
        name = wording.value(say, channel)
        if need > 1:
            out.append(say.text("Break-even ({channel}): not even preventing every departure would pay", channel=name))
            continue
        if need < _LEAST:
            told = say.text(
                "Break-even ({channel}): pays already if it prevents {need} of such departures",
                channel=name,
                need=say.percent(_LEAST),
            )
        else:
            least = say.percent(need, _digits(need))
            told = say.text(
                "Break-even ({channel}): pays if it prevents at least {need} of such departures",
                channel=name,
                need=least,
            )
        if channel in known:
            told += " " + say.text("({share} is counted on, on average)", share=say.percent(known[channel], 0))
        out.append(told)
    return out


def _digits(share: float) -> int:
    return 1 if share < 0.1 else 0


def _risk_reasons(say: Language, loaded: Loaded, name: str) -> str:
    found = retention_data.reasons_of(loaded, name)
    if not found:
        return f"<p>{html.escape(say.text('What the risk comes from was worked out for the customers of highest risk only.'))}</p>"
    head = html.escape(say.text("What raises the risk"))
    currency = loaded.company.currency
    raising = [one for one in found if one.get("direction", "for") == "for"][:REASONS]
    told = [texts.reason(one, say.code, currency=currency) for one in raising]
    return f"<p><b>{head}</b></p><ul>" + "".join(f"<li>{html.escape(one)}</li>" for one in told) + "</ul>"


def effect(say: Language, row: pd.Series) -> str:
    """Return the name of a measured effect, and in a line below how many left of those contacted / of those left alone."""
    about = words.reason(say, str(row["reason"]))
    if row["group"] != "all":
        about = words.group(say, str(row["group"]))
    contacted, alone = (
        say.text("{left} of {n}", left=say.number(row[f"{side}_left"]), n=say.number(row[side]))
        for side in ("treated", "control")
    )
    return f"{wording.value(say, str(row['channel']))}: {about}\n{contacted} / {alone}"


def how(say: Language, loaded: Loaded) -> str:
    """Return the HTML of how decisions are worked out: definition, formula, caution, break-even, what was measured."""
    currency = loaded.company.currency
    points = [
        *(churn_words.definition(say, loaded.definition) if loaded.definition else []),
        say.text(
            "Expected saving = risk × share of departures prevented × value at stake. A contact is made if it exceeds the cost."
        ),
        say.text(
            "Cautious setting: with {share} certainty at least so much is prevented as is counted on.",
            share=say.percent(loaded.caution, 0),
        ),
        say.text("Death and moving cannot be prevented; nothing is counted there."),
        *_at_average(say, loaded),
        say.text(
            "The value at stake assumes that whoever is kept stays as long as others do; where those kept leave soon after, less is saved than stated."
        ),
        *_lasting(say, loaded),
        *_scarce(say, loaded, currency),
        say.text("The effects were measured on those whom past campaigns chose; for others they are an assumption."),
    ]
    told = "".join(f"<li>{html.escape(point)}</li>" for point in points if point)
    return f"<h2>{html.escape(say.text('How this is worked out'))}</h2><ul>{told}</ul>"


def _at_average(say: Language, loaded: Loaded) -> list[str]:
    """Return from which value each channel pays at twice the average risk."""
    risk, out = 2 * loaded.average, []
    if not np.isfinite(risk) or risk <= 0:
        return []
    for channel, share in loaded.prevented.items():
        value = float(retention_data.break_even(loaded, channel, np.array([risk]))[0])
        out.append(
            say.text(
                "Break-even ({channel}, {cost}): it prevents {share} of departures, so at a risk of {risk} it pays from a value of {value}.",
                channel=wording.value(say, channel),
                cost=say.money(loaded.company.contact_costs_minor[channel], loaded.company.currency, 2),
                share=say.percent(share, 0),
                risk=say.percent(risk),
                value=say.money(value, loaded.company.currency),
            )
        )
    return out


def _lasting(say: Language, loaded: Loaded) -> list[str]:
    """Return whether those whom past campaigns kept stayed: how many more of 1,000 were there after twice the days.

    The relative risk is nearer 1 after twice the days even where everybody kept stays, since later departures dilute it.
    """
    own = loaded.measured
    if own.empty:
        return []
    own = own[(own["group"] == "all") & (own["reason"] == "preventable") & np.isfinite(own["high"])]
    base = 1_000 * own["control_left"] / own["control"]
    own = own.assign(
        kept=base * (1 - own["relative_risk"]), least=base * (1 - own["high"]), most=base * (1 - own["low"])
    )
    soon = own[own["within_days"] == retention_data.CALIBRATED].set_index("channel")["kept"]
    later = own[(own["within_days"] > retention_data.CALIBRATED) & own["channel"].isin(soon.index)]
    return [
        say.text(
            "Does it last? {channel}: of 1,000 contacted {soon} more were there after {first} days, after {days} days {kept} ({low} – {high}).",
            channel=wording.value(say, str(row["channel"])),
            soon=say.number(soon[row["channel"]], 1),
            first=say.number(retention_data.CALIBRATED),
            days=say.number(row["within_days"]),
            kept=say.number(row["kept"], 1),
            low=say.number(row["least"], 1),
            high=say.number(row["most"], 1),
        )
        for _, row in later.iterrows()
    ]


def _scarce(say: Language, loaded: Loaded, currency: str) -> list[str]:
    return [
        say.text(
            "All {n} contacts by {channel} are used; one more would save {price}.",
            n=say.number(row["limit"]),
            channel=wording.value(say, str(row["channel"])),
            price=say.money(row["price_minor"], currency, 2),
        )
        for _, row in loaded.limits.iterrows()
        if np.isfinite(row["limit"]) and row["price_minor"] > 0
    ]
