#!/usr/bin/env python3
"""Starts the exporter as the chart's pod says, in namespaces: its arguments, mounts, user, and a root that is read-only.

    unshare --mount --net --pid --fork pod.py PROGRAM RENDERED

RENDERED are the objects as JSON. Volumes are laid out as the kubelet does it. The pod's probes must be answered, another
source in the ConfigMap be taken over without a restart, and the exporter end in its grace period. Needs root and the
namespaces; they go with this process, and all that it mounts and starts goes with them.
"""

import base64
import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

import yaml

PATIENCE_SECONDS = 60
# The user of the example, config/web.example.yml.
USER, PASSWORD = "prometheus", "secret"
HASH = "$2y$10$v1z.XIiIhGxQMcaK9JjSKeL.fluWbchL2/DdBfW1uF2WdEPwUOSCC"
NO_NEW_PRIVS = 38


def wait_for(what, question):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"in {PATIENCE_SECONDS} s it did not come to this: {what}"
        time.sleep(0.2)


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def loopback():
    with socket.socket() as any_socket:
        up = struct.pack("16sH14x", b"lo", 1)
        fcntl.ioctl(any_socket, 0x8914, up)


def volume(folder, texts, mode, group):
    """As the kubelet writes a ConfigMap or Secret: files are links through `..data`, which is exchanged as a whole."""
    content = pathlib.Path(tempfile.mkdtemp(prefix="..", dir=folder))
    content.chmod(0o755)
    for name, text in texts.items():
        (content / name).write_text(text)
        os.chown(content / name, 0, group)
        (content / name).chmod(mode)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..new").symlink_to(content.name)
    (folder / "..new").replace(folder / "..data")


def root_of(image, program):
    """What is in the image: the program, what it is linked with, certificates. No shell. The kubelet adds the hosts."""
    mount("-t", "tmpfs", "tmpfs", image)
    for path in ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ssl"]:
        inside = image / path[1:]
        if os.path.islink(path):
            inside.symlink_to(os.readlink(path))
        elif os.path.isdir(path):
            inside.mkdir(parents=True)
            mount("--bind", "-o", "ro", path, inside)
    (image / "etc/hosts").write_text("127.0.0.1\tlocalhost\n::1\tlocalhost\n")
    (image / "proc").mkdir()
    mount("-t", "proc", "proc", image / "proc")
    (image / "usr/local/bin").mkdir(parents=True)
    inside = image / "usr/local/bin/agent-session-exporter"
    inside.touch()
    mount("--bind", program, inside)


@contextlib.contextmanager
def simulated(program, key, seed):
    command = [program, "simulate", "--platform", "hcompany", "--listen", "127.0.0.1:0", "--api-key", key, "--seed", seed]
    it = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield re.search(r"http://\S+", it.stdout.readline())[0]
    finally:
        it.kill()
        it.wait()


def web_configuration():
    """What an operator's Secret has for `webConfig`: TLS, a user, and how the probes ask behind them."""
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder)
        subprocess.run(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.crt -days 2 "
            "-subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE".split(),
            cwd=made, check=True, stderr=subprocess.DEVNULL,
        )
        pem = {it: (made / it).read_text() for it in ("tls.crt", "tls.key")}
    web = {"tls_server_config": {"cert_file": "tls.crt", "key_file": "tls.key"}, "basic_auth_users": {USER: HASH}}
    http = {"basic_auth": {"username": USER, "password": PASSWORD}, "tls_config": {"ca_file": "tls.crt"}}
    return {**pem, "web.yml": yaml.safe_dump(web), "http.yml": yaml.safe_dump(http)}


def get(path, web):
    """As Prometheus asks, which is told of `web` by the ServiceMonitor. `None` if there is no good answer."""
    request = urllib.request.Request(f"http{'s' if web else ''}://localhost:17377{path}")
    if web:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
    context = ssl.create_default_context(cadata=web["tls.crt"]) if web else None
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return answer.read().decode()
    except OSError:
        return None


def up(source, web):
    line = f'agent_session_exporter_source_up{{platform="hcompany",source="{source}"}} 1'
    return line in (get("/metrics", web) or "").splitlines()


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    objects = json.loads(pathlib.Path(sys.argv[2]).read_text())
    mount("--make-rprivate", "/")
    loopback()
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]:
        os.environ.pop(name, None)

    pods = next(it for it in objects if it["kind"] == "StatefulSet")["spec"]
    pod = pods["template"]["spec"]
    container, user = pod["containers"][0], pod["securityContext"]
    maps = {it["metadata"]["name"]: it["data"] for it in objects if it["kind"] == "ConfigMap"}
    secrets = {it["metadata"]["name"]: it["stringData"] for it in objects if it["kind"] == "Secret"}
    volumes = {it["name"]: it for it in pod["volumes"]}
    keys = secrets[volumes["keys"]["secret"]["secretName"]]
    config = yaml.safe_load(maps[volumes["config"]["configMap"]["name"]]["exporter.yaml"])

    # Nobody but these namespaces sees what is mounted there.
    image = pathlib.Path(tempfile.mkdtemp(dir=pathlib.Path(sys.argv[2]).resolve().parent))
    image.chmod(0o755)
    root_of(image, program)
    folders = {}
    for it in container["volumeMounts"]:
        folders[it["name"]] = image / it["mountPath"][1:]
        folders[it["name"]].mkdir(parents=True)
        mount("-t", "tmpfs", "tmpfs", folders[it["name"]])
    os.chown(folders["store"], 0, user["fsGroup"])
    folders["store"].chmod(0o2775)
    volume(folders["keys"], keys, volumes["keys"]["secret"]["defaultMode"], user["fsGroup"])
    web = web_configuration() if "web" in folders else None
    if web:
        volume(folders["web"], web, volumes["web"]["secret"]["defaultMode"], user["fsGroup"])
    if container["securityContext"]["readOnlyRootFilesystem"]:
        mount("-o", "remount,ro", image)

    def confined():
        os.chroot(image)
        os.chdir("/")
        os.setgroups([user["fsGroup"]])
        os.setgid(user["runAsGroup"])
        os.setuid(user["runAsUser"])
        ctypes.CDLL(None).prctl(NO_NEW_PRIVS, 1, 0, 0, 0)

    def answered(probe):
        """As the kubelet asks: for a page, or by a command in the pod."""
        if "httpGet" in probe:
            return get(probe["httpGet"]["path"], None)
        asked = subprocess.run(probe["exec"]["command"], env={}, preexec_fn=confined, capture_output=True, timeout=30)
        if asked.returncode != 0:
            print(asked.stderr.decode(), file=sys.stderr)
        return asked.returncode == 0

    with simulated(program, keys["hai"], "1") as first, simulated(program, keys["hai"], "2") as second:
        source = {**config["sources"][0], "base_url": first, "poll_interval": "1s"}

        def configure(*sources):
            volume(folders["config"], {"exporter.yaml": yaml.safe_dump({**config, "sources": sources})}, 0o644, 0)

        configure(source)
        said = tempfile.TemporaryFile("w+")
        command = ["/usr/local/bin/agent-session-exporter", *container["args"]]
        exporter = subprocess.Popen(command, env={}, preexec_fn=confined, stdout=said, stderr=said)
        try:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                wait_for(f"the {probe} is answered", lambda: answered(container[probe]))
            wait_for("the key was read from the Secret, and is the right one", lambda: up(source["name"], web))
            if web:
                assert get("/metrics", None) is None, "it answers whoever comes without TLS"
            assert (folders["store"] / "journal.redb").stat().st_uid == user["runAsUser"]

            configure(source, {**source, "name": "another", "base_url": second})
            wait_for("another source is taken over from the ConfigMap", lambda: up("another", web))
            assert exporter.poll() is None and up(source["name"], web)

            exporter.send_signal(signal.SIGTERM)
            code = exporter.wait(timeout=pod["terminationGracePeriodSeconds"])
            assert code == 0, f"it ended with {code}"
        except BaseException:
            said.seek(0)
            print(said.read(), file=sys.stderr)
            raise
        finally:
            exporter.kill()
        said.seek(0)
        log = said.read()
        assert not any(it in log for it in (keys["hai"], HASH, "PRIVATE KEY")), "a key is in the log"
        assert "can read it" not in log, f"a Secret as the chart mounts it is remarked on: {log}"
    how = "behind TLS and a password, " if web else ""
    print(f"the exporter was started as the pod says: {how}probes, key, read-only root, another ConfigMap, stop")


main()
