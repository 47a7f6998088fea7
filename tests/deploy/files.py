"""What the checks of the deployment read: the compose files as compose merges them, and the files of the repository."""

import pathlib
import re
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Where the program's image says it listens.
PORT = 17377


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def document(path):
    return yaml.safe_load(text(path))


def tracked():
    """Every file that a fresh clone has, by its path from the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(listed.stdout.rstrip("\0").split("\0"))


def merged(under, over):
    """As compose lays one file over another. Lists it joins or replaces, by their key: ours have none in both."""
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return {
        key: merged(under[key], over[key]) if key in under and key in over else {**under, **over}[key]
        for key in under | over
    }


def stacks():
    """The two ways to start: the demo, and one's own agents."""
    demo = document("compose.yaml")
    return {"demo": demo, "serve": merged(demo, document("compose.serve.yaml"))}


def mounts(service):
    """(what, where, read-only) of each volume; a variable stands for its default."""
    for volume in service.get("volumes", []):
        plain = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume)
        what, where, *mode = plain.split(":")
        yield what, where, mode == ["ro"]


def expect(condition, problem):
    if not condition:
        raise SystemExit(f"{problem}")
