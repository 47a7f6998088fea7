#!/usr/bin/env python3
"""Asks VictoriaMetrics the same PromQL about pushed and about scraped metrics of one exporter, and compares the answers.

    same_answers.py --page URL --store URL --readme README.md PID...

One store gets the metrics twice: over OTLP, and by scraping the page under the job `scraped`. The PIDs are those of the
simulated platforms. They are stopped twice for a while (SIGSTOP), so that the numbers stand still and both ways bring
the same ones, whatever the moment of a push and of a scrape. Compared are: the names; every series at the second
stop; the queries of the README as written, by their rows; and by their numbers, those about a span of time over exactly the time
between the stops, with `increase` for `rate`, as the samples of both ways are not of one instant.
"""

import argparse
import json
import math
import os
import re
import signal
import sys
import time
import urllib.parse
import urllib.request

WAYS = {"scraped": '{job="scraped"}', "pushed": '{service_name!=""}'}
# What each way adds to a series.
ADDED = {"job", "instance", "service_name", "service_instance_id", "service_version", "scope_name", "scope_version"}
# What is the store's own, and what goes over OTLP only.
NOT_OURS = re.compile("up$|scrape_|gen_ai_")
# What the exporter counts of its own doings moves with every poll, push and scrape.
RESTLESS = re.compile("agent_session_exporter_|process_")
MORE_QUERIES = [
    "sum by (source, status) (agent_sessions)",
    "sum by (source) (agent_sessions_created_total)",
    "sum(agent_input_tokens_total) + sum(agent_output_tokens_total)",
    "sum by (agent, model) (agent_cost_usd_total)",
    "histogram_quantile(0.5, sum by (platform, le) (agent_model_call_duration_seconds_bucket))",
    "histogram_quantile(0.99, sum by (tool, le) (agent_tool_call_duration_seconds_bucket))",
    "sum by (agent) (agent_turn_duration_seconds_sum) / sum by (agent) (agent_turn_duration_seconds_count)",
    "sum by (model) (rate(agent_output_tokens_total[5m]))",
    "topk(3, sum by (tool) (agent_tool_calls_total))",
    'count by (__name__) ({__name__=~"agent_.+", __name__!~"agent_session_exporter_.+"})',
]


def get(url, **parameters):
    if parameters:
        url = f"{url}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode("utf-8")


def close(one, other):
    return one == other or (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-9)


class Judge:
    def __init__(self, given):
        self.page, self.store, self.pids = given.page, given.store, given.pid
        with open(given.readme, encoding="utf-8") as file:
            section = file.read().split("\n### Queries\n")[1].split("\n## ")[0]
        self.queries = re.findall(r"```promql\n(.*?)\n```", section, re.DOTALL)
        self.problems = []

    def send(self, which):
        for pid in self.pids:
            os.kill(pid, which)

    def rows(self, way, query, at):
        """An instant vector of one way: each row's value by its labels."""
        answer = json.loads(get(f"{self.store}/api/v1/query", **{
            "query": query, "time": f"{at:.3f}", "nocache": 1, "extra_filters[]": WAYS[way]}))
        found = {}
        for row in answer["data"]["result"]:
            labels = {key: text for key, text in row["metric"].items() if key not in ADDED}
            if "le" in labels:
                labels["le"] = float(labels["le"])
            key = frozenset(labels.items())
            if key in found:
                self.problems.append(f"{way}: twice the same row {labels} of {query}")
            found[key] = float(row["value"][1])
        return found

    def both(self, query, at):
        return self.rows("scraped", query, at), self.rows("pushed", query, at)

    def wait(self, what, seconds, until):
        for _ in range(seconds * 5):
            value = until()
            if value:
                return value
            time.sleep(0.2)
        sys.exit(f"same answers: waited {seconds} s in vain: {what}")

    def steady(self):
        """The page without what never rests."""
        return [line for line in get(self.page).split("\n") if not line.startswith("#") and not RESTLESS.match(line)]

    def stop(self):
        """Stops the platforms; comes back with a moment at which both ways have told what stands still."""
        self.send(signal.SIGSTOP)
        last, since = self.steady(), time.time()

        def rests():
            nonlocal last, since
            now = self.steady()
            if now != last:
                last, since = now, time.time()
            # Longer than the pause between two polls, and than a new series is held at zero.
            return time.time() - since > 3

        self.wait("the page does not come to rest", 20, rests)
        rested = time.time()

        def told():
            get(f"{self.store}/internal/force_flush")
            moments = self.both("max(tlast_over_time(agent_sessions_created_total[1m]))", time.time())
            return all(moment and min(moment.values()) > rested for moment in moments)

        self.wait("a way does not bring metrics", 20, told)
        return time.time()

    def turns(self):
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.steady()
                   if line.startswith("agent_turns_finished_total"))

    def names(self):
        found = {}
        for way, selector in WAYS.items():
            answer = json.loads(get(f"{self.store}/api/v1/label/__name__/values", **{"match[]": selector}))
            found[way] = {name for name in answer["data"] if not NOT_OURS.match(name)}
        self.compare_keys("name", found["scraped"], found["pushed"])
        pushed_only = [name for name in answer["data"] if name.startswith("gen_ai_")]
        if not pushed_only:
            self.problems.append("no gen_ai_ metric was pushed")
        print(f"same answers: {len(found['scraped'])} names on both ways, {len(pushed_only)} of gen_ai pushed only")

    def compare_keys(self, what, scraped, pushed):
        for key in sorted(scraped - pushed, key=str):
            self.problems.append(f"{what} only scraped: {key if isinstance(key, str) else dict(key)}")
        for key in sorted(pushed - scraped, key=str):
            self.problems.append(f"{what} only pushed: {key if isinstance(key, str) else dict(key)}")

    def compare(self, what, scraped, pushed):
        self.compare_keys(f"{what}: row", scraped.keys(), pushed.keys())
        for key in scraped.keys() & pushed.keys():
            if not close(scraped[key], pushed[key]):
                self.problems.append(f"{what} {dict(key)}: {scraped[key]} scraped, {pushed[key]} pushed")

    def judge(self):
        self.wait("no turns were finished", 60, lambda: self.turns() > 20)
        first = self.stop()
        begun = self.turns()
        self.send(signal.SIGCONT)
        self.wait("no turns are finished between the stops", 60, lambda: self.turns() > begun + 40)
        second = self.stop()
        self.names()

        every = '{__name__=~"agent_.+", __name__!~"agent_session_exporter_.+"}'
        old, _ = self.both(every, first)
        scraped, pushed = self.both(every, second)
        self.compare("series", scraped, pushed)
        # What a series was before its first sample is a guess of the store's: those are left out of differences.
        born = [dict(key) for key in scraped.keys() - old.keys()]
        print(f"same answers: {len(scraped)} series with the same values, {len(born)} of them born between the stops")

        compared = left_out = first_only = 0
        for query in self.queries + MORE_QUERIES:
            short = " ".join(query.split())
            scraped, pushed = self.both(query, second)
            if not scraped or not pushed:
                self.problems.append(f"no rows: {short}")
            if "[" not in query:
                # When a source was read last is told at another moment on each way.
                if "last_success" in query:
                    self.compare_keys(f"{short}: row", scraped.keys(), pushed.keys())
                else:
                    self.compare(short, scraped, pushed)
                    compared += len(scraped)
                continue
            # The store does not read when a sum began. So it does not see the first increment of a pushed series; of a
            # scraped one it does, as that is held at zero for a while. A row of nothing else is on one way only.
            first_only += len(scraped.keys() - pushed.keys())
            self.compare_keys(f"{short}: row", set(), pushed.keys() - scraped.keys())
            over = re.sub(r"\[\w+\]", f"[{(second - first) * 1000:.0f}ms]", query.replace("rate(", "increase("))
            names = {re.sub("_bucket$", "", name) for name in re.findall(r"agent_\w+", query)}

            def is_new(row):
                return any(re.sub("_bucket$", "", it["__name__"]) in names and row <= it.items() for it in born)

            sides = self.both(over, second)
            kept = [{row: value for row, value in side.items() if not is_new(row)} for side in sides]
            compared += len(kept[0])
            left_out += len(sides[0]) - len(kept[0])
            self.compare(" ".join(over.split()), *kept)
        print(f"same answers: {len(self.queries)} queries of the README and {len(MORE_QUERIES)} more, {compared} rows with "
              f"the same numbers; {left_out} left out because of series that were born meanwhile; as written, "
              f"{first_only} rows of first increments only scraped")
        if len(self.queries) < 10 or compared < 100 or left_out > compared / 4 or first_only > compared / 10:
            self.problems.append("that is too little to judge")


def main():
    arguments = argparse.ArgumentParser(description="Compares pushed and scraped metrics.")
    arguments.add_argument("--page", required=True, help="the metrics page of the exporter")
    arguments.add_argument("--store", required=True, help="the VictoriaMetrics that has both")
    arguments.add_argument("--readme", required=True, help="where the queries are")
    arguments.add_argument("pid", type=int, nargs="+", help="a simulated platform, to be stopped for a while")
    judge = Judge(arguments.parse_args())
    try:
        judge.judge()
    finally:
        judge.send(signal.SIGCONT)
    for problem in judge.problems[:50]:
        print(f"same answers: {problem}", file=sys.stderr)
    sys.exit(1 if judge.problems else 0)


if __name__ == "__main__":
    main()
