#!/usr/bin/env python3
"""A strict collector made of the official Python messages: takes OTLP over gRPC and HTTP, and complains.

    receiver.py

The first line on standard output is JSON with both addresses, {"grpc": ..., "http": ...}. `GET /` over HTTP answers the
counts so far. SIGTERM or SIGINT ends it: what only the end can tell is judged, the counts are printed as JSON, and
the exit code is 1 if there was a complaint. A message with a fault is refused, and every fault goes to standard error.
Needs the packages opentelemetry-proto, grpcio and protobuf.
"""

import gzip
import json
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc
from opentelemetry.proto.metrics.v1 import metrics_pb2 as metrics_model

NO_VALUE = metrics_model.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK


def unknown(message, path=""):
    """Fields, at any depth, that the official messages do not have."""
    for field in UnknownFieldSet(message):
        yield f"unknown field {field.field_number} in {path or 'the message'}"
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for it in value if field.is_repeated else [value]:
                yield from unknown(it, f"{path}.{field.name}")


def attributes(pairs, where):
    keys = [pair.key for pair in pairs]
    if len(keys) != len(set(keys)) or "" in keys:
        yield f"{where}: an attribute twice or without a name: {keys}"
    for pair in pairs:
        if pair.value.WhichOneof("value") is None:
            yield f"{where}: {pair.key} has no value"


def is_id(value, length):
    return len(value) == length and any(value)


class Judge:
    def __init__(self):
        self.lock = threading.Lock()
        self.complaints = []
        self.messages = {"traces": 0, "metrics": 0}
        self.points, self.ended = 0, 0
        self.repeated = 0
        self.spans = {}
        # By metric: what it is. By series: where it was last.
        self.kinds, self.series = {}, {}

    def take(self, signal_name, message):
        """The complaints about a message, which is taken if there are none."""
        with self.lock:
            self.messages[signal_name] += 1
            faults = list(unknown(message)) + list(getattr(self, signal_name)(message))
            self.complaints += faults
        for fault in faults:
            print(f"receiver: {fault}", file=sys.stderr, flush=True)
        return faults

    def traces(self, message):
        for of_resource in message.resource_spans:
            yield from attributes(of_resource.resource.attributes, "resource")
            for span in (span for scope in of_resource.scope_spans for span in scope.spans):
                where = f"span {span.trace_id.hex()}/{span.span_id.hex()} {span.name!r}"
                yield from attributes(span.attributes, where)
                if not (is_id(span.trace_id, 16) and is_id(span.span_id, 8)):
                    yield f"{where}: an id is of the wrong length or zero"
                if span.parent_span_id and not is_id(span.parent_span_id, 8):
                    yield f"{where}: the parent's id is of the wrong length or zero"
                if span.parent_span_id == span.span_id:
                    yield f"{where}: its own parent"
                if not span.name or not 1 <= span.kind <= 5 or span.status.code not in (0, 1, 2):
                    yield f"{where}: no name, or kind {span.kind}, status {span.status.code}"
                begin, end = span.start_time_unix_nano, span.end_time_unix_nano
                if not 0 < begin <= end:
                    yield f"{where}: from {begin} to {end}"
                for event in span.events:
                    yield from attributes(event.attributes, where)
                    if not event.name or not event.time_unix_nano:
                        yield f"{where}: an event without name or time"
                for link in span.links:
                    yield from attributes(link.attributes, where)
                    if not (is_id(link.trace_id, 16) and is_id(link.span_id, 8)):
                        yield f"{where}: a link's id is of the wrong length or zero"
                before = self.spans.setdefault((span.trace_id, span.span_id), span)
                if before is not span:
                    self.repeated += 1
                    if before != span:
                        yield f"{where}: told twice, and differently"

    def metrics(self, message):
        seen = set()
        for of_resource in message.resource_metrics:
            yield from attributes(of_resource.resource.attributes, "resource")
            for scope in of_resource.scope_metrics:
                for metric in scope.metrics:
                    yield from self.metric(metric, scope.scope.name, of_resource.resource, seen)

    def metric(self, metric, scope, resource, seen):
        what = metric.WhichOneof("data")
        if not metric.name or what is None:
            yield f"metric {metric.name!r} has no name or no data"
            return
        data = getattr(metric, what)
        temporality = getattr(data, "aggregation_temporality", None)
        if what != "gauge" and temporality not in (1, 2):
            yield f"{metric.name}: temporality {temporality}"
        kind = (what, metric.unit, temporality, getattr(data, "is_monotonic", None))
        if self.kinds.setdefault(metric.name, kind) != kind:
            yield f"{metric.name}: was {self.kinds[metric.name]}, is {kind}"
        for point in data.data_points:
            self.points += 1
            labels = sorted((it.key, it.value.SerializeToString()) for it in point.attributes)
            where = f"{metric.name} {[key for key, _ in labels]}"
            yield from attributes(point.attributes, where)
            series = (resource.SerializeToString(deterministic=True), scope, metric.name, str(labels))
            if series in seen:
                yield f"{where}: twice in one message"
            seen.add(series)
            start, time = point.start_time_unix_nano, point.time_unix_nano
            if not time or start > time or (what != "gauge" and not start):
                yield f"{where}: from {start} to {time}"
            if what in ("histogram", "exponential_histogram"):
                yield from buckets(point, what, where)
                total = point.count
            else:
                # A point may tell that its series is over; only a gauge's ever is.
                is_over = what == "gauge" and point.flags == NO_VALUE
                if (point.WhichOneof("value") is None) != is_over:
                    yield f"{where}: value {point.WhichOneof('value')}, flags {point.flags}"
                self.ended += is_over
                total = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
            if what != "gauge":
                yield from self.course(series, where, temporality, (start, time, total))

    def course(self, series, where, temporality, now):
        """Whether a series goes on as it has to: totals only grow, differences do not overlap."""
        before = self.series.get(series)
        self.series[series] = now
        if before is None or before == now:
            return
        (start, time, total), (last_start, last_time, last_total) = now, before
        if temporality == 1 and start < last_time:
            yield f"{where}: differences from {start}, and up to {last_time} before"
        if temporality == 2:
            if start != last_start and start < last_time:
                yield f"{where}: begins at {start}, began at {last_start}"
            if time < last_time or (start == last_start and total < last_total):
                yield f"{where}: {total} at {time} after {last_total} at {last_time}"

    def at_the_end(self):
        """The roots of whole traces; complains of every span whose parent is missing in a trace with a root."""
        roots = {trace for (trace, _), span in self.spans.items()
                 if not span.parent_span_id and span.name.startswith("invoke_agent")}
        for (trace, _), span in self.spans.items():
            if trace in roots and span.parent_span_id and (trace, span.parent_span_id) not in self.spans:
                self.complaints.append(f"span {trace.hex()}/{span.span_id.hex()} {span.name!r}: its parent never came")
                print(f"receiver: {self.complaints[-1]}", file=sys.stderr)
        return roots

    def counts(self):
        operations = {}
        for span in self.spans.values():
            operation = span.name.split(" ")[0]
            operations[operation] = operations.get(operation, 0) + 1
        return {"messages": self.messages, "points": self.points, "ended": self.ended,
                "metrics": len(self.kinds),
                "series": len(self.series), "spans": len(self.spans), "repeated": self.repeated,
                "operations": operations, "errors": sum(span.status.code == 2 for span in self.spans.values()),
                "traces": len({trace for trace, _ in self.spans}), "complaints": len(self.complaints)}


def buckets(point, what, where):
    if what == "histogram":
        bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
        if bounds != sorted(set(bounds)):
            yield f"{where}: bounds do not ascend: {bounds}"
        if counts and len(counts) != len(bounds) + 1:
            yield f"{where}: {len(counts)} buckets for {len(bounds)} bounds"
        inside = sum(counts) if counts else point.count
    else:
        inside = point.zero_count + sum(point.positive.bucket_counts) + sum(point.negative.bucket_counts)
        if not -10 <= point.scale <= 20:
            yield f"{where}: scale {point.scale}"
    if inside != point.count:
        yield f"{where}: {inside} in buckets, {point.count} counted"
    if point.HasField("min") and point.HasField("max") and point.min > point.max:
        yield f"{where}: least {point.min}, most {point.max}"


def services(judge):
    def export(signal_name, answer):
        def handle(_, request, context):
            faults = judge.take(signal_name, request)
            if faults:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, faults[0])
            return answer()
        return handle

    class Traces(trace_grpc.TraceServiceServicer):
        Export = export("traces", trace_pb.ExportTraceServiceResponse)

    class Metrics(metrics_grpc.MetricsServiceServicer):
        Export = export("metrics", metrics_pb.ExportMetricsServiceResponse)

    return Traces(), Metrics()


def handler(judge):
    kinds = {"/v1/traces": ("traces", trace_pb.ExportTraceServiceRequest, trace_pb.ExportTraceServiceResponse),
             "/v1/metrics": ("metrics", metrics_pb.ExportMetricsServiceRequest, metrics_pb.ExportMetricsServiceResponse)}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, kind, body):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            try:
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                # Whoever sends breaks off at its end, and sends the same again.
                self.close_connection = True

        def do_GET(self):
            with judge.lock:
                counts = judge.counts()
            self.answer(200, "application/json", json.dumps(counts).encode())

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = kinds.get(self.path)
            if kind is None or self.headers["Content-Type"] != "application/x-protobuf":
                judge.complaints.append(f"HTTP: {self.path} of type {self.headers['Content-Type']}")
                return self.answer(415, "text/plain", b"")
            signal_name, request, response = kind
            try:
                encoded = self.headers.get("Content-Encoding") == "gzip"
                faults = judge.take(signal_name, request.FromString(gzip.decompress(body) if encoded else body))
            except (DecodeError, OSError) as error:
                faults = [f"{signal_name}: cannot be read: {error}"]
                judge.complaints += faults
                print(f"receiver: {faults[0]}", file=sys.stderr, flush=True)
            return self.answer(400 if faults else 200, "application/x-protobuf", response().SerializeToString())

        def log_message(self, *_):
            pass

    return Handler


def main():
    judge = Judge()
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0),
                                                               ("grpc.max_receive_message_length", 64 << 20)])
    traces, metrics = services(judge)
    trace_grpc.add_TraceServiceServicer_to_server(traces, server)
    metrics_grpc.add_MetricsServiceServicer_to_server(metrics, server)
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(judge))
    http.daemon_threads = True
    # Blocked before any thread is made, so that `sigwait` below is the only one that gets them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    server.start()
    threading.Thread(target=http.serve_forever, daemon=True).start()
    print(json.dumps({"grpc": f"http://127.0.0.1:{grpc_port}", "http": f"http://127.0.0.1:{http.server_port}"}),
          flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.stop(2).wait()
    http.shutdown()
    roots = judge.at_the_end()
    print(json.dumps(judge.counts() | {"whole_traces": len(roots)}), flush=True)
    sys.exit(1 if judge.complaints else 0)


if __name__ == "__main__":
    main()
