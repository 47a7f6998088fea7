#!/usr/bin/env python3
"""Shows that the strict receiver can refuse: every fault it looks for is sent to it once.

    refusals.py

Runs receiver.py beside it with the same Python. A good message must be taken over both protocols, each bad one be
refused, and a parent that never comes be told at the end. Needs the same packages as receiver.py.
"""

import json
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

TRACE, ROOT, CHILD = b"\1" * 16, b"\2" * 8, b"\3" * 8


def spans(*changes, **of_all):
    """A message with one span for each set of changes to a good one."""
    request = trace_pb.ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for change in changes or ({},):
        good = {"trace_id": TRACE, "span_id": ROOT, "name": "invoke_agent", "kind": 3,
                "start_time_unix_nano": 1, "end_time_unix_nano": 2}
        scope.spans.add(**(good | of_all | change))
    return request


def sum_of(name="good", value=1, start=1, time=2, temporality=2, times=1):
    request = metrics_pb.ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = temporality, True
    for _ in range(times):
        metric.sum.data_points.add(start_time_unix_nano=start, time_unix_nano=time, as_int=value)
    return request


def histogram(**changes):
    request = metrics_pb.ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="histogram")
    metric.histogram.aggregation_temporality = 2
    good = {"start_time_unix_nano": 1, "time_unix_nano": 2, "count": 3, "sum": 4, "explicit_bounds": [1, 2],
            "bucket_counts": [1, 1, 1]}
    metric.histogram.data_points.add(**(good | changes))
    return request


def with_unknown(message):
    """The same message with a field 999 in it, which no version has."""
    return type(message).FromString(message.SerializeToString() + bytes([0xB8, 0x3E, 0x01]))


GOOD = [spans(), sum_of(), histogram()]
BAD = {
    "unknown field": with_unknown(spans()),
    "trace id of zeros": spans(trace_id=bytes(16)),
    "trace id too short": spans(trace_id=b"\1" * 8),
    "span id of zeros": spans(span_id=bytes(8)),
    "span id too long": spans(span_id=b"\1" * 9),
    "parent id too short": spans(parent_span_id=b"\1"),
    "end before start": spans(span_id=b"\4" * 8, start_time_unix_nano=3),
    "no start": spans(span_id=b"\5" * 8, start_time_unix_nano=0),
    "told differently": spans(name="invoke_agent other"),
    "twice in one message": sum_of("twice", times=2),
    "start after time": sum_of("late", start=3),
    "no start of a sum": sum_of("unborn", start=0),
    "temporality changed": sum_of(temporality=1, start=2, time=3),
    "total went back": sum_of(value=0, time=3),
    "no temporality": sum_of("none", temporality=0),
    "no value": sum_of("empty", value=None),
    "bounds out of order": histogram(explicit_bounds=[2, 1], time_unix_nano=3),
    "a bucket missing": histogram(bucket_counts=[1, 2], time_unix_nano=4),
    "count of its own": histogram(count=4, time_unix_nano=5),
}


def main():
    here = pathlib.Path(__file__).parent
    receiver = subprocess.Popen([sys.executable, here / "receiver.py"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
    problems = []
    try:
        address = json.loads(receiver.stdout.readline())
        channel = grpc.insecure_channel(address["grpc"].removeprefix("http://"))
        stubs = {"traces": trace_grpc.TraceServiceStub(channel), "metrics": metrics_grpc.MetricsServiceStub(channel)}

        def over_grpc(message, kind):
            try:
                stubs[kind].Export(message, timeout=10)
                return True
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.INVALID_ARGUMENT:
                    raise
                return False

        def over_http(message, kind):
            request = urllib.request.Request(f"{address['http']}/v1/{kind}", message.SerializeToString(),
                                             {"Content-Type": "application/x-protobuf"})
            try:
                return urllib.request.urlopen(request, timeout=10).status == 200
            except urllib.error.HTTPError as error:
                if error.code != 400:
                    raise
                return False

        for send in (over_grpc, over_http):
            for message in GOOD:
                kind = "traces" if isinstance(message, trace_pb.ExportTraceServiceRequest) else "metrics"
                if not send(message, kind):
                    problems.append(f"{send.__name__}: a good message is refused: {message}")
        # The second time some would be refused for being told differently.
        for number, (what, message) in enumerate(BAD.items()):
            kind = "traces" if isinstance(message, trace_pb.ExportTraceServiceRequest) else "metrics"
            if (over_grpc if number % 2 else over_http)(message, kind):
                problems.append(f"taken: {what}")
        if not over_grpc(spans(span_id=CHILD, parent_span_id=b"\6" * 8, name="orphan"), "traces"):
            problems.append("an orphan is refused before the end")
    finally:
        receiver.terminate()
        counts, complaints = receiver.communicate()
        counts = json.loads(counts)
    if complaints.count("its parent never came") != 1:
        problems.append(f"the orphan is not told at the end: {complaints}")
    if receiver.returncode != 1:
        problems.append(f"the receiver exits with {receiver.returncode} after complaints")
    print(f"refusals: {len(BAD)} bad messages and an orphan, {counts['complaints']} complaints")
    for problem in problems:
        print(f"refusals: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
