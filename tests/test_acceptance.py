"""The accuracy that is promised on the sample bank, at its default size, against the planted truth."""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path

from crmlib import samples, warehouse
from crmlib.models import backtest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "bench_propensity.py"


def test_probabilities_of_the_sample_bank_come_close_to_the_truth(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("bench_propensity", BENCHMARK)
    assert spec and spec.loader
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    made = samples.bank(customers=50_000, seed=7, folder=tmp_path / "bank")
    warehouse.load(made.files, made.mapping, data=tmp_path / "data", recorded_at=dt.datetime(2026, 1, 1))
    wh = warehouse.open(tmp_path / "data" / "warehouse")
    tested = backtest.three_dates(wh, ("2025-03-31", "2025-06-30", "2025-09-30"), seed=1)
    table, pooled_slope = bench.against_truth(tested.scores, samples.truth(made, "purchases"))
    assert len(table) == 20
    assert table["share_reached"].mean() >= 0.9, table
    assert 0.95 <= pooled_slope <= 1.05, table
