#!/usr/bin/env python3
"""Compares what the coverage report promises with the machine code in the library.

usage: check_linked_code.py --coverage coverage.json --objects FOLDER --library libspearfish.so [--cuobjdump PROGRAM]
                            [--promise TARGET]

Reads the fat binaries that nvcc embeds: of each translation unit's object, and of the linked library. Fails if
  - a kernel that the report calls built has no unit for the code that serves it,
  - a unit's object lacks machine code or PTX for a target of its library,
  - the library lacks anything that the objects hold,
and, with cuobjdump, if a unit has no kernel for one of its targets or a kernel of an object is not in the library.
--promise adds a target to every promise, to show that the check fails when it should.
"""
import argparse
import collections
import json
import pathlib
import re
import struct
import subprocess
import sys

FATBIN_MAGIC = struct.pack("<I", 0xBA55ED50)
PTX, ELF = 1, 2  # kinds of entries
SPECIFIC, FAMILY = 0x100000, 0x200000  # flags of an entry: code with the suffix 'a' or 'f'


def embedded(path):
    """Counter of ("sass" | "ptx", "90a") over all fat binaries of a file."""
    data = path.read_bytes()
    found = collections.Counter()
    at = data.find(FATBIN_MAGIC)
    while at >= 0:
        version, header, size = struct.unpack_from("<HHQ", data, at + 4)
        if version == 1 and header == 16 and at + header + size <= len(data):
            entry, end = at + header, at + header + size
            while entry < end:
                kind, _, entry_header, entry_size = struct.unpack_from("<HHIQ", data, entry)
                number, flags = struct.unpack_from("<I", data, entry + 28)[0], struct.unpack_from("<I", data, entry + 40)[0]
                suffix = "a" if flags & SPECIFIC else "f" if flags & FAMILY else ""
                if kind in (PTX, ELF):
                    found["ptx" if kind == PTX else "sass", f"{number}{suffix}"] += 1
                entry += entry_header + entry_size
            at = end - 4
        at = data.find(FATBIN_MAGIC, at + 4)
    return found


def kernels(cuobjdump, path):
    """Counter of (mangled kernel, "90a") with machine code in a file. cuobjdump shows 'a' and leaves 'f' out. Of a very
    long name it shows the beginning, "-" and the place of the code in the file: such kernels count as "BEGINNING-"."""
    text = subprocess.run([cuobjdump, "-ltext", str(path)], capture_output=True, text=True, check=False).stdout
    return collections.Counter((re.sub(r"-\d+$", "-", name), arch)
                               for name, arch in re.findall(r"x-(\S+)\.sm_(\d+a?)\.elf\.bin", text))


def promised(code):
    """"8.0+PTX" -> {("sass", "80"), ("ptx", "80")}."""
    number = re.sub(r"\+PTX|-virtual", "", code).replace(".", "")
    out = set()
    if not code.endswith("-virtual"):
        out.add(("sass", number))
    if code.endswith(("+PTX", "-virtual")):
        out.add(("ptx", number))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coverage", type=pathlib.Path, required=True)
    parser.add_argument("--objects", type=pathlib.Path, required=True)
    parser.add_argument("--library", type=pathlib.Path, required=True)
    parser.add_argument("--cuobjdump", default="")
    parser.add_argument("--promise", default="")
    args = parser.parse_args()

    report = json.loads(args.coverage.read_text())
    libraries = [lib for lib in report["libraries"] if lib["language"] == "CUDA"]
    if args.promise:
        for lib in libraries:
            lib["code"].append(args.promise)
    missing = []
    total = collections.Counter()
    linked_kernels = kernels(args.cuobjdump, args.library) if args.cuobjdump else collections.Counter()
    shortened = collections.Counter()
    units = 0
    for lib in libraries:
        wanted = set().union(*(promised(code) for code in lib["code"]))
        for unit in lib["units"]:
            units += 1
            name = pathlib.Path(unit["file"]).name + ".o"
            objects = list((args.objects / f"{lib['name']}.dir").rglob(name))
            who = f"{', '.join(unit['kernels'])} ({unit['file']} in {lib['name']})"
            if len(objects) != 1:
                missing.append(f"{who}: {len(objects)} objects {name}")
                continue
            have = embedded(objects[0])
            total.update(have)
            for kind, number in sorted(wanted - set(have)):
                missing.append(f"{who}: no {kind} for {number}")
            if args.cuobjdump:
                own = kernels(args.cuobjdump, objects[0])
                for kind, number in sorted(wanted):
                    if kind == "sass" and not any(arch == number.rstrip("f") for _, arch in own):
                        missing.append(f"{who}: no kernel with machine code for {number}")
                for kernel, arch in sorted(set(own) - set(linked_kernels)):
                    missing.append(f"{who}: {kernel} for {arch} is not in the library")
                shortened.update({kernel: count for kernel, count in own.items() if kernel[0].endswith("-")})
    for row in report["rows"]:
        if not row["built"] or not re.match(r"\d", row["code"]):
            continue
        kernel = f"{row['family']}/{row['kernel']}"
        holds = [lib for lib in libraries if any(kernel in unit["kernels"] for unit in lib["units"]) and
                 promised(row["code"]) <= set().union(*(promised(code) for code in lib["code"]))]
        if not holds:
            missing.append(f"{kernel}: the report calls it built for {row['target']} by {row['code']}, and no unit is")
    linked = embedded(args.library)
    for what, count in sorted(total.items()):
        if linked[what] < count:
            missing.append(f"the library holds {linked[what]} pieces of {what[0]} for {what[1]}, its objects {count}")
    for (kernel, arch), count in sorted(shortened.items()):
        if linked_kernels[kernel, arch] < count:
            missing.append(f"the library holds {linked_kernels[kernel, arch]} kernels {kernel}... for {arch}, its objects {count}")
    for line in missing:
        print(line)
    print(f"{units} units, {sum(total.values())} pieces of code in objects, {sum(linked.values())} in the library, "
          f"{len(linked_kernels)} kernels by name, {len(missing)} missing")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
