# SPDX-License-Identifier: LGPL-2.1-or-later
"""Figures against their targets: one line each, and bench.json in the build directory."""
import json
import operator
import os

from testbed.guests import BUILD

PATH = os.path.join(BUILD, "bench.json")
OPERATORS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge}


class Report:
    def __init__(self):
        self.figures = []

    def add(self, name, value, unit, relation=None, target=None, **details):
        """Without a target it only explains other figures. `details` go to the file alone."""
        met = target is None or OPERATORS[relation](value, target)
        goal = f"target {relation} {target:g} {'ok' if met else 'MISS'}" if target is not None else "target - - ok"
        print(f"{name} {value:.4g} {unit} {goal}", flush=True)
        self.figures.append({"name": name, "value": value, "unit": unit, "relation": relation, "target": target,
                             "met": met, **details})

    def save(self):
        """Puts the figures into bench.json, in place of older ones of the same names."""
        try:
            with open(PATH) as f:
                others = json.load(f)
        except (OSError, ValueError):
            others = []
        mine = {figure["name"] for figure in self.figures}
        with open(PATH, "w") as f:
            json.dump([f for f in others if f["name"] not in mine] + self.figures, f, indent=2)
