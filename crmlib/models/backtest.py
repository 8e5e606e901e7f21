"""An honest test: fit on one date, calibrate on the next, judge on a third."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from crmlib import features
from crmlib.errors import DataError
from crmlib.features import Declaration, Specification
from crmlib.models import baseline, labels, leaks, metrics
from crmlib.models.propensity import PropensityModel
from crmlib.warehouse.snapshot import Warehouse, parse_date


@dataclass(frozen=True)
class Backtest:
    """What came of it.

    Attributes: the ``model`` and its resolved ``specification``; ``scores`` and ``labels`` of the third date;
    ``evaluation`` (``metrics.evaluate`` with the columns baseline and gain of ``baseline.compare``); ``leaks`` found among
    the inputs; ``left_out``, the products that nobody bought in the periods of training and calibration.
    """

    model: PropensityModel
    specification: Specification
    scores: pd.DataFrame
    labels: pd.DataFrame
    evaluation: pd.DataFrame
    leaks: pd.DataFrame
    left_out: list[str]


def three_dates(
    wh: Warehouse,
    dates: Sequence[str | dt.date],
    *,
    within_days: int = 90,
    spec: Iterable[Declaration] = features.DEFAULT,
    seed: int = 0,
) -> Backtest:
    """Fit on the first of three dates, calibrate on the second, score and judge on the third, beside the baseline.

    Raises DataError where outcomes of one date reach past the next: what is judged must not have been learnt from.
    """
    if len(dates) != 3:
        raise DataError(f"{len(dates)} dates were given; an honest test takes three: train, calibrate, test")
    days = [parse_date(day) for day in dates]
    for earlier, later in itertools.pairwise(days):
        if (later - earlier).days < within_days:
            raise DataError(
                f"outcomes of {earlier} run {within_days} days, past {later}; take dates at least that far apart"
            )
    snapshots = [wh.snapshot(day) for day in days]
    resolved = features.resolve(spec, snapshots[0])
    inputs = [features.build(snapshot, resolved) for snapshot in snapshots]
    outcomes = [labels.purchases(wh, after=snapshot, within_days=within_days) for snapshot in snapshots]
    sold = sorted({*labels.sold(outcomes[0]), *labels.sold(outcomes[1])})
    left_out = sorted({str(name) for name in outcomes[0]["product_id"].unique()} - set(sold))
    kept = [table[table["product_id"].isin(sold)] for table in outcomes]
    model = PropensityModel(seed=seed).fit(inputs[0], kept[0], calibrate=(inputs[1], kept[1]))
    scores = model.score(inputs[2], kept[2])
    plain = baseline.fit(inputs[0], kept[0], seed=seed).score(inputs[2], kept[2])
    judged = baseline.compare(metrics.evaluate(scores, kept[2]), metrics.evaluate(plain, kept[2]))
    found = leaks.check(inputs[0], kept[0], seed=seed)
    return Backtest(model, resolved, scores, kept[2], judged, found, left_out)
