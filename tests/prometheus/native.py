#!/usr/bin/env python3
"""Has a real Prometheus scrape a running exporter over protobuf, and compares what it stored with the text page.

    native.py [--exemplars N] URL

Prometheus runs with native histograms and exemplars, so it asks for protobuf. The exporter's numbers move meanwhile,
so the page is read before and after: what stayed the same must be stored so, what grew must lie between. Exemplars are
counted, and must be N at least. Needs `prometheus` on the PATH and nothing else.
"""

import argparse
import json
import math
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - {{job_name: judged, metrics_path: "{path}", static_configs: [{{targets: ["{host}"]}}]}}
"""
FEATURES = "native-histograms,exemplar-storage"
# Buckets of schema 3 end at whole eighths of a power of two.
WIDTH = 2 ** (1 / 8)
# No small number of observations has one exactly there, where rounding would choose between two buckets.
QUANTILE = 0.877
LINE = re.compile(r'(\w+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)",?')
ESCAPE = re.compile(r"\\(.)")


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode("utf-8")


def page(url):
    """Samples of the text page by name and labels, and every family's type and help."""
    samples, types, helps = {}, {}, {}
    # Not split by `splitlines`, which knows more ends of lines than the format.
    for line in get(url).split("\n"):
        if line.startswith("# "):
            _, what, name, rest = line.split(" ", 3)
            {"TYPE": types, "HELP": helps}[what][name] = rest
        elif line:
            name, labels, value = LINE.match(line).groups()
            unescaped = {
                key: ESCAPE.sub(lambda it: "\n" if it[1] == "n" else it[1], text)
                for key, text in LABEL.findall(labels or "")
            }
            samples[(name, frozenset(unescaped.items()))] = float(value)
    return samples, types, helps


class Prometheus:
    def __init__(self, url, work, features=FEATURES):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        target = urllib.parse.urlsplit(url)
        with open(f"{work}/prometheus.yml", "w", encoding="utf-8") as config:
            config.write(CONFIG.format(path=target.path, host=target.netloc))
        self.log = open(f"{work}/log", "wb")
        self.api = f"http://{address}/api/v1"
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/data",
             f"--web.listen-address={address}", f"--enable-feature={features}"],
            stdout=self.log, stderr=self.log)

    def ask(self, path, **parameters):
        answer = json.loads(get(f"{self.api}/{path}?{urllib.parse.urlencode(parameters)}"))
        return answer["data"]

    def query(self, query):
        """An instant vector: each series' value, or histogram."""
        found = {}
        for series in self.ask("query", query=query)["result"]:
            labels = dict(series["metric"])
            name = labels.pop("__name__", "")
            labels = {key: value for key, value in labels.items() if key not in ("job", "instance")}
            value = series["histogram"][1] if "histogram" in series else float(series["value"][1])
            found[(name, frozenset(labels.items()))] = value
        return found

    def scraped_after(self, moment):
        """Waits for a successful scrape that began after a moment."""
        for _ in range(150):
            time.sleep(0.2)
            try:
                at = self.query('timestamp(up{job="judged"} == 1)')
            except OSError:
                continue
            if at and min(at.values()) > moment:
                return
        targets = self.ask("targets")["activeTargets"]
        sys.exit(f"native: Prometheus did not scrape: {[target['lastError'] for target in targets]}")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def lies_between(before, stored, after):
    # Sums are rounded once on their way through each format.
    slack = 1e-9 * max(abs(before), abs(after), 1)
    return before - slack <= stored <= after + slack


def classic(samples, name, labels):
    """Cumulative counts of a histogram on the page, by upper bound."""
    bounds = {}
    for (sample, pairs), value in samples.items():
        if sample == f"{name}_bucket":
            pairs = dict(pairs)
            bound = float(pairs.pop("le"))
            if frozenset(pairs.items()) == labels:
                bounds[bound] = value
    return dict(sorted(bounds.items()))


def judge(prometheus, url, wanted_exemplars):
    """Problems, by what each is about."""
    before, types, helps = page(url)
    prometheus.scraped_after(time.time())
    stored = prometheus.query('{job="judged"}')
    # A count as PromQL has it, not as the interface writes histograms.
    turns = prometheus.query("histogram_count(agent_turn_duration_seconds) > 0")
    quantiles = {name: prometheus.query(f'histogram_quantile({QUANTILE}, {name})')
                 for name, kind in types.items() if kind == "histogram"}
    metadata = prometheus.ask("metadata")
    after, _, _ = page(url)

    is_own = lambda name: name.startswith("agent_session_exporter_")
    natives = {name for name, kind in types.items() if kind == "histogram" and not is_own(name)}
    compared, still, quantiles_judged, bounds_judged = 0, 0, 0, 0
    for (name, labels), value in before.items():
        later = after.get((name, labels))
        if later is None:
            continue
        family = re.sub("_(bucket|sum|count)$", "", name)
        if family in natives:
            histogram = stored.get((family, labels))
            if name.endswith("_bucket"):
                continue
            if not isinstance(histogram, dict):
                yield (family, labels), f"no native histogram: {family} {dict(labels)}"
                continue
            told = float(histogram[name.rsplit("_", 1)[1]])
        else:
            told = stored.get((name, labels))
            if name.endswith("_bucket") and told is None:
                # Prometheus writes bounds without a fraction where there is none.
                pairs = dict(labels)
                pairs["le"] = f"{float(pairs['le']):g}".replace("inf", "+Inf")
                told = stored.get((name, frozenset(pairs.items())))
        if told is None:
            yield (name, labels), f"not stored: {name} {dict(labels)}"
            continue
        # A gauge that moved, or what the process counts itself, may have been anything in between.
        if value != later and (types.get(name) == "gauge" or is_own(name) or name.startswith("process_")):
            continue
        compared += 1
        still += value == later
        if not lies_between(value, told, later):
            yield (name, labels), f"{name} {dict(labels)}: {told} stored, {value} before and {later} after"

    for (name, labels), histogram in stored.items():
        if not isinstance(histogram, dict):
            continue
        if name not in natives:
            yield name, f"a native histogram that should be none: {name}"
            continue
        bounds, later = classic(before, name, labels), classic(after, name, labels)
        buckets = [(float(low), float(high), float(count)) for _, low, high, count in histogram.get("buckets", [])]
        if not bounds or bounds != later or not buckets:
            continue
        # Where a classic bound is one of the exponential ones, both must have as much below it.
        for bound in (it for it in bounds if math.isfinite(it) and (8 * math.log2(it)).is_integer()):
            bounds_judged += 1
            below = sum(count for _, high, count in buckets if high <= bound * 1.0001)
            if below != bounds[bound]:
                yield (name, labels, bound), (f"{name} {dict(labels)}: {below} up to {bound} in exponential buckets, "
                                              f"{bounds[bound]} in classic ones")
        rank = QUANTILE * bounds[math.inf]
        high = next(bound for bound, count in bounds.items() if count >= rank)
        low = max((bound for bound in bounds if bound < high), default=0)
        quantile = quantiles[name].get(("", labels))
        quantiles_judged += 1
        if quantile is None or not low / WIDTH <= quantile <= high * WIDTH:
            yield (name, labels), (f"{name} {dict(labels)}: {QUANTILE} quantile {quantile}, in the classic bucket from "
                                   f"{low} to {high}")

    for name in types:
        said = metadata.get(name, [{}])[0]
        # The metadata of Prometheus has help texts as they were before any escaping.
        if said.get("type") != types[name] or said.get("help") != helps[name].replace("\\\\", "\\"):
            yield name, f"metadata of {name}: {said}"
    if not turns:
        yield "turns", "no turn is counted in a native histogram"
    for what, number in (("series that stood still", still), ("quantiles", quantiles_judged), ("bounds", bounds_judged)):
        if number < 10:
            yield what, f"only {number} {what} could be judged"

    now = time.time()
    traced = prometheus.ask("query_exemplars", query='{__name__=~"agent_.*_seconds"}', start=now - 600, end=now)
    exemplars = sum(len(series["exemplars"]) for series in traced)
    if exemplars < wanted_exemplars:
        yield "exemplars", f"{exemplars} exemplars, and {wanted_exemplars} are wanted"
    print(f"native: {compared} values stored as shown, {still} of them standing still; {len(natives)} families with "
          f"exponential buckets, of which {bounds_judged} bounds and {quantiles_judged} quantiles were compared with "
          f"classic ones; {exemplars} exemplars")


def main():
    arguments = argparse.ArgumentParser(description="Compares a real Prometheus with the text page.")
    arguments.add_argument("--exemplars", type=int, default=0, help="how many exemplars there must be")
    arguments.add_argument("url", help="the metrics page of a running exporter")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as work:
        prometheus = Prometheus(given.url, work)
        try:
            problems = dict(judge(prometheus, given.url, given.exemplars))
            for _ in range(2):
                # A gauge may have gone up and down again between two pages: only what stays is wrong.
                if problems:
                    again = dict(judge(prometheus, given.url, given.exemplars))
                    problems = {about: again[about] for about in problems if about in again}
        finally:
            prometheus.stop()
    for problem in list(problems.values())[:50]:
        print(f"native: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
