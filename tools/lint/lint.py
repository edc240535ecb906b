#!/usr/bin/env python3
"""Checks what no compiler checks: which room includes which, file lengths, kernel names, words that must not stand here,
lines and links of documents, what measurements say of themselves.

usage: tools/lint/lint.py [--root DIR] [CHECK...]     checks: see --list

Prints one line per finding, "file:line: check: what is wrong and what is allowed", and exits 1 if there is one.
Standard library only.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

try:
    import tomllib
except ImportError:  # Python before 3.11
    tomllib = None

# --- which room may include which: DESIGN section 2 ----------------------------------------------------------------
# room -> rooms or files that it may include besides itself. A room is the longest prefix of a path.
ARROWS = {
    "include": [],
    "src/core": ["include"],
    "src/arch": ["src/core", "include"],
    "src/formats": ["src/core", "include"],
    "src/pack": ["src/formats", "src/core", "include"],
    # table.hpp is plain data; the rest of the planner is nobody's business but the ops'.
    "src/plan": ["src/arch", "src/core", "include"],
    "src/runtime": ["src/arch", "src/core", "include"],
    "src/ops": ["src/plan", "src/pack", "src/formats", "src/runtime", "src/arch", "src/core", "include", "kernels/*/args.h"],
    # The emulated CUDA device: what the runtime and the compiler give kernels, made again for the CPU.
    "emulator": [],
    "kernels/common": ["emulator", "src/core", "include", "src/plan/table.hpp", "src/arch/target.hpp"],
    # A kernel reads packed bytes, so it may know how a layout lies; it may not pack, plan or launch for itself.
    "kernels": ["kernels/common", "src/core", "include", "src/plan/table.hpp", "src/pack/layout.hpp", "src/runtime/launch.hpp"],
    "tools/kernelgen": ["src/arch", "src/core", "include"],
    # Conformance and bench see the public API, the one rule of how close is close enough, and how a manifest says
    # what an operand may hold.
    "check": ["include", "src/core/tolerance.hpp", "src/core/value_rule.hpp"],
    "cli": ["include", "check", "model", "src/arch"],
    "bindings": ["include"],
    "model": ["include"],
    "examples": ["include"],
    "bench": ["include", "check"],
    "tests": ["include", "src", "kernels", "emulator", "check", "tools/kernelgen", "model", "cli", "bench"],
}
INCLUDE_ROOTS = ["", "include", "src", "tests", "tools"]  # what -I names, relative to the root
SYSTEM_HEADERS_OF = {  # header prefix -> the only rooms that may include it
    "cuda": ["kernels", "emulator", "src/runtime/cuda", "check", "model/cuda", "tests", "bench"],
    "cutlass/": ["kernels"],
    "cute/": ["kernels"],
    "torch/": ["bindings"],
    "toml++/": ["tools/kernelgen", "src/arch", "check", "tests", "bench"],
    "CLI/": ["cli", "tools"],
    "fmt/": ["check", "cli", "tools", "tests", "bench", "model"],
    "nlohmann/": ["check", "cli", "tools", "tests", "bench", "model"],
    "gtest/": ["tests"],
    "gmock/": ["tests"],
    "benchmark/": ["bench"],
    "hwy/": ["kernels", "src/pack"],
    "dlpack/": ["src/core", "src/ops", "tests", "bindings"],
    "iostream": ["check", "cli", "tools", "tests", "bench", "model", "examples"],
}

CODE = {".c", ".h", ".cpp", ".hpp", ".cu", ".cuh"}
TEXT = CODE | {".py", ".md", ".toml", ".cmake", ".txt", ".json", ".sh", ".in", ".yml", ".csv", ""}
LENGTH_LIMIT = 600
KERNEL_LENGTH_LIMIT = 900  # kernels/*/*.cuh and cpu_*.cpp: one kernel, one file
DOCUMENT_WIDTH = 130  # columns of a document's text; rows of tables and code may be longer
MEASUREMENTS = "docs/measurements/"

KERNEL_NAME = re.compile(r"^(reference|(sm\d{2,3}|gfx\d{3,4}[a-z0-9]*|cpu|portable|avx2|avx512|amx)(_[a-z0-9]+)+|portable|avx2|avx512|amx)$")
FAMILY_NAME = re.compile(r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")

# Library code never prints, ends the process, or reaches for the environment's file system (DESIGN sections 1 and 7).
LIBRARY = ("src/", "kernels/", "include/")
LIBRARY_FORBIDDEN = [
    (re.compile(r"\bstd::(cout|cerr|clog)\b|(?<![a-z_])(f?printf|f?puts|putchar|perror)\s*\("), "prints; return a status with detail"),
    (re.compile(r"(?<![\w.>])(std::)?(abort|exit|_exit|quick_exit|terminate)\s*\("), "ends the process; return a status"),
    (re.compile(r"(?<![\w:])assert\s*\("), "assert aborts; validate, or use static_assert"),
    (re.compile(r"\bstd::(ofstream|fstream)\b|(?<![\w:])fopen\s*\("), "opens files; the caller owns I/O"),
]
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\b(not implemented|unimplemented|for now)\b", re.IGNORECASE)
UNFINISHED_EXEMPT = ("tools/lint/", "LICENSE")
# Paths of one machine and names of hosts have no place in a repository; neither has a key.
FORBIDDEN_WORDS = [
    (re.compile(r"(?<![\w.])/(work|home|Users)/[A-Za-z0-9_.]+"), "a path of one machine"),
    (re.compile(r"\b(deb\.debian\.org|pypi\.org|files\.pythonhosted\.org|archive\.ubuntu\.com)\b"), "the host of a package registry"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"), "a private key"),
    (re.compile(r"^(<{7}|>{7}) "), "a merge conflict marker"),
]


class Linter:
    def __init__(self, root):
        self.root = root
        self.findings = []
        listing = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                                 capture_output=True, check=False)
        if listing.returncode == 0 and listing.stdout:
            names = listing.stdout.decode().split("\0")
        else:  # an unpacked archive
            names = [str(p.relative_to(root)) for p in root.rglob("*") if not {"build", ".git", ".toolkit"} & set(p.parts)]
        self.files = sorted({n for n in names if n and (root / n).is_file() and not (root / n).is_symlink()})
        self.texts = {}

    def text(self, name):
        if name not in self.texts:
            self.texts[name] = (self.root / name).read_text(encoding="utf-8", errors="replace")
        return self.texts[name]

    def code_files(self):
        return [f for f in self.files if pathlib.PurePath(f).suffix in CODE]

    def report(self, name, line, check, what):
        self.findings.append(f"{name}:{line}: {check}: {what}")

    # --- checks ----------------------------------------------------------------------------------------------------

    def check_includes(self):
        """Includes point one way (ARROWS), and third-party headers stay in their rooms."""
        known = set(self.files)
        for name in self.code_files():
            room = room_of(name)
            if room is None:
                self.report(name, 1, "includes", f"belongs to no room; rooms: {', '.join(sorted(ARROWS))}")
                continue
            for number, line in enumerate(self.text(name).splitlines(), 1):
                match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
                if not match:
                    continue
                quoted, header = match.group(1) == '"', match.group(2)
                target = self.resolve(name, header, known)
                if target is not None:
                    if not may_include(name, room, target):
                        allowed = ", ".join([room] + ARROWS[room])
                        self.report(name, number, "includes", f"{room} may not include {target}; it may include {allowed}")
                    continue
                if quoted and header.count("/") == 0 or header.startswith("gen/"):
                    continue  # generated headers
                for prefix, rooms in SYSTEM_HEADERS_OF.items():
                    if header.startswith(prefix) and not any(in_room(name, r) for r in rooms):
                        self.report(name, number, "includes", f"<{header}> may be included by {', '.join(rooms)} only")

    def resolve(self, name, header, known):
        own = str(pathlib.PurePosixPath(name).parent / header)
        for base in [own] + [f"{r}/{header}" if r else header for r in INCLUDE_ROOTS]:
            parts = []
            for part in base.split("/"):
                if part == "..":
                    if parts:
                        parts.pop()
                elif part != ".":
                    parts.append(part)
            if "/".join(parts) in known:
                return "/".join(parts)
        return None

    def check_length(self):
        """Files end before 600 lines, kernels before 900."""
        for name in self.files:
            suffix = pathlib.PurePath(name).suffix
            if suffix not in CODE | {".py", ".cmake"}:
                continue
            kernel = name.startswith("kernels/") and (suffix in {".cuh", ".cu"} or pathlib.PurePath(name).name.startswith("cpu_"))
            limit = KERNEL_LENGTH_LIMIT if kernel else LENGTH_LIMIT
            lines = len(self.text(name).splitlines())
            if lines > limit:
                self.report(name, lines, "length", f"{lines} lines, the limit is {limit}: split it by subject")

    def check_names(self):
        """Kernel names are <target-or-isa>_<method>, the kernel's file exists, families are folders."""
        for name in self.files:
            match = re.match(r"^kernels/([^/]+)/kernels\.toml$", name)
            if not match:
                continue
            family = match.group(1)
            if not FAMILY_NAME.match(family):
                self.report(name, 1, "names", f"family '{family}' is not lower_case")
            seen = set()
            for kernel in read_kernels(self.text(name)):
                label, op = kernel.get("name", ""), str(kernel.get("op") or kernel.get("ops") or "")
                if not KERNEL_NAME.match(label):
                    self.report(name, 1, "names",
                                f"kernel '{label}': names are <target-or-isa>_<method>, e.g. sm80_mma, cpu_avx2, or reference")
                if (op, label) in seen:
                    self.report(name, 1, "names", f"kernel '{label}' stands twice for op '{op}'")
                seen.add((op, label))
                source = kernel.get("file")
                if source and f"kernels/{family}/{source}" not in self.files:
                    self.report(name, 1, "names", f"kernel '{label}': no file kernels/{family}/{source}")

    def check_library(self):
        """The library does not print, end the process, or open files."""
        for name in self.code_files():
            if not name.startswith(LIBRARY):
                continue
            for number, line in enumerate(strip_comments(self.text(name)).splitlines(), 1):
                for pattern, why in LIBRARY_FORBIDDEN:
                    if pattern.search(line):
                        self.report(name, number, "library", f"'{line.strip()[:60]}': {why}")

    def check_device(self):
        """Kernels have no assembly of their own and declare dynamic shared memory so that the emulated device has it too."""
        for name in self.code_files():
            if not name.startswith("kernels/") or name.startswith(("kernels/common/",)) or not name.endswith((".cuh", ".cu")):
                continue
            for number, line in enumerate(strip_comments(self.text(name)).splitlines(), 1):
                if re.search(r"\b(asm|__asm__)\b", line):
                    self.report(name, number, "device", "assembly stands in the small types of kernels/common, with its meaning under SPF_EMULATED")
                if re.search(r"\bextern\s+__shared__", line):
                    self.report(name, number, "device", "dynamic shared memory is declared with SPF_DYNAMIC_SHARED(type, name, alignment)")
                if re.search(r"\b__shared__\s+alignas\b", line):
                    self.report(name, number, "device", "alignas goes before __shared__, or __align__ behind it")

    def check_words(self):
        """No machine paths, registry hosts, keys, conflict markers, and nothing that says it is unfinished."""
        for name in self.files:
            if pathlib.PurePath(name).suffix not in TEXT or name.startswith("tools/lint/"):
                continue
            for number, line in enumerate(self.text(name).splitlines(), 1):
                for pattern, what in FORBIDDEN_WORDS:
                    if pattern.search(line):
                        self.report(name, number, "words", f"{what}: '{line.strip()[:60]}'")
                if not name.startswith(UNFINISHED_EXEMPT) and pathlib.PurePath(name).suffix in CODE | {".py", ".cmake"}:
                    if UNFINISHED.search(line):
                        self.report(name, number, "words", f"sounds unfinished: '{line.strip()[:60]}'")

    def check_whitespace(self):
        """Text files end with one newline and no line ends with a blank; headers are guarded."""
        for name in self.files:
            path = pathlib.PurePath(name)
            if path.suffix not in TEXT or name == "LICENSE" or name.startswith("tests/data/") or "/corpus/" in name:
                continue
            text = self.text(name)
            if text and (not text.endswith("\n") or text.endswith("\n\n")):
                self.report(name, text.count("\n") + 1, "whitespace", "a file ends with exactly one newline")
            for number, line in enumerate(text.split("\n"), 1):
                if line != line.rstrip() and path.suffix != ".md":
                    self.report(name, number, "whitespace", "a line ends with a blank")
            if path.suffix in {".h", ".hpp", ".cuh"} and "#pragma once" not in text and not re.search(r"#ifndef \w+_H\n#define", text):
                self.report(name, 1, "whitespace", "a header needs '#pragma once' or an include guard")

    def check_documents(self):
        """Text of documents fits a window, and what they link to is there."""
        there = set(self.files) | {str(parent) for f in self.files for parent in pathlib.PurePosixPath(f).parents}
        for name in self.files:
            if pathlib.PurePath(name).suffix != ".md":
                continue
            code = False
            for number, line in enumerate(self.text(name).splitlines(), 1):
                code ^= line.lstrip().startswith("```")
                if code:
                    continue
                if len(line) > DOCUMENT_WIDTH and not line.startswith("|"):
                    self.report(name, number, "documents", f"{len(line)} columns, the limit is {DOCUMENT_WIDTH}: break the line")
                for link in re.findall(r"\]\(([^)#\s]+)", line):
                    if "://" not in link and self.resolve(name, link, there) is None:
                        self.report(name, number, "documents", f"no file {link}")

    def check_measurements(self):
        """A measurement says device, commit and command, and stands in the index."""
        index = MEASUREMENTS + "README.md"
        files = [f for f in self.files if f.startswith(MEASUREMENTS) and f != index]
        rows = self.text(index) if index in self.files else ""
        for name in files:
            if f"`{name[len(MEASUREMENTS):]}`" not in rows:
                self.report(name, 1, "measurements", f"has no row in {index}")
            if not name.endswith(".json"):
                continue
            try:
                record = json.loads(self.text(name))
            except json.JSONDecodeError as error:
                self.report(name, error.lineno, "measurements", f"is not JSON: {error.msg}")
                continue
            for key in ("device", "commit", "command", "date", "rows"):
                if not record.get(key):
                    self.report(name, 1, "measurements", f"does not say its {key}")


def room_of(name):
    candidates = [room for room in ARROWS if in_room(name, room)]
    return max(candidates, key=len) if candidates else None


def in_room(name, room):
    return name == room or name.startswith(room + "/")


def may_include(name, room, target):
    if room == "kernels":  # a family's own folder, not its neighbours'
        if target.split("/")[:2] == name.split("/")[:2]:
            return True
    elif in_room(target, room):
        return True
    return any(in_room(target, a) or pathlib.PurePath(target).match(a) for a in ARROWS[room])


def strip_comments(text):
    """Blanks comments and string literals, keeps line numbers."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
    return pattern.sub(lambda m: '""' if m.group(0)[0] == '"' else re.sub(r"[^\n]", " ", m.group(0)), text)


def read_kernels(text):
    """The [[kernel]] tables of a manifest. Python before 3.11 has no TOML reader; name, op and file are plain strings."""
    if tomllib is not None:
        try:
            return tomllib.loads(text).get("kernel", [])
        except tomllib.TOMLDecodeError:
            return []  # kernelgen reports it with line and column
    kernels, current = [], None
    for line in text.splitlines():
        if re.match(r"\s*\[", line):
            current = None
            if re.match(r"\s*\[\[kernel\]\]", line):
                current = {}
                kernels.append(current)
        match = re.match(r'\s*(name|op|file)\s*=\s*"([^"]*)"', line)
        if match and current is not None:
            current[match.group(1)] = match.group(2)
    return kernels


def main():
    checks = [m[len("check_"):] for m in dir(Linter) if m.startswith("check_")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("--list", action="store_true", help="name the checks")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"one of {', '.join(checks)}; all without")
    options = parser.parse_args()
    if options.list:
        for check in checks:
            print(f"{check:12} {getattr(Linter, 'check_' + check).__doc__}")
        return 0
    unknown = sorted(set(options.checks) - set(checks))
    if unknown:
        parser.error(f"unknown check {', '.join(unknown)}; known: {', '.join(checks)}")
    linter = Linter(options.root.resolve())
    for check in options.checks or checks:
        getattr(linter, "check_" + check)()
    for finding in sorted(linter.findings):
        print(finding)
    if not linter.findings:
        print(f"lint: {len(linter.files)} files, {len(options.checks or checks)} checks, nothing found")
    return 1 if linter.findings else 0


if __name__ == "__main__":
    sys.exit(main())
