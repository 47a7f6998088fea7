#!/usr/bin/env python3
"""Holds the Dockerfile to what is said of it, beyond what a linter knows.

    image.py                    checks
    image.py --copy DIRECTORY   lays out there what the build would be given
"""

import pathlib
import re
import shutil
import sys

from dockerfile_parse import DockerfileParser

from files import PORT, ROOT, expect, text, tracked


def stages():
    """The instructions of each stage, in words."""
    parser = DockerfileParser(fileobj=(ROOT / "Dockerfile").open("rb"))
    found = []
    for step in parser.structure:
        if step["instruction"] == "COMMENT":
            continue
        if step["instruction"] == "FROM":
            found.append([])
        found[-1].append((step["instruction"], step["value"].split()))
    return found


def sources(stage):
    """What a stage copies from the repository."""
    for instruction, words in stage:
        if instruction == "COPY" and not any(word.startswith("--from=") for word in words):
            yield from (word for word in words[:-1] if not word.startswith("--"))


def version(words):
    return tuple(int(part) for part in words.split("."))


def check():
    build, final = stages()
    copied = [path for stage in (build, final) for path in sources(stage)]
    files = tracked()
    for path in copied:
        there = path in files or any(file.startswith(f"{path}/") for file in files)
        expect(there, f"Dockerfile copies {path}, which is not in the repository")
    # All out, and in again exactly what is copied: then nothing else can get into an image, and nothing is missing.
    ignored = [line for line in text(".dockerignore").splitlines() if line and not line.startswith("#")]
    expect(ignored[0] == "*", ".dockerignore does not begin with everything")
    back = sorted(line.removeprefix("!") for line in ignored[1:])
    expect(back == sorted(copied), f".dockerignore lets in {back}, and the Dockerfile copies {sorted(copied)}")

    for stage in (build, final):
        image = stage[0][1][0]
        tag = image.rpartition(":")[2]
        expect(":" in image and tag != "latest", f"{image} is not pinned by a tag")
    rust = re.match(r"rust:(\d+\.\d+\.\d+)-", build[0][1][0])
    expect(rust, f"{build[0][1][0]} is no image of an exact Rust")
    least = re.search(r'^rust-version = "([\d.]+)"$', text("Cargo.toml"), re.M)[1]
    expect(version(rust[1]) >= version(least), f"Rust {rust[1]} is older than {least}, which Cargo.toml asks for")
    runs = " && ".join(" ".join(words) for instruction, words in build if instruction == "RUN")
    builds = re.findall(r"cargo build[^&]*", runs)
    expect(len(builds) == 2 and builds[0].strip() == builds[1].strip(), "the two layers are not built alike")
    expect("--locked" in builds[0] and "--release" in builds[0], f"{builds[0]}: not the locked release")

    said = {instruction: words for instruction, words in final}
    user = said.get("USER", ["root"])[0]
    expect(re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", user), f"USER {user} is not a number that is not root's")
    expect(said.get("EXPOSE") == [str(PORT)], f"EXPOSE {said.get('EXPOSE')}")
    expect(said.get("STOPSIGNAL") == ["SIGTERM"], "STOPSIGNAL is not what the program ends by")
    store = said["VOLUME"][0]
    expect(said["ENV"] == [f"ASE_STORAGE_PATH={store}"], f"the store is not the volume {store}")
    owned = any(words[-1] == store and f"--chown={user}" in words for it, words in final if it == "COPY")
    expect(owned, f"{store} does not belong to {user}")
    expect("HEALTHCHECK" in said, "no HEALTHCHECK")
    print(f"the image runs as {user} from {final[0][1][0]}, built by {build[0][1][0]}")


def lay_out(folder):
    build, _ = stages()
    for path in sources(build):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        copy(ROOT / path, target)


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            check()
        case ["--copy", folder]:
            lay_out(pathlib.Path(folder))
        case _:
            sys.exit(__doc__)
