"""What each step of forecasting adds: the error before and after it, with an interval, human overrides included.

M. Gilliland, The Business Forecasting Deal (2010), chapter 4: every step is compared with the one before it and with naive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import backtest
from crmlib.store import overrides as store

STEPS = ("naive", "statistical", "with_plans", "reconciled", "as_weeks", "override")
"""The steps in their order; a table may lack some."""

FEWEST = 5
"""Series from which an interval is drawn."""
_DRAWS = 1_000
_EFFECT = ["overrides", "series", "quantity", "wape_before", "wape", "bias_before", "bias"]
_EFFECT += ["change", "low", "high", "improved", "code"]


def of_steps(table: pd.DataFrame, *, steps: Sequence[str] | None = None, seed: int = 7) -> pd.DataFrame:
    """Return the error of each step and what it took off the one before: step, wape, bias, change, low, high, code, and more.

    In: a back test with a column of forecasts for each step (default: those of ``STEPS`` that are there, at least two),
    series_id, actual, weight. Rows of weight 0, and rows that one of the steps leaves empty, are scored for none. Out:
    series, values; ``change`` is the WAPE less that of the step before (below 0: better), with a 95% interval by drawing
    series again; ``since_first``, less that of the first step; ``code`` is better, worse, unsure (0 lies within the
    interval), first, or few_series (fewer than ``FEWEST``: no interval).
    """
    names = [name for name in STEPS if name in table] if steps is None else list(steps)
    backtest.check(table, ["series_id", "actual", "weight", *names])
    if len(names) < 2:
        raise UsageError(f"steps names {', '.join(names) or 'none'}; give at least two columns of forecasts to compare")
    scored = table[(table["weight"] > 0) & table[["actual", *names]].notna().all(axis=1)]
    if scored.empty:
        raise DataError(
            f"back test: not enough data (found 0 values that every step forecast in {len(table)} rows, need 1)"
        )
    weight = scored["weight"]
    of_row = {name: weight * (scored[name] - scored["actual"]).abs() for name in names}
    sums = pd.DataFrame({**of_row, "wanted": weight * scored["actual"].abs()}).groupby(scored["series_id"]).sum()
    wape = sums[names].sum() / sums["wanted"].sum()
    bias = (
        pd.Series({name: (weight * (scored[name] - scored["actual"])).sum() for name in names}) / sums["wanted"].sum()
    )
    before = pd.Series([np.nan, *wape.to_numpy()[:-1]], names)
    out = pd.DataFrame({"step": names, "series": len(sums), "values": len(scored)})
    out = out.assign(wape=wape.to_numpy(), bias=bias.to_numpy(), change=(wape - before).to_numpy())
    low, high = _interval(sums, names, seed)
    code = np.select(
        [out.index == 0, len(sums) < FEWEST, high < 0, low > 0], ["first", "few_series", "better", "worse"], "unsure"
    )
    return out.assign(low=low, high=high, since_first=out["wape"] - out["wape"].iloc[0], code=code)


def with_overrides(table: pd.DataFrame, overrides: pd.DataFrame, *, step: str) -> pd.DataFrame:
    """Return a back test with a column override: the quantity that people had put in before the period began, else ``step``.

    In: a back test of one level (or with a column level), all overrides ever put (``store.overrides.table``), the column
    of forecasts that they replace. One put after its period began, or withdrawn before, changes nothing.
    """
    backtest.check(table, ["series_id", "period", step])
    counted = _in_time(overrides)
    keys = store.KEY if "level" in table else store.KEY[1:]
    if counted.duplicated(keys).any():
        raise DataError("overrides are of more than one level; give those of the level of the back test")
    put_in = counted[keys].assign(override=counted["quantity"])
    found = table.drop(columns="override", errors="ignore").merge(put_in, on=keys, how="left", validate="many_to_one")
    return table.assign(override=found["override"].fillna(found[step]).to_numpy())


def of_overrides(
    overrides: pd.DataFrame, series: pd.DataFrame, *, by: Sequence[str] = (), seed: int = 7
) -> pd.DataFrame:
    """Return what overrides did to the error of the forecasts they replaced, one row a group of ``by``, or one row of all.

    In: all overrides ever put (``store.overrides.table``), a series table of their level (with a column level where there
    are several), ``by`` any of level, series_id, made_by, reason, direction (up, down). Scored are those that counted when
    their period began, that named the forecast they replaced and whose period is over and tells demand. Out: overrides,
    series, quantity (wanted), wape_before, wape, bias_before, bias, change, low, high (95%, drawing series again), improved
    (share of overrides that came closer), code as in ``of_steps``. No rows where there is nothing to score yet.
    """
    keys = store.KEY if "level" in series else store.KEY[1:]
    weight = series["weight"].to_numpy(float) if "weight" in series else np.ones(len(series))
    came = series[keys].assign(actual=series["quantity"].astype(float), weight=weight)
    rows = _in_time(overrides).rename(columns={"quantity": "override"}).merge(came, on=keys, validate="many_to_one")
    rows = rows[(rows["weight"] > 0) & rows["previous"].notna()]
    rows["direction"] = np.where(rows["override"] >= rows["previous"], "up", "down")
    groups = list(rows.groupby(list(by))) if by else [((), rows)]
    found = [{**dict(zip(by, key, strict=True)), **_effect(part, seed)} for key, part in groups if len(part)]
    return pd.DataFrame(found, columns=[*by, *_EFFECT])


def _effect(rows: pd.DataFrame, seed: int) -> dict[str, object]:
    """Return the figures of some overrides."""
    before, after = of_steps(rows, steps=["previous", "override"], seed=seed).to_dict("records")
    closer = (rows["override"] - rows["actual"]).abs() < (rows["previous"] - rows["actual"]).abs()
    return {
        **{name: after[name] for name in ("series", "wape", "bias", "change", "low", "high", "code")},
        **{"overrides": len(rows), "quantity": float((rows["actual"] * rows["weight"]).sum())},
        **{"wape_before": before["wape"], "bias_before": before["bias"], "improved": float(closer.mean())},
    }


def _in_time(overrides: pd.DataFrame) -> pd.DataFrame:
    """Return the overrides that counted when their period began."""
    return store.standing(overrides, at=overrides["period"])


def _interval(sums: pd.DataFrame, names: list[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95% interval of each step's change, by drawing series again; nan for the first and for few series."""
    if len(sums) < FEWEST:
        return np.full(len(names), np.nan), np.full(len(names), np.nan)
    drawn = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=_DRAWS)
    wanted = drawn @ sums["wanted"].to_numpy()
    wape = (drawn @ sums[names].to_numpy()) / np.where(wanted > 0, wanted, np.nan)[:, None]
    low, high = np.nanquantile(np.diff(wape, axis=1), [0.025, 0.975], axis=0)
    return np.r_[np.nan, low], np.r_[np.nan, high]
