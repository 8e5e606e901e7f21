"""What uplift is worth: on Hillstrom's e-mail test, and on the sample bank against the planted effects of contact.

    CRM_REAL_DATA=FOLDER python benchmarks/bench_uplift.py hillstrom
    python benchmarks/bench_uplift.py bank --data FOLDER        # a data folder of the demo, trained
    python benchmarks/bench_uplift.py programme --data FOLDER

hillstrom: profit is 40% of spend less the cost of the e-mail. Five folds: on four a model is fitted (it chooses its form
by itself, on inner folds), on the fifth its policy is valued, by inverse chances and the outcomes expected from the four.
bank: uplift by product and channel as of a quarter end, learnt from earlier campaigns only, against the truth.
programme: what all campaigns together changed, by the universal hold-out, against what was planted. How often intervals
under repeated looks exclude zero without an effect is simulated in tests/test_experiments_sequential.py.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from crmlib import features, samples, warehouse
from crmlib.decisions import call_list, experiments
from crmlib.decisions.experiments.programme import customers
from crmlib.models import policy_value, propensity, qini, registry, uplift, uplift_assign
from crmlib.runs import uplift_jobs
from crmlib.samples import public

RESULTS = Path(__file__).parent / "results"
MARGIN = 0.4  # of spend
COSTS = (0.05, 0.15, 0.30)  # $ an e-mail
BUDGETS = (0.25, 0.50, 1.0)  # share of customers who may be mailed
ARMS = ("No E-Mail", "Mens E-Mail", "Womens E-Mail")
CHANCES = dict.fromkeys(ARMS, 1 / 3)


def trial(table: pd.DataFrame) -> tuple[pd.DataFrame, policy_value.Trial]:
    """Return what was known of each customer, and the trial in margin, $."""
    known = table[["recency", "history", "mens", "womens", "zip_code", "newbie", "channel"]]
    outcome = MARGIN * table["spend"]
    return known, policy_value.trial(table["segment"], outcome, control=ARMS[0], chances=CHANCES)


def hillstrom(table: pd.DataFrame, *, seed: int = 1, folds: int = 5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the value of policies by cost and budget, and how the model was chosen and ordered customers by fold."""
    known, given = trial(table)
    fold = np.random.default_rng(seed).permutation(np.arange(len(known)) % folds)
    effects, expected, better = np.empty((len(known), 2)), np.empty((len(known), 3)), np.empty(len(known), dtype=int)
    notes = []
    for number in range(folds):
        own = fold == number
        model = uplift.UpliftModel(seed=seed).fit(known[~own], given.take(np.flatnonzero(~own)))
        effects[own], expected[own] = model.effects(known[own]), model.expected(known[own])
        better[own] = 1 + int(np.argmax([model.found_[name].average for name in given.names[1:]]))
        notes += [{"fold": number, "arm": name, **vars(found)} for name, found in model.found_.items()]
    rows = []
    for cost in COSTS:
        costs = np.array([0.0, cost, cost])
        for budget in BUDGETS:
            policy = np.empty(len(known), dtype=int)
            for number in range(folds):  # a budget holds in each fold, for each is a mailing of its own
                own = fold == number
                limit = budget * own.sum()
                policy[own] = uplift_assign.assign(
                    effects[own] - cost, np.ones((own.sum(), 2)), budget=limit, seed=seed
                )
            rows += _valued(given, policy, better, costs=costs, expected=expected, budget=budget)
    for note in notes:  # within each fold: predictions of different models are not in one order
        own = fold == note["fold"]
        effect = qini.contrast(given, note["arm"], expected=expected)[own]
        found = qini.coefficient(effects[own, given.names.index(note["arm"]) - 1], effect)
        note |= {"qini": found.value, "qini_low": found.low, "qini_high": found.high}
    return pd.DataFrame(rows), pd.DataFrame(notes)


def _valued(given, policy, better, *, costs, expected, budget):  # type: ignore[no-untyped-def]
    """Return the rows of one cost and budget: the policies, and the differences from them."""
    size = len(policy)
    options = {"costs": costs, "expected": expected}
    mailed = (policy > 0).mean()
    share = np.zeros((size, 3))
    share[np.arange(size), better] = mailed
    share[:, 0] = 1 - mailed
    worth = {
        "policy": policy_value.gain(given, policy, **options),
        "everyone, better arm": policy_value.gain(given, better, **options),
        "random, as many": policy_value.gain(given, share, **options),
        "random arm": policy_value.gain(given, np.tile([1 - mailed, mailed / 2, mailed / 2], (size, 1)), **options),
        "nobody": np.zeros(size),
    }
    rows = []
    for name, values in worth.items():
        value, gained = policy_value.estimate(values), policy_value.estimate(worth["policy"] - values)
        rows.append(
            {
                "cost": costs[1],
                "budget": budget,
                "policy": name,
                "mailed": mailed if name != "everyone, better arm" else 1.0,
            }
            | {"value": value.value, "low": value.low, "high": value.high}
            | {"policy_gains": gained.value, "gain_low": gained.low, "gain_high": gained.high}
        )
    return rows


def bank(data: Path, *, as_of: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return agreement with the planted effects by channel, calibration by decile, and what choosing the channel earns.

    Everything is learnt from what was known at ``as_of``; the model of propensity is that of the data folder.
    """
    snapshot = warehouse.open(data / "warehouse").snapshot(as_of)
    saved = registry.load(data)
    started = time.process_time()
    model, members = uplift_jobs.learn(snapshot, saved)
    inputs = features.build(snapshot, features.from_json(saved.specification))
    pairs = propensity.candidates(snapshot, products=saved.model.fitted_.products)
    table = model.score(inputs, saved.model.score(inputs, pairs))
    print(
        f"learnt from {len(members):,} members, scored {len(table):,} rows: {time.process_time() - started:.1f} s CPU"
    )
    planted = samples.truth(data / "samples" / "bank", "purchases")
    planted = planted[planted["as_of"] == as_of]
    keys = ["customer_id", "product_id"]
    planted = planted.astype(dict.fromkeys(keys, "str"))
    wide = table.astype(dict.fromkeys([*keys, "channel"], "str"))
    wide = wide.pivot(index=keys, columns="channel", values=["score", "low", "high"])
    wide.columns = [f"{figure}_{channel}" for figure, channel in wide.columns]
    both = planted.merge(wide.reset_index(), on=keys, validate="one_to_one")
    agreement, deciles = [], []
    for channel in model.channels_:
        true, found = both[f"p_{channel}"] - both["p_none"], both[f"score_{channel}"]
        inside = (both[f"low_{channel}"] <= true) & (true <= both[f"high_{channel}"])
        slope = float(np.polyfit(found, true, 1)[0])
        row = {"channel": channel, "pairs": len(both), "correlation": float(np.corrcoef(found, true)[0, 1])}
        row |= {"rank_correlation": float(stats.spearmanr(found, true).statistic), "slope": slope}
        row |= {"estimated": float(found.mean()), "planted": float(true.mean()), "bias": float((found - true).mean())}
        agreement.append(row | {"covered": float(inside.mean())})
        parts = pd.qcut(found, 10, labels=False)
        means = pd.DataFrame({"estimated": found, "planted": true}).groupby(parts).mean()
        deciles.append(means.rename_axis("decile").reset_index().assign(channel=channel))
    return pd.DataFrame(agreement), pd.concat(deciles), _channel_choice(both, snapshot, model.channels_)


def whole_programme(data: Path) -> pd.DataFrame:
    """Return the measured effect of all campaigns, and the planted one: of the contacts on the probabilities of each quarter."""
    wh = warehouse.open(data / "warehouse")
    snapshot = wh.snapshot(wh.period[1])  # type: ignore[index]
    measured = experiments.programme(snapshot)
    rows = samples.truth(data / "samples" / "bank", "purchases")
    margins = call_list.margins(snapshot.table("products"), company=wh.company).set_index("product_id")["margin_minor"]
    # A quarter of N days instead of 90: the same factor for all, known from the calendar.
    days = (rows["as_of"] + pd.offsets.QuarterEnd(1) - rows["as_of"]).dt.days
    added = (rows["p"] - rows["p_none"]) * days / 90
    costs = customers(snapshot)["cost_minor"].sum()
    profit = float((added * rows["product_id"].astype("str").map(margins)).sum() - costs)
    return measured.assign(
        planted_total=measured["measure"].map({"conversions": float(added.sum()), "profit_minor": profit})
    )


def _channel_choice(both: pd.DataFrame, snapshot: warehouse.Snapshot, channels: list[str]) -> pd.DataFrame:
    """Return the planted profit of one contact for each permitted pair worth it, the channel chosen in several ways."""
    company = snapshot.warehouse.company
    allowed = call_list.permitted(snapshot.table("consents"), both["customer_id"].drop_duplicates(), company=company)
    allowed = allowed.assign(may=True).pivot(index="customer_id", columns="channel", values="may")
    may = allowed.reindex(both["customer_id"])[channels].fillna(False).to_numpy(dtype=bool)
    margin = both["product_id"].map(
        call_list.margins(snapshot.table("products"), company=company).set_index("product_id")["margin_minor"]
    )
    cost = np.array([company.contact_costs_minor[name] for name in channels], dtype=float)
    planted = (both[[f"p_{name}" for name in channels]].to_numpy() - both[["p_none"]].to_numpy()) * margin.to_numpy()[
        :, None
    ] - cost
    found = both[[f"score_{name}" for name in channels]].to_numpy() * margin.to_numpy()[:, None] - cost
    rows = np.arange(len(both))
    worst = np.where(may, cost, np.inf)
    choices = {
        "estimated uplift": np.where(may, found, -np.inf),
        "cheapest channel, to all": np.where(may & (cost == worst.min(axis=1)[:, None]), 1.0, -np.inf),
        "oracle": np.where(may, planted, -np.inf),
    }
    out = []
    for name, worth in choices.items():
        best, value = worth.argmax(axis=1), worth.max(axis=1)
        contacted = value > 0
        profit = planted[rows, best][contacted]
        shares = {f"share_{c}": float((best[contacted] == k).mean()) for k, c in enumerate(channels)}
        out.append({"choice": name, "contacts": int(contacted.sum()), "profit": float(profit.sum() / 100), **shares})
    return pd.DataFrame(out)


def save(name: str, result: dict[str, object]) -> None:
    """Write a result for the table of README.md."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, default=float) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["hillstrom", "bank", "programme"])
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="data folder with the loaded, trained sample bank"
    )
    parser.add_argument("--as-of", default="2025-09-30")
    started = time.process_time()
    given = parser.parse_args()
    pd.set_option("display.width", 200, "display.max_columns", 30, "display.max_rows", 200)
    if given.part == "hillstrom":
        values, notes = hillstrom(public.hillstrom())
        tables = {"values": values, "models": notes}
    elif given.part == "bank":
        agreement, deciles, choice = bank(given.data, as_of=given.as_of)
        tables = {"agreement": agreement, "deciles": deciles, "choice": choice}
    else:
        tables = {"programme": whole_programme(given.data)}
    for table in tables.values():
        print(table.round(4).to_string(index=False), end="\n\n")
    save(f"uplift_{given.part}", {name: table.to_dict("records") for name, table in tables.items()})
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{time.process_time() - started:.1f} s CPU, {memory:,.0f} MB")


if __name__ == "__main__":
    main()
