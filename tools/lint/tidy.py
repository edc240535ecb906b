#!/usr/bin/env python3
"""Runs clang-tidy over a build's translation units that have not passed yet.

usage: tools/lint/tidy.py [--all] BUILD_DIR [CHANGED_FILE...]

Without --all, only units among CHANGED_FILE or that include one. A unit that passed leaves a stamp under the hash of its
preprocessed text, its flags and .clang-tidy, so nothing is checked twice. Exits 1 if there is a finding.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROOMS = ("src/", "cli/", "tools/", "model/", "kernels/", "bindings/")


def clang_arguments(command):
    """The unit's flags as clang takes them: no launcher, compiler, output, or flag that only gcc knows."""
    words = shlex.split(command)
    start = next(i for i, w in enumerate(words) if re.search(r"(^|/)(c\+\+|g\+\+|gcc|cc|clang(\+\+)?)(-[\d.]+)?$", w)) + 1
    kept, skip = [], False
    for word in words[start:]:
        if skip:
            skip = False
        elif word in ("-o", "-MF", "-MT", "-c"):
            skip = word != "-c"
        elif word == "-MD" or word.startswith(("-fopenmp", "-Werror", "-mamx", "-Wno-restrict")):
            continue
        else:
            kept.append(word)
    return kept


def units(build, changed):
    """(file, directory, clang arguments) of each of our units; with changed, those touched by it."""
    seen = set()
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"]).resolve()
        if not path.is_relative_to(ROOT) or path in seen:
            continue
        name = str(path.relative_to(ROOT))
        if not name.startswith(ROOMS) or path.suffix != ".cpp":
            continue
        seen.add(path)
        if changed is not None and name not in changed and not changed & includes_of(path):
            continue
        yield name, entry["directory"], clang_arguments(entry["command"])


def includes_of(path):
    """Our headers that a unit names itself; deeper ones are found when their own units are checked."""
    text = path.read_text(encoding="utf-8", errors="replace")
    found = set()
    for header in re.findall(r'#\s*include\s*"([^"]+)"', text):
        for base in ("", "src/", "include/"):
            if (ROOT / base / header).is_file():
                found.add(base + header)
    return found


def check(unit, stamps, tidy):
    """(name, seconds, output) of a unit; output is empty if it is clean, seconds None if it had passed before."""
    name, directory, arguments = unit
    started = time.monotonic()
    source = [a for a in arguments if a.endswith(".cpp")]
    text = subprocess.run(["c++", *[a for a in arguments if not a.startswith("-W")], "-E", "-P", "-w"], cwd=directory, capture_output=True, check=False)
    key = None
    if text.returncode == 0:
        config = (ROOT / ".clang-tidy").read_bytes()
        key = hashlib.sha256(text.stdout + b"\0" + config + b"\0" + " ".join(arguments).encode()).hexdigest()[:32]
        if (stamps / key).exists():
            return name, None, ""
    run = subprocess.run([tidy, "--quiet", *source, "--", *[a for a in arguments if a not in source], "-Wno-unknown-warning-option"],
                         cwd=directory, capture_output=True, text=True, check=False)
    findings = "\n".join(line for line in run.stdout.splitlines() if line.strip())
    if run.returncode == 0 and key:
        stamps.mkdir(parents=True, exist_ok=True)
        (stamps / key).touch()
    return name, time.monotonic() - started, findings if run.returncode else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("changed", nargs="*")
    options = parser.parse_args()
    tidy = shutil.which("clang-tidy-14") or shutil.which("clang-tidy")
    if not tidy:
        print("tidy: no clang-tidy; scripts/setup test installs it")
        return 1
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "spearfish" / "tidy"
    todo = list(units(options.build, None if options.all else set(options.changed)))
    jobs = int(os.environ.get("JOBS") or os.cpu_count() or 1)
    bad = checked = 0
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for name, seconds, findings in pool.map(lambda unit: check(unit, cache, tidy), todo):
            checked += seconds is not None
            if findings:
                bad += 1
                print(f"{name}:\n{findings}")
    print(f"tidy: {len(todo)} units, {checked} checked now in {time.monotonic() - started:.0f} s, {bad} with findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
