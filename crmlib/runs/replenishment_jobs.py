"""The jobs behind `crm replenishment` and `crm orders`: due list and visits, order proposals."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pandas as pd

from crmlib import paths, warehouse
from crmlib.decisions import orders as ordering
from crmlib.decisions import orders_inputs, visits
from crmlib.errors import DataError, NotFoundError
from crmlib.models import replenishment as learning
from crmlib.runs import clock
from crmlib.runs.jobs import last_day, recorded
from crmlib.runs.stages import Stage, Stages
from crmlib.store import score_sets
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot, parse_date

NAME, ORDERS = learning.NAME, "orders"
YEARS = 2
"""Years of orders that are learnt from: older habits say little."""
LEVEL = "outlet_product_day"
CHANNELS = ("visit", "branch", "call")
"""Contacts by which a representative may reach a customer, the first that the company has a cost of."""
VISITS_PER_DAY = 8
SERVICE_LEVEL = 0.95


def replenishment(data: Path, *, stages: Stages, as_of: str | None = None, seed: int = 7) -> pd.DataFrame:
    """Find out when each customer needs the next delivery as of a day (default: the last record), plan visits, save.

    Saved as the score set "replenishment" (customer_id, outlet_id, product_id, as_of, orders, last_order, days_since, usual_days,
    usual_quantity, due_7, due_14, orders_14, expected_on, expected_quantity, margin_minor, code); beside it visits, left_out, quality
    and calibration (out of time; empty where there is too little) and shape. ``seed`` is kept with the run; nothing here is drawn. Raises DataError without orders.
    """
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(parse_date(as_of) if as_of else last_day(wh))
    parameters = {"as_of": str(snapshot.as_of), "seed": seed, "warehouse_version": wh.version}
    with recorded(data, NAME, parameters, warehouse_version=wh.version) as run_id:
        with stages.stage("orders", f"what customers ordered until {snapshot.as_of}") as stage:
            orders = learning.lines(snapshot, since=snapshot.as_of - dt.timedelta(days=365 * YEARS))
            market = learning.market(snapshot)
            stage.say(f"{len(orders):,} orders, {len(market.out):,} days of a product and region out of supply")
        with stages.stage("test", "does it hold out of time") as stage:
            quality, calibration = _tested(orders, market, snapshot, stage)
        with stages.stage("due", "when the next order is due") as stage:
            hazard = learning.fit(orders, market, until=snapshot.as_of)
            due = learning.due(hazard, orders, market, as_of=snapshot.as_of)
            due = _priced(_on_sale(due, snapshot), snapshot)
            expected = due["margin_minor"].sum() / 100
            stage.say(f"{int((due['due_7'] > 0.5).sum()):,} of {len(due):,} due within a week, margin {expected:,.0f}")
        with stages.stage("visits", "whom to visit, and when") as stage:
            planned = _planned(snapshot, due, stage)
        score_sets.save(
            due,
            data=data,
            model=NAME,
            model_version=1,
            warehouse_version=wh.version,
            as_of=snapshot.as_of,
            now=clock.now(),
            beside={
                "visits": planned.visits,
                "left_out": planned.left_out,
                "quality": quality,
                "calibration": calibration,
                "shape": _shape(hazard),
            },
            run_id=run_id,
        )
    return due


def _tested(
    orders: pd.DataFrame, market: learning.Market, snapshot: Snapshot, stage: Stage
) -> tuple[pd.DataFrame, pd.DataFrame]:
    try:
        tested = learning.backtest(orders, market, until=snapshot.as_of)
    except DataError as error:
        stage.say(str(error))
        names = ["within_days", "n", "auc", "log_loss", "ordered", "predicted"]
        return pd.DataFrame(columns=["method", *names]), pd.DataFrame(columns=["within_days", "predicted", "observed"])
    week = tested.quality[tested.quality["within_days"] == 7].set_index("method")
    auc, loss = week["auc"].to_dict(), week["log_loss"].to_dict()
    rule = max(learning.RULES, key=lambda name: float(auc[name]))
    stage.say(
        f"AUC within a week {auc['hazard']:.3f} (best rule {auc[rule]:.3f}), "
        f"log-loss {loss['hazard']:.3f} ({loss[rule]:.3f})"
    )
    return tested.quality, tested.calibration


def _on_sale(due: pd.DataFrame, snapshot: Snapshot) -> pd.DataFrame:
    products = snapshot.table("products", ["product_id", "withdrawn_on"])
    outlets = snapshot.table("outlets", ["outlet_id", "closed_on"])
    gone = products.loc[products["withdrawn_on"].notna(), "product_id"]
    shut = outlets.loc[outlets["closed_on"].notna(), "outlet_id"]
    return due[~due["product_id"].isin(gone) & ~due["outlet_id"].isin(shut)].reset_index(drop=True)


def _priced(due: pd.DataFrame, snapshot: Snapshot) -> pd.DataFrame:
    """Return the due list with the margin to expect within 14 days: price less cost of a piece, or the margin of a sale."""
    products = snapshot.table("products", ["product_id", "price_minor", "cost_minor", "margin_minor"])
    numbers = products.set_index("product_id").astype("Float64").astype(float)
    piece = (numbers["price_minor"] - numbers["cost_minor"]).fillna(numbers["margin_minor"]).fillna(0.0)
    margin = due["orders_14"] * due["expected_quantity"] * due["product_id"].map(piece).fillna(0.0)
    columns = list(due.columns)
    columns.insert(columns.index("code"), "margin_minor")
    return due.assign(margin_minor=margin)[columns]


def _planned(snapshot: Snapshot, due: pd.DataFrame, stage: Stage) -> visits.Plan:
    company: Company = snapshot.warehouse.company
    channel = next((name for name in CHANNELS if name in company.contact_costs_minor), None)
    if channel is None:
        stage.say(f"no visits: none of {', '.join(CHANNELS)} has a cost of contact in company.toml")
        return visits.Plan(pd.DataFrame(columns=visits.PLAN), pd.DataFrame(columns=visits.LEFT_OUT))
    planned = visits.plan(snapshot, due, company=company, visits_per_day=VISITS_PER_DAY, channel=channel)
    why = planned.left_out["code"].value_counts()
    told = ", ".join(f"{count:,} {str(code).replace('_', ' ')}" for code, count in why.items())
    stage.say(f"{len(planned.visits):,} visits" + (f"; left out: {told}" if told else ""))
    return planned


def _shape(hazard: learning.Hazard) -> pd.DataFrame:
    """Return the numbers of the fit that people may look up: power of the quantity, orders learnt from, log-likelihood."""
    return pd.DataFrame(
        {
            "power": [hazard.power],
            "orders": [int(hazard.pairs["orders"].sum())],
            "pairs": [len(hazard.pairs)],
            "log_likelihood": [hazard.log_likelihood],
        }
    )


def orders(data: Path, *, stages: Stages, as_of: str | None = None, seed: int = 7) -> pd.DataFrame:
    """Propose orders for each outlet and product from the newest daily demand forecast (of a day), save them.

    Saved as the score set "orders" with the columns of ``orders.COLUMNS``; beside it "settings" (service_level,
    correlation of the forecast's errors, draws) and "left_out" (outlet_id, code: no_delivery, beyond_forecast). Raises NotFoundError without a demand forecast, DataError where it has no
    daily forecast by outlet and product.
    """
    found = score_sets.newest(data, "demand", as_of=parse_date(as_of) if as_of else None)
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(found.as_of)
    parameters = {"as_of": str(found.as_of), "seed": seed, "service_level": SERVICE_LEVEL}
    with recorded(data, ORDERS, parameters, warehouse_version=wh.version) as run_id:
        with stages.stage("forecast", f"demand by outlet, product and day after {found.as_of}") as stage:
            table = score_sets.read(data, found)
            forecast = table[table["level"] == LEVEL]
            if forecast.empty:
                levels = ", ".join(sorted(table["level"].unique()))
                raise DataError(
                    f"the demand forecast of {found.as_of} has no level {LEVEL} (it has {levels}); "
                    "order proposals need outlet sales by day, load them and run `crm demand`"
                )
            together = _correlation(data, found, stage)
        with stages.stage("propose", "how much to order") as stage:
            counts = orders_inputs.stock(snapshot)
            terms = orders_inputs.terms(snapshot)
            left_out = orders_inputs.beyond_forecast(forecast, terms, as_of=found.as_of)
            if len(left_out):
                stage.say(
                    f"no proposal for {len(left_out):,} outlets: no delivery before the forecast ends, such as {left_out['outlet_id'].iloc[0]}"
                )
            forecast = forecast[~forecast["outlet_id"].isin(left_out["outlet_id"])]
            proposed = ordering.propose(
                forecast,
                counts,
                terms=terms,
                as_of=found.as_of,
                service_level=SERVICE_LEVEL,
                correlation=together,
                seed=seed,
            )
            _tell(proposed, stage)
        settings = {"service_level": [SERVICE_LEVEL], "correlation": [together], "draws": [ordering.DRAWS]}
        score_sets.save(
            proposed,
            data=data,
            model=ORDERS,
            model_version=found.model_version,
            warehouse_version=wh.version,
            as_of=found.as_of,
            now=clock.now(),
            beside={"settings": pd.DataFrame(settings), "left_out": left_out},
            run_id=run_id,
        )
    return proposed


def _correlation(data: Path, found: score_sets.ScoreSet, stage: Stage) -> float:
    """Return how much the forecast's past errors of one outlet and product go together from day to day, 0 where none are on record."""
    try:
        errors = score_sets.beside(data, found, "errors")
    except NotFoundError:
        errors = pd.DataFrame(columns=["level"])
    rows = errors[errors["level"] == LEVEL]
    if rows.empty:
        stage.say("no past errors by day on record: days are taken to err independently")
        return 0.0
    together = ordering.error_correlation(rows)
    stage.say(f"errors of two days correlate by {together:.2f}")
    return together


def _tell(proposed: pd.DataFrame, stage: Stage) -> None:
    ordered = proposed[proposed["packs"] > 0]
    stage.say(
        f"{len(ordered):,} of {len(proposed):,} to order, {ordered['order_quantity'].sum():,.0f} pieces; expected waste "
        f"{proposed['expected_waste'].sum():,.0f}, lost {proposed['expected_lost'].sum():,.0f}"
    )
