"""Long tables of (customer, product) and the matrices behind them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from crmlib.errors import DataError

NOT_ELIGIBLE = np.int8(-1)


def text(column: pa.ChunkedArray | pa.Array) -> pd.Series:
    """Return an Arrow column of strings as a pandas column of the ``str`` type."""
    return pd.Series(column.to_pandas(types_mapper={pa.string(): pd.StringDtype(na_value=np.nan)}.get))


def table(
    customer_id: pd.Series,
    products: Sequence[str],
    as_of: dt.date | pd.Series,
    *,
    chosen: np.ndarray,
    **values: np.ndarray,
) -> pd.DataFrame:
    """Return the long table of the pairs that are true in ``chosen`` (customers x products).

    Out: customer_id, as_of (datetime64), product_id (category), then one column per matrix in ``values``; sorted by
    customer, then product.
    """
    out = keys(customer_id, products, as_of, chosen=chosen)
    return out.assign(**{name: matrix[chosen] for name, matrix in values.items()})


def keys(
    customer_id: pd.Series, products: Sequence[str], as_of: dt.date | pd.Series, *, chosen: np.ndarray
) -> pd.DataFrame:
    """Return the first three columns of ``table``: customer_id, as_of, product_id."""
    goods = np.arange(len(products), dtype=np.int8 if len(products) < 128 else np.int32)
    row, column = np.repeat(np.arange(len(chosen)), chosen.sum(axis=1)), np.broadcast_to(goods, chosen.shape)[chosen]
    days = as_of.to_numpy("datetime64[us]")[row] if isinstance(as_of, pd.Series) else np.datetime64(as_of, "us")
    kinds = pd.CategoricalDtype(pd.Index(list(products), dtype="str"))
    return pd.DataFrame(
        {
            "customer_id": customer_id.array.take(row),
            "as_of": days if isinstance(as_of, pd.Series) else np.full(len(row), days),
            "product_id": pd.Categorical.from_codes(column, dtype=kinds, validate=False),
        }
    )


def constant(value: str, rows: int) -> pd.Series:
    """Return a column of one text, a byte a row."""
    return pd.Series(
        pd.Categorical.from_codes(np.zeros(rows, dtype=np.int8), categories=pd.Index([value], dtype="str"))
    )


def rows_of(table: pd.DataFrame, features: pd.DataFrame) -> np.ndarray:
    """Return for each row of a long table the number of the row of ``features`` of the same customer and date, or -1.

    Raises DataError where ``features`` holds a customer and date twice.
    """
    joint = pd.concat([features["customer_id"], table["customer_id"]], ignore_index=True)
    customer, _ = pd.factorize(joint)
    dates = [pd.to_datetime(part["as_of"]).to_numpy("datetime64[D]").astype(np.int64) for part in (features, table)]
    day, days = pd.factorize(np.concatenate(dates))
    key = customer.astype(np.int64) * max(len(days), 1) + day
    place = np.full(int(key.max(initial=-1)) + 1, -1, dtype=np.int64)
    own = key[: len(features)]
    place[own] = np.arange(len(features))
    if (place >= 0).sum() != len(features):
        twice = joint.iloc[int(np.flatnonzero(place[own] != np.arange(len(features)))[0])]
        raise DataError(f"features hold customer {twice} more than once for one as_of; keep one row of each")
    return place[key[len(features) :]]


def matrix(labels: pd.DataFrame, features: pd.DataFrame, products: Sequence[str]) -> np.ndarray:
    """Return the outcomes (rows of ``features`` x products): 1 bought, 0 did not, -1 could not buy or is not labelled.

    Raises DataError where no label belongs to a row of ``features``.
    """
    out = matrix_of_part(labels, features, products)
    if (out == NOT_ELIGIBLE).all():
        raise DataError(
            f"no label belongs to a row of the features: labels are as of {_dates(labels)}, features as of"
            f" {_dates(features)}; make both from the same snapshot"
        )
    return out


def matrix_of_part(labels: pd.DataFrame, features: pd.DataFrame, products: Sequence[str]) -> np.ndarray:
    """Return what ``matrix`` does of a few of many rows, of which none need have a label."""
    row = rows_of(labels, features)
    column = codes(labels["product_id"], products)
    hit = (row >= 0) & (column >= 0)
    out = np.full((len(features), len(products)), NOT_ELIGIBLE, dtype=np.int8)
    out[row[hit], column[hit]] = labels["bought"].to_numpy(bool)[hit]
    return out


def codes(product_id: pd.Series, products: Sequence[str]) -> np.ndarray:
    """Return the place of each product in ``products``, -1 for others.

    >>> codes(pd.Series(["loan", "card", "gold"]), ["card", "loan"])
    array([ 1,  0, -1])
    """
    categories = product_id.astype("category").cat
    place = pd.Index(list(products)).get_indexer(categories.categories.astype(str))
    return np.append(place, -1)[categories.codes.to_numpy()]


def _dates(table: pd.DataFrame) -> str:
    found = sorted({str(day)[:10] for day in pd.to_datetime(table["as_of"]).unique()})
    return ", ".join(found[:3]) or "no date"
