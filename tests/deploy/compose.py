#!/usr/bin/env python3
"""Holds the compose files to the files that they mount, the program that they start, and the promises about both."""

import pathlib
import re
import shutil
import subprocess
import tempfile

from files import PORT, ROOT, document, expect, merged, mounts, stacks, text, tracked

ONLY_HERE = "127.0.0.1:"
CHECKS = {"prometheus": ["promtool", "check", "config"], "alertmanager": ["amtool", "check-config"]}


def services_are_closed(stack):
    for name, service in stack["services"].items():
        expect(re.search(r":v?\d+\.\d+\.\d+$", service["image"]) or "build" in service, f"{name}: no exact version")
        expect(service["restart"] == "unless-stopped", f"{name}: does not come back")
        expect(service["cap_drop"] == ["ALL"], f"{name}: has capabilities")
        expect(service["security_opt"] == ["no-new-privileges:true"], f"{name}: may get more rights")
        expect(service["read_only"] is True or name == "grafana", f"{name}: may write to its image")
        expect("healthcheck" in service or name == "exporter", f"{name}: nobody asks for its health")
        for port in service.get("ports", []):
            expect(port.startswith(ONLY_HERE), f"{name}: {port} is open to others")


def mounted_files_exist(stack):
    files, named = tracked(), set()
    for name, service in stack["services"].items():
        for what, where, read_only in mounts(service):
            if not what.startswith("./"):
                named.add(what)
                continue
            expect(read_only, f"{name}: {what} is not mounted read-only")
            path = what.removeprefix("./")
            there = path in files or any(file.startswith(f"{path}/") for file in files)
            expect(there, f"{name}: {what} is not in the repository")
    expect(named == set(stack["volumes"]), f"volumes {sorted(stack['volumes'])}, of which {sorted(named)} are mounted")


def exporter_is_ours(stack):
    exporter = stack["services"]["exporter"]
    expect(exporter["ports"] == [f"{ONLY_HERE}{PORT}:{PORT}"], f"exporter: ports {exporter['ports']}")
    documented = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", text("docs/configuration.md")))
    unknown = set(exporter["environment"]) - documented
    expect(not unknown, f"exporter: docs/configuration.md knows no {sorted(unknown)}")
    for what, where, _ in mounts(exporter):
        if what.startswith("./"):
            expect(exporter["environment"]["ASE_CONFIG_FILE"] == where, f"exporter: nobody reads {where}")
        else:
            expect(f"ASE_STORAGE_PATH={where}\n" in text("Dockerfile"), f"exporter: the store is not at {where}")
    # Four things are waited for at the end, one after the other.
    constant = re.compile(r"(?:LAST_WORDS|DRAIN_PATIENCE): Duration = Duration::from_secs\((\d+)\)")
    files = ["src/server/connection.rs", "src/push/own.rs", "src/push/traces.rs", "src/push/metrics.rs"]
    waits = [int(seconds) for file in files for seconds in constant.findall(text(file))]
    grace = int(exporter["stop_grace_period"].removesuffix("s"))
    expect(len(waits) == 4 and sum(waits) < grace, f"the end may take {waits} s, and {grace} are given")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def flags_are_known(stack):
    for name, program in {"prometheus": "prometheus", "alertmanager": "prometheus-alertmanager"}.items():
        known = set(re.findall(r"--[\w.-]+", run("sh", "-c", f"{program} --help 2>&1; true")))
        for flag in stack["services"][name]["command"]:
            expect(flag.split("=")[0] in known, f"{name}: it has no {flag}")


def laid_out(service, folder):
    """What a service mounts from the repository, as it finds it below `folder`."""
    for what, where, _ in mounts(service):
        if what.startswith("./"):
            target = folder / where.lstrip("/")
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / what, target)


def configurations_are_taken(stack):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, check in CHECKS.items():
            service = stack["services"][name]
            laid_out(service, folder)
            file = next(flag for flag in service["command"] if flag.startswith("--config.file=")).partition("=")[2]
            expect((folder / file.lstrip("/")).is_file(), f"{name}: nothing is mounted as {file}")
            run(*check, folder / file.lstrip("/"))
        targets_are_services(stack, folder / "etc/prometheus")


def targets_are_services(stack, prometheus):
    """Whom Prometheus asks and tells: on one machine, and between containers."""
    config = document("config/prometheus/prometheus.yml")
    (scrape,), (alerting,) = config["scrape_configs"], config["alerting"]["alertmanagers"]
    for section, service, port in [(scrape, "exporter", PORT), (alerting, "alertmanager", 9093)]:
        ((file,),) = [it["files"] for it in section["file_sd_configs"]]
        for where, host in [(ROOT / "config/prometheus", "localhost"), (prometheus, service)]:
            (group,) = document(where / file)
            expect(group == {"targets": [f"{host}:{port}"]}, f"{where / file}: {group}")
        expect(service in stack["services"], f"there is no service {service}")
    look = ["promtool", "check", "service-discovery", "--timeout=5s"]
    found = run(*look, prometheus / "prometheus.yml", scrape["job_name"])
    expect(f"exporter:{PORT}" in found, f"Prometheus does not find the exporter: {found}")


def traces_arrive(stack):
    tempo = document("config/tempo/tempo.yaml")
    (protocol,) = tempo["distributor"]["receivers"]["otlp"]["protocols"].items()
    expect(protocol[0] == "http", f"Tempo takes OTLP over {protocol[0]}")
    port = protocol[1]["endpoint"].rpartition(":")[2]
    to = stack["services"]["exporter"]["environment"]["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
    expect(to == f"http://tempo:{port}/v1/traces", f"traces go to {to}, and Tempo listens on {port}")
    kept = {where for what, where, _ in mounts(stack["services"]["tempo"]) if not what.startswith("./")}
    stored = tempo["storage"]["trace"]
    for path in (stored["local"]["path"], stored["wal"]["path"]):
        expect(any(path.startswith(f"{where}/") for where in kept), f"Tempo writes to {path}, which is no volume")


def main():
    for stack in stacks().values():
        services_are_closed(stack)
        mounted_files_exist(stack)
        exporter_is_ours(stack)
        flags_are_known(stack)
        configurations_are_taken(stack)
        traces_arrive(stack)
    print("the compose files fit to what they mount and start")


if __name__ == "__main__":
    main()
