#!/usr/bin/env python3
"""Has a real Prometheus answer what every panel of the dashboards asks, while it scrapes a running exporter.

    panels.py [--wait SECONDS] [--platform NAME] URL

Every expression must be understood and return a number, and every variable must have values. What an agent does takes
time, so questions without an answer are asked again until all have one, or until the wait is over. Needs `prometheus`
on the PATH and nothing else.
"""

import argparse
import json
import math
import pathlib
import re
import sys
import tempfile
import time
import urllib.error

from native import Prometheus

DASHBOARDS = pathlib.Path(__file__).resolve().parents[2] / "dashboards"
# Without native histograms: Prometheus would keep those only, and panels ask for classic buckets.
FEATURES = "exemplar-storage"
# As wide as the shortest window that Grafana would choose for a scrape each 15 seconds.
WINDOW = 60
# Panels, or single questions of theirs, that may be empty, and why.
MAY_BE_EMPTY = {
    ("agent-models.json", "Cost per hour, by model", "B"): "the demo has too few models for all others",
    ("agent-models.json", "Cost per hour, by model", "C"): "the demo did not run a week before",
    ("agent-models.json", "Tokens for each turn", "B"): "the demo did not run a week before",
    ("agent-models.json", "Tokens per minute, by model", "B"): "the demo has too few models for all others",
    ("agent-models.json", "Agents, by cost and tokens", "G"): "the demo did not run a week before",
    ("agent-exporter.json", "Longest wait to be read", "B"): "the demo's platforms may not have refused anything yet",
    # A zero would claim that something is pushed.
    ("agent-exporter.json", "Taken by collectors"): "nothing is pushed",
    ("agent-exporter.json", "Not taken by collectors"): "nothing is pushed",
    ("agent-exporter.json", "Spans waiting to be sent"): "no spans are sent",
}
LABEL_VALUES = re.compile(r"label_values\((.*), (\w+)\)")


def dashboards():
    for path in sorted(DASHBOARDS.glob("*.json")):
        yield path.name, json.loads(path.read_text(encoding="utf-8"))


def panels(dashboard):
    """All that ask for something, those in folded rows too."""
    for panel in dashboard["panels"]:
        yield from (inner for inner in [panel, *panel.get("panels", [])] if inner.get("targets"))


def plain(expression, platform):
    """An expression as Grafana sends it, with all values of each variable but the platform's chosen."""
    values = {"__rate_interval": f"{WINDOW}s", "__range": "6h", "platform": platform}
    values |= dict.fromkeys(("source", "agent", "model"), ".*")
    return re.sub(r"\$(\w+)", lambda it: values[it[1]], expression)


def is_number(value):
    return not math.isnan(float(value))


class Questions:
    """What the dashboards ask, each with where it stands."""

    def __init__(self, platform):
        self.asked, self.variables, self.traced, self.may_be_empty = {}, {}, set(), set()
        for file, dashboard in dashboards():
            for panel in panels(dashboard):
                for target in panel["targets"]:
                    where = f"{file}: {panel['title']} ({target['refId']})"
                    self.asked[where] = (plain(target["expr"], platform), target.get("instant", False))
                    if target.get("exemplar"):
                        self.traced.add(where)
                    if MAY_BE_EMPTY.keys() & {(file, panel["title"]), (file, panel["title"], target["refId"])}:
                        self.may_be_empty.add(where)
            for variable in dashboard["templating"]["list"]:
                if variable["type"] == "query":
                    selector, label = LABEL_VALUES.fullmatch(variable["query"]["query"]).groups()
                    self.variables[f"{file}: variable {variable['name']}"] = (plain(selector, platform), label)

    def unanswered(self, prometheus):
        """Those without a number, or without values. One that is not understood ends it all."""
        now = time.time()
        for where, (expression, is_instant) in self.asked.items():
            try:
                if is_instant:
                    result = prometheus.ask("query", query=expression, time=now)["result"]
                    values = [series["value"][1] for series in result]
                else:
                    result = prometheus.ask("query_range", query=expression, start=now - WINDOW, end=now, step=5)["result"]
                    values = [value for series in result for _, value in series["values"]]
            except urllib.error.HTTPError as refused:
                sys.exit(f"panels: {where}: {json.load(refused)['error']}: {expression}")
            if not any(map(is_number, values)):
                yield where
        for where, (selector, label) in self.variables.items():
            if not prometheus.ask(f"label/{label}/values", **{"match[]": selector}):
                yield where

    def exemplars(self, prometheus):
        """How many the panels that show them find."""
        now = time.time()
        found = 0
        for where in self.traced:
            expression, _ = self.asked[where]
            for series in prometheus.ask("query_exemplars", query=expression, start=now - 600, end=now):
                found += len(series["exemplars"])
        return found


def main():
    arguments = argparse.ArgumentParser(description="Asks a real Prometheus what the dashboards ask.")
    arguments.add_argument("--wait", type=int, default=120, help="how many seconds to wait for all answers")
    arguments.add_argument("--exemplars", type=int, default=0, help="how many exemplars there must be")
    arguments.add_argument("--platform", default=".*", help="what to choose as platform")
    arguments.add_argument("url", help="the metrics page of a running exporter")
    given = arguments.parse_args()
    questions = Questions(given.platform)
    with tempfile.TemporaryDirectory() as work:
        prometheus = Prometheus(given.url, work, FEATURES)
        try:
            begun = time.time()
            prometheus.scraped_after(begun)
            while True:
                unanswered = list(questions.unanswered(prometheus))
                wanted = [where for where in unanswered if where not in questions.may_be_empty]
                exemplars = questions.exemplars(prometheus)
                if not wanted and exemplars >= given.exemplars or time.time() > begun + given.wait:
                    break
                time.sleep(1)
        finally:
            prometheus.stop()
    for where in wanted:
        print(f"panels: no data: {where}", file=sys.stderr)
    if exemplars < given.exemplars:
        print(f"panels: {exemplars} exemplars, and {given.exemplars} are wanted", file=sys.stderr)
    print(f"panels: {len(questions.asked) - len(unanswered)} of {len(questions.asked)} expressions and "
          f"{len(questions.variables)} variables answered after {time.time() - begun:.0f} s; {exemplars} exemplars")
    for where in sorted(set(unanswered) & questions.may_be_empty):
        print(f"panels: empty, as it may be: {where}")
    sys.exit(1 if wanted or exemplars < given.exemplars else 0)


if __name__ == "__main__":
    main()
