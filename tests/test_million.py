"""What keeps memory flat at a million customers changes no result: blocks, chunks, one lane, bounded readers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from crmlib.decisions import value
from crmlib.models import baseline
from crmlib.models.churn import definitions, risk
from crmlib.models.lifecycle import hidden
from crmlib.runs import demo_bank, segment_jobs
from crmlib.runs.stages import Stages
from crmlib.warehouse import snapshot

DAYS = tuple(pd.Timestamp(day) for day in ("2024-12-31", "2025-03-31", "2025-06-30", "2025-09-30"))


def encoded(size: int) -> hidden.Encoded:
    """Made-up classes of customers, some of whom joined late, ended or came back."""
    random = np.random.default_rng(3)
    kinds = [len(edges) + 2 for edges in hidden.CHANNELS.values()]
    codes = np.stack([random.integers(0, kind, (size, len(DAYS))) for kind in kinds], axis=2).astype(np.int8)
    present = np.arange(len(DAYS)) >= random.integers(0, 3, size)[:, None]
    ended = present & (random.random((size, len(DAYS))) < 0.1)
    return hidden.Encoded(pd.RangeIndex(size), DAYS, codes, present, ended, random.random(size) < 0.3)


@pytest.mark.parametrize("block", [1, 37, 499])
def test_hidden_states_are_the_same_in_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = encoded(500)
    start = hidden._first(given, 4)
    whole, likelihood = hidden._step(start, given)
    seen, each = whole.filtered(given), hidden.log_likelihood(whole, given)
    monkeypatch.setattr(hidden, "BLOCK", block)
    better, same = hidden._step(start, given)
    assert same == pytest.approx(likelihood, rel=1e-12)
    for name in ("start", "move"):
        np.testing.assert_allclose(getattr(better, name), getattr(whole, name), rtol=1e-10)
    for mine, theirs in zip(better.emit, whole.emit, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10)
    np.testing.assert_allclose(whole.filtered(given), seen, rtol=1e-12)
    np.testing.assert_allclose(hidden.log_likelihood(whole, given), each, rtol=1e-12)


def test_nobody_has_no_hidden_states() -> None:
    given = encoded(50)
    model = hidden._first(given, 4)
    assert model.filtered(given.take(np.zeros(0, dtype=int))).shape == (0, len(DAYS), 5)


def test_the_baseline_scores_the_same_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    size = 400
    inputs = pd.DataFrame(
        {
            "customer_id": pd.Series([f"C{number:04d}" for number in range(size)], dtype="str"),
            "as_of": pd.Timestamp("2025-06-30"),
            "age": random.normal(50, 10, size),
            "channel": pd.Categorical(random.choice(["app", "branch"], size)),
        }
    )
    labels = pd.concat(
        [
            inputs[["customer_id", "as_of"]].assign(product_id=name, bought=random.random(size) < share)
            for name, share in (("card", 0.2), ("loan", 0.1))
        ]
    )
    model = baseline.fit(inputs, labels)
    whole = model.score(inputs, labels)
    assert whole["score"].nunique() > 100
    monkeypatch.setattr(baseline, "_CHUNK", 33)
    chunks = model.score(inputs, labels)
    np.testing.assert_allclose(chunks["score"], whole["score"], rtol=1e-6)
    pd.testing.assert_frame_equal(chunks.drop(columns="score"), whole.drop(columns="score"))


def test_shares_of_reasons_are_the_same_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = pd.DataFrame({"x": np.arange(50.0), "y": np.arange(50.0) ** 2})
    model = risk.ChurnModel(definitions.Relationship())
    shares = SimpleNamespace(reasons=("price", "service"), predict=lambda design: design)
    monkeypatch.setattr(model, "_fitted", SimpleNamespace(left=None, shares=shares))
    monkeypatch.setattr(risk, "_design", lambda left, features: features.to_numpy())
    monkeypatch.setattr(risk, "_CHUNK", 7)
    assert np.array_equal(model._share(inputs), inputs.to_numpy())
    assert model._share(inputs.iloc[:0]).shape == (0, 2)


def test_customers_are_found_among_the_others() -> None:
    given = pd.Series(["C2", "C9", None, "C1", "C2"], dtype="str")
    assert value._places(given, pd.Index(["C1", "C2", "C3"])).tolist() == [1, -1, -1, 0, 1]


class Told:
    """A segmentation that remembers what it was asked."""

    fitted_as_of = dt.date(2024, 12, 31)

    def __init__(self) -> None:
        self.assigned: list[Any] = []

    def measure(self, day: Any) -> pd.DataFrame:
        return pd.DataFrame({"day": [day]})

    def assign(self, table: pd.DataFrame) -> pd.DataFrame:
        self.assigned.append(table["day"].iloc[0])
        return table.assign(segment="one")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_date_is_assigned_in_its_place(count: int) -> None:
    kept = Told()
    dates: list[Any] = [SimpleNamespace(day=number) for number in range(count)]
    model, members, last = segment_jobs._assigned("rfm", kept, dates, 7)  # type: ignore[arg-type]
    assert model is kept
    assert [table["day"].iloc[0] for table in members] == dates
    assert last["day"].tolist() == [dates[-1]] and "segment" not in last
    assert sorted(kept.assigned, key=id) == sorted(dates, key=id), "each once"


def test_a_fit_that_fails_ends_the_dates_that_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(table: pd.DataFrame) -> Told:
        raise ValueError("too few customers")

    monkeypatch.setattr(segment_jobs, "_methods", lambda *_: (Told().measure, fails))
    dates: list[Any] = [SimpleNamespace(day=number) for number in range(4)]
    with pytest.raises(ValueError, match="too few customers"):
        segment_jobs._assigned("rfm", None, dates, 7)


@pytest.mark.parametrize(("rows", "lanes"), [(demo_bank.LARGE - 1, 2), (demo_bank.LARGE, 1)])
def test_a_large_bank_has_one_process_beside_the_main_one(
    rows: int, lanes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []

    @contextmanager
    def lane(data: Path) -> Iterator[Callable[..., Future[list[str]]]]:
        own = object()

        def run(*arguments: str) -> Future[list[str]]:
            used.append(id(own))
            done: Future[list[str]] = Future()
            done.set_result([])
            return done

        yield run

    counts = pd.DataFrame({"table": ["customers", "holdings"], "input": [rows, 5]})
    monkeypatch.setattr(demo_bank, "lane", lane)
    monkeypatch.setattr(demo_bank.jobs, "load", lambda *_, **__: SimpleNamespace(counts=counts))
    jobs = demo_bank
    for module, name in (
        (jobs.jobs, "train"),
        (jobs.jobs, "score"),
        (jobs.churn_jobs, "churn"),
        (jobs.value_jobs, "value"),
        (jobs.uplift_jobs, "uplift"),
        (jobs.offer_jobs, "offers"),
        (jobs.retention_jobs, "retention"),
    ):
        monkeypatch.setattr(module, name, lambda *_, **__: None)
    (tmp_path / "points.toml").write_text("", encoding="utf-8")
    sample: Any = SimpleNamespace(files=[], mapping=tmp_path, company=tmp_path, folder=tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    demo_bank.run(sample, data=data, seed=7, stages=Stages(quiet=True))
    assert len(set(used)) == lanes and len(used) == 14


def test_a_reader_holds_no_more_than_its_share_and_still_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "v000001.duckdb"
    with duckdb.connect(str(file)) as made:
        made.execute("CREATE TABLE rows AS SELECT hash(i) AS a, i FROM range(1500000) r(i)")
    assert snapshot.READ_ONLY["memory_limit"] == "3GB"
    monkeypatch.setitem(snapshot.READ_ONLY, "memory_limit", "30MB")
    with duckdb.connect(str(file), read_only=True, config=dict(snapshot.READ_ONLY)) as reader:
        found = reader.execute("SELECT i FROM rows ORDER BY a").to_arrow_table()["i"].to_numpy()
        assert (file.parent / f"{file.name}.tmp").exists(), "the sort was larger than its memory"
    assert np.array_equal(np.sort(found), np.arange(1_500_000)) and not np.array_equal(found[:9], np.arange(9))
