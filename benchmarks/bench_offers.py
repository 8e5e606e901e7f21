"""The best offers for all customers under capacities and a budget, against HiGHS interior point on the linear relaxation.

    python benchmarks/bench_offers.py [--customers 1000000] [--peer 100000] [--long]

The problem is made up: 20 offers, each of one product by one of 4 channels at a cost of its own, 4 capacities (3%, 10%,
30% and 30% of the customers) and a budget (20 minor units a customer); probabilities from three tastes and noise, margins
log-normal. The values lie in a file that is read chunk by chunk each time they are gone through. Every measurement runs
in a process of its own, so that its peak memory is its own; CPU seconds of all threads. ``--long`` adds 10 million
customers. The floor is one pass over the file that takes each customer's best offer without any limit.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from crmlib.decisions import allocation
from crmlib.decisions.allocation import CHUNK, Chunk, Problem

OFFERS = 20
CAPACITY_SHARES = np.array([0.03, 0.10, 0.30, 0.30])
CHANNEL = np.arange(OFFERS) % 4
BUDGET = 20.0


def costs(seed: int) -> np.ndarray:
    """Return the cost of each offer, minor units."""
    spread = np.random.default_rng((seed, 1)).uniform(0.8, 1.2, OFFERS)
    return np.array([500.0, 100.0, 8.0, 2.0])[CHANNEL] * spread


def write(path: Path, customers: int, seed: int) -> None:
    """Write the values of all offers to so many customers: chunk after chunk, offers × customers, float32."""
    shared = np.random.default_rng((seed, 0))
    loadings, popularity = shared.normal(size=(OFFERS, 3)) * 0.6, shared.normal(size=OFFERS) * 0.5
    margin, cost = shared.lognormal(9, 0.8, OFFERS), costs(seed)
    with path.open("wb") as file:
        for number, low in enumerate(range(0, customers, CHUNK)):
            random = np.random.default_rng((seed, 2, number))
            taste = random.normal(size=(3, min(CHUNK, customers - low)))
            logit = loadings @ taste - 3.2 + popularity[:, None] + random.normal(size=(OFFERS, taste.shape[1])) * 0.7
            (margin[:, None] / (1 + np.exp(-logit)) - cost[:, None]).astype(np.float32).tofile(file)


def chunks(path: Path, customers: int) -> Iterator[Chunk]:
    """Read the file chunk by chunk."""
    with path.open("rb") as file:
        for low in range(0, customers, CHUNK):
            count = min(CHUNK, customers - low)
            yield Chunk(np.fromfile(file, np.float32, OFFERS * count).reshape(OFFERS, count))


def problem(path: Path, customers: int, seed: int, k: int) -> Problem:
    """Return the problem of the file."""
    uses = np.vstack([row == CHANNEL for row in range(4)] + [costs(seed)]).astype(float)
    limits = np.append(CAPACITY_SHARES, BUDGET) * customers
    return Problem(lambda: chunks(path, customers), np.arange(OFFERS), uses, np.zeros_like(uses), limits, k)


def solved(path: Path, customers: int, seed: int, k: int) -> dict[str, float]:
    """Solve it and check every limit and the value once more from the file."""
    asked = problem(path, customers, seed, k)
    found = allocation.solve(asked)
    value, used, before = 0.0, np.zeros(5), 0
    for chunk in asked.chunks():
        for row in found.picked[:, before : before + chunk.values.shape[1]]:
            who = np.flatnonzero(row >= 0)
            value += float(chunk.values[row[who], who].sum(dtype=float))
            used += asked.uses[:, row[who]].sum(axis=1)
        before += chunk.values.shape[1]
    assert (used <= asked.limits * (1 + 1e-9)).all() and abs(value / found.value - 1) < 1e-9
    return {"gap": 1 - value / found.bound, "value": value}


def relaxed(path: Path, customers: int, seed: int) -> dict[str, float]:
    """Solve the linear relaxation (k = 1) by HiGHS interior point."""
    asked = problem(path, customers, seed, 1)
    values = np.concatenate([chunk.values for chunk in asked.chunks()], axis=1).T.ravel().astype(float)
    own = sparse.csr_array((np.ones(len(values)), np.arange(len(values)), np.arange(0, len(values) + 1, OFFERS)))
    shared = sparse.csr_array(np.tile(asked.uses, customers))
    limits = np.concatenate([np.ones(customers), asked.limits])
    rows = sparse.vstack([own, shared]).tocsr()
    started = time.process_time()
    found = linprog(-values, A_ub=rows, b_ub=limits, bounds=(0, None), method="highs-ipm")
    return {"value": float(-found.fun), "cpu": time.process_time() - started}


def floor(path: Path, customers: int) -> dict[str, float]:
    """Read the file once and take each customer's best offer."""
    return {"value": sum(float(np.maximum(chunk.values.max(axis=0), 0).sum()) for chunk in chunks(path, customers))}


def measure(what: str, path: Path, customers: int, seed: int) -> None:
    """Run one measurement in this process and print it as JSON."""
    started, wall = time.process_time(), time.perf_counter()
    match what:
        case "floor":
            found = floor(path, customers)
        case "highs-ipm":
            found = relaxed(path, customers, seed)
        case _:
            found = solved(path, customers, seed, int(what.removeprefix("k=")))
    cpu = found.pop("cpu", time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**found, "cpu": cpu, "wall": time.perf_counter() - wall, "peak_mb": peak}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--peer", type=int, default=100_000, help="customers of the linear relaxation")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--long", action="store_true", help="10 million customers too")
    parser.add_argument("--one", nargs=3, metavar=("WHAT", "FILE", "CUSTOMERS"), help="one measurement, for the parent")
    given = parser.parse_args()
    if given.one:
        measure(given.one[0], Path(given.one[1]), int(given.one[2]), given.seed)
        return
    sizes = sorted({given.peer, given.customers, *([10_000_000] if given.long else [])})
    peer = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for customers in sizes:
            path = Path(folder) / f"{customers}.values"
            write(path, customers, given.seed)
            for what in ["floor", *(["highs-ipm"] if customers == given.peer else []), "k=1", "k=3"]:
                command = [
                    sys.executable,
                    __file__,
                    "--seed",
                    str(given.seed),
                    "--one",
                    what,
                    str(path),
                    str(customers),
                ]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found = json.loads(done.stdout)
                each = found["cpu"] / customers
                peer = each if what == "highs-ipm" else peer
                ratio = f"1/{peer / each:,.0f} of HiGHS a customer" if peer and what.startswith("k=") else ""
                gap = f"gap {found['gap']:.6%}" if "gap" in found else ""
                print(
                    f"{customers:>10,} {what:10} {found['cpu']:8.2f} CPU-s {each * 1e6:8.2f} µs a customer "
                    f"peak {found['peak_mb']:,.0f} MB  {gap}  {ratio}",
                    flush=True,
                )
            path.unlink()


if __name__ == "__main__":
    main()
