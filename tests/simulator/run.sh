#!/bin/sh
# Checks the simulator against the vendor's own packages.
#
#   tests/simulator/run.sh target/release/agent-session-exporter
#
# Needs Python 3.12 or newer and PyPI; the packages go to a throw-away environment, nothing of them is kept.
set -eu

if [ $# -lt 1 ]; then
    echo "usage: $0 COMMAND [ARGUMENT...]   the command that runs agent-session-exporter" >&2
    exit 64
fi
here=$(cd "$(dirname "$0")" && pwd)

find_python() {
    for candidate in python3.14 python3.13 python3.12 python3 "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

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

environment=${SIMULATOR_VENV:-$work/venv}
if [ ! -x "$environment/bin/python" ]; then
    python=$(find_python) || {
        echo "cannot check: no Python 3.12 or newer on PATH or under ~/.pyenv/versions (the vendor's packages need it)" >&2
        exit 69
    }
    "$python" -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check hai-agent-api==0.1.175 hai-agents==1.3.0 || {
        echo "cannot check: pip could not install hai-agent-api==0.1.175 and hai-agents==1.3.0" >&2
        exit 69
    }
fi

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

options="--platform hcompany --listen 127.0.0.1:0 --seed 7 --history 60 --sessions 240 --rate 20 --speed 10"
# shellcheck disable=SC2086 # the options are words
start "$@" simulate $options --children-share 0.2 --interactive-share 0.3 --restart-share 0.2
"$environment/bin/python" "$here/validate.py" "$base"
stop
# shellcheck disable=SC2086
start "$@" simulate $options --dialect old
"$environment/bin/python" "$here/validate.py" "$base" --old
