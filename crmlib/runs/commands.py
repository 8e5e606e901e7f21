"""The commands of ``crm``: their arguments, and what they print.

Modules are imported inside the functions, so that `crm --help` answers at once.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crmlib.errors import UsageError
from crmlib.runs import clock, commands_audit, commands_backup, commands_features, commands_schedule, commands_users
from crmlib.runs.command import Command
from crmlib.runs.stages import Stages, shown, size

# ruff: noqa: PLC0415


def _moment(text: str) -> dt.datetime:
    """Return a date or time given on the command line as naive UTC; a bare date means the end of that day."""
    try:
        if len(text) == len("2025-03-31"):
            return dt.datetime.combine(dt.date.fromisoformat(text), dt.time(23, 59, 59))
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write 2025-03-31 or 2025-03-31T18:00:00") from error
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; give a number from 1 to 65535")
    return value


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


_object.__name__ = "JSON object"  # what argparse calls it when it refuses


def _load_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="CSV or Parquet files, or a database URL")
    parser.add_argument("--mapping", required=True, type=Path, metavar="FILE", help="TOML file that names the columns")
    parser.add_argument(
        "--company", type=Path, metavar="FILE", help="company file to use from now on (copied to the data folder)"
    )
    parser.add_argument(
        "--recorded-at", type=_moment, metavar="TIME", help="when the company knew changed rows (default: now)"
    )
    parser.add_argument(
        "--max-bad-share",
        type=_share,
        default=0.01,
        metavar="SHARE",
        help="stop above this share of bad rows (default 0.01)",
    )


def _load(given: argparse.Namespace, data: Path) -> None:
    from crmlib.runs import jobs

    jobs.load(
        given.sources,
        given.mapping,
        data=data,
        company=given.company,
        recorded_at=given.recorded_at or clock.now(),
        max_bad_share=given.max_bad_share,
        stages=Stages(),
    )


def _versions_arguments(parser: argparse.ArgumentParser) -> None:
    actions = "list (default); prune removes old versions and orphans; serve VERSION goes back to an older one"
    parser.add_argument("action", nargs="?", choices=["list", "prune", "serve"], default="list", help=actions)
    parser.add_argument("version", nargs="?", type=_positive, metavar="VERSION", help="with serve: the version")
    parser.add_argument(
        "--keep", type=_positive, default=5, metavar="N", help="with prune: versions to keep (default 5)"
    )


def _versions(given: argparse.Namespace, data: Path) -> None:
    from crmlib import paths, warehouse
    from crmlib.runs import tidy

    folder = paths.warehouse(data)
    if given.action == "serve":
        if given.version is None:
            raise UsageError(
                "which version is to be served? write `crm versions serve VERSION`; `crm versions` lists them"
            )
        warehouse.serve(folder, given.version)
        print(f"version {given.version} is served")
        return
    if given.action == "prune":
        removed = warehouse.prune(folder, keep=given.keep, now=clock.now())
        print(removed.to_string(index=False) if len(removed) else "nothing to remove")
        for name in tidy.after_the_dead(data, now=clock.now()):
            print(f"{name}  (left behind by a process that died)")
        return
    found = warehouse.versions(folder)
    print(found.to_string(index=False) if len(found) else "no versions yet; load some data with `crm load`")


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as-of", metavar="DATE", help="as known on this day (default: the last record)")
    parser.add_argument("--columns", action="store_true", help="every column, not only a line per table")
    parser.add_argument(
        "--alarm", action="store_true", help="raise and send alerts for tables without new data and jobs that are late"
    )


def _check(given: argparse.Namespace, data: Path) -> None:
    from crmlib.runs import alert_settings, daily_check, jobs
    from crmlib.views import alert_words

    if given.alarm:
        found = daily_check.check(data, alert_settings.read(data), clock.now())
        paragraphs = [alert_words.paragraph(one.code, one.content) for one in found]
        print("\n\n".join(paragraphs) if paragraphs else "nothing is stale and nothing is late")
        return
    jobs.check(data, as_of=given.as_of, columns=given.columns)


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--within-days", type=_positive, default=90, metavar="N", help="horizon of the prediction (default 90)"
    )
    parser.add_argument(
        "--as-of", metavar="DATE", help="latest date to test on (default: the last month's end with known outcomes)"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--fast", action="store_true", help="also distil a cheaper scorer, for score --fast")


def _train(given: argparse.Namespace, data: Path) -> None:
    from crmlib.runs import jobs

    settings = {"within_days": given.within_days, "as_of": given.as_of, "seed": given.seed, "fast": given.fast}
    jobs.train(data, **settings, stages=Stages())


def _score_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as-of", metavar="DATE", help="score what was known on this day (default: the last record)")
    parser.add_argument("--model-version", type=_positive, metavar="N", help="default: the newest")
    parser.add_argument("--fast", action="store_true", help="by the cheaper scorer that train --fast made")


def _score(given: argparse.Namespace, data: Path) -> None:
    from crmlib.runs import jobs

    jobs.score(data, as_of=given.as_of, model_version=given.model_version, fast=given.fast, stages=Stages())


def _job_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as-of", metavar="DATE", help="by what was known on this day (default: the last record)")
    parser.add_argument("--seed", type=int, default=7)


def _job(module: str, name: str) -> Callable[[argparse.Namespace, Path], None]:
    """Return the function that runs the job ``name`` of ``crmlib.runs.<module>`` as of a day, with a seed."""

    def run(given: argparse.Namespace, data: Path) -> None:
        job = getattr(importlib.import_module(f"crmlib.runs.{module}"), name)
        job(data, as_of=given.as_of, seed=given.seed, stages=Stages())

    return run


def _churn_arguments(parser: argparse.ArgumentParser) -> None:
    _job_arguments(parser)
    parser.add_argument(
        "--definition",
        metavar="JSON",
        help='what leaving means, e.g. \'{"kind": "holding", "product_id": "savings"}\' (default: the relationship ends)',
    )
    parser.add_argument("--model-version", type=_positive, metavar="N", help="score with a saved model, learn nothing")


def _churn(given: argparse.Namespace, data: Path) -> None:
    from crmlib.runs import churn_jobs

    churn_jobs.churn(
        data,
        as_of=given.as_of,
        seed=given.seed,
        definition=given.definition,
        model_version=given.model_version,
        stages=Stages(),
    )


def _retention_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as-of", metavar="DATE", help="by the risks and values of this day (default: the newest)")
    parser.add_argument(
        "--caution",
        type=_share,
        metavar="SHARE",
        help="how sure it must be that a contact prevents what is counted on, 0.5 to 0.99 (default 0.8)",
    )
    _capacity_argument(parser)


def _retention(given: argparse.Namespace, data: Path) -> None:
    from crmlib.runs import retention_jobs

    retention_jobs.retention(
        data, as_of=given.as_of, capacities=dict(map(_capacity, given.capacity)) or None, stages=Stages()
    )


def _capacity_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--capacity",
        action="append",
        default=[],
        metavar="CHANNEL=N",
        help="contacts a channel can make (several times)",
    )


def _offers_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget", type=float, metavar="AMOUNT", help="for all contacts, in whole units of the currency"
    )
    _capacity_argument(parser)
    parser.add_argument("-k", type=_positive, default=1, metavar="N", help="offers a customer may get (default 1)")


def _offers(given: argparse.Namespace, data: Path) -> None:
    from crmlib.runs import offer_jobs

    offer_jobs.offers(
        data,
        budget_minor=None if given.budget is None else round(given.budget * 100),
        capacities=dict(map(_capacity, given.capacity)) or None,
        k=given.k,
        stages=Stages(),
    )


def _capacity(text: str) -> tuple[str, int]:
    channel, _, number = text.partition("=")
    if not channel or not number.isdigit():
        raise UsageError(f"--capacity is {text!r}; write CHANNEL=N, for example call=500")
    return channel, int(number)


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebook", type=Path, help="the notebook, or the name of one in notebooks/")
    parser.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="may be given several times"
    )
    parser.add_argument("--values", type=_object, default={}, metavar="JSON", help="parameters as one JSON object")
    parser.add_argument("--report", action="store_true", help="also make an HTML page of it, without code")


def _run(given: argparse.Namespace, data: Path) -> None:
    from crmlib.runs import notebooks, parameters, servers

    path = given.notebook
    if not path.exists() and path.parent == Path():
        path = servers.project_folder("notebooks") / path.with_suffix(".ipynb")
    values = given.values | parameters.parse(path, given.parameter)
    output = notebooks.run(path, values, data=data, progress=sys.stderr.isatty(), report=given.report)
    print(f"executed copy: {shown(output)} ({size(output)})")
    if given.report:
        page = notebooks.report_file(data, output)
        print(f"report:        {shown(page)} ({size(page)})")


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=_port, default=0, help="port (default: the first free one from 8866)")
    parser.add_argument(
        "--kernels", type=_positive, default=0, help="dashboards open at a time (default: as many as the memory bears)"
    )
    access = parser.add_mutually_exclusive_group()
    for tier, who in (
        ("users", "people log in with passwords (`crm users`)"),
        ("proxy", "a proxy signs who it is (access.toml)"),
    ):
        access.add_argument(f"--{tier}", dest="access", action="store_const", const=tier, default="token", help=who)


def _dashboards(given: argparse.Namespace, data: Path) -> int:
    from crmlib.runs import servers

    return servers.dashboards(data, port=given.port, access=given.access, kernels=given.kernels)


def _lab_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=_port, default=0, help="port (default: the first free one from 8888)")
    parser.add_argument("--no-browser", action="store_true", help="only print the link")


def _lab(given: argparse.Namespace, data: Path) -> int:
    from crmlib.runs import servers

    return servers.lab(data, port=given.port, browser=not given.no_browser)


def _doctor(given: argparse.Namespace, data: Path) -> int:
    from crmlib.runs import doctor

    return doctor.report(data)


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--company", choices=["bank", "dairy"], default="bank", help="which made-up company (default bank)"
    )
    parser.add_argument(
        "--customers",
        type=_positive,
        metavar="N",
        help="size of the sample: customers of the bank (default 50000), or outlets of the dairy (default 48)",
    )
    parser.add_argument("--seed", type=int, default=7, help="seed of the sample and the models (default 7)")
    parser.add_argument("--no-serve", action="store_true", help="end with a summary instead of serving the dashboards")
    parser.add_argument(
        "--port", type=_port, default=0, help="port of the dashboards (default: the first free one from 8866)"
    )


def _demo(given: argparse.Namespace, data: Path) -> int:
    from crmlib.runs import demo, servers

    customers = demo.checked_size(given.company, given.customers)
    if not given.no_serve:
        servers.free_port(given.port, servers.FIRST_PORT)  # a busy port is refused before the work, not after it
    demo.run(data, company=given.company, customers=customers, seed=given.seed)
    return 0 if given.no_serve else servers.dashboards(data, port=given.port)


def _dated(name: str, what: str, module: str) -> Command:
    """Return the command of a job that has its name."""
    return Command(name, what, _job_arguments, _job(module, name))


def _nothing(parser: argparse.ArgumentParser) -> None:
    """A command without arguments of its own."""


COMMANDS = [
    Command("demo", "the main job on a made-up bank or dairy: from files to dashboards", _demo_arguments, _demo),
    Command("load", "bring files or database tables into the warehouse", _load_arguments, _load),
    Command("versions", "list the versions of the warehouse, or remove old ones", _versions_arguments, _versions),
    Command("check", "quality and freshness of the data", _check_arguments, _check),
    *commands_features.COMMANDS,
    Command("train", "fit, calibrate and test the propensity model of every product", _train_arguments, _train),
    Command("score", "score every customer and make the call lists", _score_arguments, _score),
    _dated("segment", "who belongs to which segment, now and in the quarters before", "segment_jobs"),
    _dated("uplift", "what a contact adds, by product and channel, from past campaigns", "uplift_jobs"),
    Command("offers", "the best offers for all customers under capacities and a budget", _offers_arguments, _offers),
    Command("churn", "who will leave within 30, 90 and 180 days, and why", _churn_arguments, _churn),
    _dated("lifecycle", "the phase of every customer's life cycle, and what comes next", "lifecycle_jobs"),
    _dated("value", "what every customer is worth: actual, predicted, potential", "value_jobs"),
    _dated("loyalty", "recommendation scores, the indirect loyalty index, cohorts", "loyalty_jobs"),
    _dated("points", "balances, liability and effect of the programme of points", "points_jobs"),
    Command("retention", "whom to keep, by what action, and whom to let go", _retention_arguments, _retention),
    _dated("demand", "how much of every product will be wanted, where and when", "demand_jobs"),
    _dated("effects", "what prices and promotions do to demand, and whether they pay", "effects_jobs"),
    _dated("orders", "what every outlet should order of every product", "replenishment_jobs"),
    _dated("replenishment", "who will need a delivery soon, and whom to visit", "replenishment_jobs"),
    _dated("staffing", "how many calls will come in, and how many people must answer them", "staffing_jobs"),
    Command("run", "execute a notebook with parameters", _run_arguments, _run),
    Command("dashboards", "serve the dashboards", _serve_arguments, _dashboards),
    *commands_schedule.COMMANDS,
    *commands_backup.COMMANDS,
    *commands_users.COMMANDS,
    *commands_audit.COMMANDS,
    Command("lab", "open JupyterLab", _lab_arguments, _lab),
    Command("doctor", "what is installed, where the data are, what is wrong and how to mend it", _nothing, _doctor),
]

WRITING = {"demo", "load"}
"""Commands that may create the data folder."""
