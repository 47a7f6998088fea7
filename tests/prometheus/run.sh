#!/usr/bin/env bash
# Has independent parsers judge the metrics of a running exporter, and a Prometheus answer what the dashboards ask.
#
#   tests/prometheus/run.sh http://127.0.0.1:17377/metrics
#
# Needs python3 with venv, curl, and a package index; promtool and Prometheus judge too where they are on the PATH.
set -euo pipefail

url=${1:?usage: $0 URL}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'prometheus_client>=0.21,<1'

fetch() { # ACCEPT FILE EXPECTED-TYPE
    local type
    type=$(curl --fail --silent --show-error --compressed --header "Accept: $1" --output "$2" \
        --write-out '%{content_type}' "$url")
    if [ "$type" != "$3" ]; then
        echo "judge: asked for $1, got $type" >&2
        exit 1
    fi
}

judge() {
    fetch 'text/plain;version=0.0.4' "$work/metrics.txt" 'text/plain; version=0.0.4; charset=utf-8'
    fetch 'application/openmetrics-text;version=1.0.0' "$work/metrics.om" \
        'application/openmetrics-text; version=1.0.0; charset=utf-8'
    "$work/venv/bin/python" "$here/judge.py" "$work/metrics.txt" "$work/metrics.om"
}

# Between the two fetches a new series may have appeared: only a difference that stays is one.
judge || { sleep 1; judge; } || { sleep 1; judge; }

if command -v promtool >/dev/null; then
    promtool check metrics <"$work/metrics.txt"
else
    echo 'promtool is not on the PATH: not asked'
fi

# How many exemplars there must be at least: where spans are told, observations lead to them.
exemplars=(--exemplars 1)
if command -v prometheus >/dev/null; then
    python3 "$here/native.py" "${exemplars[@]}" "$url"
    python3 "$here/panels.py" "${exemplars[@]}" "$url"
else
    echo 'prometheus is not on the PATH: nobody scraped protobuf, and the dashboards were not tried'
fi
