#!/usr/bin/env python3
"""No call of the library can meet an instruction that the CPU lacks, unless a kernel was chosen that asks for it.

usage: isa.py --build DIR --source DIR --nm NM --objdump OBJDUMP

Two rules over the library's object files. An object compiled without ISA options holds no AVX instruction. And an object
compiled with some shares no inline function with an object compiled otherwise: the linker keeps one copy of an inline
function, and a copy with AVX-512 in it, called from generic code, would fault on other CPUs.
"""
import argparse
import json
import pathlib
import re
import shlex
import subprocess
import sys

ISA_OPTION = re.compile(r"^-m(arch=|avx|fma|f16c|amx|bmi|sse4|sse3|ssse3|tune=native|cpu=)")
# VEX and EVEX code: wide registers, tiles, masks, or the v-spelling of an instruction.
AVX = r"%[yz]mm[0-9]|%tmm[0-9]|%k[1-7][,}]|[[:space:]]v[a-z0-9]+[[:space:]]+.*%xmm"


def library_objects(build, source):
    """{object path: ISA options} of the objects that make the library, from compile_commands.json."""
    objects = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        words = shlex.split(entry["command"])
        name = entry.get("output") or words[words.index("-o") + 1]
        path = pathlib.Path(entry["directory"], name)
        file = pathlib.Path(entry["file"])
        inside = [root for root in (source / "src", source / "kernels", build / "gen") if file.is_relative_to(root)]
        if not inside or not re.search(r"CMakeFiles/(spearfish_objects|spf_)[^/]*\.dir/", str(path)):
            continue
        flags = " ".join(words).replace("-Xcompiler=", "").replace(",", " ").split()
        objects[path] = tuple(sorted({w for w in flags if ISA_OPTION.match(w)}))
    return objects


def avx_in(path, objdump):
    """The first AVX instruction of an object, or ''."""
    pipeline = f"{shlex.quote(objdump)} -d --no-show-raw-insn {shlex.quote(str(path))} | grep -E -m 1 '{AVX}'"
    return subprocess.run(["bash", "-c", pipeline], capture_output=True, text=True, check=False).stdout.strip()


def symbols(path, nm):
    """(weak functions that the object defines, every symbol that it defines or uses)."""
    weak, every = set(), set()
    for line in subprocess.run([nm, str(path)], capture_output=True, text=True, check=True).stdout.splitlines():
        kind, name = line.split()[-2:]
        if kind == "W" and len(line.split()) == 3:
            weak.add(name)
        if kind.isupper() or kind in ("w", "u"):
            every.add(name)
    return weak, every


def findings(objects, nm, objdump):
    found = []
    if not objects:
        return ["no object files of the library: was it built?"]
    tables = {path: symbols(path, nm) for path in objects}
    users = {}
    for path, (_, every) in tables.items():
        for name in every:
            users.setdefault(name, set()).add(objects[path])
    for path, options in sorted(objects.items()):
        if not options:
            instruction = avx_in(path, objdump)
            if instruction:
                found.append(f"{path.name} is compiled for every CPU, but holds: {instruction}")
            continue
        for name in sorted(tables[path][0]):
            others = users[name] - {options}
            if others:
                what = " and ".join(sorted(" ".join(o) or "no ISA option" for o in others))
                found.append(f"{path.name} ({' '.join(options)}) defines the inline function {name}, which objects with {what} share")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--build", "--source"):
        parser.add_argument(option, type=pathlib.Path, required=True)
    for option in ("--nm", "--objdump"):
        parser.add_argument(option, required=True)
    options = parser.parse_args()
    objects = library_objects(options.build, options.source)
    found = findings(objects, options.nm, options.objdump)
    print("\n".join(found) or "no generic code needs more than x86-64")
    print(f"{len(objects)} objects, {sum(1 for o in objects.values() if o)} of them with ISA options")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
