#!/usr/bin/env python3
"""An independent judge of the two formats: reads them with the parsers of Prometheus' own Python client.

    judge.py [--same-moment] METRICS.txt METRICS.om

Either file may be `-` for standard input. OpenMetrics is read by the strict parser, which refuses what the
specification refuses. Both formats must have the same series with the same types and help texts; with
--same-moment, which says that both were rendered from the same numbers, the same values as well.
"""

import argparse
import sys

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as text


def read(path):
    stream = sys.stdin.buffer if path == "-" else open(path, "rb")
    with stream:
        return stream.read().decode("utf-8")


def samples(families):
    """Every sample by its identity: its name and labels."""
    found = {}
    for family in families:
        for sample in family.samples:
            identity = (sample.name, tuple(sorted(sample.labels.items())))
            if identity in found:
                raise ValueError(f"twice the same sample: {identity}")
            if sample.timestamp is not None:
                raise ValueError(f"a live sample with a timestamp: {identity}")
            if sample.name.endswith("_created"):
                raise ValueError(f"a created line: {identity}")
            found[identity] = sample.value
    return found


def about(families):
    """What is said of every family: the Python client names counters without `_total` in both formats."""
    return {family.name: (family.type, family.documentation) for family in families}


def differences(ours, theirs, what):
    for key in sorted(ours.keys() - theirs.keys()):
        yield f"{what} only in text: {key}"
    for key in sorted(theirs.keys() - ours.keys()):
        yield f"{what} only in OpenMetrics: {key}"


def judge(text_document, open_document, same_moment):
    if not open_document.endswith("\n# EOF\n"):
        yield "OpenMetrics does not end with # EOF"
    plain = list(text.text_string_to_metric_families(text_document))
    strict = list(openmetrics.text_string_to_metric_families(open_document))
    if not plain:
        yield "there is nothing to judge"
    for family in plain + strict:
        if not family.documentation:
            yield f"no help: {family.name}"
        if family.type not in ("counter", "gauge", "histogram"):
            yield f"type {family.type}: {family.name}"
    yield from differences(about(plain), about(strict), "family")
    for name in about(plain).keys() & about(strict).keys():
        if about(plain)[name] != about(strict)[name]:
            yield f"different things are said of {name}: {about(plain)[name]} and {about(strict)[name]}"
    plain_samples, strict_samples = samples(plain), samples(strict)
    yield from differences(plain_samples, strict_samples, "sample")
    if same_moment:
        for identity in plain_samples.keys() & strict_samples.keys():
            # What the kernel tells of the process moves between any two renderings.
            if identity[0].startswith("process_"):
                continue
            if plain_samples[identity] != strict_samples[identity]:
                yield f"{identity}: {plain_samples[identity]} and {strict_samples[identity]}"
    print(f"{len(plain)} families, {len(plain_samples)} samples in text, {len(strict_samples)} in OpenMetrics")


def main():
    arguments = argparse.ArgumentParser(description="Judges both formats of one exporter.")
    arguments.add_argument("--same-moment", action="store_true", help="both were rendered from the same numbers")
    arguments.add_argument("text", help="a file in text 0.0.4, or -")
    arguments.add_argument("openmetrics", help="a file in OpenMetrics 1.0, or -")
    given = arguments.parse_args()
    try:
        problems = list(judge(read(given.text), read(given.openmetrics), given.same_moment))
    except ValueError as error:
        problems = [f"cannot be read: {error}"]
    for problem in problems:
        print(f"judge: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
