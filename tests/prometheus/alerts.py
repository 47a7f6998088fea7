#!/usr/bin/env python3
"""Follows a failed and a timed-out session from the demo through Prometheus and Alertmanager to a webhook.

    alerts.py PROGRAM

The shipped files are used as they are, but for addresses and for waits that are too long for a test: an alert must
arrive at the webhook naming source, platform, agent and a runbook that exists, and so must its end. Needs `prometheus`
and `prometheus-alertmanager` on the PATH and nothing else.
"""

import contextlib
import http.server
import json
import pathlib
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALERTS = {"AgentSessionFailed", "AgentSessionTimedOut"}
PLATFORMS = {"hcompany", "everruns"}
# Until everything was seen; the demo has a failure every few seconds.
PATIENCE_SECONDS = 240


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def shipped(path, changes):
    """A shipped file with the changes that a test needs; each must change something."""
    text = (ROOT / path).read_text()
    for old, new in changes.items():
        assert old in text, f"{path} has no {old!r} any more"
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def webhook(notes):
    """Puts every alert that is delivered into the queue."""

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for alert in body["alerts"]:
                notes.put(alert)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextlib.contextmanager
def process(arguments, log, **options):
    with open(log, "wb") as out:
        it = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT, **options)
        try:
            yield it
        except BaseException:
            print(f"{log.name}: {log.read_text(errors='replace')[-2000:]}", file=sys.stderr)
            raise
        finally:
            it.terminate()
            it.wait()


def metrics_address(said, deadline):
    while time.monotonic() < deadline:
        for line in said.read_text().splitlines():
            if line.startswith("metrics "):
                return line.split()[1].split("/")[2]
        time.sleep(0.1)
    sys.exit("the demo does not start")


def collect(notes, status, wanted, deadline):
    """The alerts with this status, one for each name and platform that is wanted."""
    found = {}
    while wanted - found.keys():
        try:
            alert = notes.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            sys.exit(f"not {status} at the webhook: {sorted(wanted - found.keys())}")
        labels = alert["labels"]
        if alert["status"] == status:
            found[labels["alertname"], labels.get("platform")] = alert
    return found


def judge(alert):
    labels, annotations = alert["labels"], alert["annotations"]
    for name in ("source", "platform", "agent", "severity"):
        assert labels.get(name), f"an alert without {name}: {labels}"
    for word in (labels["source"], labels["platform"], labels["agent"]):
        assert word in annotations["summary"], f"{word} is not in {annotations['summary']!r}"
    assert (ROOT / annotations["runbook_url"]).is_file(), f"there is no {annotations['runbook_url']}"


def rules_are_well(port):
    """Real series match no rule in two ways: that shows only when it is evaluated.

    Not what is filtered out first: of several series on the left, those above a threshold must be two.
    """
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/rules", timeout=10) as answer:
        groups = json.load(answer)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    ill = {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"}
    assert rules and not ill, f"rules that cannot be evaluated: {ill}"


# Series that rules ask for and the demo does not have, and why.
MAY_BE_MISSING = {
    "agent_session_exporter_otlp_rejected_total": "nothing is pushed",
    "agent_session_exporter_otlp_dropped_total": "nothing is pushed",
    "agent_session_exporter_web_config_last_reload_successful": "there is no web configuration",
}
# Series that are there now and then: it is enough that they were in the last minutes.
COMES_AND_GOES = {"agent_session_exporter_source_oldest_unread_timestamp_seconds"}


def rules_ask_for_what_is_there(port):
    """An alert is empty when all is well; the series that it looks at are not, or it could never fire."""
    text = (ROOT / "config/prometheus/agent-sessions.rules.yml").read_text()
    code = "\n".join(line for line in text.splitlines() if "summary:" not in line and not line.lstrip().startswith("#"))
    asked = set(re.findall(r"\b(agent_(?!threshold)[a-z_]+)", code)) | set(re.findall(r"\bagent_threshold:[a-z_]+", code))
    missing = set()
    for name in asked:
        asked_for = f"last_over_time({name}[5m])" if name in COMES_AND_GOES else name
        query = urllib.parse.urlencode({"query": f"count({asked_for})"})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=10) as answer:
            if not json.load(answer)["data"]["result"]:
                missing.add(name)
    unexpected = missing - MAY_BE_MISSING.keys()
    assert len(asked) > 40 and not unexpected, f"rules ask for what the demo does not have: {sorted(unexpected)}"
    # A reason that no longer holds must go.
    assert missing == MAY_BE_MISSING.keys(), f"these are there: {sorted(MAY_BE_MISSING.keys() - missing)}"
    print(f"{len(asked)} series that the rules ask for: all there but {len(missing)}, which are only there with more settings")


def main(program):
    deadline = time.monotonic() + PATIENCE_SECONDS
    notes = queue.Queue()
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hook = stack.enter_context(webhook(notes))
        demo = stack.enter_context(
            process([program, "demo", "--web.listen-address", "127.0.0.1:0", "--log.level", "error"], work / "demo")
        )
        exporter = metrics_address(work / "demo", deadline)

        ours, theirs = free_port(), free_port()
        (work / "alertmanager.yml").write_text(
            shipped(
                "config/alertmanager/alertmanager.yml",
                {"localhost:5001": f"127.0.0.1:{hook}", "group_wait: 30s": "group_wait: 1s", "5m": "1s"},
            )
        )
        # A failure is over after 20 s instead of 15 minutes.
        (work / "agent-sessions.rules.yml").write_text(
            shipped("config/prometheus/agent-sessions.rules.yml", {"[15m]": "[20s]"})
        )
        (work / "prometheus.yml").write_text(shipped("config/prometheus/prometheus.yml", {"15s": "1s"}))
        (work / "targets").mkdir()
        for name, old, new in [
            ("alertmanager.yml", "localhost:9093", f"127.0.0.1:{theirs}"),
            ("exporter.yml", "localhost:17377", exporter),
        ]:
            (work / "targets" / name).write_text(shipped(f"config/prometheus/targets/{name}", {old: new}))
        stack.enter_context(
            process(
                ["prometheus-alertmanager", f"--config.file={work}/alertmanager.yml", f"--storage.path={work}/am",
                 f"--web.listen-address=127.0.0.1:{theirs}", "--cluster.listen-address="],
                work / "alertmanager.log",
            )
        )
        stack.enter_context(
            process(
                ["prometheus", f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/tsdb",
                 f"--web.listen-address=127.0.0.1:{ours}"],
                work / "prometheus.log",
            )
        )

        wanted = {(alert, platform) for alert in ALERTS for platform in PLATFORMS} - {
            # No turn of Everruns runs out of time: the platform has no such end.
            ("AgentSessionTimedOut", "everruns"),
        }
        firing = collect(notes, "firing", wanted, deadline)
        for alert in firing.values():
            judge(alert)
        rules_are_well(ours)
        rules_ask_for_what_is_there(ours)
        # Without the demo nothing fails any more.
        demo.send_signal(signal.SIGINT)
        assert demo.wait() == 0, "the demo ends with an error"
        resolved = collect(notes, "resolved", wanted, deadline)
        for alert in resolved.values():
            judge(alert)
            assert alert["endsAt"] > alert["startsAt"]
        for alert in firing.values():
            print(f"{alert['labels']['alertname']}: {alert['annotations']['summary']}")
        print("each arrived at the webhook, and so did its end (simulated sessions)")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
