"""The job behind `crm offers`: the best offers for all customers on the newest scores, with their decision log."""

from __future__ import annotations

from pathlib import Path

from crmlib import paths, warehouse
from crmlib.decisions import decision_log, offers_log
from crmlib.decisions import offers as choosing
from crmlib.decisions.campaigns import freeze
from crmlib.decisions.offers import BestOffers
from crmlib.errors import DataError
from crmlib.runs import clock, jobs
from crmlib.runs.stages import Stages, shown, size
from crmlib.store import files, score_sets
from crmlib.warehouse.snapshot import cutoff


def offers(
    data: Path,
    *,
    stages: Stages,
    budget_minor: int | None = None,
    capacities: dict[str, int] | None = None,
    k: int = 1,
) -> BestOffers:
    """Choose the best offers on the newest propensity scores, save the offers and the log, and return the offers.

    Contacts that running campaigns have still before them count for the limits of the contact policy. Offers lie in
    ``data/offers``, logs in ``data/decisions``. Arguments as in ``offers.best_offers``. Raises DataError
    where the newest scores are of a day that the served version does not hold.
    """
    scored = score_sets.newest(data, "propensity")
    wh = warehouse.open(paths.warehouse(data))
    try:
        snapshot = wh.snapshot(scored.as_of)
    except DataError as error:
        raise DataError(
            f"the newest propensity scores cannot be used: {error}; score again with `crm score`"
        ) from error
    asked = {"as_of": str(scored.as_of), "budget_minor": budget_minor, "capacities": capacities, "k": k}
    with jobs.recorded(data, "offers", asked, warehouse_version=wh.version) as run_id:
        with stages.stage("offers", f"the best for every customer as of {scored.as_of}") as stage:
            planned = freeze.promised(data, wh, at=cutoff(scored.as_of))
            found = choosing.best_offers(
                snapshot, data, budget_minor=budget_minor, capacities=capacities, k=k, since=planned
            )
            many = found.offers["customer_id"].nunique()
            stage.say(f"{len(found.offers):,} offers to {many:,} customers")
            currency = found.settings["currency"]
            stage.say(f"expected profit {found.value_minor / 100:,.0f} {currency}, at most {found.gap:.4%} missing")
            for note in _scarce(found):
                stage.say(note)
        with stages.stage("log", "why each offer, and what would flip it") as stage:
            stem = f"{scored.as_of}-warehouse{wh.version:06d}"
            path, _ = files.add_parquet(found.offers, data / "offers", stem)
            number = decision_log.save(
                offers_log.log(found),
                data=data,
                kind="best offers",
                settings=choosing.settings(found),
                warehouse_version=wh.version,
                now=clock.now(),
                score_set_id=scored.score_set_id,
                run_id=run_id,
            )
            log = data / decision_log.newest(data).file
            stage.say(f"{shown(path)} ({size(path)})")
            stage.say(f"decision log {number} in {shown(log)} ({size(log)})")
    return found


def _scarce(found: BestOffers) -> list[str]:
    """Return what one more of each resource that is used up would earn."""
    notes, currency = [], found.settings["currency"]
    for row in found.resources[found.resources["price_minor"] > 0].to_dict("records"):
        hourly = row["price_per_hour_minor"]
        if row["kind"] == "budget":
            notes.append(f"one more {currency} of budget earns {row['price_minor']:.2f}")
        elif hourly > 0:
            notes.append(f"one more hour of {row['name']} earns {hourly / 100:,.2f} {currency}")
        else:
            notes.append(f"one more {row['name']} earns {row['price_minor'] / 100:,.2f} {currency}")
    return notes
