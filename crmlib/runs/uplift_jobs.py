"""The job that learns what contacts change, from past campaigns, and saves uplift by product and channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from crmlib import features, paths, warehouse
from crmlib.models import encode, pairs, propensity, registry, uplift_campaigns
from crmlib.models.uplift import NAME
from crmlib.models.uplift_channels import ABOUT, ChannelUplift
from crmlib.runs import clock
from crmlib.runs.jobs import last_day, recorded
from crmlib.runs.stages import Stages
from crmlib.store import score_sets
from crmlib.warehouse.snapshot import Snapshot


def learn(snapshot: Snapshot, saved: registry.Registered, *, seed: int = 7) -> tuple[ChannelUplift, pd.DataFrame]:
    """Return what the campaigns known at the snapshot teach, and their members; see ``ChannelUplift``."""
    members = uplift_campaigns.members(snapshot, within_days=int(saved.metrics["within_days"]))
    spec = features.from_json(saved.specification)
    known, base = [], np.full(len(members), np.nan)
    for day in uplift_campaigns.days(members):
        inputs = features.build(snapshot.warehouse.snapshot(day), spec)
        own = np.flatnonzero(members["as_of"] == pd.Timestamp(day))
        inputs = inputs[inputs["customer_id"].isin(members["customer_id"].iloc[own])].reset_index(drop=True)
        base[own] = _base(saved.model, inputs, members.iloc[own])
        known.append(_about_contacts(inputs))  # the rest has done its work in the scores
    return ChannelUplift(seed=seed).fit(members, pd.concat(known, ignore_index=True), base=base), members


def _about_contacts(inputs: pd.DataFrame) -> pd.DataFrame:
    """Return the keys and the features that the uplift is learnt from, a tenth of all: the others need not be kept."""
    return inputs[[name for name in inputs if name in encode.KEYS or str(name).startswith(ABOUT)]].copy()


def _base(model: propensity.PropensityModel, inputs: pd.DataFrame, members: pd.DataFrame) -> np.ndarray:
    """Return the propensity score of each member for the product of the campaign; nan for one the model does not know."""
    table = expit(model.fitted_.logits(inputs)[0])
    row = pairs.rows_of(members, inputs)
    place = pairs.codes(members["product_id"], model.fitted_.products)
    return np.where((row >= 0) & (place >= 0), table[row, place], np.nan)


def uplift(data: Path, *, stages: Stages, as_of: str | None = None, seed: int = 7) -> pd.DataFrame:
    """Learn what contacts change from the campaigns known as of a day (default: the last record), score all pairs, save.

    The pairs are those of the newest propensity scores of that day. Returns the table saved; see
    ``ChannelUplift.score``. Raises NotFoundError without such scores, DataError for too few campaigns with control groups.
    """
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(as_of or last_day(wh))
    chosen = score_sets.newest(data, propensity.NAME, as_of=snapshot.as_of)
    saved = registry.load(data, version=chosen.model_version)
    settings = {"as_of": str(snapshot.as_of), "seed": seed, "model_version": saved.version}
    with recorded(data, "uplift", settings, warehouse_version=wh.version) as run_id:
        with stages.stage("uplift", "what contacts changed in past campaigns") as stage:
            model, members = learn(snapshot, saved, seed=seed)
            buyers = int(members["bought"].sum())
            stage.say(f"{len(members):,} members of {members['campaign_id'].nunique()} campaigns, {buyers:,} bought")
        with stages.stage("save", "added probability by product and channel") as stage:
            names = ["customer_id", "as_of", "product_id", "score"]
            scores = score_sets.read(data, chosen, columns=names)
            inputs = _about_contacts(features.build(snapshot, features.from_json(saved.specification)))
            table = model.score(inputs, scores)
            score_sets.save(
                table,
                data=data,
                model=NAME,
                model_version=saved.version,
                warehouse_version=wh.version,
                as_of=snapshot.as_of,
                now=clock.now(),
                run_id=run_id,
            )
            average = table.groupby("channel", observed=True)["score"].mean()
            told = ", ".join(f"{name} {100 * value:+.2f}" for name, value in average.items())
            stage.say(f"{len(table):,} rows; points added on average: {told}")
    return table
