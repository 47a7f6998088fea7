#!/usr/bin/env python3
"""Runs the shipped unit under a systemd of its own, and asks of it what an operator relies on.

    systemd.py PROGRAM

The systemd is the machine's own, started as the first process of new namespaces over a copy of the file system that is
thrown away; it shares the loopback interface with two simulated platforms. The unit is stricter here than it is
shipped: a system call outside of its filter kills the exporter, instead of failing. Needs root and python3.
"""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNIT = "agent-session-exporter.service"
# Only what is needed: none of the machine's own services is started a second time.
UNITS = "/etc/systemd/system-of-the-test"
TARGETS = ["nothing", "sysinit", "basic", "shutdown", "network-online", "multi-user"]
KEYS = {"hai": "hk-under-systemd", "everruns": "evr_pat_under_systemd"}
CONFIG = "/etc/agent-session-exporter/exporter.yaml"
PATIENCE_SECONDS = 60

# The first process of the namespaces, before it becomes systemd: what is written goes to memory.
BOOT = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs "$STAGE"
mkdir "$STAGE/upper" "$STAGE/work" "$STAGE/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$STAGE/upper,workdir=$STAGE/work" "$STAGE/root"
cd "$STAGE/root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
umount -R sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
# What belongs to the machine's kernel is not theirs to change.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -o remount,bind,ro sys
cp -a "$FILES/." .
pivot_root . .
umount -l .
# Credentials are mounted somewhere else, and have to be seen here.
mount --make-rshared /
exec env -i PATH="$PATH" container=other SYSTEMD_UNIT_PATH="$UNITS" \
    /lib/systemd/systemd --system --unit=nothing.target --log-target=null
"""


class NotHere(Exception):
    """This machine does not let a systemd be started."""


def wait_for(what, question):
    """Asks until the answer is true, and gives it back."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"in {PATIENCE_SECONDS} s it did not come to this: {what}")
        time.sleep(0.2)


def files(folder, program, port):
    """What is installed, as docs/deployment.md says, and what only a test wants."""

    def put(path, text, mode=0o644):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    (folder / "usr/local/bin").mkdir(parents=True)
    shutil.copy(program, folder / "usr/local/bin/agent-session-exporter")
    units = UNITS.lstrip("/")
    put(f"{units}/{UNIT}", (ROOT / "config/systemd" / UNIT).read_text())
    for target in TARGETS:
        put(f"{units}/{target}.target", "[Unit]\nDefaultDependencies=no\n")
    strict = "[Service]\nSystemCallErrorNumber=kill\nRestartSec=1s\nStandardOutput=append:/run/said\nStandardError=inherit\n"
    put(f"{units}/{UNIT}.d/strict.conf", strict)
    for name, key in KEYS.items():
        put(f"etc/agent-session-exporter/keys/{name}", f"{key}\n", 0o600)
    (folder / "etc/agent-session-exporter/keys").chmod(0o700)
    # They are copied with their modes, the folders on the way too.
    for inner in folder.rglob("*"):
        if inner.is_dir() and inner.name != "keys":
            inner.chmod(0o755)
    folder.chmod(0o755)


@contextlib.contextmanager
def simulated(program, platform, key):
    """A simulated platform; gives its address, by name, so that names are looked up."""
    command = [program, "simulate", "--platform", platform, "--listen", "127.0.0.1:0", "--api-key", key, "--rate", "5"]
    it = subprocess.Popen([*command, "--speed", "20"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        said = it.stdout.readline()
        yield re.sub(r".*http://127\.0\.0\.1:(\d+).*", r"http://localhost:\1", said, flags=re.S)
    finally:
        it.kill()
        it.wait()


class Systemd:
    """A systemd in namespaces of its own."""

    def __init__(self, stage, folder):
        mounted = subprocess.run(["findmnt", "-n", "-t", "cgroup2", "-o", "TARGET"], capture_output=True, text=True)
        places = mounted.stdout.split()
        if not places:
            raise NotHere("no cgroup2 is mounted")
        self.group = pathlib.Path(places[0]) / f"agent-session-exporter-test-{os.getpid()}"
        try:
            self.group.mkdir()
        except OSError as error:
            raise NotHere(error) from error
        enter = 'echo $$ >"$0/cgroup.procs"; exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup bash -c "$1"'
        self.said = tempfile.TemporaryFile("w+")
        self.outer = subprocess.Popen(
            ["bash", "-c", enter, str(self.group), BOOT],
            env={**os.environ, "STAGE": str(stage), "FILES": str(folder), "UNITS": UNITS},
            stdin=subprocess.DEVNULL,
            stdout=self.said,
            stderr=self.said,
        )

    def booted(self):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and self.outer.poll() is None:
            children = pathlib.Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
            self.first = children[0] if children else None
            if self.first and self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"):
                return
            time.sleep(0.2)
        self.said.seek(0)
        raise NotHere(self.said.read().strip() or "it did not come up")

    def run(self, *command, text=None):
        inside = ["nsenter", "-t", self.first, "-m", "-p", "-u", "-i", "-C", "--wd=/", *command]
        return subprocess.run(inside, input=text, capture_output=True, text=True, timeout=PATIENCE_SECONDS)

    def must(self, *command, text=None):
        done = self.run(*command, text=text)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def of_unit(self, name):
        return self.must("systemctl", "show", "--value", "-p", name, UNIT).strip()

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            self.outer.kill()
        self.outer.wait()
        events = self.group / "cgroup.events"
        wait_for("all of it has ended", lambda: "populated 0" in events.read_text())
        for folder, _, _ in os.walk(self.group, topdown=False):
            os.rmdir(folder)


def config(port, *sources):
    written = [
        f"  - {{name: {name}, platform: {platform}, base_url: '{url}', start: beginning, poll_interval: 1s,\n"
        f"     api_key_file: '${{CREDENTIALS_DIRECTORY}}/key_{key}'}}\n"
        for name, platform, url, key in sources
    ]
    # Nobody listens there: what is sent to collectors goes through the filters as well.
    otlp = "otlp: {endpoint: 'http://localhost:1', interval: 5s}\n"
    return f"web: {{listen_address: ['localhost:{port}'], new_series_hold: 0s}}\n{otlp}sources:\n{''.join(written)}"


def judge(systemd, program, port):
    def get(path):
        try:
            with urllib.request.urlopen(f"http://localhost:{port}{path}", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def metric(name):
        page = get("/metrics") or ""
        found = re.findall(rf"^{re.escape(name)} (\S+)$", page, re.M)
        return float(found[0]) if found else None

    def finished():
        page = get("/metrics") or ""
        return sum(float(value) for value in re.findall(r"^agent_turns_finished_total\{.*\} (\S+)$", page, re.M))

    def up(source, platform):
        return metric(f'agent_session_exporter_source_up{{platform="{platform}",source="{source}"}}') == 1

    with simulated(program, "hcompany", KEYS["hai"]) as hai, simulated(program, "everruns", KEYS["everruns"]) as everruns:
        first = ("first", "hcompany", hai, "hai")
        second = ("second", "everruns", everruns, "everruns")

        systemd.must("tee", CONFIG, text=config(port, first))
        systemd.must("systemctl", "start", UNIT)
        wait_for("it is ready", lambda: get("/-/ready"))
        wait_for("the key reached it as a credential, and is the right one", lambda: up("first", "hcompany"))
        before = wait_for("it counts", finished)

        # It is confined, and what it must see of the system it sees.
        process = systemd.of_unit("MainPID")
        status = dict(line.split(":\t", 1) for line in systemd.must("cat", f"/proc/{process}/status").splitlines())
        assert "0" not in status["Uid"].split(), status["Uid"]
        assert [int(status[it], 16) for it in ("CapEff", "CapPrm", "CapBnd", "CapAmb")] == [0] * 4, status
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), status
        store = systemd.must("stat", "-L", "-c", "%a", "/var/lib/agent-session-exporter").strip()
        assert store == "700", store
        systemd.must("test", "-s", "/var/lib/private/agent-session-exporter/journal.redb")
        started = metric("process_start_time_seconds")
        assert started and abs(time.time() - started) < 600, started
        assert metric("process_open_fds"), "open files are not told"

        # A file that cannot be used changes nothing, and is told.
        reloaded = "agent_session_exporter_config_last_reload_successful"
        systemd.must("tee", CONFIG, text="sources: nonsense\n")
        systemd.must("systemctl", "reload", UNIT)
        wait_for("a broken file is told", lambda: metric(reloaded) == 0)
        assert up("first", "hcompany"), "a broken file was taken over"

        systemd.must("tee", CONFIG, text=config(port, first, second))
        systemd.must("systemctl", "reload", UNIT)
        wait_for("the second source is watched", lambda: metric(reloaded) == 1 and up("second", "everruns"))
        assert systemd.of_unit("MainPID") == process, "a reload is no restart"

        # Killed: it comes back by itself, with its totals.
        before = max(before, finished())
        systemd.must("kill", "-9", process)
        wait_for("it was started again", lambda: systemd.of_unit("MainPID") not in ("0", process) and get("/-/ready"))
        assert finished() >= before > 0, f"{finished()} after {before}"
        wait_for("both are watched again", lambda: up("first", "hcompany") and up("second", "everruns"))

        systemd.must("systemctl", "stop", UNIT)
        ended = [systemd.of_unit(it) for it in ("ActiveState", "Result", "ExecMainStatus")]
        assert ended == ["inactive", "success", "0"], ended
        said = systemd.must("cat", "/run/said")
        assert not any(key in said for key in KEYS.values()), "a key is in the log"
        print("the unit was run under systemd: keys as credentials, reload, kill, stop; no system call was refused")


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as work:
        folder, stage = pathlib.Path(work, "files"), pathlib.Path(work, "stage")
        folder.mkdir()
        stage.mkdir()
        files(folder, program, port)
        try:
            systemd = Systemd(stage, folder)
        except NotHere as error:
            print(f"a systemd cannot be started here ({error}): nobody ran the unit")
            return
        try:
            systemd.booted()
            judge(systemd, program, port)
        except NotHere as error:
            print(f"a systemd cannot be started here ({error}): nobody ran the unit")
        except AssertionError:
            for command in [("systemctl", "status", "--no-pager", UNIT), ("cat", "/run/said")]:
                print(systemd.run(*command).stdout, file=sys.stderr)
            raise
        finally:
            systemd.end()


main()
