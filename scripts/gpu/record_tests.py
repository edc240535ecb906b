#!/usr/bin/env python3
"""What the logs of run_checks.sh say, as docs/measurements/tests-*.json holds it.

usage: record_tests.py [--gpu FILE] [--json FILE] LOG...

A log has entries "=== NAME", output, "=== exit code N". NAME is a test, or "sanitize TOOL FAMILY". A test without a final
count of GoogleTest counts as one case; a program that ended badly with no failed case counts as one failure. Of a
sanitizer what it calls errors is counted, and hazards; -1 stands for a run that did not come to its end. Logs that are
not there are left out. Exits with 1 if anything failed.
"""
import argparse
import datetime
import json
import pathlib
import re
import sys

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parent.parent)]
from test_summary import count_gtest

ENTRY = re.compile(r"^=== (?!exit code)(?P<name>.+)\n(?P<output>(?:.*\n)*?)=== exit code (?P<code>\d+)\n", re.MULTILINE)
SUMMARY = re.compile(r"^========= (?:RACECHECK SUMMARY: (\d+) hazards?|ERROR SUMMARY: (\d+) errors?)", re.MULTILINE)
SKIPPED = 77


def names(output, word):
    """Of a GoogleTest run, the tests in the list after its end, without the time that follows a name."""
    return sorted(set(re.findall(rf"^\[\s*{word}\s*\] ([^\s,]*\.[^\s,]*)(?:, where .*)?$", output, re.MULTILINE)))


def test_row(name, output, code):
    if code == SKIPPED:
        return {"test": name, "passed": 0, "failed": 0, "skipped": 1}
    counts = count_gtest(output) or ((1, 0, 0) if code == 0 else (0, 1, 0))
    if code != 0 and counts[1] == 0:
        counts = (counts[0], 1, counts[2])
    row = {"test": name, "passed": counts[0], "failed": counts[1], "skipped": counts[2]}
    for word, key in (("FAILED", "failed_tests"), ("SKIPPED", "skipped_tests")):
        if found := names(output, word):
            row[key] = found
    return row


def sanitizer_errors(output, code):
    found = SUMMARY.findall(output)
    return sum(int(race or error) for race, error in found) if found and code in (0, 9) else -1


def record(text, gpu_lines):
    gpu, version = (list(gpu_lines) + ["", ""])[:2]
    device, _, driver = gpu.partition(", ")
    known = re.match(r"spearfish \S+ \((?P<commit>[^;]*);.*toolkit (?P<toolkit>[^;]*);", version)
    rows, sanitizers = [], {}
    for entry in ENTRY.finditer(text):
        name, output, code = entry["name"], entry["output"], int(entry["code"])
        if not name.startswith("sanitize "):
            rows.append(test_row(name, output, code))
            continue
        _, tool, family = name.split(" ")
        sanitizers.setdefault(tool, {})[family] = sanitizer_errors(output, code)
        cases = re.findall(r"^(\d+) passed, (\d+) failed, \d+ skipped$", output, re.MULTILINE)
        if cases and tool == "memcheck":
            sanitizers.setdefault("cases_passed", {})[family] = int(cases[-1][0])
    result = {"device": device, "driver": driver, "toolkit": known["toolkit"] if known else "",
              "commit": known["commit"] if known else "", "date": datetime.date.today().isoformat(),
              "command": "run_checks.sh FOLDER tests sanitize"}
    result |= {key: sum(row[key] for row in rows) for key in ("passed", "failed", "skipped")}
    result["rows"] = rows
    if sanitizers:
        result["compute_sanitizer"] = {"subset": "spearfish check FAMILY --quick; errors by family"} | sanitizers
    return result


def failed(result):
    tools = {k: v for k, v in result.get("compute_sanitizer", {}).items() if k not in ("subset", "cases_passed")}
    return result["failed"] > 0 or not result["rows"] and not tools or any(n != 0 for of in tools.values() for n in of.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", type=pathlib.Path, help="two lines: the GPU and its driver, and what --version says")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("logs", type=pathlib.Path, nargs="+", metavar="LOG")
    args = parser.parse_args()
    text = "".join(log.read_text(errors="replace") for log in args.logs if log.exists())
    gpu = args.gpu.read_text().splitlines() if args.gpu and args.gpu.exists() else []
    result = record(text, gpu)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['passed']} passed, {result['failed']} failed, {result['skipped']} skipped")
    for tool, errors in result.get("compute_sanitizer", {}).items():
        if tool not in ("subset", "cases_passed"):
            print(f"{tool}: {', '.join(f'{n} in {family}' for family, n in errors.items() if n != 0) or 'nothing'}")
    return 1 if failed(result) else 0


if __name__ == "__main__":
    sys.exit(main())
