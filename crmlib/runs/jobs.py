"""The jobs behind the command line: load, check, train, score."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy.exc import SQLAlchemyError

from crmlib import features, paths, warehouse
from crmlib.decisions import call_list
from crmlib.errors import CrmError, DataError, EnvironmentFault, UsageError
from crmlib.models import distilled, explain, metrics, propensity, registry
from crmlib.runs import clock, secrets, tidy
from crmlib.runs.notebooks import INTERRUPTED
from crmlib.runs.stages import Stages, shown, size
from crmlib.store import ledger, score_sets
from crmlib.views import targeting
from crmlib.warehouse import company as companies
from crmlib.warehouse import quality
from crmlib.warehouse.snapshot import parse_date

HISTORY_DAYS = 90
"""What lies between the first record and the training date at least, days: without it there is nothing to learn from."""


@contextmanager
def recorded(
    data: Path, kind: str, parameters: dict[str, Any], *, warehouse_version: int | None = None
) -> Iterator[int]:
    """Enter a run in the ledger, and at its end how it ended; yields its number."""
    tidy.after_the_dead(data, now=clock.now())
    run_id = ledger.start_run(data, kind=kind, name=kind, parameters=parameters, now=clock.now())
    try:
        yield run_id
    except BaseException as error:
        state = "failed" if isinstance(error, Exception) else "interrupted"
        code = error.exit_code if isinstance(error, CrmError) else 1 if state == "failed" else INTERRUPTED
        ended = {
            "state": state,
            "exit_code": code,
            "message": secrets.scrub(str(error), data),
            "warehouse_version": warehouse_version,
        }
        # Where the store itself is what failed, the next job finds that this one has ended.
        with suppress(CrmError, SQLAlchemyError):
            ledger.finish_run(data, run_id, now=clock.now(), **ended)  # type: ignore[arg-type]
        raise
    ledger.finish_run(
        data, run_id, state="succeeded", now=clock.now(), exit_code=0, warehouse_version=warehouse_version
    )


def load(
    sources: Sequence[str | Path],
    mapping: Path,
    *,
    data: Path,
    stages: Stages,
    company: Path | None = None,
    recorded_at: dt.datetime | None = None,
    max_bad_share: float = 0.01,
) -> warehouse.LoadReport:
    """Load sources into a new version and print what came of it; see ``warehouse.load``.

    A source may be a reference to a secret that holds a database's URL. A ``company`` file is checked first and becomes
    the data folder's once the load was accepted.
    """
    sources = [secrets.resolve(source, data) for source in sources]  # a database's URL holds its password
    _refuse_to_mix(sources, data)
    settings = companies.read(company) if company else None
    own = data / "company.toml"
    new = company if company and company.resolve() != own.resolve() else None
    with (
        stages.stage("load", f"{len(sources)} source(s) by {mapping.name}") as stage,
        tidy.becoming_company(new, data) as take,
    ):
        tidy.after_the_dead(data, now=clock.now())
        report = warehouse.load(
            sources,
            mapping,
            data=data,
            recorded_at=recorded_at or clock.now(),
            now=clock.now(),
            max_bad_share=max_bad_share,
            company=settings,
            progress=not stages.quiet and sys.stderr.isatty(),
        )
        take()
        counts = report.counts
        for what in ("accepted", "quarantined", "unchanged"):
            stage.say(f"{int(counts[what].sum()):,} {what}")
        file = paths.warehouse(data) / f"v{report.version:06d}.duckdb" if report.version else None
        stage.say(f"nothing new: version {report.version} stays" if report.noop else f"version {report.version}")
        if file and file.exists() and not report.noop:
            stage.say(f"{shown(file)} ({size(file)})")
    if not stages.quiet:
        for message in report.messages:
            print(f"{'':<21}{message}")
    return report


def sample_folder(data: Path, company: str = "bank") -> Path:
    """Return where the demo keeps its made-up company."""
    return data / "samples" / company


def demo_mark(data: Path) -> Path:
    """Return the file that says that a data folder was made by the demo, and with which settings."""
    return data / "demo.json"


def _refuse_to_mix(sources: Sequence[str | Path], data: Path) -> None:
    """Raise UsageError where real records would join the demo's made-up company in one warehouse."""
    made_up = data / "samples"
    if demo_mark(data).exists() and not all(made_up in Path(str(source)).absolute().parents for source in sources):
        raise UsageError(
            f"{data} holds the demo's made-up company; load your own files elsewhere, for example --data mine"
        )


def last_day(wh: warehouse.Warehouse) -> dt.date:
    """Return the day of the last record of a version; raises DataError where it holds no events."""
    if wh.period is None:
        raise DataError(f"version {wh.version} of the warehouse holds no events; load transactions or holdings first")
    return wh.period[1]


def check(data: Path, *, as_of: str | None, columns: bool) -> None:
    """Print quality and freshness as of a day (default: the last record), a line a table or a line a column."""
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(as_of or last_day(wh))
    found = quality.check(snapshot)
    tables = quality.summary(found)
    filled = tables.loc[tables["rows"] > 0, "table"]
    listed = (found if columns else tables).set_index("table").loc[filled].reset_index()
    print(f"version {wh.version}, as of {snapshot.as_of}; {len(tables) - len(filled)} tables are empty\n")
    print(listed.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.3f}"))
    refused = quality.quarantine(data)
    print(
        f"\n{len(refused):,} findings in quarantine" + (f"; see {shown(data / 'quarantine')}" if len(refused) else "")
    )


@dataclass(frozen=True)
class Dates:
    """The successive dates of an honest evaluation: fitted on the first, calibrated on the second, tested on the third."""

    train: dt.date
    tune: dt.date
    test: dt.date


def evaluation_dates(period: tuple[dt.date, dt.date], *, within_days: int, as_of: dt.date | None = None) -> Dates:
    """Return the latest three month ends whose outcomes are known and do not overlap.

    ``period`` is the first and last day on record. Raises DataError where the records are too short.

    >>> dates = evaluation_dates((dt.date(2024, 1, 1), dt.date(2025, 12, 31)), within_days=90)
    >>> [str(day) for day in (dates.train, dates.tune, dates.test)]
    ['2025-03-31', '2025-06-30', '2025-09-30']
    """
    horizon = dt.timedelta(days=within_days)
    latest = period[1] - horizon
    if as_of and as_of > latest:
        raise DataError(
            f"as_of {as_of}: what was bought within {within_days} days after it is not known yet; "
            f"the records end on {period[1]}, so the latest date to test on is {latest}"
        )
    test = as_of or _month_end(latest)
    tune = _month_end(test - horizon)
    train = _month_end(tune - horizon)
    if train - dt.timedelta(days=HISTORY_DAYS) < period[0]:
        raise DataError(
            f"the records run from {period[0]} to {period[1]}, too short for three dates {within_days} days apart "
            f"with {HISTORY_DAYS} days before the first; load a longer history or lower --within-days"
        )
    return Dates(train, tune, test)


def _month_end(day: dt.date) -> dt.date:
    """Return the last month end that is not after ``day``."""
    following = day + dt.timedelta(days=1)
    return day if following.day == 1 else day.replace(day=1) - dt.timedelta(days=1)


def train(
    data: Path, *, stages: Stages, within_days: int = 90, as_of: str | None = None, seed: int = 7, fast: bool = False
) -> registry.Registered:
    """Fit on one date, calibrate on the next, test on a third; save the model with its evaluation.

    With ``fast`` a cheaper scorer is distilled from the model and kept with it, for ``score``; it takes two products at least.

    Beside the model lie evaluation.parquet (``metrics.evaluate`` with the logistic baseline), by_group.parquet
    (calibration by product, channel and segment), gains.parquet, reliability.parquet and leaks.parquet.
    """
    wh = warehouse.open(paths.warehouse(data))
    wanted = parse_date(as_of) if as_of else None
    last_day(wh)
    dates = evaluation_dates(wh.period, within_days=within_days, as_of=wanted)  # type: ignore[arg-type]
    settings = {"within_days": within_days, "seed": seed, "test": str(dates.test), "fast": fast}
    with recorded(data, "train", settings, warehouse_version=wh.version):
        with stages.stage("features", f"as of {dates.train}, {dates.tune} and {dates.test}") as stage:
            snapshots = [wh.snapshot(day) for day in (dates.train, dates.tune, dates.test)]
            spec = features.resolve(features.DEFAULT, snapshots[0])
            inputs = [features.build(snapshot, spec) for snapshot in snapshots]
            stage.say(f"{len(inputs[-1]):,} customers × {inputs[-1].shape[1] - 2} features × 3 dates")
        with stages.stage("labels", f"who bought what within {within_days} days") as stage:
            products, labels = _labels(wh, snapshots, within_days)
            if fast:
                distilled.check(products)
            stage.say(f"{len(products)} products, {int(labels[0]['bought'].sum()):,} purchases to learn from")
            unsold = sorted(_on_sale(snapshots[0]) - set(products))
            if unsold:
                stage.say(f"left out, for nobody bought them or they were withdrawn: {', '.join(unsold)}")
        with stages.stage("train", "one model for all products") as stage:
            model = propensity.PropensityModel(seed=seed)
            # Of many customers a date takes gigabytes: what calibrates is let go afterwards.
            tune = inputs.pop(1), labels.pop(1)
            model.fit(inputs[0], labels[0], calibrate=tune)
            few = model.products_.loc[model.products_["reason"] != "own", "product_id"].tolist()
            stage.say(
                f"leaning on all products for want of buyers: {', '.join(few)}" if few else "enough buyers for each"
            )
        imitation = None
        if fast:
            with stages.stage("distil", "a cheaper scorer, taught by the model") as stage:
                imitation = distilled.distil(model, inputs[0], calibrate=tune, seed=seed)
                stage.say(_imitated(imitation))
        del tune
        with stages.stage("evaluate", f"on {dates.test}, against a logistic baseline") as stage:
            tables = _evaluation(model, snapshots[2], inputs, labels, seed=seed)
            summary = _summary(tables["evaluation"])
            stage.say(_told(summary))
            if len(tables["leaks"]):
                stage.say(_suspected(tables["leaks"]))
        with stages.stage("save", "model and evaluation") as stage:
            meta = {"dates": {name: str(day) for name, day in vars(dates).items()}, "within_days": within_days}
            if imitation is not None:
                meta["lost"] = imitation.lost
            version = registry.save(
                model,
                data=data,
                warehouse_version=wh.version,
                as_of=dates.tune,
                now=clock.now(),
                metrics={**summary, **meta, "seed": seed},
                specification=features.to_json(spec),
                tables=tables,
                also=None if imitation is None else imitation.write,
            )
            saved = registry.load(data, version=version)
            folder = data / "models" / propensity.NAME / f"{version:04d}"
            stage.say(f"model version {version} in {shown(folder)} ({size(folder)})")
    return saved


def _labels(
    wh: warehouse.Warehouse, snapshots: Sequence[warehouse.Snapshot], within_days: int
) -> tuple[list[str], list[pd.DataFrame]]:
    """Return the products that were bought in the period of training, and the labels of each date for them."""
    first = propensity.purchases(wh, after=snapshots[0], within_days=within_days)
    on_sale = set.intersection(*[_on_sale(snapshot) for snapshot in snapshots])
    products = [name for name in propensity.sold(first) if name in on_sale]
    if not products:
        raise DataError(
            f"nobody bought anything within {within_days} days after {snapshots[0].as_of}; "
            "load the holdings of that period or take another date with --as-of"
        )
    rest = [propensity.purchases(wh, after=one, within_days=within_days, products=products) for one in snapshots[1:]]
    return products, [first[first["product_id"].isin(products)], *rest]


def _on_sale(snapshot: warehouse.Snapshot) -> set[str]:
    products = snapshot.table("products", ["product_id", "withdrawn_on"])
    return set(products.loc[products["withdrawn_on"].isna(), "product_id"])


def _evaluation(
    model: propensity.PropensityModel,
    snapshot: warehouse.Snapshot,
    inputs: Sequence[pd.DataFrame],
    labels: Sequence[pd.DataFrame],
    *,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Return the tables about the model; ``inputs`` and ``labels`` are of the date of training and of that of the test."""
    from crmlib.models import baseline, leaks  # noqa: PLC0415  (statsmodels takes a second to import)

    def simple() -> tuple[pd.DataFrame, pd.DataFrame]:
        scores = baseline.fit(inputs[0], labels[0], seed=seed).score(inputs[1], labels[1])
        return metrics.evaluate(scores, labels[1]), metrics.gains(scores, labels[1]).assign(model="baseline")

    # Three independent pieces of numerical work that mostly run outside Python's lock.
    with ThreadPoolExecutor(3) as pool:
        other = pool.submit(simple)
        suspects = pool.submit(leaks.check, inputs[0], labels[0], seed=seed)
        scores = model.score(inputs[1], labels[1])
        groups = snapshot.table("customers", ["customer_id", "preferred_channel", "segment"])
        groups = groups.fillna({"preferred_channel": "", "segment": ""})
        good, by_group = metrics.evaluate(scores, labels[1]), metrics.evaluate(scores, labels[1], by=groups)
        gains = metrics.gains(scores, labels[1]).assign(model="propensity")
        evaluated, simple_gains = other.result()
        return {
            "evaluation": baseline.compare(good, evaluated),
            "by_group": by_group,
            "gains": pd.concat([gains, simple_gains], ignore_index=True),
            "reliability": metrics.reliability(scores, labels[1]),
            "leaks": suspects.result(),
        }


def _imitated(found: distilled.Distilled) -> str:
    """Say what the cheaper scorer loses, and which products keep their own trees."""
    own = found.judged.loc[found.judged["scorer"] == "full", "product_id"].tolist()
    kept = f"; scored by the model itself, for they would lose more than {distilled.MOST_LOST} or have few buyers: {', '.join(own)}"
    return f"loses {found.lost:.4f} of AUC in the mean of products{kept if own else ''}"


def _summary(evaluation: pd.DataFrame) -> dict[str, Any]:
    """Return the figures over all products: each metric with its interval, and the baseline's."""
    overall = evaluation[evaluation["product_id"] == "(all)"].set_index("metric")
    figures = ["value", "low", "high", "baseline"]
    return {str(name): {key: float(row[key]) for key in figures} for name, row in overall[figures].iterrows()}


def _told(summary: dict[str, Any]) -> str:
    auc, slope = summary["auc"], summary["slope"]
    return (
        f"AUC {auc['value']:.3f} ({auc['low']:.3f}-{auc['high']:.3f}; logistic {auc['baseline']:.3f}), "
        f"calibration slope {slope['value']:.2f} ({slope['low']:.2f}-{slope['high']:.2f})"
    )


def _suspected(leaks: pd.DataFrame) -> str:
    names = sorted(set(leaks["feature"]))
    more = f" and {len(names) - 5} more (leaks.parquet)" if len(names) > 5 else ""
    return f"look into {', '.join(names[:5])}{more}: each alone predicts unusually well"


EXPLAINED = 300
"""For how many customers at the top of each product's list reasons are kept."""


def score(
    data: Path, *, stages: Stages, as_of: str | None = None, model_version: int | None = None, fast: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score every customer who can buy and has not objected, make the call lists and their reasons, save all three.

    With ``fast`` the cheaper scorer distilled from the model gives the scores; the reasons are still the model's own.

    Returns the scores and the call lists. Scores and reasons lie in ``data/scores/propensity``, lists in ``data/lists``.
    """
    saved = registry.load(data, version=model_version)
    scorer = distilled.load(saved) if fast else saved.model
    wh = warehouse.open(paths.warehouse(data))
    snapshot = wh.snapshot(as_of or last_day(wh))
    parameters = {"as_of": str(snapshot.as_of), "model_version": saved.version, "warehouse_version": wh.version}
    if fast:
        parameters["scorer"] = distilled.NAME
    with recorded(data, "score", parameters, warehouse_version=wh.version) as run_id:
        with stages.stage("score", f"every customer as of {snapshot.as_of}") as stage:
            spec = features.from_json(saved.specification)
            inputs = features.build(snapshot, spec)
            on_sale = _on_sale(snapshot)
            products = [name for name in saved.model.fitted_.products if name in on_sale]
            if not products:
                raise DataError(f"none of the products the model knows is on sale as of {snapshot.as_of}; train again")
            scores = scorer.score(inputs, propensity.candidates(snapshot, products=products))
            stage.say(f"{len(scores):,} scores of {scores['customer_id'].nunique():,} customers")
            withdrawn = sorted(set(saved.model.fitted_.products) - on_sale)
            if withdrawn:
                stage.say(f"no longer sold: {', '.join(withdrawn)}")
        with stages.stage("lists", "whom to contact about which product") as stage:
            own = data / "company.toml"
            company = companies.read(own) if own.exists() else wh.company
            lists = call_list.call_lists(snapshot, scores, company=company)
            top = lists[lists["rank"] <= EXPLAINED]
            reasons = _packed(explain.reasons(saved.model, inputs, top, meanings=features.describe(spec)))
            stage.say(f"{len(lists):,} contacts worth making, {lists['customer_id'].nunique():,} customers")
            profit = lists["expected_profit_minor"].sum() / 100
            stage.say(f"expected profit {profit:,.0f} {company.currency}")
        with stages.stage("save", "scores, lists, reasons") as stage:
            number = registry.save_scores(
                scores,
                data=data,
                model_version=saved.version,
                warehouse_version=wh.version,
                as_of=snapshot.as_of,
                now=clock.now(),
                beside={"reasons": reasons},
                lists=lists,
                run_id=run_id,
            )
            file = score_sets.lists_file(data, number)
            stage.say(f"{shown(file)} ({size(file)})")
        with stages.stage("pages", "what campaign targeting shows, counted in advance") as stage:
            try:
                stage.say(f"{targeting.prepare(data)} products")
            except (EnvironmentFault, OSError) as error:  # the scores stand; their pages are counted when first opened
                stage.say(f"not counted: {error}")
    return scores, lists


def _packed(reasons: pd.DataFrame) -> pd.DataFrame:
    """Return one row per customer and product: customer_id, product_id, reasons (JSON list of codes with parameters)."""
    columns = [reasons[name] for name in ("code", "direction", "contribution", "parameters")]
    codes: list[dict[str, Any]] = [
        {"code": code, "direction": direction, "contribution": round(float(part), 4), **parameters}
        for code, direction, part, parameters in zip(*columns, strict=True)
    ]
    keyed = reasons[["customer_id", "product_id"]].assign(code=pd.Series(codes, index=reasons.index, dtype=object))
    packed = keyed.groupby(["customer_id", "product_id"], observed=True, sort=False)["code"].agg(list).reset_index()
    texts = [json.dumps(found, ensure_ascii=False, default=str) for found in packed["code"]]
    return packed.drop(columns="code").assign(product_id=packed["product_id"].astype(str), reasons=texts)
