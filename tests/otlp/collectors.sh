#!/usr/bin/env bash
# Has collectors that are not ours judge the metrics and traces that the exporter pushes.
#
#   tests/otlp/collectors.sh target/debug/agent-session-exporter
#
# Three exporters watch the same two simulated platforms. Two push straight to a strict receiver, one over each protocol
# (receiver.py). The third pushes over gRPC to rotel, a collector, which forwards the traces to such a receiver as well,
# and the metrics to VictoriaMetrics, which also scrapes the same exporter: then the same PromQL must give the same
# answers on both (same_answers.py).
#
# Needs python3 with venv and a package index; VictoriaMetrics comes from Debian's suite `forky` and is unpacked, not
# installed. Where it cannot be had its part is left out. Everything is kept in $OTLP_TOOLS, or target/ci-tools/otlp.
set -euo pipefail

program=$(realpath "${1:?usage: $0 PROGRAM}")
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${OTLP_TOOLS:=$here/../../target/ci-tools/otlp}"
tools=$(realpath "$OTLP_TOOLS")
work=$(mktemp -d)
running=()

finish() {
    # What the judge stopped would not hear the signal. Those that have ended already are no matter.
    for pid in "${running[@]}"; do { kill -CONT "$pid" && kill "$pid"; } 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

die() {
    echo "collectors: $1" >&2
    # What was said on the way explains most of it.
    for log in "$work"/*.log "$work"/rotel.out; do [[ -s $log ]] && echo "-- ${log##*/}" >&2 && tail -n 20 "$log" >&2; done
    exit 1
}

# start NAME COMMAND...: runs it, with its output in NAME.out and NAME.log; sets $started
start() {
    local name=$1
    shift
    "$@" >"$work/$name.out" 2>"$work/$name.log" &
    started=$!
    running+=("$started")
}

# within SECONDS COMMAND...: until the command succeeds
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# ends PID SIGNAL: sends the signal and gives back how the process ended
ends() {
    kill "-$2" "$1" && wait "$1"
}

python=$tools/bin/python
install_packages() {
    [[ -x $python ]] || python3 -m venv "$tools" || return
    # rotel has pre-releases only.
    "$tools/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
        'opentelemetry-proto>=1.30,<2' 'grpcio>=1.66,<2' 'protobuf>=5.29' 'rotel>=0.0.1a15'
}
install_packages || die "pip could not install opentelemetry-proto, grpcio, protobuf and rotel"
rotel=$("$python" -c 'import pathlib, rotel; print(pathlib.Path(rotel.__file__).with_name("rotel-agent"))')

# One package of another suite, without telling the system's own apt of that suite.
unpack_victoria_metrics() {
    local archive apt=$work/apt
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$tools/victoria" || return
    # Where the system's own packages of Debian come from.
    archive=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 !~ /security/ { print $2; exit }')
    [[ -n $archive ]] || return
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive forky main" >"$apt/sources.list"
    local options=(-q -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::Cache=$apt/cache"
        -o "Dir::State::lists=$apt/lists" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update && (cd "$work" && apt-get "${options[@]}" download victoria-metrics) &&
        dpkg-deb --extract "$work"/victoria-metrics_*.deb "$tools/victoria"
}
victoria=$tools/victoria/usr/bin/victoria-metrics
if [[ ! -x $victoria ]]; then
    unpack_victoria_metrics >"$work/apt.log" 2>&1 || victoria=
fi

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
answers() { curl --fail --silent --output /dev/null "$1"; }
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The judge first: it must be able to refuse.
"$python" "$here/refusals.py" || die "the receiver takes what it must refuse"

platforms=()
sources=
for platform in hcompany everruns; do
    start "$platform" "$program" simulate --platform "$platform" --listen 127.0.0.1:0 --seed 7 --api-key simulated \
        --history 200 --sessions 200 --rate 8 --speed 10
    platforms+=("$started")
    within 10 grep -qs '^listening on ' "$work/$platform.out" || die "the simulator of $platform does not start"
    address=$(sed -n 's/^listening on //p' "$work/$platform.out")
    [[ $platform == hcompany ]] && truth=$address/_truth
    sources+="  - {name: $platform, platform: $platform, api_key: simulated, start: beginning, poll_interval: 1s,
    requests_per_second: 100, base_url: $address}
"
done

# receiver NAME: starts one; sets $receiver_pid, and $grpc and $http, where it is
receiver() {
    start "$1" "$python" "$here/receiver.py"
    receiver_pid=$started
    within 10 test -s "$work/$1.out" || die "the receiver does not start"
    grpc=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["grpc"])' <"$work/$1.out")
    http=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["http"])' <"$work/$1.out")
}

# exporter NAME OTLP: starts one that pushes as it is told, every second; sets $exporter_pid and $page
exporter() {
    local config="sources:
${sources}storage: {path: $work/$1.store}
web: {listen_address: ['127.0.0.1:0'], new_series_hold: 3s}
otlp: {interval: 1s, $2}"
    echo "$config" >"$work/$1.yaml"
    # The environment must not have its say in where things are sent.
    start "$1" env -u OTEL_SDK_DISABLED -u OTEL_METRICS_EXPORTER -u OTEL_TRACES_EXPORTER \
        "$program" serve --config.file "$work/$1.yaml" --log.level warn
    exporter_pid=$started
    within 20 test -s "$work/$1.store/exporter.url" || die "the exporter does not start"
    page=$(<"$work/$1.store/exporter.url")/metrics
}

receiver receives-http
receivers=("$receiver_pid") counts=("$http")
exporter pushes-http "endpoint: $http, protocol: http/protobuf, compression: gzip"
exporters=("$exporter_pid")

receiver receives-grpc
receivers+=("$receiver_pid") counts+=("$http")
exporter pushes-grpc "endpoint: $grpc, protocol: grpc, metrics: {temporality: delta, histograms: exponential}"
exporters+=("$exporter_pid")

receiver receives-from-rotel
receivers+=("$receiver_pid") counts+=("$http")
rotel_grpc=$(free_port) rotel_http=$(free_port) store=http://127.0.0.1:$(free_port)
# Of 8192 spans, as it has by itself, a message can get larger than the 4 MiB that most gRPC servers take.
start rotel env ROTEL_TRACES_BATCH_MAX_SIZE=1000 ROTEL_OTLP_GRPC_ENDPOINT="127.0.0.1:$rotel_grpc" ROTEL_OTLP_HTTP_ENDPOINT="127.0.0.1:$rotel_http" \
    ROTEL_EXPORTERS=traces:otlp,metrics:otlp ROTEL_EXPORTERS_TRACES=traces ROTEL_EXPORTERS_METRICS=metrics \
    ROTEL_EXPORTER_TRACES_ENDPOINT="$grpc" ROTEL_EXPORTER_TRACES_PROTOCOL=grpc \
    ROTEL_EXPORTER_METRICS_METRICS_ENDPOINT="$store/opentelemetry/v1/metrics" ROTEL_EXPORTER_METRICS_PROTOCOL=http \
    "$rotel" start
rotel_pid=$started
within 10 listens "$rotel_grpc" || die "rotel does not start"
if [[ -n $victoria ]]; then
    start victoria-metrics "$victoria" -storageDataPath="$work/victoria" -httpListenAddr="${store#http://}" \
        -opentelemetry.usePrometheusNaming -search.latencyOffset=0s -promscrape.config="$work/scrape.yaml" -loggerLevel=WARN
    echo "scrape_configs: []" >"$work/scrape.yaml"
    within 20 answers "$store/health" || die "VictoriaMetrics does not start"
    exporter pushes-to-rotel "endpoint: 'http://127.0.0.1:$rotel_grpc', protocol: grpc"
    address=${page#http://}
    echo "scrape_configs: [{job_name: scraped, scrape_interval: 1s, static_configs: [{targets: ['${address%/metrics}']}]}]" \
        >"$work/scrape.yaml"
    curl --fail --silent --output /dev/null "$store/-/reload"
    "$python" "$here/same_answers.py" --page "$page" --store "$store" --readme "$here/../../README.md" "${platforms[@]}" ||
        die "pushed and scraped metrics differ"
else
    echo 'collectors: VictoriaMetrics cannot be had here: NOBODY COMPARES pushed with scraped metrics'
    cat "$work/apt.log"
    exporter pushes-to-rotel "endpoint: 'http://127.0.0.1:$rotel_grpc', protocol: grpc, metrics: {enabled: false}"
fi
exporters+=("$exporter_pid")

# The same sessions have the same spans, whoever reads them and whichever way they go: in the end all three have as many.
# On H a child's spans stand in its parent's trace, also while it goes on: so its sessions must all have ended. Everruns
# keeps some turns open for minutes, in traces of their own, which have no root yet.
agree() {
    python3 - "$truth" "${counts[@]}" <<'END'
import json, sys, urllib.request
truth, *counts = (json.load(urllib.request.urlopen(url, timeout=10)) for url in sys.argv[1:])
same = all(it["operations"] == counts[0]["operations"] and it["errors"] == counts[0]["errors"] for it in counts)
sys.exit(not (same and counts[0]["spans"] > 10000 and truth["settled"]))
END
}
within 90 agree || die "the receivers do not get the same: $(curl --silent "${counts[@]}")"

# In the order of the data, so that what each has is told before it ends.
for pid in "${exporters[@]}"; do ends "$pid" INT || die "an exporter ends with an error"; done
ends "$rotel_pid" TERM || die "rotel ends with an error"
said=(http grpc from-rotel)
for index in "${!receivers[@]}"; do
    ends "${receivers[$index]}" TERM || failed=1
    echo "receives-${said[$index]}: $(tail -n 1 "$work/receives-${said[$index]}.out")"
done
[[ -z ${failed:-} ]] || die "a receiver complains"
