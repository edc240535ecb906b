#!/usr/bin/env python3
"""Every public header compiles alone, as C11 and as C++17, without a warning and without any path but the include root.

usage: headers.py --c CC --cxx CXX INCLUDE_ROOT
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]


def failures(cc, cxx, root):
    """["header as C11: what the compiler said", ...]"""
    headers = sorted(root.rglob("*.h")) + sorted(root.rglob("*.hpp"))
    if not headers:
        return [f"{root}: no headers"]
    # No CPATH: a header that needs another package must not pass because that package happens to be installed.
    environment = {k: v for k, v in os.environ.items() if k not in ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH")}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for header in headers:
            name = header.relative_to(root)
            modes = [("C++17", cxx, "c++", "-std=c++17", "cpp"), ("C++20", cxx, "c++", "-std=c++20", "cpp")]
            if header.suffix == ".h":
                modes = [("C11", cc, "c", "-std=c11", "c")] + modes[:1]
            for label, compiler, language, standard, extension in modes:
                unit = pathlib.Path(folder, f"unit.{extension}")
                # Twice: the guard holds.
                unit.write_text(f'#include "{name}"\n#include "{name}"\nint spf_unit(void);\nint spf_unit(void) {{ return 0; }}\n')
                run = subprocess.run([compiler, "-x", language, standard, *WARNINGS, "-fsyntax-only", "-I", str(root), str(unit)],
                                     capture_output=True, text=True, check=False, env=environment)
                if run.returncode:
                    found.append(f"{name} as {label}:\n{run.stderr}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--c", required=True)
    parser.add_argument("--cxx", required=True)
    parser.add_argument("root", type=pathlib.Path)
    options = parser.parse_args()
    found = failures(options.c, options.cxx, options.root)
    print("\n".join(found) or "every header compiles alone")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
