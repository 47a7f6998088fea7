#!/usr/bin/env python3
"""Renders the Helm chart in several ways and holds the objects to the schemas, to the shipped files and to one another.

    kubernetes.py RENDERED BEHIND

Leaves the objects of a usual installation in RENDERED, and of one behind a web configuration in BEHIND, as JSON. Needs `helm` on the PATH and the packages
kubernetes-validate and pyyaml; `promtool` judges the alerts where there is one.
"""

import base64
import gzip
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/agent-session-exporter"
# The oldest that the chart allows, and the newest that there are schemas of.
VERSIONS = ["1.25", "1.37"]
KEYS = "/etc/agent-session-exporter/keys"
SOURCE = {"name": "prod-eu", "platform": "hcompany", "api_key_file": f"{KEYS}/hai"}
IMAGE = {"repository": "registry.example/agent-session-exporter"}
LEAST = {"image": IMAGE, "config": {"sources": [SOURCE]}}
USUAL = {
    **LEAST,
    "keys": {"values": {"hai": "hk-in-a-pod"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "stack"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "stack"}},
    "dashboards": {"enabled": True},
}
EVERYTHING = {
    **USUAL,
    "image": {**IMAGE, "digest": "sha256:" + "0" * 64, "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "config": {"sources": [SOURCE], "web": {"telemetry_path": "/numbers"}, "labels": {"max_series_per_metric": 1000000}},
    "keys": {"secret": "of-ours"},
    "env": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
    "log": {"level": "debug", "format": "text"},
    "storage": {"size": "20Gi", "storageClassName": "fast", "accessModes": ["ReadWriteOncePod"]},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "agents"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
    "prometheusRule": {
        "enabled": True,
        "runbooksUrl": "https://git.example/ops/",
        "grafanaUrl": "https://grafana.example",
        "thresholds": {"failure_ratio": 0.05, "stale_seconds": 0, "stuck_seconds": {"running": 28800}},
    },
    "dashboards": {"enabled": True, "labels": {"dash": "yes"}, "annotations": {"grafana_folder": "Agents"}},
    "networkPolicy": {
        "enabled": True,
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "egress": [{"ports": [{"port": 4318}]}],
    },
}
BEHIND = {
    **USUAL,
    "webConfig": {"secret": "web-of-ours"},
    "serviceMonitor": {
        "enabled": True,
        "tlsConfig": {"ca": {"secret": {"name": "web-of-ours", "key": "tls.crt"}}, "serverName": "localhost"},
        "basicAuth": {"username": {"name": "scraper", "key": "user"}, "password": {"name": "scraper", "key": "password"}},
    },
}
# What must not be rendered, and what has to be said instead; Helm 3 and 4 have their own words for the schema.
REFUSED = [
    ({}, "image.repository is empty"),
    ({"image": IMAGE}, "config.sources is empty"),
    ({**LEAST, "image": {"repo": "x"}}, "propert(y|ies) '?repo'? (is )?not allowed"),
    ({**LEAST, "replicas": 2}, "propert(y|ies) '?replicas'? (is )?not allowed"),
    ({**LEAST, "keys": {"secret": "a", "values": {"b": "c"}}}, "give one of the two"),
    ({**LEAST, "prometheusRule": {"enabled": True, "thresholds": {"nonsense": 1}}}, "the rules have no nonsense"),
    ({**LEAST, "prometheusRule": {"grafanaUrl": "grafana"}}, "does not match pattern"),
    ({**LEAST, "storage": {"accessModes": ["ReadWriteMany"]}}, "must be one of"),
]


def documented():
    """The values that docs/deployment.md shows."""
    shown = re.findall(r"```yaml\n(# values\.yaml\n.*?)```", (ROOT / "docs/deployment.md").read_text(), re.S)
    assert len(shown) == 1, f"the page shows {len(shown)} files of values"
    return yaml.safe_load(shown[0])


def helm(*arguments, values):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        return subprocess.run(["helm", *arguments, "-f", file.name], capture_output=True, text=True)


def render(values, chart=CHART):
    done = helm("template", "agents", str(chart), "--namespace", "monitoring", values=values)
    assert done.returncode == 0, done.stderr
    return [it for it in yaml.safe_load_all(done.stdout) if it]


def of_kind(objects, kind):
    return [it for it in objects if it["kind"] == kind]


def the(objects, kind):
    found = of_kind(objects, kind)
    assert len(found) == 1, f"{len(found)} objects are a {kind}"
    return found[0]


# ---- what is rendered is valid ----


def strict(schema):
    """A schema of a resource definition that allows no fields but its own."""
    if isinstance(schema, list):
        return [strict(it) for it in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(it) for name, it in schema.items()}
    if isinstance(closed.get("pattern"), str):
        # Go lets flags stand behind the `^`.
        closed["pattern"] = closed["pattern"].replace("^(?i)", "(?i)^")
    if "properties" in closed and "additionalProperties" not in closed:
        closed["additionalProperties"] = False
    return closed


def definitions():
    found = {}
    for path in (ROOT / "tests/deploy/crds").glob("*.yaml"):
        spec = yaml.safe_load(path.read_text())["spec"]
        schema = strict(spec["versions"][0]["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        found[f"{spec['group']}/{spec['versions'][0]['name']}", spec["names"]["kind"]] = schema
    return found


def validate(objects):
    known = definitions()
    for it in objects:
        schema = known.get((it["apiVersion"], it["kind"]))
        if schema:
            jsonschema.validate(it, schema)
        else:
            for version in VERSIONS:
                kubernetes_validate.validate(it, version, strict=True)


def refused(it):
    try:
        validate([it])
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError):
        return True
    return False


# ---- it fits together ----


def subset(small, large):
    return small and all(large.get(name) == value for name, value in small.items())


def consistent(objects):
    pods = the(objects, "StatefulSet")["spec"]
    assert pods["replicas"] == 1, "the store allows one process"
    template = pods["template"]
    labels, spec = template["metadata"]["labels"], template["spec"]
    (container,) = spec["containers"]
    assert subset(pods["selector"]["matchLabels"], labels)
    service = the(objects, "Service")
    assert service["metadata"]["name"] == pods["serviceName"] and subset(service["spec"]["selector"], labels)
    ports = {it["name"] for it in container["ports"]}
    assert {it["targetPort"] for it in service["spec"]["ports"]} <= ports
    probes = [container[it] for it in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert {it["httpGet"]["port"] for it in probes if "httpGet" in it} <= ports
    for monitor in of_kind(objects, "ServiceMonitor"):
        assert subset(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
        assert {it["port"] for it in monitor["spec"]["endpoints"]} <= {it["name"] for it in service["spec"]["ports"]}
    for policy in of_kind(objects, "NetworkPolicy"):
        assert subset(policy["spec"]["podSelector"]["matchLabels"], labels)
    claims = {it["metadata"]["name"] for it in pods["volumeClaimTemplates"]}
    volumes = {it["name"]: it for it in spec["volumes"]}
    assert {it["name"] for it in container["volumeMounts"]} == claims | set(volumes)
    assert volumes["config"]["configMap"]["name"] in {it["metadata"]["name"] for it in of_kind(objects, "ConfigMap")}
    for secret in of_kind(objects, "Secret"):
        assert volumes["keys"]["secret"]["secretName"] == secret["metadata"]["name"]
    mounts = {it["name"]: it["mountPath"] for it in container["volumeMounts"]}
    assert f"--config.file={mounts['config']}/exporter.yaml" in container["args"]
    assert f"--storage.path={mounts['store']}" in container["args"]
    if "keys" in mounts:
        assert mounts["keys"] == KEYS
    if "web" in mounts:
        assert f"--web.config.file={mounts['web']}/web.yml" in container["args"]
        for probe in probes:
            asked = probe["exec"]["command"]
            assert f"--http.config.file={mounts['web']}/http.yml" in asked
            assert ("--ready" in asked) == (probe is container["readinessProbe"])


def restricted(objects):
    """What the Pod Security Standard `restricted` asks, and a root file system that cannot be written."""
    spec = the(objects, "StatefulSet")["spec"]["template"]["spec"]
    assert not any(spec.get(it) for it in ("hostNetwork", "hostPID", "hostIPC"))
    assert spec["automountServiceAccountToken"] is False
    pod = spec["securityContext"]
    assert pod["runAsNonRoot"] is True and pod["runAsUser"] > 0 and pod["seccompProfile"]["type"] == "RuntimeDefault"
    assert all(set(it) - {"name"} <= {"configMap", "secret"} for it in spec["volumes"])
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPort" in it for it in container["ports"])


def small_enough(objects, chart):
    for it in objects:
        size = len(json.dumps(it))
        assert size < 262144, f"{it['kind']} {it['metadata']['name']}: `kubectl apply` cannot note {size} bytes"
    files = {str(it.relative_to(CHART)): it.read_text() for it in walk(CHART)}
    release = {"chart": {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}, "manifest": chart}
    size = len(base64.b64encode(gzip.compress(json.dumps(release).encode())))
    assert size < 0.9 * 1024 * 1024, f"Helm's record of a release takes {size} bytes of a Secret"
    return size


def walk(folder):
    for it in folder.iterdir():
        if it.is_dir():
            yield from walk(it)
        else:
            yield it


# ---- it is what ships ----


def number(expression):
    try:
        return float(expression)
    except ValueError:
        return None


def same_rules(rule, links, thresholds):
    """The shipped rules but for what the values change: where links begin, and thresholds, which are numbers."""
    shipped = yaml.safe_load((ROOT / "config/prometheus/agent-sessions.rules.yml").read_text())["groups"]
    rendered = rule["spec"]["groups"]
    assert [it["name"] for it in rendered] == [it["name"] for it in shipped]
    changed = set()
    for old, new in zip(rules_of(shipped), rules_of(rendered), strict=True):
        expected = dict(old)
        if "annotations" in old:
            expected["annotations"] = {name: links.get(name, "") + text for name, text in old["annotations"].items()}
        if number(old["expr"]) is not None:
            if number(new["expr"]) != number(old["expr"]):
                changed.add((old["record"].removeprefix("agent_threshold:"), old.get("labels", {}).get("status"), number(new["expr"])))
            expected["expr"] = new["expr"]
        assert new == expected, f"{new}\nis not\n{expected}"
    assert changed == thresholds, changed
    if shutil.which("promtool"):
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            yaml.safe_dump(rule["spec"], file)
            file.flush()
            done = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr


def rules_of(groups):
    return [it for group in groups for it in group["rules"]]


def same_dashboards(objects, labels, annotations):
    shipped = {it.name: json.loads(it.read_text()) for it in (ROOT / "dashboards").glob("*.json")}
    maps = [it for it in of_kind(objects, "ConfigMap") if "exporter.yaml" not in it["data"]]
    assert {name: json.loads(text) for it in maps for name, text in it["data"].items()} == shipped
    assert len({it["metadata"]["name"] for it in maps}) == len(shipped) > 3
    for it in maps:
        assert subset(labels, it["metadata"]["labels"]) and it["metadata"].get("annotations") == annotations


def version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    ours = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    assert (chart["version"], chart["appVersion"]) == (ours, ours), f"the program is {ours}, the chart {chart}"


def main():
    version()
    linted = helm("lint", "--strict", str(CHART), values=USUAL)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    for values, said in REFUSED:
        done = helm("template", "agents", str(CHART), values=values)
        assert done.returncode != 0 and re.search(said, done.stderr, re.I), f"{values}: {done.stderr or 'rendered'}"

    for values in [LEAST, USUAL, EVERYTHING, BEHIND, documented()]:
        objects = render(values)
        validate(objects)
        consistent(objects)
        restricted(objects)
        size = small_enough(objects, json.dumps(objects))
    assert of_kind(render(LEAST), "ServiceMonitor") == []

    usual, everything, behind = render(USUAL), render(EVERYTHING), render(BEHIND)
    # As YAML says it; not as it says a number that is too large for it.
    written = [yaml.safe_load(it["data"]["exporter.yaml"]) for it in of_kind(everything, "ConfigMap") if "exporter.yaml" in it["data"]]
    assert written == [EVERYTHING["config"]]
    assert "1000000" in json.dumps(everything)
    assert the(everything, "ServiceMonitor")["spec"]["endpoints"][0]["path"] == "/numbers"
    asked = the(behind, "ServiceMonitor")["spec"]["endpoints"][0]
    assert asked["scheme"] == "https" and {**BEHIND["serviceMonitor"], "enabled": True}.items() >= {
        name: asked[name] for name in ("tlsConfig", "basicAuth")
    }.items()
    assert "scheme" not in the(usual, "ServiceMonitor")["spec"]["endpoints"][0]
    pod = the(everything, "StatefulSet")["spec"]["template"]
    assert pod["spec"]["containers"][0]["image"].endswith("agent-session-exporter@sha256:" + "0" * 64)

    # Another source is taken over by the pod that runs; anything else needs a new one.
    restarts = lambda values: the(render(values), "StatefulSet")["spec"]["template"]
    more = {**LEAST, "config": {"sources": [SOURCE, {**SOURCE, "name": "b"}]}}
    assert restarts(more) == restarts(LEAST)
    assert restarts({**LEAST, "config": {**LEAST["config"], "web": {"new_series_hold": "1m"}}}) != restarts(LEAST)

    same_rules(the(usual, "PrometheusRule"), {}, set())
    links = {"runbook_url": "https://git.example/ops/", "dashboard_url": "https://grafana.example"}
    thresholds = {("failure_ratio", None, 0.05), ("stale_seconds", None, 0.0), ("stuck_seconds", "running", 28800.0)}
    same_rules(the(everything, "PrometheusRule"), links, thresholds)
    same_dashboards(usual, {"grafana_dashboard": "1"}, None)
    same_dashboards(everything, {"dash": "yes"}, {"grafana_folder": "Agents"})

    # Packed it is the same: what the links lead to goes along.
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(["helm", "package", str(CHART), "-d", folder], capture_output=True, text=True)
        assert packed.returncode == 0, packed.stderr
        assert render(USUAL, next(pathlib.Path(folder).glob("*.tgz"))) == usual

    # The schemas can refuse.
    pods, monitor, rule = (the(usual, it) for it in ("StatefulSet", "ServiceMonitor", "PrometheusRule"))
    assert refused({**pods, "spec": {**pods["spec"], "replica": 1}})
    assert refused({**monitor, "spec": {**monitor["spec"], "endpoint": []}})
    assert refused({**rule, "spec": {"groups": [{"name": "a", "rules": [{"record": "b", "expr": 0.2}]}]}})

    for path, objects in zip(sys.argv[1:], [usual, behind], strict=True):
        pathlib.Path(path).write_text(json.dumps(objects))
    said = subprocess.run(["helm", "version", "--template", "{{.Version}}"], capture_output=True, text=True).stdout
    print(f"Helm {said} renders the chart; it is valid for Kubernetes {' and '.join(VERSIONS)}, and a release takes {size} bytes")


main()
