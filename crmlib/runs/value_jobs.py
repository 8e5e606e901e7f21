"""The job behind `crm value`: what every customer earned, will earn and could earn, saved as one set of scores."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib import paths, warehouse
from crmlib.errors import DataError
from crmlib.models.customer_value import NAME, actual, backtest, potential, predicted
from crmlib.runs import clock
from crmlib.runs.jobs import last_day, recorded
from crmlib.runs.stages import Stages
from crmlib.store import score_sets
from crmlib.warehouse import company as companies
from crmlib.warehouse.company import Company
from crmlib.warehouse.objections import objectors
from crmlib.warehouse.snapshot import Snapshot

TESTED = 10_000
"""Predictions are tested on about so many customers, evenly spaced."""


def value(data: Path, *, stages: Stages, as_of: str | None = None, seed: int = 7) -> pd.DataFrame:
    """Compute actual, predicted and potential value of all customers at a day (default: the last record) and save them.

    Where the records are too short to test a prediction or nobody has the full set of products, intervals or potential
    stay empty, and a note says so. Returns the table saved. Raises DataError where nothing is known of contracts, and for
    settings of the company file that do not fit the data.
    """
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(as_of or last_day(wh))
    own = data / "company.toml"
    company = companies.read(own) if own.exists() else wh.company
    settings = {"as_of": str(snapshot.as_of), "seed": seed}
    with recorded(data, "value", settings, warehouse_version=wh.version) as run_id:
        with stages.stage("actual", f"the year to {snapshot.as_of}") as stage:
            account = actual.monthly(snapshot, company=company)
            lines = actual.lines(snapshot, company=company, account=account)
            total = float(lines["amount_minor"].sum()) / 100
            stage.say(f"{lines['customer_id'].nunique():,} customers earned {total:,.0f} {company.currency} net")
        with stages.stage("predicted", "contracts, new contracts, activity, upkeep") as stage:
            made = predicted.predict(snapshot, company=company, account=account)
            tested, notes = _tested(snapshot, company, account, seed)
            stage.say(f"{made.table['predicted_minor'].sum() / 100:,.0f} over {made.horizon_days} days")
            stage.say(_told(tested["check"], notes))
        with stages.stage("potential", "comparable customers with the full set of products") as stage:
            could, more = _potential(snapshot, made, company)
            stage.say(_told_potential(could, more))
        with stages.stage("save", "values, lines, products that make the gap") as stage:
            table = _table(
                snapshot, actual.summary(lines, customers=made.table["customer_id"]), made, tested["band"], could
            )
            everything = {**_everything(snapshot, company, lines, made, could), **_checks(tested)}
            everything["notes"] = _notes([*made.notes, *notes, *more])
            score_sets.save(
                table,
                data=data,
                model=NAME,
                model_version=1,
                warehouse_version=wh.version,
                as_of=snapshot.as_of,
                now=clock.now(),
                beside=everything,
                run_id=run_id,
            )
            stage.say(f"{len(table):,} customers")
    return table


def _tested(
    snapshot: Snapshot, company: Company, account: pd.DataFrame, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the band for intervals and the comparison with "the same as last year", or why there is none."""
    try:
        days = backtest.window(snapshot)
        every = max(account["customer_key"].nunique() // TESTED, 1)
        sampled = account[account["customer_key"] % every == 0]
        table = backtest.run(snapshot, company=company, days=days, account=sampled, every=every)
        band = backtest.band(table, days=days)
    except DataError as error:
        return {"band": None, "check": None, "tenths": None}, [{"code": "no_interval", "why": str(error)}]
    check = backtest.compare(table, seed=seed).assign(days=days, customers=len(table))
    return {"band": band, "check": check, "tenths": backtest.tenths(table)}, []


def _potential(
    snapshot: Snapshot, made: predicted.Prediction, company: Company
) -> tuple[potential.Potential | None, list[dict[str, Any]]]:
    try:
        return potential.estimate(snapshot, made, company=company), []
    except DataError as error:
        return None, [{"code": "no_potential", "why": str(error)}]


def _table(
    snapshot: Snapshot,
    earned: pd.DataFrame,
    made: predicted.Prediction,
    band: backtest.Band | None,
    could: potential.Potential | None,
) -> pd.DataFrame:
    """Return the table to save; nothing is predicted for who objected to profiling."""
    table = made.table[["customer_id", "as_of"]].merge(earned, on="customer_id", validate="one_to_one")
    unknown = np.full(len(table), np.nan)
    low, high = (unknown, unknown) if band is None else band.interval(made.table, horizon_days=made.horizon_days)
    table["predicted_minor"] = made.table["predicted_minor"].to_numpy()
    table["predicted_low_minor"], table["predicted_high_minor"] = low, high
    for column, name in {
        "potential_minor": "potential_minor",
        "potential_low_minor": "low_minor",
        "potential_high_minor": "high_minor",
        "gap_minor": "gap_minor",
    }.items():
        table[column] = unknown if could is None else could.table[name].to_numpy()
    table["alive"] = made.table["alive"].to_numpy()
    silent = table["customer_id"].isin(objectors(snapshot))
    said = [name for name in table.columns if name.startswith(("predicted", "potential", "gap")) or name == "alive"]
    table.loc[silent, said] = np.nan
    return table


def _everything(
    snapshot: Snapshot,
    company: Company,
    lines: pd.DataFrame,
    made: predicted.Prediction,
    could: potential.Potential | None,
) -> dict[str, pd.DataFrame]:
    """Return the tables to save beside the values."""
    there = lines["customer_id"].isin(made.table["customer_id"])
    silent = objectors(snapshot)
    parts = made.table[["customer_id", *predicted.PARTS]]
    none = pd.DataFrame({"customer_id": pd.Series(dtype="str"), "product_id": pd.Series(dtype="str"), "gap_minor": []})
    effort = actual.effort(snapshot, company=company)
    return {
        "lines": lines.loc[there, ["customer_id", "line", "amount_minor"]],
        "parts": parts[~parts["customer_id"].isin(silent)],
        "effort": effort[effort["customer_id"].isin(made.table["customer_id"])],
        "gap_products": none if could is None else could.gaps,
    }


def _checks(tested: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Return how good predictions were; tables without rows where they could not be tested."""
    check = pd.DataFrame(columns=["measure", "predicted", "last", "gain", "low", "high", "days", "customers"])
    tenths = pd.DataFrame(columns=["tenth", "predicted_minor", "last_minor", "actual_minor"])
    found = {"check": check, "tenths": tenths}
    return {name: found[name] if tested[name] is None else tested[name] for name in found}


def _notes(codes: list[dict[str, Any]]) -> pd.DataFrame:
    rows = [(str(code["code"]), str(code["why"])) for code in codes]
    return pd.DataFrame(rows, columns=["code", "why"]).astype("str")


def _told(check: pd.DataFrame | None, notes: list[dict[str, Any]]) -> str:
    if check is None:
        return f"without intervals: {notes[0]['why']}"
    found = check.set_index("measure").loc["error"]
    return (
        f"{found['gain'] / found['last']:.0%} closer than the same as last year, tested over {found['days']:.0f} days"
    )


def _told_potential(could: potential.Potential | None, notes: list[dict[str, Any]]) -> str:
    if could is None:
        return f"none: {notes[0]['why']}"
    full = float(could.table["full_set"].mean())
    return f"{full:.0%} hold products of {could.groups} groups; a gap of {could.table['gap_minor'].sum() / 100:,.0f}"


def load(data: Path, *, as_of: dt.date | None = None) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return the newest values saved (of a date) and the tables beside them; raises NotFoundError where there are none."""
    found = score_sets.newest(data, NAME, as_of=as_of)
    names = ("lines", "parts", "effort", "gap_products", "check", "tenths", "notes")
    return score_sets.read(data, found), {name: score_sets.beside(data, found, name) for name in names}
