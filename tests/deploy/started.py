#!/usr/bin/env python3
"""Starts the exporter the way the compose files and the image do, on ports of this machine.

    started.py PROGRAM

Its traces must arrive at the path that they are sent to, its exemplars and spans have the names that Grafana is told to
look for, and the image's health check must tell a running exporter from one that is not.
"""

import contextlib
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from urllib.parse import urlsplit

from files import PORT, ROOT, document, expect, stacks, text

PATIENCE_SECONDS = 60
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@contextlib.contextmanager
def collector():
    """Keeps what is posted to it, by path."""
    posted = {}

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted[self.path] = posted.get(self.path, b"") + body
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], posted
    finally:
        server.shutdown()


@contextlib.contextmanager
def started(program, arguments, env, says):
    """A process that has said where it listens; ended as a container is."""
    with tempfile.TemporaryFile("w+") as out:
        it = subprocess.Popen([program, *arguments], env=env, stdout=out, stderr=subprocess.DEVNULL)
        try:
            yield until(lambda: (out.seek(0), re.search(says, out.read()))[1], "it does not say where it listens")[1]
        finally:
            it.send_signal(signal.SIGTERM)
            expect(it.wait() == 0, f"{arguments[0]} ends with an error")


def until(look, problem):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        expect(time.monotonic() < deadline, problem)
        time.sleep(0.1)
    return found


def environment(stack, **values):
    """What a container would have, with these values in place of the shell's."""
    given = {name: values.get(name, value) for name, value in stack["services"]["exporter"]["environment"].items()}
    return {"PATH": os.environ["PATH"]} | {name: value for name, value in given.items() if value is not None}


def openmetrics(url):
    request = urllib.request.Request(url, headers={"Accept": OPENMETRICS})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def health_check(program, url):
    """The command of the image's HEALTHCHECK, for an exporter that listens elsewhere."""
    command = json.loads(re.search(r"^HEALTHCHECK .*\n\s+CMD (\[.*\])$", text("Dockerfile"), re.M)[1])
    return subprocess.run([program, *command[1:], "--web.url", url], stderr=subprocess.DEVNULL, check=False).returncode


def demo(program, stack):
    sources = document("config/grafana/provisioning/datasources/agent-sessions.yaml")["datasources"]
    details = {source["type"]: source["jsonData"] for source in sources}
    labels = [it["name"] for it in details["prometheus"]["exemplarTraceIdDestinations"]]
    attributes = [tag["key"].encode() for tag in details["tempo"]["tracesToMetrics"]["tags"]]
    service = stack["services"]["exporter"]
    to = urlsplit(service["environment"]["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
    with collector() as (port, posted):
        env = environment(stack, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=to._replace(netloc=f"127.0.0.1:{port}").geturl())
        arguments = [*service["command"], "--web.listen-address", "127.0.0.1:0", "--log.level", "error"]
        with started(program, arguments, env, r"metrics +(\S+)") as metrics:
            url = metrics.removesuffix("/metrics")
            expect(health_check(program, url) == 0, "an exporter that runs is not healthy")
            for label in labels:
                exemplar = f'# {{{label}="'
                until(lambda: exemplar in openmetrics(metrics), f"no exemplar has a label {label}")
            for attribute in attributes:
                until(lambda: attribute in posted.get(to.path, b""), f"no span at {to.path} has {attribute.decode()}")
        expect(health_check(program, url) == 1, "an exporter that is gone is healthy")
        expect(set(posted) == {to.path}, f"more than traces is sent: {sorted(posted)}")


def serve(program, stack):
    """One pass over a simulated account, with the file that is mounted unless there is another."""
    mounted = ROOT / "config/compose/exporter.yaml"
    simulate = ["simulate", "--platform", "hcompany", "--listen", "127.0.0.1:0", "--history", "5"]
    service = stack["services"]["exporter"]
    with tempfile.TemporaryDirectory() as folder, started(program, simulate, {}, r"(http://127\.0\.0\.1:\d+)") as url:
        env = environment(
            stack,
            ASE_CONFIG_FILE=str(mounted),
            HAI_API_KEY="hk-simulated",
            HAI_API_BASE_URL=url,
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=None,
        ) | {"ASE_STORAGE_PATH": f"{folder}/store"}
        once = subprocess.run([program, *service["command"], "--once"], env=env, capture_output=True, check=False)
        expect(once.returncode == 0, f"serve: {once.stderr.decode()}")
        expect(pathlib.Path(folder, "store/journal.redb").is_file(), "the store is not where the volume is")
        del env["HAI_API_KEY"]
        again = subprocess.run([program, *service["command"], "--once"], env=env, capture_output=True, check=False)
        expect(again.returncode == 2 and b"HAI_API_KEY" in again.stderr, f"without a key: {again.stderr.decode()}")


def defaults(program):
    for command in ("serve", "demo", "healthcheck"):
        help_text = subprocess.run([program, command, "--help"], capture_output=True, text=True, check=True).stdout
        expect(re.search(rf"\[default: \S*:{PORT}\]", help_text), f"{command}: the default is not port {PORT}")


def main(program):
    both = stacks()
    defaults(program)
    demo(program, both["demo"])
    serve(program, both["serve"])
    print("started as the compose files do, the exporter serves, is healthy, and sends its traces (simulated sessions)")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
