#!/usr/bin/env python3
"""Fails if code compiled for a CPU with AVX can end up in calls that every CPU makes.

usage: check_cpu_rows.py --coverage coverage.json --objects FOLDER --nm PROGRAM

An inline function or template that two objects hold is a weak symbol, of which the linker keeps any one. Were it the one
compiled with AVX-512 flags, the portable code would fault on an older CPU. So objects of the CPU rows above the baseline
may define none: their helpers belong in anonymous namespaces, or inline them.
"""
import argparse
import json
import pathlib
import subprocess
import sys

BASELINE = "spf_cpu_x86_64"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coverage", type=pathlib.Path, required=True)
    parser.add_argument("--objects", type=pathlib.Path, required=True)
    parser.add_argument("--nm", required=True)
    args = parser.parse_args()
    libraries = [lib for lib in json.loads(args.coverage.read_text())["libraries"] if lib["language"] == "CXX"]
    shared, checked = [], 0
    for lib in libraries:
        if lib["name"] == BASELINE:
            continue
        for unit in lib["units"]:
            for path in (args.objects / f"{lib['name']}.dir").rglob(pathlib.Path(unit["file"]).name + ".o"):
                checked += 1
                text = subprocess.run([args.nm, "-C", "--defined-only", str(path)], capture_output=True, text=True, check=True).stdout
                for line in text.splitlines():
                    kind, _, name = line[17:].partition(" ")
                    if kind == "W": # V and u are data
                        shared.append(f"{lib['name']}: {unit['file']}: {name}")
    for line in shared:
        print(line)
    print(f"{checked} objects, {len(shared)} shared functions")
    return 1 if shared or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
