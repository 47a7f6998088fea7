#!/usr/bin/env bash
# Judges the unit for systemd: by systemd's own judgement of what it says, and by running it under a systemd.
#
#   tests/deploy/systemd.sh target/debug/agent-session-exporter
#
# Needs python3 and systemd's programs; root, for a systemd of its own. Without root the unit is only read.
set -euo pipefail

program=$(realpath "${1:?usage: $0 PROGRAM}")
here=$(cd "$(dirname "$0")" && pwd)
unit=$here/../../config/systemd/agent-session-exporter.service
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Every line is understood; the program is looked for where it is.
sed "s#/usr/local/bin/agent-session-exporter#$program#" "$unit" >"$work/agent-session-exporter.service"
verified() { # UNIT
    local said
    said=$(systemd-analyze verify --man=no "$1" 2>&1) && [[ -z $said ]] || { echo "$said" >&2; return 1; }
}
verified "$work/agent-session-exporter.service"

# In tenths, as systemd-analyze takes it: 0 is safe, 100 is not, and 9.6 is a service that says nothing.
bound=15
secure() { systemd-analyze security --offline=true --no-pager --threshold="$bound" "$1"; }
secure "$work/agent-session-exporter.service" >"$work/said.txt" || { cat "$work/said.txt" >&2; exit 1; }
tail -n1 "$work/said.txt"

# Both can refuse.
mkdir "$work/broken"
sed 's/^RestrictRealtime=/RestrictRealTime=/' "$work/agent-session-exporter.service" >"$work/broken/a.service"
if verified "$work/broken/a.service" 2>/dev/null; then
    echo 'systemd-analyze takes a setting that there is not' >&2
    exit 1
fi
sed '/^SystemCallFilter=/d' "$work/agent-session-exporter.service" >"$work/broken/b.service"
if secure "$work/broken/b.service" >/dev/null 2>&1; then
    echo 'the bound of what may be open is too far off' >&2
    exit 1
fi

if [[ $(id -u) -eq 0 ]]; then
    python3 "$here/systemd.py" "$program"
else
    echo 'not root: nobody ran the unit'
fi
