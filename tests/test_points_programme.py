"""What the programme of points changes: planted effects are covered, self-selection is not taken for one, and the job."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crmlib import paths
from crmlib.errors import DataError, UsageError
from crmlib.models.points import alike, programme
from crmlib.models.points.comparison import MEASURES, NEED
from crmlib.runs import points_jobs
from crmlib.runs.stages import Stages
from crmlib.store import score_sets, session, tables
from crmlib.warehouse import build, schema, snapshot

PLANTED = 0.10


def drawn(seed: int, *, customers: int = 4000, effect: float = PLANTED, control_joins: float = 0.0) -> pd.DataFrame:
    """Customers of whom three in five are invited; the active join rather, and members do exp(``effect``) times as much."""
    rng = np.random.default_rng(seed)
    active = rng.gamma(2.0, 0.5, customers)
    invited = rng.random(customers) < 0.6
    willing = rng.random(customers) < 1 / (1 + np.exp(-0.8 - 0.8 * np.log(active + 0.05)))
    joined = np.where(invited, willing, willing & (rng.random(customers) < control_joins)).astype(float)
    days = rng.integers(200, 700, customers)
    purchases = rng.poisson(active * days / 30 * np.exp(effect * joined))
    spent = purchases * 4000.0 * np.exp(0.3 * rng.normal(size=customers))
    told = {"invited": invited, "joined": joined, "days": days, "purchases": purchases, "spent_minor": spent}
    return pd.DataFrame({"unit": np.arange(customers), **told})


def of(table: pd.DataFrame, method: str, measure: str = "purchases") -> pd.Series:
    return table[(table["method"] == method) & (table["measure"] == measure)].iloc[0]


def test_the_planted_effect_is_covered_in_nineteen_of_twenty_draws() -> None:
    covered, values, plain = [], [], []
    for seed in range(200):
        table = programme.randomised(drawn(seed))
        row = of(table, "joined")
        covered.append(row["ratio_low"] <= np.exp(PLANTED) <= row["ratio_high"])
        values.append(np.log(row["ratio"]))
        plain.append(of(table, "members")["ratio_low"] > np.exp(PLANTED))
    assert 0.91 <= np.mean(covered) <= 0.985, "200 draws of 95%: three standard errors"
    assert np.mean(values) == pytest.approx(PLANTED, abs=0.012)
    assert np.mean(plain) == 1.0, "members less non-members is far from the effect in every draw"


def test_who_joins_without_an_invitation_does_not_spoil_the_effect() -> None:
    values, covered = [], []
    for seed in range(80):
        row = of(programme.randomised(drawn(seed, control_joins=0.25)), "joined")
        values.append(np.log(row["ratio"]))
        covered.append(row["ratio_low"] <= np.exp(PLANTED) <= row["ratio_high"])
    assert np.mean(values) == pytest.approx(PLANTED, abs=0.02) and np.mean(covered) >= 0.87


def test_intention_to_treat_against_plain_arithmetic() -> None:
    table = drawn(3)
    found = programme.randomised(table)
    rate = table.groupby("invited").apply(lambda own: own["purchases"].sum() / own["days"].sum() * 30)
    row = of(found, "invited")
    assert row["effect"] == pytest.approx(rate[True] - rate[False])
    assert row["ratio"] == pytest.approx(rate[True] / rate[False])
    share = table[table["invited"]].eval("(joined * days).sum() / days.sum()")
    assert of(found, "joined")["effect"] == pytest.approx(row["effect"] / share)
    assert row["low"] < row["effect"] < row["high"] and row["code"] == "randomised"
    assert (row["customers"], row["others"]) == (int(table["invited"].sum()), int((~table["invited"]).sum()))
    assert of(found, "members")["code"] == "self_selected"


def test_too_few_are_said_and_bad_tables_refused() -> None:
    few = programme.randomised(drawn(1, customers=150))
    row = of(few, "joined")
    assert row["code"] == "not_enough_data" and 0 < row["found"] < row["need"] == NEED and np.isnan(row["effect"])
    nobody = programme.randomised(drawn(1).assign(joined=0.0))
    assert of(nobody, "joined")["code"] == "not_enough_data" and of(nobody, "joined")["found"] == 0
    assert of(nobody, "invited")["code"] == "randomised", "the effect of inviting is known though nobody joined"
    with pytest.raises(DataError, match="lacks the columns joined"):
        programme.randomised(drawn(1).drop(columns="joined"))
    with pytest.raises(DataError, match="observed for no days at all"):
        programme.randomised(drawn(1).assign(days=0))


# ---------------------------------------------------------------- without a draw


def histories(seed: int, *, hidden: float = 0.0, effect: float = PLANTED) -> pd.DataFrame:
    """Members and others who look alike before; ``hidden`` makes members of those whose spending is about to rise."""
    rng = np.random.default_rng(seed)
    size = 3000
    rate = rng.gamma(4.0, 0.5, size)
    member = rng.random(size) < 1 / (1 + np.exp(1.0 - 0.5 * rate))
    rising = np.exp(hidden * member)
    out: dict[str, Any] = {"cohort": 1, "member": member}
    for measure, unit in zip(MEASURES, (1.0, 4000.0), strict=True):
        out[f"{measure}_before"] = rng.poisson(rate * 6) / 6 * unit
        out[f"{measure}_placebo"] = rng.poisson(rate * rising * 3) / 3 * unit
        out[measure] = rng.poisson(rate * rising * np.exp(effect * member) * 6) / 6 * unit
    return pd.DataFrame(out)


def test_matching_comes_nearer_to_the_effect_than_the_plain_difference() -> None:
    found = [alike.matched(histories(seed, effect=0.2)) for seed in range(5)]
    matched, plain = (np.mean([of(one, method)["ratio"] for one in found]) for method in ("matched", "members"))
    assert abs(matched - np.exp(0.2)) < 0.08 < plain - np.exp(0.2)


def test_a_placebo_that_differs_says_that_the_effect_cannot_be_known() -> None:
    table = alike.matched(histories(1, hidden=0.4, effect=0.0))
    assert of(table, "matched")["code"] == of(table, "placebo")["code"] == "placebo_differs"
    assert of(table, "matched")["ratio"] > 1.2, "an effect of nothing, were it believed"
    nothing = alike.matched(histories(1), before=False)
    assert nothing["code"].tolist() == ["nothing_before"] * 2 and nothing["effect"].isna().all()
    few = alike.matched(histories(1).iloc[:100])
    assert set(few["code"]) == {"not_enough_data"}


# ---------------------------------------------------------------- from the warehouse, and the job

DAY = dt.date(2025, 6, 30)


def bank(
    seed: int = 1,
    *,
    customers: int = 700,
    campaign: bool = True,
    joins: dt.date = dt.date(2024, 7, 1),
    months: int = 11,
) -> dict[str, pd.DataFrame]:
    """Two years of a small bank whose members earn 100 points a month for so many months from a day on."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"C{number:04d}" for number in range(customers)])
    invited = rng.random(customers) < 0.6
    member = invited & (rng.random(customers) < 0.7)
    many = rng.poisson(20 * np.exp(PLANTED * member))
    start = pd.Timestamp(2023, 7, 1)
    days = np.sort(rng.integers(0, 730, many.sum()))
    days[-1] = 730  # the records reach to the day
    paid = pd.DataFrame(
        {
            "transaction_id": np.arange(many.sum()).astype(str),
            "customer_id": np.repeat(ids, many),
            "occurred_at": start + pd.to_timedelta(days, unit="D") + pd.Timedelta(hours=12),
            "amount_minor": -rng.integers(500, 9000, many.sum()),
            "category": rng.choice(["groceries", "rent"], many.sum()),
        }
    )
    rows = []
    for customer in ids[member]:
        left = 0
        for month in range(months):
            moment = pd.Timestamp(joins) + pd.DateOffset(months=month) + pd.Timedelta(hours=10)
            rows.append((customer, moment, 100, "purchase", moment.normalize() + pd.DateOffset(months=12)))
            left += 100
            if left > 150 and rng.random() < 0.15:
                rows.append((customer, moment + pd.Timedelta(days=5), -(left // 2), "redemption", pd.NaT))
                left -= left // 2
    names = ["customer_id", "occurred_at", "points", "reason", "expires_on"]
    entries = pd.DataFrame(rows, columns=names)
    entries = entries.assign(entry_id=np.arange(len(entries)).astype(str))
    people = pd.DataFrame(
        {"customer_id": ids, "valid_from": dt.date(2020, 1, 1), "customer_since": dt.date(2020, 1, 1)}
    )
    out = {"customers": people, "transactions": paid, "loyalty_entries": entries}
    if campaign:
        plan = {"campaign_id": "P", "name": "Points", "goal": "loyalty", "starts_on": joins}
        out["campaigns"] = pd.DataFrame([plan])
        out["campaign_members"] = pd.DataFrame(
            {
                "campaign_id": "P",
                "customer_id": ids,
                "assigned_at": pd.Timestamp(joins) + pd.Timedelta(hours=6),
                "arm": np.where(invited, "mail", "control"),
                "control": ~invited,
            }
        )
    return out


def folder(data: Path, made: dict[str, pd.DataFrame]) -> Path:
    paths.warehouse(data).mkdir(parents=True)
    path = paths.warehouse(data) / "v000001.duckdb"
    build.from_frames(path, made)
    now = dt.datetime(2025, 7, 1)
    with session.session(data) as store:
        row = {"version": 1, "state": "published", "file": path.name, "format_version": schema.FORMAT_VERSION}
        store.add(tables.Version(**row, created_at=now, published_at=now))
        store.flush()
        store.merge(tables.Pointer(name="served", version=1))
        store.commit()
    return data


def opened(data: Path) -> snapshot.Snapshot:
    return snapshot.open_file(paths.warehouse(data) / "v000001.duckdb").snapshot(DAY)


def test_outcomes_of_the_warehouse_are_those_of_a_plain_count(tmp_path: Path) -> None:
    made = bank()
    late = made["campaign_members"].index < 50  # some are drawn later than the others
    made["campaign_members"].loc[late, "assigned_at"] += pd.Timedelta(days=100)
    known = opened(folder(tmp_path, made))
    joined, invited = programme.first_points(known), programme.invitations(known)
    found = programme.outcomes(known, invited, joined, categories=["groceries"]).set_index("unit")
    begin = invited.set_index("customer_id")["assigned_at"].dt.normalize()
    paid = made["transactions"]
    paid = paid[(paid["category"] == "groceries") & (paid["occurred_at"].dt.date <= DAY)]
    paid = paid[paid["occurred_at"] >= paid["customer_id"].map(begin)]
    assert found["purchases"].to_dict() == paid.groupby("customer_id").size().reindex(found.index).fillna(0).to_dict()
    spent = -paid.groupby("customer_id")["amount_minor"].sum().reindex(found.index).fillna(0)
    np.testing.assert_allclose(found["spent_minor"], spent)
    assert (found["days"] == (pd.Timestamp(DAY) - begin.reindex(found.index)).dt.days + 1).all()
    members = set(made["loyalty_entries"]["customer_id"])
    assert (found["joined"] == [float(unit in members) for unit in found.index]).mean() > 0.95  # the late joined before
    assert of(programme.effects(known, categories=["groceries"]), "joined")["code"] == "randomised"


def test_two_records_of_a_person_count_as_one(tmp_path: Path) -> None:
    made = bank()
    ids = made["customers"]["customer_id"]
    made["customers"]["person_id"] = ["same", "same", *ids[2:]]
    made["campaign_members"].loc[:1, "control"] = False
    known = opened(folder(tmp_path, made))
    found = programme.outcomes(known, programme.invitations(known), programme.first_points(known))
    assert len(found) == len(ids) - 1 and found["purchases"].sum() > 0
    both = found.set_index("unit").loc["same"]
    assert both["days"] == 2 * ((DAY - dt.date(2024, 7, 1)).days + 1)


def test_without_a_draw_members_are_matched_or_it_is_said_why_not(tmp_path: Path) -> None:
    known = opened(folder(tmp_path, bank(campaign=False)))
    table = programme.effects(known)
    assert set(table["method"]) == {"matched", "placebo", "members"} and of(table, "matched")["code"] == "matched_only"
    early = bank(campaign=False, joins=dt.date(2023, 8, 1))
    found = programme.effects(opened(folder(tmp_path / "early", early)))
    assert set(found["code"]) == {"nothing_before"}, "everybody joined as the records began"
    with pytest.raises(UsageError, match=r"level is 0\.2"):
        programme.effects(known, level=0.2)


def test_a_campaign_without_a_control_group_is_no_draw(tmp_path: Path) -> None:
    made = bank()
    made["campaign_members"]["control"] = False
    assert programme.invitations(opened(folder(tmp_path, made))).empty


def test_the_job_saves_points_and_what_belongs_to_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = bank(joins=dt.date(2023, 8, 1), months=22)
    extra = {
        "customer_id": "C0699",
        "occurred_at": pd.Timestamp(2025, 1, 1),
        "points": -(10**6),
        "reason": "redemption",
    }
    made["loyalty_entries"] = pd.concat(
        [made["loyalty_entries"], pd.DataFrame([{**extra, "entry_id": "bad"}])], ignore_index=True
    )
    data = folder(tmp_path, made)
    (data / "points.toml").write_text(
        'point_minor = 2\n[[rules]]\nname = "food"\ncategories = ["groceries"]\nper_minor = 1000\n'
    )
    table = points_jobs.points(data, stages=Stages(), as_of=str(DAY))
    found = score_sets.newest(data, "points")
    assert list(table) == ["customer_id", "as_of", "balance", "expiring_90", "liability_minor"]
    assert found.as_of == DAY and found.rows == len(table) and "C0699" not in set(table["customer_id"])
    beside = {
        name: score_sets.beside(data, found, name)
        for name in ("liability", "programme", "rules", "refused", "backtest")
    }
    assert beside["refused"]["entry_id"].tolist() == ["bad"] and "would go below zero" in capsys.readouterr().out
    path = beside["liability"]
    assert {"month", "points_open", "liability_minor", "low", "high", "breakage"} <= set(path)
    now = path[path["ahead"] == 0].iloc[0]
    assert now["liability_minor"] == pytest.approx(table["liability_minor"].sum())
    assert of(beside["programme"], "joined")["code"] == "randomised"
    assert beside["rules"]["rule"].tolist() == ["food"] and beside["rules"]["points"].item() > 0
    assert beside["rules"]["cost_minor"].item() == 2 * beside["rules"]["points"].item()
    own = table[table["balance"] > 0].iloc[0]
    entries = made["loyalty_entries"]
    mine = entries[(entries["customer_id"] == own["customer_id"]) & (entries["occurred_at"].dt.date <= DAY)]
    over = mine["expires_on"].dt.date < DAY
    assert 0 < own["balance"] <= mine["points"].sum() and (own["balance"] == mine["points"].sum() or over.any())


def test_the_job_says_when_there_is_too_little_or_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = bank(customers=60)
    table = points_jobs.points(folder(tmp_path / "few", made), stages=Stages(), as_of=str(DAY))
    assert table["liability_minor"].isna().all() and "need 30 in 6" in capsys.readouterr().out
    empty = {name: rows for name, rows in made.items() if name != "loyalty_entries"}
    data = folder(tmp_path / "none", empty)
    with pytest.raises(DataError, match=r"loyalty_entries holds no points \(found 0 entries, need 1\)"):
        points_jobs.points(data, stages=Stages(quiet=True), as_of=str(DAY))
    (data / "points.toml").write_text('[[rules]]\nname = "all"\nper_minor = 1000\n')
    earned = points_jobs.points(data, stages=Stages(quiet=True), as_of=str(DAY))
    assert earned["balance"].sum() > 0, "with rules and no ledger, the points that the rules give"
