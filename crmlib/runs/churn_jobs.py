"""The job that learns who leaves and why, tests it on a later date, and saves everybody's risk with reasons."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib import features, paths, warehouse
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.models import explain, propensity
from crmlib.models.churn import definitions, drivers, evaluate, inputs, risk, saved, spells
from crmlib.models.churn.definitions import Definition
from crmlib.models.survival import curves, observed
from crmlib.runs import clock
from crmlib.runs.jobs import last_day, recorded
from crmlib.runs.stages import Stage, Stages
from crmlib.store import score_sets, segment_sets
from crmlib.warehouse.snapshot import Snapshot, Warehouse

EXPLAINED = 2_000
"""For so many customers, those of the highest risk, reasons are kept."""
LOOKED_BACK = 365
"""The curves follow the customers of about so many days ago, by the segment they had then."""
NEAR = 100
"""Segments of a date further than so many days from that are not used: a curve of a few days tells nothing."""
SEGMENTATION = "behaviour"


@dataclass(frozen=True)
class Learning:
    """What a model is learnt from: rows of the dates of training, with the days ``dates`` and the ``specification``."""

    dates: inputs.Dates
    specification: features.Specification
    features: pd.DataFrame
    followed: pd.DataFrame
    weight: np.ndarray


def churn(
    data: Path,
    *,
    stages: Stages,
    as_of: str | None = None,
    seed: int = 7,
    definition: Definition | str | None = None,
    model_version: int | None = None,
) -> pd.DataFrame:
    """Learn who leaves in the sense of a definition, test it, score everybody as of a day (default: the last record), save.

    ``definition`` (default: the end of the relationship) may be JSON (``definitions.from_json``); with ``model_version`` a
    saved model of it scores and nothing is learnt. Saved under the definition's name: a row per customer (see
    ``Risks``), beside it by_reason, reasons, evaluation, calibration, hazards, competing, curves, incidence.
    Returns the table saved. Raises DataError where too few left or the records are too short.
    """
    chosen = (
        definitions.from_json(definition) if isinstance(definition, str) else definition or definitions.Relationship()
    )
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(as_of or last_day(wh))
    settings = {"as_of": str(snapshot.as_of), "seed": seed, "definition": definitions.to_json(chosen)}
    with recorded(data, "churn", settings, warehouse_version=wh.version) as run_id:
        if model_version is None:
            learning = _learning(wh, snapshot.as_of, chosen, stages=stages, seed=seed)
            version = _learn(data, wh, learning, chosen, stages=stages, seed=seed)
        else:
            version = model_version
        model = saved.load(data, chosen.name, version)
        if definitions.to_json(model.model.definition) != definitions.to_json(chosen):
            raise UsageError(
                f"version {version} of {chosen.name} was fitted to another definition of leaving; give that one"
                f" ({definitions.to_json(model.model.definition)}) or learn anew"
            )
        with stages.stage("risk", f"every customer as of {snapshot.as_of}, with reasons") as stage:
            table, beside = score(snapshot, model)
            stage.say(f"{len(table):,} customers, {table['risk_90'].sum():,.0f} expected to leave within 90 days")
        with stages.stage("save", "risks, reasons, curves by segment") as stage:
            beside |= _curves(data, snapshot, chosen)
            beside |= {name: model.table(name) for name in ("evaluation", "calibration", "hazards", "competing")}
            score_sets.save(
                table,
                data=data,
                model=chosen.name,
                model_version=version,
                warehouse_version=wh.version,
                as_of=snapshot.as_of,
                now=clock.now(),
                beside=beside,
                run_id=run_id,
            )
            stage.say(
                f"curves of {beside['curves']['group'].nunique()} groups since {beside['curves']['since'].iloc[0]:%Y-%m-%d}"
            )
    return table


def score(snapshot: Snapshot, model: saved.Saved) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return the risks of everybody who can leave at the snapshot, and beside them by_reason and reasons."""
    spec = features.from_json(model.specification)
    people = spells.at_risk(snapshot, model.model.definition)
    given = features.build(snapshot, spec)
    given = given[given["customer_id"].isin(people["customer_id"])].reset_index(drop=True)
    risks = model.model.predict(given)
    table = risks.table
    top = np.sort(np.argsort(-table["risk_90"].to_numpy(), kind="stable")[:EXPLAINED])
    chosen = table.iloc[top].assign(product_id=propensity.SINGLE)
    found = explain.reasons(
        model.model.as_propensity(), given.iloc[top].reset_index(drop=True), chosen, meanings=features.describe(spec)
    )
    return table, {"by_reason": risks.by_reason(), "reasons": packed(found)}


def packed(reasons: pd.DataFrame) -> pd.DataFrame:
    """Return one row per customer: customer_id, reasons (JSON list of codes with direction, contribution and parameters)."""
    columns = [reasons[name] for name in ("code", "direction", "contribution", "parameters")]
    codes: list[dict[str, Any]] = [
        {"code": code, "direction": direction, "contribution": round(float(part), 4), **parameters}
        for code, direction, part, parameters in zip(*columns, strict=True)
    ]
    keyed = pd.DataFrame({"customer_id": reasons["customer_id"], "code": pd.Series(codes, dtype=object)})
    lists = keyed.groupby("customer_id", sort=False)["code"].agg(list)
    texts = [json.dumps(found, ensure_ascii=False, default=str) for found in lists]
    return pd.DataFrame({"customer_id": lists.index.astype("str"), "reasons": texts})


def _learning(wh: Warehouse, day: dt.date, definition: Definition, *, stages: Stages, seed: int) -> Learning:
    """Return the rows to learn from: the latest dates of training, until enough customers left after them."""
    with stages.stage("leavers", "who left after earlier dates, and what was known of them") as stage:
        dates = inputs.dates(inputs.records_begin(wh), day, definition)
        followed: list[pd.DataFrame] = []
        for earlier in reversed(dates.train):
            followed.append(spells.follow(wh.snapshot(earlier), definition, until=dates.test))
            left = sum(int((spells.left_within(one, inputs.LEARNT) == 1).sum()) for one in followed)
            if left >= inputs.ENOUGH:
                break
        used = dates.train[-len(followed) :]
        spec = features.resolve(inputs.specification(definition), wh.snapshot(used[0]))
        known, drawn, weights = [], [], []
        for number, earlier in enumerate(used):
            own = followed[len(used) - 1 - number]
            rows, weight = risk.sample(own, dates=len(used), seed=seed + number)
            given = features.build(wh.snapshot(earlier), spec)
            drawn.append(own.iloc[rows])
            weights.append(weight)
            known.append(given[given["customer_id"].isin(own["customer_id"].iloc[rows])])
        stage.say(f"{left:,} left within 90 days after {', '.join(map(str, used))}")
        stage.say(f"learnt from them and {sum(map(len, drawn)) - left:,} others")
    return Learning(
        inputs.Dates(used, dates.calibrate, dates.test, dates.score),
        spec,
        pd.concat(known, ignore_index=True),
        pd.concat(drawn, ignore_index=True),
        np.concatenate(weights),
    )


def _learn(data: Path, wh: Warehouse, learning: Learning, definition: Definition, *, stages: Stages, seed: int) -> int:
    """Fit, calibrate on the next date, test on the one after it, save; return the version of the model."""
    dates, spec = learning.dates, learning.specification

    def look(day: dt.date, until: dt.date) -> risk.Followed:
        snapshot = wh.snapshot(day)
        return features.build(snapshot, spec), spells.follow(snapshot, definition, until=until)

    with stages.stage("fit", f"calibrated on {dates.calibrate}") as stage:
        model = risk.ChurnModel(definition, seed=seed)
        later = look(dates.calibrate, dates.test)
        model.fit((learning.features, learning.followed), calibrate=later, weight=learning.weight)
        few = model.reasons_[model.reasons_["counted_as"] == definitions.OTHER]
        stage.say(f"reasons told apart: {', '.join(model.fitted_.shares.reasons)}")
        for row in few.itertuples():
            stage.say(f"not enough data for {row.reason} (found {row.found}, need {row.need})")
        tables = {"competing": model.reasons_, "hazards": _hazards(learning, stage)}
    with stages.stage("test", f"on {dates.test}, which nothing was fitted on") as stage:
        tables |= evaluate.evaluation(model, *look(dates.test, dates.score))
        stage.say(_told(tables["evaluation"]))
    meta = {
        "dates": {
            "train": [str(day) for day in dates.train],
            "calibrate": str(dates.calibrate),
            "test": str(dates.test),
        },
        "seed": seed,
        "rows": len(learning.followed),
    }
    return saved.save(
        model,
        data=data,
        warehouse_version=wh.version,
        as_of=dates.test,
        now=clock.now(),
        specification=features.to_json(spec),
        metrics=meta,
        tables=tables,
    )


def _hazards(learning: Learning, stage: Stage) -> pd.DataFrame:
    """Return the hazard ratios; a reason with too few departures has a row that says so, without a ratio.

    Where no reason has enough there is no row, and the stage says why.
    """
    try:
        found = drivers.ratios(learning.features, learning.followed, learning.weight)
    except DataError as error:
        stage.say(str(error))
        return pd.DataFrame(
            {name: [] for name in ("reason", "covariate", "hazard_ratio", "low", "high", "p", "events", "need")}
        )
    unknown = found.unknown.astype({"need": float}).rename(columns={"found": "events"}).assign(covariate="")
    table = pd.concat([found.effects.assign(need=np.nan), unknown], ignore_index=True)
    return table[["reason", "covariate", "hazard_ratio", "low", "high", "p", "events", "need"]]


def _curves(data: Path, snapshot: Snapshot, definition: Definition) -> dict[str, pd.DataFrame]:
    """Return survival and incidence since about a year ago, of all and by the segment of then."""
    wanted = snapshot.as_of - dt.timedelta(days=LOOKED_BACK)
    try:
        sets = segment_sets.dates(data, SEGMENTATION)
        sets = [one for one in sets if abs((one.as_of - wanted).days) <= NEAR]
    except NotFoundError:
        sets = []
    chosen = min(sets, key=lambda one: abs((one.as_of - wanted).days), default=None)
    since = chosen.as_of if chosen else max(wanted, inputs.records_begin(snapshot.warehouse))
    followed = spells.follow(snapshot.warehouse.snapshot(since), definition, until=snapshot.as_of)
    groups = [followed.assign(group=observed.ALL)]
    if chosen:
        members = segment_sets.read(data, chosen)[["customer_id", "segment"]].rename(columns={"segment": "group"})
        groups.append(followed.merge(members, on="customer_id", how="inner", validate="one_to_one"))
    table = pd.concat(groups, ignore_index=True)
    days, reasons, names = table["days"], table["reason"], table["group"]
    return {
        "curves": curves.kaplan_meier(days, reasons != "", groups=names).assign(since=pd.Timestamp(since)),
        "incidence": curves.cumulative_incidence(days, reasons, groups=names).assign(since=pd.Timestamp(since)),
    }


def _told(evaluation: pd.DataFrame) -> str:
    own = evaluation[(evaluation["reason"] == "") & (evaluation["days"] == inputs.LEARNT)].set_index("metric")
    auc, slope = (own.loc[name, ["value", "low", "high"]].to_numpy(dtype=float) for name in ("auc", "slope"))
    if np.isnan([auc[0], slope[0]]).any():
        left, size = (int(own[name].iloc[0]) for name in ("left", "customers"))
        return f"not enough data to judge the risks: {left:,} of {size:,} left"
    return (
        f"AUC at {inputs.LEARNT} days {auc[0]:.3f} ({auc[1]:.3f}-{auc[2]:.3f}),"
        f" calibration slope {slope[0]:.2f} ({slope[1]:.2f}-{slope[2]:.2f})"
    )
