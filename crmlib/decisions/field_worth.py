"""What knowing a field is worth to the decisions: entering it costs money too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError

_FEWEST = 30
_SURE = 1.96


def fields(meanings: pd.DataFrame) -> dict[str, list[str]]:
    """Return the features that come from each attribute of the customers; ``meanings`` from ``features.describe``.

    >>> fields(pd.DataFrame({"name": ["age", "n"], "table": ["customers", "holdings"], "column": ["birth_date", ""]}))
    {'birth_date': ['age']}
    """
    own = meanings[(meanings["table"] == "customers") & (meanings["column"].fillna("") != "")]
    return {str(column): names.tolist() for column, names in own.groupby("column")["name"]}


def worth(
    features: pd.DataFrame,
    known: Mapping[str, Sequence[str]],
    score: Callable[[pd.DataFrame], pd.DataFrame],
    *,
    margins: pd.DataFrame,
    contact_cost_minor: float,
    entry_cost_minor: float,
    decisions: int = 1,
) -> pd.DataFrame:
    """Return what each field adds to the choice of the best offer, against what entering it costs.

    In: ``features`` of some customers (customer_id, as_of, columns); ``known`` the feature columns of each field;
    ``score`` returns customer_id, product_id and score for a table of features with gaps; ``margins`` product_id and
    margin_minor; the costs in minor units of one contact and of entering the field once, and for how many ``decisions`` it
    serves until it is stale. The offer of a customer is the product with the highest probability × margin − cost of the
    contact, or none. Each field is hidden from those who have it; the offer then chosen is valued by what is known with the
    field. The mean loss is the expected value of that information (Raiffa and Schlaifer 1961, chapter 4), as the model
    sees it: never below zero.

    Out, the most valuable first: field, customers (who have it), changes (share whose offer changes), worth_minor of one
    decision with low and high (95%), net_minor (worth × decisions − cost of entering) and pays (missing where the
    interval does not tell). Raises UsageError for a number of decisions below 1 or a negative cost, DataError
    where a field has fewer than 30 customers or an unknown column.
    """
    if decisions < 1 or min(contact_cost_minor, entry_cost_minor) < 0:
        raise UsageError("decisions must be 1 or more, and costs zero or more; give numbers that are")
    earned = margins.set_index("product_id")["margin_minor"].astype(float)
    full = _values(features, score, earned, contact_cost_minor)
    best = full.argmax(axis=1)
    rows = []
    for field, columns in known.items():
        missing = sorted(set(columns) - set(features))
        if missing:
            raise DataError(f"field {field}: the features have no column {', '.join(missing)}; give those of the model")
        given = features[list(columns)].notna().any(axis=1).to_numpy()
        if given.sum() < _FEWEST:
            raise DataError(
                f"field {field}: {int(given.sum())} customers have it, {_FEWEST} are needed; leave it out or take more customers"
            )
        hidden = features[given].assign(**{name: _nothing(features.loc[given, name]) for name in columns})
        blind = _values(hidden, score, earned, contact_cost_minor).argmax(axis=1)
        value = full[given]
        place = np.arange(len(value))
        loss = value[place, best[given]] - value[place, blind]
        error = _SURE * loss.std(ddof=1) / np.sqrt(len(loss))
        mean = float(loss.mean())
        low, high = max(0.0, mean - error), mean + error
        net = mean * decisions - entry_cost_minor
        clear = low * decisions >= entry_cost_minor or high * decisions < entry_cost_minor
        counted = {"field": field, "customers": len(loss), "changes": float((blind != best[given]).mean())}
        money = {"worth_minor": mean, "low": low, "high": high, "net_minor": net}
        rows.append({**counted, **money, "pays": net >= 0 if clear else None})
    found = pd.DataFrame(rows).astype({"pays": "boolean"})
    return found.sort_values("worth_minor", ascending=False, ignore_index=True)


def _nothing(column: pd.Series) -> pd.Series:
    """Return a column of the same kind without values."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return pd.Series(pd.Categorical([None] * len(column), dtype=column.dtype), index=column.index)
    return pd.Series(np.nan, index=column.index, dtype=float)


def _values(
    features: pd.DataFrame, score: Callable[[pd.DataFrame], pd.DataFrame], earned: pd.Series, cost: float
) -> np.ndarray:
    """Return the value of each product by row of ``features``, and of no offer in the last column."""
    scored = score(features)
    wide = scored.assign(product_id=scored["product_id"].astype(str)).pivot(
        index="customer_id", columns="product_id", values="score"
    )
    wide = wide.reindex(index=features["customer_id"], columns=earned.index)
    value = wide.to_numpy(float) * earned.to_numpy() - cost
    return np.column_stack([np.where(np.isnan(value), -np.inf, value), np.zeros(len(value))])
