"""A customer's history as events in lanes: products, applications, contacts, campaigns, complaints, answers, decisions."""

from __future__ import annotations

import datetime as dt
from typing import Any

from crmlib.decisions import desk_history
from crmlib.decisions.desk_history import Code
from crmlib.views.customer_card_data import Card

LANES = ("decision", "answer", "complaint", "campaign", "contact_out", "contact_in", "application", "product")
"""From the bottom of the picture to its top."""


def events(card: Card, *, since: dt.date | None = None) -> list[Code]:
    """Return what happened from a day on (None: all that is known), the newest first.

    Each has lane, on (day), code and mark ("good", "bad", "open" or ""), and what is known of product_id, channel, purpose,
    outcome, topic, resolution, days, campaign_id, score, survey, sentiment, actor, minor.
    """
    found = [
        *_products(card),
        *_applications(card),
        *_contacts(card),
        *_campaigns(card),
        *_complaints(card),
        *_answers(card),
        *_decisions(card),
    ]
    kept = [one for one in found if since is None or one["on"] >= since]
    return sorted(kept, key=lambda one: (one["on"], LANES.index(one["lane"])), reverse=True)


def _products(card: Card) -> list[Code]:
    out = []
    for row in card.rows["holdings"]:
        told = {"lane": "product", "product_id": row["product_id"]}
        out.append({**told, "on": row["opened_on"], "code": "opened", "mark": "good"})
        if row["closed_on"] is not None:
            reason = row["closed_reason"] or ""
            mark = "" if reason == "matured" else "bad"
            out.append({**told, "on": row["closed_on"], "code": "closed", "mark": mark, "reason": reason})
    return out


def _applications(card: Card) -> list[Code]:
    marks = {"signed": "good", "refused": "bad", "": "open"}
    out = []
    for row in card.rows["applications"]:
        outcome = row["outcome"] or ""
        told = {"product_id": row["product_id"], "outcome": outcome, "mark": marks.get(outcome, "")}
        out.append({"lane": "application", "on": row["applied_at"].date(), "code": "applied", **told})
    return out


def _contacts(card: Card) -> list[Code]:
    marks = {"accepted": "good", "refused": "bad"}
    out = []
    for row in card.rows["contacts"]:
        said = desk_history.outcome(row["outcome"]) if row["outcome"] else ""
        lane = "contact_out" if row["direction"] == "out" else "contact_in"
        told = {"purpose": row["purpose"] or "", "channel": row["channel"], "product_id": row["product_id"] or ""}
        mark = marks.get(said, "bad" if row["purpose"] == "collection" else "")
        out.append(
            {"lane": lane, "on": row["occurred_at"].date(), "code": "contact", **told, "outcome": said, "mark": mark}
        )
    return out


def _campaigns(card: Card) -> list[Code]:
    """Return the campaigns that the customer was chosen for; those left alone on purpose are marked as such."""
    out = []
    for row in card.rows["campaign_members"]:
        when = row["contacted_at"] or row["assigned_at"]
        said = desk_history.outcome(row["response"]) if row["response"] else ""
        code = "left_alone" if row["control"] else "chosen"
        mark = {"accepted": "good", "refused": "bad"}.get(said, "")
        told = {"campaign_id": row["campaign_id"], "outcome": said, "mark": mark}
        out.append({"lane": "campaign", "on": when.date(), "code": code, **told})
    return out


def _complaints(card: Card) -> list[Code]:
    out = []
    for row in card.rows["complaints"]:
        told: dict[str, Any] = {"topic": row["topic"] or "", "severity": row["severity"]}
        done = row["resolved_at"]
        took = {} if done is None else {"resolution": row["resolution"] or "", "days": (done - row["opened_at"]).days}
        mark = "bad" if done is None else ""
        out.append(
            {"lane": "complaint", "on": row["opened_at"].date(), "code": "complained", "mark": mark, **told, **took}
        )
    return out


def _answers(card: Card) -> list[Code]:
    """Return the answers on recommending us and the mentions in social networks."""
    out = []
    for row in card.rows["surveys"]:
        if row["question"] == "nps" and row["score"] is not None:
            mark = "good" if row["score"] >= 9 else "bad" if row["score"] <= 6 else ""
            told = {"score": row["score"], "survey": row["survey"], "mark": mark}
            out.append({"lane": "answer", "on": row["answered_at"].date(), "code": "answered", **told})
    for row in card.rows["mentions"]:
        feeling = row["sentiment"] or 0.0
        mark = "good" if feeling > 0.2 else "bad" if feeling < -0.2 else ""
        out.append(
            {"lane": "answer", "on": row["occurred_at"].date(), "code": "mentioned", "sentiment": feeling, "mark": mark}
        )
    return out


def _decisions(card: Card) -> list[Code]:
    """Return what was decided: at the desk, in the plan of best offers, about retention."""
    marks = {"accepted": "good", "refused": "bad"}
    out = [
        {
            **{"lane": "decision", "on": one.at.date(), "code": "desk", "product_id": one.product_id},
            **{"channel": one.channel, "outcome": one.outcome, "mark": marks.get(one.outcome, ""), "actor": one.actor},
        }
        for one in card.desk
    ]
    for one in card.decided:
        out.append({"lane": "decision", "code": "best_offer", "mark": "open", **one})
    kept = card.scores["retention"]
    if kept is not None and kept["action"]:
        told = {"channel": kept["action"], "mark": "open"}
        out.append({"lane": "decision", "on": kept["as_of"].date(), "code": "retention", **told})
    return out
