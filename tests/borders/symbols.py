#!/usr/bin/env python3
"""The shared library exports what its headers declare, and takes from others only what every machine has.

usage: symbols.py exports --library SO --include ROOT --cc CC --nm NM
       symbols.py imports --library SO --nm NM --readelf READELF
"""
import argparse
import pathlib
import re
import subprocess
import sys

# Version tags of libc and libm, libstdc++, libgcc and libgomp. The CUDA runtime is linked statically, and it finds the
# driver at run time.
IMPORT_VERSIONS = re.compile(r"^(GLIBC|GLIBCXX|CXXABI|GCC|GOMP|OMP)_")
UNVERSIONED = {"__gmon_start__", "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__cxa_finalize"}
NEEDED = re.compile(r"^(libc\.so\.6|libm\.so\.6|libstdc\+\+\.so\.6|libgcc_s\.so\.1|libgomp\.so\.1|libdl\.so\.2|"
                    r"libpthread\.so\.0|librt\.so\.1|ld-linux-x86-64\.so\.2)$")


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def declared(include, cc):
    """Names of all functions and objects that the C headers mark SPF_API."""
    headers = sorted(pathlib.Path(include).rglob("*.h"))
    text = "".join(f'#include "{h.relative_to(include)}"\n' for h in headers)
    run = subprocess.run([cc, "-E", "-P", "-x", "c", "-std=c11", "-I", str(include), "-"], input=text, capture_output=True, text=True, check=True)
    names = set()
    for declaration in re.findall(r'__attribute__\(\(visibility\("default"\)\)\)([^;]*);', run.stdout):
        match = re.search(r"(\w+)\s*\(", declaration) or re.search(r"(\w+)\s*(\[[^\]]*\])?\s*$", declaration)
        names.add(match.group(1))
    return names


def exported(library, nm):
    names = set()
    for line in output(nm, "-D", "--defined-only", library).splitlines():
        kind, name = line.split()[-2:]
        if kind != "A":  # version nodes
            names.add(name.split("@")[0])
    return names


def export_findings(library, include, cc, nm):
    promise, found = declared(include, cc), exported(library, nm)
    return ([f"exported but not declared in a header: {n}" for n in sorted(found - promise)] +
            [f"declared SPF_API but not exported: {n}" for n in sorted(promise - found)] +
            ([] if promise else ["no header declares anything"]))


def import_findings(library, nm, readelf):
    findings = []
    for line in output(nm, "-D", "--undefined-only", library).splitlines():
        name, _, version = line.split()[-1].partition("@")
        if not IMPORT_VERSIONS.match(version.lstrip("@")) and name not in UNVERSIONED:
            findings.append(f"undefined symbol of an unknown library: {name} {version}")
    for name in re.findall(r"\(NEEDED\).*\[(.*)\]", output(readelf, "-d", "-W", library)):
        if not NEEDED.match(name):
            findings.append(f"needs {name}")
    return findings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["exports", "imports"])
    for option in ("--library", "--include", "--cc", "--nm", "--readelf"):
        parser.add_argument(option)
    options = parser.parse_args()
    if options.what == "exports":
        findings = export_findings(options.library, options.include, options.cc, options.nm)
        print(f"{len(exported(options.library, options.nm))} exported symbols")
    else:
        findings = import_findings(options.library, options.nm, options.readelf)
    print("\n".join(findings) or "all is as it should be")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
