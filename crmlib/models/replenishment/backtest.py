"""Does the due list hold on days it was not fitted to, and is it better than the rules people use?"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError, UsageError
from crmlib.models.replenishment import hazard as hazards
from crmlib.models.replenishment.due import due
from crmlib.models.replenishment.history import KEYS, Market

WITHIN_DAYS = (7, 14)
RULES = ("usual_gap", "last_gap")
_BINS = 10
_STEP = 14


@dataclass(frozen=True, eq=False)
class Tested:
    """How the due list did out of time.

    Attributes: ``quality`` (method, within_days, n, ordered, predicted, auc, log_loss), method "hazard", the rules
    "usual_gap" and "last_gap" (a chance by tenths of days since the last order over that gap, learnt on earlier days) and
    "always_average"; ``calibration`` (within_days, predicted, observed, low, high, n) of the hazard by tenths;
    ``trained_until`` and ``origins`` the days.
    """

    quality: pd.DataFrame
    calibration: pd.DataFrame
    trained_until: dt.date
    origins: tuple[dt.date, ...]


def backtest(orders: pd.DataFrame, market: Market, *, until: dt.date, origins: int = 3) -> Tested:
    """Fit on the days before, and compare what was due at several later days with what was ordered.

    In: ``orders`` and ``market`` as for ``hazard.fit``, known until ``until``; the due list of each of ``origins`` days,
    14 days apart, is compared with the 14 days after it. The rules learn their chances on as many days before.
    Raises UsageError for fewer than one origin, DataError where the orders do not reach back far enough.
    """
    if origins < 1:
        raise UsageError(f"origins is {origins}; give the number of days to test, 1 or more")
    last = max(WITHIN_DAYS)
    days = tuple(until - dt.timedelta(days=last + _STEP * step) for step in reversed(range(origins)))
    trained = days[0]
    learning = tuple(trained - dt.timedelta(days=last + _STEP * step) for step in range(origins))
    first = orders["ordered_on"].min().date()
    if min(learning) - first < dt.timedelta(days=4 * last):
        raise DataError(
            f"not enough data to test the due list (found {(until - first).days} days of orders, "
            f"need {(until - min(learning)).days + 4 * last})"
        )
    fitted = hazards.fit(orders, market, until=trained)
    rows = pd.concat([occasions(fitted, orders, market, as_of=day) for day in days], ignore_index=True)
    before = pd.concat([occasions(fitted, orders, market, as_of=day) for day in learning], ignore_index=True)
    quality, calibrated = [], []
    for within in WITHIN_DAYS:
        y = rows[f"ordered_{within}"].to_numpy(float)
        average = np.full(len(rows), before[f"ordered_{within}"].mean())
        guesses = {"hazard": rows[f"due_{within}"].to_numpy(float)}
        guesses |= {rule: _ruled(before, rows, rule, within) for rule in RULES}
        guesses["always_average"] = average
        quality += [{"method": name, "within_days": within, **_scores(y, guess)} for name, guess in guesses.items()]
        calibrated.append(_calibration(y, guesses["hazard"]).assign(within_days=within))
    return Tested(pd.DataFrame(quality), pd.concat(calibrated, ignore_index=True), trained, days)


def occasions(fitted: hazards.Hazard, orders: pd.DataFrame, market: Market, *, as_of: dt.date) -> pd.DataFrame:
    """Return the due list of a day with what came: customer_id, outlet_id, product_id, due_7, due_14, ordered_7, ordered_14, usual_gap, last_gap.

    The gaps are days since the last order over the mean gap before, and over the last gap (nan for one order).
    """
    listed = due(fitted, orders, market, as_of=as_of)
    later = orders[orders["ordered_on"] > pd.Timestamp(as_of)]
    wait = (later.groupby(KEYS)["ordered_on"].min() - pd.Timestamp(as_of)).dt.days.rename("wait").reset_index()
    known = orders[orders["ordered_on"] <= pd.Timestamp(as_of)].sort_values([*KEYS, "ordered_on"])
    gaps = known.assign(gap=known.groupby(KEYS)["ordered_on"].diff().dt.days)
    gaps = gaps.groupby(KEYS, as_index=False).agg(mean=("gap", "mean"), last=("gap", "last"))
    out = listed.merge(wait, on=KEYS, how="left", validate="one_to_one")
    out = out.merge(gaps, on=KEYS, how="left", validate="one_to_one")
    out["usual_gap"], out["last_gap"] = out["days_since"] / out["mean"], out["days_since"] / out["last"]
    for within in WITHIN_DAYS:
        out[f"ordered_{within}"] = out["wait"].le(within)
    names = [f"{kind}_{within}" for kind in ("due", "ordered") for within in WITHIN_DAYS]
    return out[[*KEYS, *names, *RULES]]


def _ruled(before: pd.DataFrame, rows: pd.DataFrame, rule: str, within: int) -> np.ndarray:
    """Return the chance that a rule gives: the share that ordered among earlier occasions of its tenth (and without a gap)."""
    edges = np.unique(np.nanquantile(before[rule], np.linspace(0, 1, _BINS + 1)[1:-1]))

    def tenth(table: pd.DataFrame) -> np.ndarray:
        place = np.searchsorted(edges, table[rule].to_numpy(float), side="right")
        return np.where(table[rule].isna(), len(edges) + 1, place)

    ordered = np.bincount(tenth(before), before[f"ordered_{within}"], len(edges) + 2)
    number = np.bincount(tenth(before), minlength=len(edges) + 2)
    average = before[f"ordered_{within}"].mean()
    return np.asarray(((ordered + average) / (number + 1))[tenth(rows)])


def _scores(y: np.ndarray, guess: np.ndarray) -> dict[str, float]:
    chance = np.clip(guess, 1e-6, 1 - 1e-6)
    loss = -np.mean(y * np.log(chance) + (1 - y) * np.log(1 - chance))
    ranks = stats.rankdata(guess)
    events = int(y.sum())
    others = len(y) - events
    pairs = events * others
    auc = (ranks[y > 0].sum() - events * (events + 1) / 2) / pairs if pairs else np.nan
    return {"n": len(y), "ordered": y.mean(), "predicted": guess.mean(), "auc": auc, "log_loss": loss}


def _calibration(y: np.ndarray, guess: np.ndarray) -> pd.DataFrame:
    """Return what was predicted and observed by tenths, with Wilson's 95% interval of the observed share."""
    group = np.floor(stats.rankdata(guess, method="ordinal") / (len(guess) + 1) * _BINS).astype(int)
    table = pd.DataFrame({"group": group, "y": y, "guess": guess}).groupby("group")
    out = table.agg(predicted=("guess", "mean"), observed=("y", "mean"), n=("y", "size")).reset_index(drop=True)
    z2 = stats.norm.ppf(0.975) ** 2
    middle = (out["observed"] + z2 / (2 * out["n"])) / (1 + z2 / out["n"])
    half = np.sqrt(z2 * (out["observed"] * (1 - out["observed"]) / out["n"] + z2 / (4 * out["n"] ** 2)))
    half = half / (1 + z2 / out["n"])
    return out.assign(low=middle - half, high=middle + half)
