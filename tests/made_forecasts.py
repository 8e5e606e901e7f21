"""A data folder with what `crm demand` and `crm effects` leave behind, made up: small, and every number known."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from crmlib import paths
from crmlib.store import score_sets, session, tables
from crmlib.warehouse import build, schema
from crmlib.warehouse.company import Company

AS_OF = dt.date(2025, 12, 28)  # a Sunday
NOW = dt.datetime(2025, 12, 29, 8, 30)
COMPANY = Company(name="Made-up dairy")
PRODUCTS = {"milk": ("Milk <b>1 l</b>", "fresh"), "kefir": ("Kefir", "fresh"), "cheese": ("Cheese", "ripened")}
REGIONS = ("North", "South")
OUTLETS = {"O1": ("Corner & Co", "North"), "O2": ("Market hall", "South")}
KEYS = ("product_id", "product_group", "region", "outlet_id")
LEVELS = {
    "total_week": (),
    "region_week": ("region",),
    "product_week": ("product_id",),
    "product_region_week": ("product_id", "region"),
    "total_month": (),
    "product_month": ("product_id",),
    "outlet_product_day": ("outlet_id", "product_id"),
}
FREQUENCY = {"week": "W-MON", "month": "MS", "day": "D"}
PAST, AHEAD = {"week": 104, "month": 24, "day": 90}, {"week": 8, "month": 6, "day": 14}
HORIZON = 4
"""Of the back test, which has two origins."""


def make(data: Path, *, effects: bool = True, plans: bool = True, source: str = "outlet_sales") -> int:
    """Fill the data folder; returns the number of the set of scores."""
    serve(data)
    scores, beside = frames(plans=plans, source=source)
    about = {"model_version": 1, "warehouse_version": 1, "as_of": AS_OF, "now": NOW, "data": data}
    if effects:
        cross = pd.DataFrame([("kefir", "milk", 0.4, 0.1)], columns=["product_id", "other_id", "elasticity", "error"])
        score_sets.save(price_effects(), model="price_effects", beside={"cross": cross}, **about)
    return score_sets.save(scores, model="demand", beside=beside, **about)


def serve(data: Path) -> None:
    """Put a warehouse with products and outlets into the data folder, served as version 1."""
    paths.warehouse(data).mkdir(parents=True)
    path = paths.warehouse(data) / "v000001.duckdb"
    first = dt.date(2020, 1, 1)
    products = pd.DataFrame(
        {
            "product_id": list(PRODUCTS),
            "valid_from": first,
            "name": [name for name, _ in PRODUCTS.values()],
            "product_group": [group for _, group in PRODUCTS.values()],
            "price_minor": 120,
            "cost_minor": 70,
        }
    )
    outlets = pd.DataFrame(
        {
            "outlet_id": list(OUTLETS),
            "valid_from": first,
            "name": [name for name, _ in OUTLETS.values()],
            "region": [region for _, region in OUTLETS.values()],
        }
    )
    sold = {"outlet_id": "O1", "product_id": "milk", "sold_on": [dt.date(2023, 1, 2), AS_OF], "quantity": 9.0}
    found = {"products": products, "outlets": outlets, "outlet_sales": pd.DataFrame(sold)}
    build.from_frames(path, found, company=COMPANY, version=1)
    about = {"format_version": schema.FORMAT_VERSION, "created_at": NOW, "published_at": NOW}
    with session.session(data) as store:
        store.add(tables.Version(version=1, state="published", file=path.name, **about))
        store.flush()
        store.merge(tables.Pointer(name="served", version=1))
        store.commit()


def price_effects() -> pd.DataFrame:
    """Effects of price and promotion of milk in the North, and of milk and kefir everywhere; cheese has none."""
    rows = []
    for product, region in [("milk", "North"), ("milk", ""), ("kefir", "")]:
        for measure, estimate, low, high in (
            ("price_elasticity", -1.8, -2.1, -1.5),
            ("promotion_uplift", 0.25, 0.15, 0.35),
            ("post_promotion_dip", -0.05, -0.1, 0.0),
        ):
            note = "never_promoted" if product == "kefir" and measure == "promotion_uplift" else ""
            about = (product, "fresh", region, measure)
            rows.append((*about, estimate, (high - low) / 3.92, low, high, 4, "pooled", note))
    names = ["product_id", "product_group", "region", "measure", "estimate", "error", "low", "high", "series", "method"]
    return pd.DataFrame(rows, columns=[*names, "note_code"])


def frames(
    *, plans: bool = True, source: str = "outlet_sales", seed: int = 3
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The forecast table and the tables beside it."""
    rng = np.random.default_rng(seed)
    past, ahead, coming, errors = [], [], [], []
    for level, columns in LEVELS.items():
        for number, keys in enumerate(_members(columns)):
            history, forecast, future = _series(level, keys, rng, quiet=level == "product_region_week" and number == 5)
            past.append(history)
            ahead.append(forecast)
            coming.append(future)
            errors.append(_errors(level, history, rng))
    found = pd.concat(errors, ignore_index=True)
    missing = [] if plans else [("plans", "plans: found 0 plans, need 1; load a table of plans")]
    weights = [(level, name, 0.5) for level in LEVELS for name in ("theta", "boosted")]
    beside = {
        "history": pd.concat(past, ignore_index=True),
        "future": pd.concat(coming, ignore_index=True),
        "errors": found,
        "accuracy": _accuracy(found),
        "weights": pd.DataFrame(weights, columns=["level", "method", "weight"]),
        "coherence": _coherence(),
        "judgement": _judgement() if plans else _judgement().iloc[:0],
        "plans": _plans() if plans else _plans().iloc[:0],
        "value_added": _value_added(),
        "treatment": _treatment(),
        "levels": pd.DataFrame({"level": list(LEVELS), "source": source}),
        "missing": pd.DataFrame(missing, columns=["part", "why"], dtype="str"),
    }
    return pd.concat(ahead, ignore_index=True), beside


def _members(columns: tuple[str, ...]) -> list[dict[str, str]]:
    values = {"product_id": list(PRODUCTS), "region": list(REGIONS), "outlet_id": list(OUTLETS)}
    out = [dict(zip(columns, one, strict=True)) for one in itertools.product(*(values[name] for name in columns))]
    return [{**dict.fromkeys(KEYS, ""), **one} for one in out]


def _series(level: str, keys: dict[str, str], rng: np.random.Generator, *, quiet: bool) -> tuple[pd.DataFrame, ...]:
    """History, forecast and future of one series; a quiet one never sold anything."""
    step = level.rpartition("_")[2]
    n, horizon = PAST[step], AHEAD[step]
    last = pd.Timestamp({"week": "2025-12-22", "month": "2025-12-01", "day": "2025-12-28"}[step])
    whole = pd.date_range(end=last, periods=n, freq=FREQUENCY[step])
    after = pd.date_range(start=last, periods=horizon + 1, freq=FREQUENCY[step])[1:]
    season = {"week": 52, "month": 12, "day": 7}[step]
    size = 900.0 if sum(map(bool, keys.values())) < 2 else 300.0
    time = np.arange(n + horizon)
    mean = np.zeros(n + horizon) if quiet else size * (1 + 0.25 * np.sin(2 * np.pi * time / season))
    promoted = ((time % 26) < 2).astype(float) * (step == "week") * (not quiet)
    quantity = np.maximum(0, mean[:n] + rng.normal(0, 0.06 * size, n) * (not quiet)).round() + 0.3 * size * promoted[:n]
    short = (np.arange(n) % 37 == 20) & (not quiet)
    about = {"level": level, "series_id": "/".join(filter(None, keys.values())) or "total", **keys}
    history = pd.DataFrame(
        {
            **about,
            "period": whole,
            "quantity": quantity,
            "recorded": np.where(short, 0.5 * quantity, quantity),
            "status": np.where(short, "stocked_out", "zero" if quiet else "sold"),
            "weight": np.where(short, 0.0, 1.0),
            "price_minor": 120.0,
            "promotion": promoted[:n],
            "open_days": 6.0,
            "stocked_out": np.where(short, 0.5, 0.0),
            "returns": 0.0,
        }
    )
    value = mean[n:] * (1 + 0.3 * promoted[n:])
    width = 0.08 * size * (not quiet) * np.sqrt(1 + 0.1 * np.arange(horizon))
    forecast = pd.DataFrame(
        {
            **about,
            "period": after,
            "ahead": np.arange(1, horizon + 1),
            "mean": value,
            "low_80": np.maximum(0, value - 1.28 * width),
            "high_80": value + 1.28 * width,
            "low_95": np.maximum(0, value - 1.96 * width),
            "high_95": value + 1.96 * width,
            "method": "zero" if quiet else "combination",
            "reason": "all_zero" if quiet else "",
            "reconciled": "wls" if step == "week" else "",
        }
    )
    future = pd.DataFrame({**about, "period": after, "promotion": promoted[n:], "price_minor": 120.0, "open_days": 6.0})
    return history, forecast, future


def _errors(level: str, history: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Two origins; the forecast is off by a fifth of what seasonal naive is off, and every interval holds."""
    parts = []
    for back in (HORIZON, 2 * HORIZON):
        rows = history.iloc[len(history) - back : len(history) - back + HORIZON].reset_index(drop=True)
        off = rng.normal(0, 0.1, HORIZON) * rows["quantity"]
        width = off.abs() + 1
        parts.append(
            rows[["level", "series_id", "period", "weight"]].assign(
                origin=history["period"].iloc[len(history) - back - 1],
                ahead=np.arange(1, HORIZON + 1),
                actual=rows["quantity"],
                forecast=rows["quantity"] + off,
                naive=rows["quantity"] + 5 * off,
                low_80=rows["quantity"] - width,
                high_80=rows["quantity"] + width,
                low_95=rows["quantity"] - 2 * width,
                high_95=rows["quantity"] + 2 * width,
            )
        )
    return pd.concat(parts, ignore_index=True)


def _accuracy(errors: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for level, ahead in itertools.product(LEVELS, range(HORIZON + 1)):
        own = errors[(errors["level"] == level) & (errors["weight"] > 0)]
        own = own if ahead == 0 else own[own["ahead"] == ahead]
        total = own["actual"].sum()
        wape = (own["forecast"] - own["actual"]).abs().sum() / total
        bias = (own["forecast"] - own["actual"]).sum() / total
        rows.append((level, ahead, len(own), wape, wape * 8, bias, 0.8, 0.95, 3.0, 5 * wape, 40 * wape))
    names = ["level", "ahead", "values", "wape", "mase", "bias", "coverage_80", "coverage_95", "pinball"]
    return pd.DataFrame(rows, columns=[*names, "wape_naive", "mase_naive"])


def _coherence() -> pd.DataFrame:
    """Weighted least squares, the method chosen, makes the total worse and the rest better."""
    rows = [
        ("week", level, method, value * (1.2 if level == "total_week" and method == "wls" else 1), method == "wls")
        for level in LEVELS
        if level.endswith("week")
        for method, value in {"base": 0.10, "ols": 0.101, "wls": 0.094}.items()
    ]
    return pd.DataFrame(rows, columns=["step", "level", "method", "wape", "chosen"])


def _judgement() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "source": ["sales force", "market research", "new analyst"],
            "n": [160, 48, 2],
            "bias": [0.16, 0.02, np.nan],
            "bias_low": [0.12, -0.02, np.nan],
            "bias_high": [0.20, 0.06, np.nan],
            "weight": [0.05, 0.20, 0.0],
        }
    )


def _plans() -> pd.DataFrame:
    after = pd.date_range("2025-12-22", periods=5, freq="W-MON")[1:]
    about = {"level": "product_region_week", "series_id": "milk/North", "source": "sales force"}
    return pd.DataFrame({**about, "period": after, "quantity": [420.0, 430, 440, 450]})


def _value_added() -> pd.DataFrame:
    steps = {"naive": 0.30, "statistical": 0.12, "reconciled": 0.125}
    rows = [(level, step, value) for level in LEVELS if level.endswith("week") for step, value in steps.items()]
    table = pd.DataFrame(rows, columns=["level", "step", "wape"])
    return table.assign(change=table.groupby("level")["wape"].diff())


def _treatment() -> pd.DataFrame:
    about = ["sold", "stocked_out", "zero"]
    counts = {"periods": [600, 18, 104], "pieces": [180_000.0, 2_700.0, 0.0]}
    return pd.DataFrame({"level": "product_region_week", "status": about, **counts})
