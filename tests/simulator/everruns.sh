#!/bin/sh
# Checks the Everruns simulator against the vendor's own published types.
#
#   tests/simulator/everruns.sh target/release/agent-session-exporter
#
# Needs Rust 1.94 or newer and crates.io. The judge is a package of its own, tests/simulator/everruns, which says what
# it checks. It is built in $CARGO_TARGET_DIR, or in target/vendor: the place to cache, cold it takes a minute or two.
set -eu

if [ $# -lt 1 ]; then
    echo "usage: $0 COMMAND [ARGUMENT...]   the command that runs agent-session-exporter" >&2
    exit 64
fi
here=$(cd "$(dirname "$0")" && pwd)
fixtures=$here/../fixtures/everruns/serve-0.50.1
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$here/../../target/vendor}"

work=$(mktemp -d)
simulator=
stop() {
    if [ -n "$simulator" ]; then
        kill "$simulator" 2>/dev/null || true
        wait "$simulator" 2>/dev/null || true
        simulator=
    fi
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# start COMMAND... : sets $base once the simulator says where it listens
start() {
    : >"$work/out"
    "$@" >>"$work/out" &
    simulator=$!
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        base=$(sed -n '1s/^listening on //p' "$work/out")
        [ -n "$base" ] && return 0
        sleep 0.25
    done
    echo "cannot check: the simulator did not print 'listening on http://...' within five seconds" >&2
    exit 70
}

manifest=$here/everruns/Cargo.toml
cargo build --quiet --release --locked --manifest-path "$manifest" || {
    echo "cannot check: cargo could not build $manifest (it needs Rust 1.94 or newer, and crates.io)" >&2
    exit 69
}
judge=$CARGO_TARGET_DIR/release/everruns-judge

# The judge itself first: it must be able to refuse, and must accept what the vendor's own program wrote.
cargo test --quiet --release --locked --manifest-path "$manifest"
if [ -d "$fixtures" ]; then
    "$judge" --files "$fixtures"
fi

KEY=simulated
export KEY
for dialect in d4 d3; do
    start "$@" simulate --platform everruns --dialect "$dialect" --api-key "$KEY" --listen 127.0.0.1:0 --seed 7 \
        --history 200 --sessions 50 --rate 20 --speed 10
    echo "dialect $dialect"
    "$judge" "$base" --sessions 250
    stop
done
