"""Learning and scoring at scale: 20 products, 60 features, made-up customers whose true chances are known.

    python benchmarks/bench_learning.py --customers 1000000      # everything, each part in a process of its own
    python benchmarks/bench_learning.py own --folder FOLDER      # one part again: data, own, peer, score, fast, blocks, live

own: ``PropensityModel.fit`` as it trains in a job (regression, boosters, calibration on a later date). peer: LightGBM, one
product after the other on one binned Dataset, in an environment of its own (made here with uv); the same rate, threads and,
about, leaves. Beyond 60,000 customers the project's trees of a product learn from its buyers and eight times as many others,
at most 200,000 rows, less the 15% of all customers that tell when to stop; LightGBM learns from every row, once with as many
rounds as the project's model chose, and once (stopped) without those same 15%, which tell when to stop. All are judged on
customers none has seen, product by product. score: all pairs from a table of features, against one
call of XGBoost on the matrix made ready for it (the floor) and that call with its matrix built from numpy; the distilled
scorer beside them. blocks: the peak memory of scoring in blocks. live: one customer's 20 scores from prepared features.

CPU seconds of the process; peak memory is the process's own.
"""

# ruff: noqa: PLC0415 - the peer's environment has no crmlib
from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
PEERS = "lightgbm==4.7.0", "numpy==2.4.6"
FEATURES, PRODUCTS, BLOCK = 60, 20, 100_000
RATE, LEAVES = 0.1, 31
# Of the peer that stops by itself; its rows are drawn as the project does.
HELD_OUT, MOST_ROUNDS, PATIENCE = 0.15, 300, 10
NAMES = [f"x{place:02d}" for place in range(FEATURES)]
GOODS = [f"product_{place:02d}" for place in range(PRODUCTS)]
PARTS = ("data", "own", "peer", "score", "fast", "blocks", "live")


# ---------------------------------------------------------------- made-up customers


def customers(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return features (count x 60, float32): amounts, counts, days since, shares, codes; driven by 8 hidden traits."""
    mixing = np.random.default_rng(3)  # the same company whatever customers it has
    hidden = rng.standard_normal((count, 8), dtype=np.float32)
    drive = hidden @ (mixing.normal(size=(8, FEATURES)) * (mixing.random((8, FEATURES)) < 0.4)).astype(np.float32)
    drive = 0.7 * drive + 0.7 * rng.standard_normal(drive.shape, dtype=np.float32)
    out = np.empty_like(drive)
    out[:, :24] = np.round(np.exp(1.2 * drive[:, :24] + 4), 2) * (rng.random((count, 24)) < 0.75)
    out[:, 24:40] = rng.poisson(np.exp(np.minimum(0.8 * drive[:, 24:40], 4)))
    days = rng.exponential(np.exp(0.6 * drive[:, 40:48] + 4)).astype(np.float32)
    out[:, 40:48] = np.where(rng.random(days.shape) < 0.2, np.nan, np.floor(days))
    out[:, 48:54] = 1 / (1 + np.exp(-drive[:, 48:54]))
    out[:, 54:58] = np.clip(np.floor(2 * drive[:, 54:58] + 5), 0, 10)
    out[:, 58:] = drive[:, 58:] > 0.5
    return out


class Truth:
    """The chance of each product: straight lines, steps, meetings of two features, humps; base rates 0.4% to 8%."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        sample = customers(50_000, np.random.default_rng(4))
        self.scales = np.nanmedian(np.abs(np.where(sample == 0, np.nan, sample)), axis=0)
        raw = self._squeezed(sample)
        self.means, self.deviations = np.nanmean(raw, axis=0), np.nanstd(raw, axis=0)
        self.lines = [(rng.choice(FEATURES, 8, replace=False), rng.normal(0, 0.4, 8)) for _ in range(PRODUCTS)]
        self.pairs = [(rng.integers(0, FEATURES, (6, 2)), rng.normal(0, 0.8, (6, 3))) for _ in range(PRODUCTS)]
        self.base = np.zeros(PRODUCTS)
        rates = np.exp(np.linspace(np.log(0.004), np.log(0.08), PRODUCTS))
        logit = self.logits(sample)
        for place, rate in enumerate(rates):
            low, high = -15.0, 5.0
            for _ in range(40):
                middle = (low + high) / 2
                low, high = (
                    (middle, high) if np.mean(1 / (1 + np.exp(-logit[:, place] - middle))) < rate else (low, middle)
                )
            self.base[place] = low

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the true log-odds (rows x products)."""
        squeezed = np.nan_to_num((self._squeezed(features) - self.means) / self.deviations)
        out = np.empty((len(features), PRODUCTS))
        for place in range(PRODUCTS):
            columns, slopes = self.lines[place]
            out[:, place] = self.base[place] + squeezed[:, columns] @ slopes
            for (a, b), (step, meeting, hump) in zip(*self.pairs[place], strict=True):
                one, other = squeezed[:, a], squeezed[:, b]
                out[:, place] += step * (one > 0.5) + meeting * ((one > 0) & (other < 0)) - abs(hump) * 0.3 * other**2
        return out

    def _squeezed(self, features: np.ndarray) -> np.ndarray:
        return np.arcsinh(features / self.scales.astype(np.float32))


def make(folder: Path, name: str, count: int, seed: int, truth: Truth) -> None:
    """Write NAME_x.npy (float32), NAME_y.npy (uint8) and NAME_p.npy (true chances), block by block."""
    shapes = {"x": (FEATURES, np.float32), "y": (PRODUCTS, np.uint8), "p": (PRODUCTS, np.float32)}
    files = {
        key: np.lib.format.open_memmap(folder / f"{name}_{key}.npy", "w+", kind, (count, wide))
        for key, (wide, kind) in shapes.items()
    }
    for first in range(0, count, BLOCK):
        rng = np.random.default_rng([seed, first])
        features = customers(min(BLOCK, count - first), rng)
        chance = 1 / (1 + np.exp(-truth.logits(features)))
        rows = slice(first, first + len(features))
        files["x"][rows], files["p"][rows] = features, chance
        files["y"][rows] = rng.random(chance.shape) < chance


def data(given: argparse.Namespace) -> dict[str, Any]:
    """Make the customers to learn from, those of the later date, and those to be judged on."""
    truth = Truth()
    for number, (name, share) in enumerate({"train": 1.0, "later": 0.2, "test": 0.2}.items()):
        make(given.folder, name, int(given.customers * share), given.seed * 10 + number, truth)
    bought, chance = (np.load(given.folder / f"test_{key}.npy") for key in "yp")
    return {
        "bought": float(bought.mean()),
        "any": float(bought.any(axis=1).mean()),
        "auc_of_truth": aucs(bought, chance),
    }


def load(folder: Path, name: str, key: str) -> np.ndarray:
    """Return one of the arrays."""
    return np.load(folder / f"{name}_{key}.npy")


def table(folder: Path, name: str, rows: slice = slice(None)) -> Any:
    """Return the features as ``features.build`` gives them: a data frame by columns, a row per customer."""
    import pandas as pd

    values = np.asfortranarray(np.load(folder / f"{name}_x.npy", mmap_mode="r")[rows])
    frame = pd.DataFrame(values, columns=NAMES, copy=False)
    first = rows.start or 0
    frame.insert(
        0, "customer_id", pd.Series([f"c{place:07d}" for place in range(first, first + len(frame))], dtype="str")
    )
    frame.insert(1, "as_of", pd.Timestamp("2025-06-30"))
    return frame


def labels(folder: Path, name: str, features: Any) -> Any:
    """Return the outcomes as ``purchases`` gives them: a row per customer and product."""
    from crmlib.models import pairs

    bought = load(folder, name, "y")
    return pairs.table(
        features["customer_id"], GOODS, features["as_of"], chosen=np.ones(bought.shape, dtype=bool), bought=bought == 1
    )


def aucs(bought: np.ndarray, score: np.ndarray) -> list[float]:
    """Return the AUC of each column (ties at the mean of their ranks)."""
    out = []
    for place in range(bought.shape[1]):
        if np.isnan(score[0, place]):
            out.append(float("nan"))
            continue
        _, rank, count = np.unique(score[:, place], return_inverse=True, return_counts=True)
        middle = np.cumsum(count) - (count - 1) / 2
        yes = bought[:, place] == 1
        buyers = int(yes.sum())
        out.append(float((middle[rank[yes]].sum() - buyers * (buyers + 1) / 2) / (buyers * (len(yes) - buyers))))
    return out


def cpu(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of all threads of this process, and the result."""
    started = time.process_time()
    found = call()
    return time.process_time() - started, found


# ---------------------------------------------------------------- parts


def own(given: argparse.Namespace) -> dict[str, Any]:
    """Fit the project's model, keep it in the folder, judge it."""
    from crmlib.models import propensity, registry

    train, later = table(given.folder, "train"), table(given.folder, "later")
    known, since = labels(given.folder, "train", train), labels(given.folder, "later", later)
    model = propensity.PropensityModel(seed=7, nthread=given.threads)
    seconds, _ = cpu(lambda: model.fit(train, known, calibrate=(later, since)))
    (given.folder / "model").mkdir(exist_ok=True)
    registry.write_model(model, given.folder / "model", "")
    test = table(given.folder, "test")
    score = model.score(test)["score"].to_numpy().reshape(len(test), PRODUCTS)
    raw = model.fitted_.learner.margins(test)[0]
    found = load(given.folder, "test", "y")
    rounds = model.fitted_.learner.rounds.tolist()
    return {
        "cpu_s": seconds,
        "auc": aucs(found, score),
        "auc_of_trees": aucs(found, raw[:, :PRODUCTS]),
        "rounds": rounds,
    }


def peer(given: argparse.Namespace) -> dict[str, Any]:
    """Train LightGBM one product after the other, as often as the docstring above says; the bins are counted once for all."""
    import lightgbm

    rounds = json.loads((given.folder / "own.json").read_text())["rounds"]
    features, bought, test = (load(given.folder, *name) for name in (("train", "x"), ("train", "y"), ("test", "x")))
    options = {
        "objective": "binary",
        "num_leaves": LEAVES,
        "learning_rate": RATE,
        "num_threads": given.threads,
        "force_col_wise": True,
        "verbose": -1,
        "seed": 7,
    }
    binned = lightgbm.Dataset(features, label=bought[:, 0].astype(np.float32), free_raw_data=False)
    total, _ = cpu(binned.construct)
    held_out = np.random.default_rng(7).random(len(features)) < HELD_OUT
    inner, outer = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    parts, scores = [], np.full((len(test), PRODUCTS), np.nan, dtype=np.float32)
    stopped_parts, stopped = [], scores.copy()
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    inside, judge = (binned.subset(rows).construct() for rows in (inner, outer))
    for place in range(given.every // 2, PRODUCTS, given.every):
        binned.set_label(bought[:, place].astype(np.float32))
        most = max(1, rounds[place])
        seconds, booster = cpu(lambda: lightgbm.train(options, binned, num_boost_round=most))  # noqa: B023
        parts.append(seconds)
        scores[:, place] = booster.predict(test, raw_score=True, num_threads=given.threads)
        for part, rows in ((inside, inner), (judge, outer)):
            part.set_label(bought[rows, place].astype(np.float32))
        seconds, booster = cpu(
            lambda: lightgbm.train(options, inside, MOST_ROUNDS, valid_sets=[judge], callbacks=[stop])
        )
        stopped_parts.append(seconds)
        stopped[:, place] = booster.predict(test, raw_score=True, num_threads=given.threads)
        print(place, rounds[place], booster.best_iteration, round(parts[-1], 2), round(seconds, 2), flush=True)
    found = load(given.folder, "test", "y")
    return {
        "cpu_s": total + sum(parts) * PRODUCTS / len(parts),
        "stopped_cpu_s": total + sum(stopped_parts) * PRODUCTS / len(parts),
        **{"products": len(parts), "bins_cpu_s": total, "products_cpu_s": parts},
        "auc": aucs(found, scores),
        "stopped_auc": aucs(found, stopped),
    }


def _model(folder: Path, threads: int) -> Any:
    from crmlib.models import registry

    model = registry.read_model(folder / "model")
    model.fitted_.learner.booster.set_param({"nthread": threads})
    return model


def score(given: argparse.Namespace) -> dict[str, Any]:
    """Score every pair, and have XGBoost alone predict the same trees."""
    model = _model(given.folder, given.threads)
    booster = model.fitted_.learner.booster
    features = table(given.folder, "train")
    found = _raw(booster, model.fitted_.learner.encoding.tree_matrix(features), given.threads)
    whole, scores = cpu(lambda: model.score(features))
    assert len(scores) == len(features) * PRODUCTS
    return {"cpu_s": whole, **found}


def _raw(booster: Any, matrix: np.ndarray, threads: int) -> dict[str, float]:
    """Return what XGBoost's own call takes: with its matrix made before, the making of that, and without one."""
    import xgboost

    types = booster.feature_types
    built, ready = cpu(lambda: xgboost.DMatrix(matrix, nthread=threads, feature_types=types, enable_categorical=True))
    raw, _ = cpu(lambda: booster.predict(ready, output_margin=True))
    inplace, _ = cpu(lambda: booster.inplace_predict(matrix, predict_type="margin", validate_features=False))
    return {"raw_cpu_s": raw, "dmatrix_cpu_s": built, "raw_inplace_cpu_s": inplace}


def fast(given: argparse.Namespace) -> dict[str, Any]:
    """Distil the model, score every pair with the imitation, and judge both on customers neither has seen."""
    from crmlib.models import distilled

    model = _model(given.folder, given.threads)
    train, later = table(given.folder, "train"), table(given.folder, "later")
    since = labels(given.folder, "later", later)
    options = {"seed": 7, "nthread": given.threads}
    taught, found = cpu(lambda: distilled.distil(model, train, calibrate=(later, since), **options))
    whole, scores = cpu(lambda: found.score(train))
    assert len(scores) == len(train) * PRODUCTS
    test, bought = table(given.folder, "test"), load(given.folder, "test", "y")
    two = [aucs(bought, each.score(test)["score"].to_numpy().reshape(bought.shape)) for each in (model, found)]
    lost = [full - cheap for full, cheap in zip(*two, strict=True)]
    full = found.judged.loc[found.judged["scorer"] == "full", "product_id"].tolist()
    figures = {"distil_cpu_s": taught, "cpu_s": whole, "lost_mean": float(np.mean(lost)), "lost_most": max(lost)}
    return {**figures, "kept_own_trees": len(full), "lost": lost, "judged_lost": found.judged["lost"].tolist()}


def _blocks(folder: Path, count: int, rows: int) -> Iterator[Any]:
    for first in range(0, count, rows):
        yield table(folder, "train", slice(first, min(first + rows, count)))


def blocks(given: argparse.Namespace) -> dict[str, Any]:
    """Score a tenth of the customers, then all, in blocks that are written to Parquet; tell the peak after each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    model = _model(given.folder, given.threads)
    out: dict[str, Any] = {}
    for name, count in (("a_tenth", given.customers // 10), ("all", given.customers)):
        file, writer = given.folder / "scores.parquet", None
        for block in _blocks(given.folder, count, 50_000):
            part = pa.Table.from_pandas(model.score(block), preserve_index=False)
            writer = writer or pq.ParquetWriter(file, part.schema)
            writer.write_table(part)
        assert writer is not None
        writer.close()
        out[f"peak_mb_{name}"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return out


def live(given: argparse.Namespace) -> dict[str, Any]:
    """Ask for one customer's 20 scores, customer after customer."""
    from crmlib.models import live as questions

    ready = questions.prepare(_model(given.folder, 1))
    rows = table(given.folder, "test", slice(0, 2_200))[NAMES].to_dict("records")
    wall, seconds = [], []
    for row in rows:
        started, used = time.perf_counter(), time.thread_time()
        ready.score([row])
        wall.append(time.perf_counter() - started)
        seconds.append(time.thread_time() - used)
    figures = {"wall": wall[200:], "cpu": seconds[200:]}  # the first prompts warm the process
    return {
        f"{name}_p{at}_ms": float(np.percentile(found, at)) * 1e3 for name, found in figures.items() for at in (50, 99)
    }


# ---------------------------------------------------------------- all of them


def peers(folder: Path) -> Path:
    """Return the Python of an environment with LightGBM, made where there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *PEERS], check=True)
    return python


def run(part: str, given: argparse.Namespace) -> dict[str, Any]:
    """Run one part in a process of its own and return what it found, with its peak memory."""
    python = peers(given.peer) if part == "peer" else Path(sys.executable)
    command = [str(python), __file__, part, "--folder", str(given.folder), "--customers", str(given.customers)]
    command += ["--threads", str(given.threads), "--seed", str(given.seed), "--every", str(given.every)]
    threads = {name: str(given.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    subprocess.run(command, check=True, env=os.environ | threads)
    return json.loads((given.folder / f"{part}.json").read_text())


def told(results: dict[str, Any]) -> None:
    """Print the ratios that were asked for."""
    own_, peer_, scored, cheap, asked = (results[part] for part in ("own", "peer", "score", "fast", "live"))
    for name, prefix in (("LightGBM, the same rounds", ""), ("LightGBM, stopping by itself", "stopped_")):
        seconds, ahead = peer_[f"{prefix}cpu_s"], np.array(own_["auc"]) - peer_[f"{prefix}auc"]
        worst, asked_of = int(np.nanargmin(ahead)), int((~np.isnan(ahead)).sum())
        print(f"training: {own_['cpu_s']:.0f} against {seconds:.0f} CPU-s of {name}, {own_['cpu_s'] / seconds:.2f}")
        print(
            f"  AUC {np.nanmean(ahead):+.4f} in the mean of {asked_of} products; more than .001 below on "
            f"{int((ahead < -0.001).sum())}, the worst {GOODS[worst]} by {ahead[worst]:+.4f}"
        )
    print(
        f"scoring: {scored['cpu_s'] / scored['raw_cpu_s']:.2f} of XGBoost's own call ({scored['raw_cpu_s']:.1f} CPU-s)"
    )
    lost = f"AUC lost {cheap['lost_mean']:.4f}, at most {cheap['lost_most']:.4f}"
    print(f"the cheaper scorer: {cheap['cpu_s'] / scored['raw_cpu_s']:.2f} of that; {lost}")
    print(
        f"blocks: peak {results['blocks']['peak_mb_a_tenth']:.0f} MB at a tenth, {results['blocks']['peak_mb_all']:.0f} at all"
    )
    print(f"one customer: p99 {asked['cpu_p99_ms']:.2f} ms CPU, {asked['wall_p99_ms']:.2f} ms wall")


def draw(results: dict[str, Any], customers_: int) -> None:
    """Draw training and scoring beside peer and floor."""
    import picture

    found = {part: results[part]["cpu_s"] for part in ("own", "peer", "score", "fast")}
    rows = [
        picture.Bar("training 20 products", found["own"], note=f"AUC {np.mean(results['own']['auc']):.4f}"),
        picture.Bar("LightGBM, one by one", found["peer"], "peer", f"AUC {np.nanmean(results['peer']['auc']):.4f}"),
        picture.Bar("scoring every pair", found["score"]),
        picture.Bar("one call of XGBoost", results["score"]["raw_cpu_s"], "floor"),
        picture.Bar("the cheaper scorer", found["fast"], note=f"AUC -{results['fast']['lost_mean']:.4f}"),
    ]
    to = Path(__file__).parents[1] / "docs" / "pictures" / "bench_learning.svg"
    picture.bars(rows, title=f"Learning and scoring, {customers_:,} customers × 60 features", unit="CPU seconds", to=to)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=PARTS, help="default: all, then the table and the picture")
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--every", type=int, default=1, help="train the peer on every n-th product only, and scale its time up"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=RESULTS / "learning", help="work files; left where it is given")
    parser.add_argument("--peer", type=Path, default=RESULTS / "peer-lightgbm", help="environment of LightGBM")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.part:
        found = globals()[given.part](given)
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        (given.folder / f"{given.part}.json").write_text(json.dumps(found, indent=1))
        print(given.part, {k: v for k, v in found.items() if not isinstance(v, list)}, flush=True)
        return
    results = {part: run(part, given) for part in PARTS}
    (RESULTS / f"learning-{given.customers}.json").write_text(json.dumps(results, indent=1))
    told(results)
    draw(results, given.customers)


if __name__ == "__main__":
    main()
