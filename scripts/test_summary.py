#!/usr/bin/env python3
"""Sums ctest runs into one closing line.

usage: scripts/test_summary.py [RESULTS.xml | --passed=NAME | --failed=NAME | --skipped=NAME]...

A ctest entry that is a GoogleTest program counts as its test cases, any other entry as one. A program whose cases were
all skipped counts as skipped, never as passed. Exits 1 if anything failed or nothing ran.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree as ET

SKIPPED_BY_TEST = re.compile(r"SKIP_RETURN_CODE|SKIP_REGULAR_EXPRESSION", re.IGNORECASE)


def count_gtest(output):
    """(passed, failed, skipped) of a GoogleTest run, or None if the output is not one that came to its end."""
    if not re.search(r"^\[==========\] \d+ tests? from \d+ test suites? ran\.", output, re.MULTILINE):
        return None

    def number(word):
        found = re.findall(rf"^\[\s*{word}\s*\] (\d+) tests?", output, re.MULTILINE)
        return int(found[-1]) if found else 0

    return number("PASSED"), number("FAILED"), number("SKIPPED")


def count_entry(case):
    """(passed, failed, skipped) of one ctest entry."""
    output = case.findtext("system-out") or ""
    status = case.get("status")
    if status == "disabled":
        return 0, 0, 1
    if status == "notrun":  # skipped by itself, or its program was not there
        message = case.find("skipped").get("message", "") if case.find("skipped") is not None else ""
        return (0, 0, 1) if SKIPPED_BY_TEST.search(message) else (0, 1, 0)
    counts = count_gtest(output)
    if status == "run":
        return counts or (1, 0, 0)
    if counts is None or counts[1] == 0:  # it crashed, ran out of time, or failed after its last case
        counts = (counts[0] if counts else 0, 1, counts[2] if counts else 0)
    return counts


def main(arguments):
    total = [0, 0, 0]
    failures, skips, times = [], [], []
    for argument in arguments:
        match = re.match(r"--(passed|failed|skipped)=(.*)", argument)
        if match:
            total[["passed", "failed", "skipped"].index(match.group(1))] += 1
            {"failed": failures, "skipped": skips}.get(match.group(1), []).append(match.group(2))
            continue
        folder = str(pathlib.Path(argument).parent)
        try:
            cases = ET.parse(argument).getroot().iter("testcase")
        except (OSError, ET.ParseError) as error:
            total[1] += 1
            failures.append(f"{folder}: no results ({error})")
            continue
        for case in cases:
            counts = count_entry(case)
            total = [a + b for a, b in zip(total, counts)]
            label = f"{folder}: {case.get('name')}"
            times.append((float(case.get("time") or 0), label))
            if counts[1]:
                failures.append(label)
            elif counts[2]:
                skips.append(f"{label} ({counts[2]} skipped)")
    slow = [f"{seconds:8.1f} s  {label}" for seconds, label in sorted(times, reverse=True)[:5] if seconds >= 1]
    for title, lines in (("slowest tests", slow), ("skipped", skips), ("FAILED", failures)):
        if lines:
            print(f"{title}:")
            print("\n".join(f"  {line}" for line in lines))
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped", flush=True)
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
