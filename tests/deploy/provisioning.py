#!/usr/bin/env python3
"""Holds what Grafana is provisioned with to the services of compose.yaml and to the dashboards that are mounted."""

import json
import re
import subprocess
import tempfile
from urllib.parse import urlsplit

from files import ROOT, document, expect, mounts, stacks, text, tracked

PROVISIONING = "config/grafana/provisioning"


def only_known(what, keys, where):
    """Grafana passes over a key that it does not know."""
    unknown = set(what) - set(keys)
    expect(not unknown, f"{where}: Grafana knows no {sorted(unknown)}")


def by_uid(sources):
    for source in sources:
        only_known(source, ["name", "uid", "type", "access", "url", "isDefault", "jsonData"], source["name"])
    found = {source["uid"]: source for source in sources}
    expect(len(found) == len(sources), "two data sources have one uid")
    expect([it["type"] for it in sources if it.get("isDefault")] == ["prometheus"], "Prometheus is not the one default")
    return found


def links_lead_to(sources, uid, kind):
    expect(sources.get(uid, {}).get("type") == kind, f"there is no data source {uid} that is a {kind}")


def addresses_are_services(sources, stack):
    listens = {
        "prometheus": 9090,
        "alertmanager": 9093,
        "tempo": document("config/tempo/tempo.yaml")["server"]["http_listen_port"],
    }
    for source in sources.values():
        at = urlsplit(source["url"])
        expect(at.hostname in stack["services"], f"{source['name']}: there is no service {at.hostname}")
        expect((source["type"], at.port) == (at.hostname, listens[at.hostname]), f"{source['name']}: {source['url']}")


def queries_parse(queries, tags):
    """As rules, since promtool reads those; the tags of a span are put in as Grafana does."""
    labels = ", ".join(f'{tag["value"]}="any"' for tag in tags)
    metrics = set(re.findall(r"`(agent_\w+)`", text("docs/metrics.md")))
    rules = []
    for number, query in enumerate(queries):
        # One dollar would be taken for a variable of the environment.
        expect("$$__tags" in query["query"] and "$" not in query["query"].replace("$$__tags", ""), f"{query}: dollars")
        expression = query["query"].replace("$$__tags", labels)
        for name in re.findall(r"\bagent_\w+", expression):
            expect(name in metrics or name.removesuffix("_bucket") in metrics, f"{query['name']}: there is no {name}")
        rules.append({"record": f"query:number{number}", "expr": expression})
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump({"groups": [{"name": "queries", "rules": rules}]}, file)
        file.flush()
        done = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True, check=False)
        expect(done.returncode == 0, f"queries do not parse: {done.stdout}{done.stderr}")


def data_sources(stack):
    file = document(f"{PROVISIONING}/datasources/agent-sessions.yaml")
    expect(file["apiVersion"] == 1, "data sources: another version")
    sources = by_uid(file["datasources"])
    addresses_are_services(sources, stack)

    (metrics,) = [it["jsonData"] for it in sources.values() if it["type"] == "prometheus"]
    links_lead_to(sources, metrics["alertmanagerUid"], "alertmanager")
    for destination in metrics["exemplarTraceIdDestinations"]:
        links_lead_to(sources, destination["datasourceUid"], "tempo")
    expect("--enable-feature=exemplar-storage" in stack["services"]["prometheus"]["command"], "exemplars are not kept")
    scraped = document("config/prometheus/prometheus.yml")["global"]["scrape_interval"]
    expect(metrics["timeInterval"] == scraped, f"scraped each {scraped}, and Grafana thinks {metrics['timeInterval']}")

    # Their types are not published: these are what the plugins' sources read.
    (traces,) = [it["jsonData"] for it in sources.values() if it["type"] == "tempo"]
    only_known(traces, ["tracesToMetrics"], "Tempo")
    to = traces["tracesToMetrics"]
    only_known(to, ["datasourceUid", "spanStartTimeShift", "spanEndTimeShift", "tags", "queries"], "Tempo")
    links_lead_to(sources, to["datasourceUid"], "prometheus")
    queries_parse(to["queries"], to["tags"])
    (alerts,) = [it["jsonData"] for it in sources.values() if it["type"] == "alertmanager"]
    expect(alerts == {"implementation": "prometheus", "handleGrafanaManagedAlerts": False}, f"Alertmanager: {alerts}")


def dashboards(stack):
    grafana = stack["services"]["grafana"]
    where = {what: there for what, there, _ in mounts(grafana)}
    expect(where[f"./{PROVISIONING}"] == "/etc/grafana/provisioning", "Grafana looks for its provisioning elsewhere")
    (provider,) = document(f"{PROVISIONING}/dashboards/agent-sessions.yaml")["providers"]
    only_known(
        provider,
        ["name", "folder", "folderUid", "type", "allowUiUpdates", "updateIntervalSeconds", "options"],
        "provider",
    )
    expect(provider["options"] == {"path": where["./dashboards"]}, f"dashboards are not at {provider['options']}")
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    expect(home.replace(where["./dashboards"], "dashboards") in tracked(), f"there is no dashboard {home}")
    files = sorted((ROOT / "dashboards").iterdir())
    expect(all(file.suffix == ".json" for file in files), "Grafana reads what is no dashboard")
    return len(files)


def main():
    for stack in stacks().values():
        data_sources(stack)
        count = dashboards(stack)
    print(f"Grafana is provisioned with three data sources and {count} dashboards")


if __name__ == "__main__":
    main()
