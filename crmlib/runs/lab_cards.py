"""The launcher cards of JupyterLab: an extension of our own, with the project's notebooks and dashboards written into it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from crmlib.runs import lab

NAME = "crmlib-lab"
"""The extension's name, and the folder in which JupyterLab looks for it."""

EXTENSION = Path(__file__).with_name("lab_extension")


def write(folder: Path, *, root: Path) -> Path:
    """Write the extension for the project in ``root`` below ``folder`` and return ``folder``.

    JupyterLab finds it through ``LabApp.extra_labextensions_path``; Voila's pages and another JupyterLab never load it.
    """
    target = folder / NAME
    shutil.copytree(EXTENSION, target)
    kinds = ("notebook", "notebooks", "CRM notebooks"), ("dashboard", "dashboards", "Dashboards")
    cards = [
        {"path": one.path, "title": one.title, "question": one.question, "kind": kind, "category": category}
        for kind, below, category in kinds
        for one in lab.listed(root / below)
    ]
    runs = [card["path"] for card in cards if card["kind"] == "dashboard"]
    content = {"runs": [f"notebooks/{lab.START}.ipynb", *runs], "cards": cards}
    (target / "static" / "cards.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder
