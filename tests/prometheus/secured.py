#!/usr/bin/env python3
"""Has a real Prometheus and curl scrape the exporter over TLS with a password and a client certificate, well and badly.

    secured.py PROGRAM

The exporter watches a simulated platform behind a web configuration that is made here. One job of Prometheus has
everything that it takes; each of the others lacks one thing, and must be told so. Meanwhile the exporter's certificate
is changed, and the good job must not miss a scrape. Needs `prometheus`, `openssl` and `curl` on the PATH.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

# Of the password `secret`, made by another implementation of bcrypt (libxcrypt's).
HASH = "$2b$10$TOInWTSVOEtQNseEsyNnwuG7w5TuZ5aO5b67OL/IzeysRq0usXz5y"

WEB = f"""
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus.example]
http_server_config:
  headers: {{X-Frame-Options: deny}}
basic_auth_users:
  prometheus: {HASH}
"""

GOOD = {
    "scheme": "https",
    "tls_config": {"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "client.key"},
    "basic_auth": {"username": "prometheus", "password": "secret"},
}


def but(**changes):
    """The good job with something else in it; None takes it out."""
    job = {**GOOD, **changes}
    return {key: value for key, value in job.items() if value is not None}


def shown(name):
    return {"ca_file": "ca.pem", "cert_file": f"{name}.pem", "key_file": f"{name}.key"}


# Each with what Prometheus has to say of it.
JOBS = {
    "good": (GOOD, ""),
    "wrong_password": (but(basic_auth={"username": "prometheus", "password": "wrong"}), "401"),
    "unknown_user": (but(basic_auth={"username": "nobody", "password": "secret"}), "401"),
    "no_password": (but(basic_auth=None), "401"),
    "no_certificate": (but(tls_config={"ca_file": "ca.pem"}), "remote error: tls|broken pipe|connection reset"),
    "of_a_stranger": (but(tls_config=shown("stranger")), "remote error: tls|broken pipe|connection reset"),
    "expired": (but(tls_config=shown("expired")), "remote error: tls|broken pipe|connection reset"),
    "other_name": (but(tls_config=shown("other")), "remote error: tls|broken pipe|connection reset"),
    "wrong_authority": (but(tls_config={**shown("client"), "ca_file": "foreign.pem"}), "certificate signed by unknown"),
    "plain_http": (but(scheme=None, tls_config=None), "400"),
    # Of an exporter with a certificate that has expired.
    "expired_server": (GOOD, "certificate has expired"),
}


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def authority(name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
            "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE")


def issue(by, name, alternative, days="2", kind="ec"):
    key = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else ["rsa:2048"]
    openssl("req", "-new", "-newkey", *key, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
            "-subj", f"/CN={name}")
    with open(f"{name}.ext", "w", encoding="utf-8") as extensions:
        extensions.write(f"subjectAltName={alternative}\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial",
            "-out", f"{name}.pem", "-days", days, "-extfile", f"{name}.ext")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Process:
    def __init__(self, name, *args, env=None):
        self.log = f"{name}.log"
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(args, stdout=log, stderr=log, env={**os.environ, **(env or {})})

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def close(self):
        self.child.send_signal(signal.SIGINT)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()


def until(what, wanted, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        found = wanted()
        if found:
            return found
        time.sleep(0.2)
    sys.exit(f"secured: {what}")


def exporter(program, platform, name, web):
    process = Process(name, program, "serve", "--web.config.file", web, "--web.listen-address", "127.0.0.1:0",
                      "--storage.path", f"{name}-data", "--log.level", "debug",
                      env={"HAI_API_KEY": "hk-simulated", "HAI_API_BASE_URL": platform})
    url = until(f"{name} does not start: {process.said()}",
                lambda: re.search(r"serving.*?url=(https://127.0.0.1:(\d+))", process.said()))
    return process, int(url[2])


def curl(*args):
    """Exit code, status and version of what one request brought."""
    done = subprocess.run(["curl", "--silent", "--show-error", "--max-time", "20", "--output", "curl.out",
                           "--write-out", "%{http_code} %{http_version}", *args], capture_output=True, text=True)
    status, version = done.stdout.split()
    return done.returncode, int(status), version, done.stderr.strip()


def ask_with_curl(port):
    url = f"https://localhost:{port}/metrics"
    good = ["--cacert", "ca.pem", "--cert", "client.pem", "--key", "client.key", "--user", "prometheus:secret"]
    bare = ["--cacert", "ca.pem", "--user", "prometheus:secret"]
    for what, args, expected in [
        ("as it should be", [*good, url], (0, 200, "2")),
        ("over HTTP/1.1", ["--http1.1", *good, url], (0, 200, "1.1")),
        ("over TLS 1.2", ["--tls-max", "1.2", *good, url], (0, 200, "2")),
        ("over TLS 1.1", ["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", *good, url], (35, 0, "0")),
        ("with a wrong password", [*good[:-1], "prometheus:wrong", url], (0, 401, "2")),
        ("without a certificate", [*bare, "--http1.1", url], (56, 0, None)),
        ("trusting nobody it knows", [*good[2:], url], (60, 0, "0")),
        ("in the clear", ["--user", "prometheus:secret", url.replace("https", "http")], (0, 400, "1.1")),
        ("for the head", ["--head", *good, url], (0, 200, "2")),
    ]:
        code, status, version, said = curl(*args)
        wanted = (expected[0], expected[1], version if expected[2] is None else expected[2])
        if (code, status, version) != wanted:
            sys.exit(f"secured: curl {what}: {(code, status, version)} in place of {expected}: {said}")
        print(f"curl {what:<26} {status or said.splitlines()[0]}")


def main(program):
    work = contextlib.ExitStack()
    with work:
        os.chdir(work.enter_context(tempfile.TemporaryDirectory()))
        for name in ["ca", "foreign"]:
            authority(name)
        here = "DNS:localhost,IP:127.0.0.1"
        issue("ca", "server", here)
        # The next one is of another kind.
        issue("ca", "next", here, kind="rsa")
        issue("ca", "old", here, days="-1")
        issue("ca", "client", "DNS:prometheus.example")
        issue("ca", "other", "DNS:other.example")
        issue("ca", "expired", "DNS:prometheus.example", days="-1")
        issue("foreign", "stranger", "DNS:prometheus.example")
        with open("web.yml", "w", encoding="utf-8") as web:
            web.write(WEB)
        with open("old.yml", "w", encoding="utf-8") as web:
            web.write(WEB.replace("server.", "old."))

        platform = f"127.0.0.1:{free_port()}"
        simulator = Process("simulator", program, "simulate", "--platform", "hcompany", "--listen", platform)
        work.callback(simulator.close)
        until(f"no simulator: {simulator.said()}", lambda: "listening on" in simulator.said())
        process, port = exporter(program, f"http://{platform}", "exporter", "web.yml")
        work.callback(process.close)
        old, old_port = exporter(program, f"http://{platform}", "old", "old.yml")
        work.callback(old.close)
        if "the certificate has expired" not in old.said():
            sys.exit("secured: nobody says that the exporter's own certificate has expired")
        ask_with_curl(port)

        api = f"127.0.0.1:{free_port()}"
        targets = {name: old_port if name == "expired_server" else port for name in JOBS}
        # JSON is YAML.
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [
            {"job_name": name, "static_configs": [{"targets": [f"localhost:{targets[name]}"]}], **job}
            for name, (job, _) in JOBS.items()]}
        with open("prometheus.yml", "w", encoding="utf-8") as file:
            json.dump(config, file)
        prometheus = Process("prometheus", "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb",
                             f"--web.listen-address={api}")
        work.callback(prometheus.close)

        def ask(path):
            try:
                with urllib.request.urlopen(f"http://{api}/api/v1/{path}", timeout=10) as answer:
                    return json.load(answer)["data"]
            except OSError:
                return None

        def all_told():
            found = {it["labels"]["job"]: it for it in (ask("targets") or {}).get("activeTargets", [])}
            done = len(found) == len(JOBS) and all(it["health"] != "unknown" for it in found.values())
            return found if done and found["good"]["health"] == "up" else None

        found = until(f"Prometheus did not scrape: {prometheus.said()[-2000:]}", all_told)
        wrong = []
        for name, (_, says) in JOBS.items():
            error = found[name]["lastError"]
            print(f"job {name:<16} {error or 'up'}")
            if (name == "good") != (not error) or not re.search(says, error):
                wrong.append(f"{name}: {error!r} does not say {says!r}")
        if wrong:
            sys.exit("secured: " + "\n".join(wrong))

        # Another certificate, as a program that renews them would put it there.
        for ending in ["pem", "key"]:
            os.replace(f"next.{ending}", f"server.{ending}")
        until("the new certificate is not used", lambda: "has changed and is in use" in process.said())
        began = time.time()
        query = 'query?query=' + urllib.request.quote('min_over_time(up{job="good"}[1h])')
        counted = 'query?query=' + urllib.request.quote(f'count_over_time(agent_sessions{{job="good"}}[1h])')
        until("no scrape came after it", lambda: time.time() > began + 3 and ask(counted)["result"])
        least = ask(query)["result"][0]["value"][1]
        if least != "1":
            sys.exit("secured: a scrape was missed when the certificate was changed")
        ask_with_curl(port)
        print("secured: Prometheus scrapes over TLS with a password and a certificate, and every wrong way is told")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
