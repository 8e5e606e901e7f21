"""What the due list shows: visits, due customers and products, how far it can be trusted, order proposals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crmlib import paths, warehouse
from crmlib.errors import CrmError, NotFoundError
from crmlib.store import score_sets
from crmlib.store.tables import ScoreSet
from crmlib.warehouse.company import Company

EVERY = ""
STOP = ["customer_id", "outlet_id"]


@dataclass(frozen=True, eq=False)
class Loaded:
    """What was saved last.

    Attributes: ``due`` with region and employee_id of the customer's outlet, ``visits``, ``left_out``, ``calibration``
    and ``quality`` as `crm replenishment` saved them; ``proposals`` of `crm orders`, and ``orders`` its score set (None:
    none yet, or of another day); ``products``, ``outlets`` and ``employees`` names; ``places`` latitude and longitude by outlet_id.
    """

    data: Path
    company: Company
    score_set: ScoreSet
    due: pd.DataFrame
    visits: pd.DataFrame
    left_out: pd.DataFrame
    calibration: pd.DataFrame
    quality: pd.DataFrame
    proposals: pd.DataFrame | None
    orders: ScoreSet | None
    products: dict[str, str]
    outlets: dict[str, str]
    employees: dict[str, str]
    places: pd.DataFrame

    @property
    def weeks(self) -> list[pd.Timestamp]:
        """The Mondays of the weeks with visits."""
        return [pd.Timestamp(week) for week in sorted(self.visits["week"].dropna().unique())]


@dataclass(frozen=True)
class Choice:
    """What a person looks at: a representative, a region, a week (its Monday as text); "" for all."""

    employee: str = EVERY
    region: str = EVERY
    week: str = EVERY


def newest(data: Path) -> tuple[int, int]:
    """Return the numbers of the newest due list and order proposals, 0 where there are none."""
    if not data.is_dir():
        return 0, 0
    return _number(data, "replenishment"), _number(data, "orders")


def _number(data: Path, model: str) -> int:
    try:
        return score_sets.newest(data, model).score_set_id
    except CrmError:
        return 0


def load(data: Path) -> Loaded:
    """Read the newest due list; raises NotFoundError where there is none (the message says what to run)."""
    if not data.is_dir():
        raise NotFoundError(f"{data}: there is no such data folder; run `crm demo` to make one, or name yours")
    found = score_sets.newest(data, "replenishment")
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(found.as_of)
    outlets = snapshot.table("outlets", ["outlet_id", "name", "latitude", "longitude"])
    staff = snapshot.table("employees", ["employee_id", "name"])
    products = snapshot.table("products", ["product_id", "name"])
    visits = score_sets.beside(data, found, "visits")
    left_out = score_sets.beside(data, found, "left_out")
    orders = _orders(data, found)
    where = [*STOP, "employee_id", "region"]
    stops = pd.concat([visits[where], left_out[where]], ignore_index=True).drop_duplicates(STOP)
    due = score_sets.read(data, found).merge(stops, on=STOP, how="left", validate="many_to_one")
    return Loaded(
        data=data,
        company=snapshot.warehouse.company,
        score_set=found,
        due=due.fillna({"employee_id": "", "region": ""}),
        visits=visits,
        left_out=left_out,
        calibration=score_sets.beside(data, found, "calibration"),
        quality=score_sets.beside(data, found, "quality"),
        proposals=None if orders is None else score_sets.read(data, orders),
        orders=orders,
        products=_names(products, "product_id"),
        outlets=_names(outlets, "outlet_id"),
        employees=_names(staff, "employee_id"),
        places=outlets[["outlet_id", "latitude", "longitude"]],
    )


def _orders(data: Path, due: ScoreSet) -> ScoreSet | None:
    try:
        return score_sets.newest(data, "orders", as_of=due.as_of)
    except NotFoundError:
        return None


def _names(table: pd.DataFrame, key: str) -> dict[str, str]:
    return dict(zip(table[key].astype(str), table["name"].fillna(table[key]).astype(str), strict=True))


def chosen(table: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """Return the rows of a representative, a region and, where the table has weeks, a week."""
    keep = pd.Series(True, index=table.index)
    for column, value in (("employee_id", choice.employee), ("region", choice.region)):
        if value:
            keep &= table[column] == value
    if choice.week and "week" in table:
        keep &= table["week"] == pd.Timestamp(choice.week)
    return table[keep]


def by_day(visits: pd.DataFrame) -> pd.DataFrame:
    """Return what the visits of each day are about: visit_on, expected_margin_minor, visits."""
    sums = visits.groupby("visit_on", as_index=False).agg(
        expected_margin_minor=("expected_margin_minor", "sum"), visits=("customer_id", "size")
    )
    return sums.sort_values("visit_on", ignore_index=True)


def on_map(loaded: Loaded, visits: pd.DataFrame) -> pd.DataFrame:
    """Return the visits whose outlet has coordinates, with latitude and longitude."""
    rows = visits.merge(loaded.places, on="outlet_id", how="left", validate="many_to_one")
    return rows.dropna(subset=["latitude", "longitude"]).reset_index(drop=True)


def exported(loaded: Loaded, visits: pd.DataFrame) -> pd.DataFrame:
    """Return the visits with a row for each product due, for a file: codes and amounts, no contact details."""
    rows = visits.drop(columns=["reasons", "products"])
    columns = [*STOP, "product_id", "last_order", "days_since", "usual_days", "due_7", "due_14", "expected_on"]
    columns += ["expected_quantity", "margin_minor", "code"]
    out = rows.merge(loaded.due[columns], on=STOP, how="left", validate="many_to_many")
    names = out["product_id"].map(loaded.products)
    digits = {"expected_margin_minor": 0, "margin_minor": 0, "usual_days": 1, "expected_quantity": 1}
    return out.assign(product=names).round({**digits, "due_7": 3, "due_14": 3, "kilometres": 1})


def reasons(visit: pd.Series) -> list[dict[str, object]]:
    """Return the products that a visit is for, as codes."""
    found: list[dict[str, object]] = json.loads(visit["reasons"])
    return found
