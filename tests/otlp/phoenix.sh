#!/usr/bin/env bash
# Has Arize Phoenix, a trace product that people use, take the exporter's traces, and judges what it understood.
#
#   tests/otlp/phoenix.sh target/debug/agent-session-exporter [PICTURE.png]
#
# The demo sends traces over HTTP, and again over gRPC together with metrics, which Phoenix does not take: that must be
# counted, and hold up nothing. What Phoenix has then is read back (phoenix.py). With a second argument one trace page is
# drawn by Chromium into that file, where Chromium is on the PATH.
#
# Needs python3 with venv, curl, and a package index, from which it takes 850 MB. Phoenix is kept in $PHOENIX_TOOLS, or
# target/ci-tools/phoenix.
set -euo pipefail

program=$(realpath "${1:?usage: $0 PROGRAM [PICTURE.png]}")
picture=${2:-}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${PHOENIX_TOOLS:=$here/../../target/ci-tools/phoenix}"
tools=$(realpath "$PHOENIX_TOOLS")
work=$(mktemp -d)
running=()

finish() {
    for pid in "${running[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

die() {
    echo "phoenix: $1" >&2
    for log in "$work"/*.log; do [[ -s $log ]] && echo "-- ${log##*/}" >&2 && tail -n 20 "$log" >&2; done
    exit 1
}

# within SECONDS COMMAND...: until the command succeeds
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
answers() { curl --fail --silent --output /dev/null "$1"; }
judge() { python3 "$here/phoenix.py" "$@"; }

[[ -x $tools/bin/phoenix ]] || {
    python3 -m venv "$tools" &&
        "$tools/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: 'arize-phoenix>=20'
} || die "pip could not install arize-phoenix"

port=$(free_port) grpc=$(free_port)
url=http://127.0.0.1:$port
# It talks to nobody but us, and its own assistant is off.
env PHOENIX_WORKING_DIR="$work/phoenix" PHOENIX_HOST=127.0.0.1 PHOENIX_PORT="$port" PHOENIX_GRPC_PORT="$grpc" \
    PHOENIX_TELEMETRY_ENABLED=false PHOENIX_ALLOW_EXTERNAL_RESOURCES=false PHOENIX_DISABLE_AGENT_ASSISTANT=true \
    PHOENIX_ENABLE_MCP_SERVER=false "$tools/bin/phoenix" serve >"$work/phoenix.log" 2>&1 &
running+=("$!")
within 120 answers "$url/healthz" || die "Phoenix does not start"

# demo NAME VARIABLE=VALUE...: starts it; sets $demo, and $page once there is one
demo() {
    local name=$1
    shift
    env "$@" "$program" demo --web.listen-address 127.0.0.1:0 --log.level warn >"$work/$name.out" 2>"$work/$name.log" &
    demo=$!
    running+=("$demo")
    within 20 grep -qs '^metrics' "$work/$name.out" || die "the demo does not start"
    page=$(awk '$1 == "metrics" { print $2 }' "$work/$name.out")
}

stop_demo() { kill -INT "$demo" && wait "$demo" || die "the demo ends with an error"; }

demo http OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="$url/v1/traces"
within 60 judge "$url" --has-traces 50 || die "no traces come over HTTP"
stop_demo
over_http=$(judge "$url" --count)

refused() {
    curl --fail --silent "$page" | grep '^agent_session_exporter_otlp_failures_total{.*signal="metrics"' |
        awk '$NF >= 2 { found = 1 } END { exit !found }'
}
demo grpc OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$grpc" OTEL_EXPORTER_OTLP_PROTOCOL=grpc \
    OTEL_METRIC_EXPORT_INTERVAL=1000
within 30 refused || die "metrics that Phoenix does not take are not counted as failed"
within 60 judge "$url" --has-traces $((over_http + 50)) || die "no traces come over gRPC"
stop_demo

judge "$url" || die "Phoenix understood something else"

if [[ -n $picture ]]; then
    if command -v chromium >/dev/null; then
        # No other address is known to it; what it wants to tell its maker stays here.
        timeout 120 chromium --headless --no-sandbox --disable-gpu --disable-background-networking --disable-sync \
            --disable-component-update --no-first-run --hide-scrollbars --window-size=1400,900 \
            --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1' --user-data-dir="$work/chromium" \
            --timeout=30000 --virtual-time-budget=15000 --screenshot="$(realpath "$picture")" \
            "$(judge "$url" --page-of-a-failure)" >"$work/chromium.log" 2>&1 || die "Chromium draws nothing"
        echo "phoenix: $picture shows a trace"
    else
        echo 'phoenix: Chromium is not on the PATH: no picture'
    fi
fi
