#!/usr/bin/env python3
"""scripts/test_summary.py counts as a reader would, the cost records of translation units are true, what functions
take of a multiprocessor is held against the manifests, scripts/setup makes toolkits of what Python packages hold, the
record of a run on a GPU says what its logs say, and the check of linked code knows kernels by the names cuobjdump shows."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"

GTEST = """Running main()
[==========] 3 tests from 1 test suite ran. (0 ms total)
[  PASSED  ] {passed} tests.
{rest}"""


def entry(name, status, output="", message=None):
    skipped = f'<skipped message="{message}"/>' if message else ""
    return f'<testcase name="{name}" time="0.1" status="{status}">{skipped}<system-out>{output}</system-out></testcase>'


class Summary(unittest.TestCase):
    def summary(self, *entries, extra=()):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "results.xml")
            path.write_text(f"<testsuite>{''.join(entries)}</testsuite>")
            run = subprocess.run([sys.executable, SCRIPTS / "test_summary.py", path, *extra], capture_output=True, text=True, check=False)
            return run.returncode, run.stdout.splitlines()

    def closes(self, code, line, *entries, extra=()):
        got, lines = self.summary(*entries, extra=extra)
        self.assertEqual((got, lines[-1]), (code, line))

    def test_counts_cases_of_googletest_and_entries_of_others(self):
        skipped = "[  SKIPPED ] 1 test, listed below:\n[  SKIPPED ] A.s\n"
        self.closes(0, "3 passed, 0 failed, 1 skipped",
                    entry("a", "run", GTEST.format(passed=2, rest=skipped)), entry("b", "run", "hello"))

    def test_all_cases_skipped_is_not_a_pass(self):
        skipped = "[  SKIPPED ] 3 tests, listed below:\n"
        self.closes(1, "0 passed, 0 failed, 3 skipped", entry("gpu", "run", GTEST.format(passed=0, rest=skipped)))

    def test_failures(self):
        failed = "[  FAILED  ] 1 test, listed below:\n[  FAILED  ] A.f\n"
        self.closes(1, "2 passed, 1 failed, 0 skipped", entry("a", "fail", GTEST.format(passed=2, rest=failed)))
        self.closes(1, "0 passed, 1 failed, 0 skipped", entry("crash", "fail", "[ RUN      ] A.crash\n"))
        self.closes(1, "3 passed, 1 failed, 0 skipped", entry("at exit", "fail", GTEST.format(passed=3, rest="")))

    def test_not_run(self):
        ran = entry("a", "run")
        self.closes(0, "1 passed, 0 failed, 1 skipped", ran, entry("b", "notrun", message="SKIP_RETURN_CODE=77"))
        self.closes(0, "1 passed, 0 failed, 1 skipped", ran, entry("b", "disabled"))
        self.closes(1, "1 passed, 1 failed, 0 skipped", ran, entry("b", "notrun", message="Unable to find executable"))
        self.closes(1, "1 passed, 1 failed, 0 skipped", ran, entry("b", "notrun", message="Fixture dependency failed"))

    def test_steps_and_lost_results(self):
        self.closes(1, "1 passed, 1 failed, 1 skipped", entry("a", "run"), extra=["--failed=lint", "--skipped=CUDA build"])
        self.closes(1, "1 passed, 1 failed, 0 skipped", entry("a", "run"), extra=["gone.xml"])


class TranslationUnits(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        (self.root / "CMakeFiles").mkdir()

    def tearDown(self):
        self.folder.cleanup()

    def cost(self, text):
        """Compiles through the launcher; (exit code, seconds, peak KiB)."""
        (self.root / "unit.cpp").write_text(text)
        out = self.root / "CMakeFiles" / "unit.cpp.o"
        run = subprocess.run([SCRIPTS / "tu_cost", "c++", "-c", self.root / "unit.cpp", "-o", out], capture_output=True, check=False,
                             env={"PATH": "/usr/bin:/bin", "HOME": str(self.root)})
        record = pathlib.Path(str(out) + ".cost")
        return (run.returncode, *(map(float, record.read_text().split()) if record.exists() else (None, None)))

    def report(self, *options):
        run = subprocess.run([SCRIPTS / "tu_report", *options, self.root], capture_output=True, text=True, check=False)
        return run.returncode, run.stdout

    @unittest.skipUnless(pathlib.Path("/usr/bin/time").exists(), "needs /usr/bin/time")
    def test_records_and_budget(self):
        self.assertNotEqual(self.cost("int f( {")[0], 0)
        code, small_seconds, small_kib = self.cost("int f() { return 1; }")
        self.assertEqual(code, 0)
        self.assertGreater(small_kib, 1000)
        code, seconds, kib = self.cost("#include <regex>\nstd::regex r(\"a+\");")
        self.assertEqual(code, 0)
        self.assertGreater(seconds, small_seconds)
        self.assertGreater(kib, small_kib)
        code, text = self.report()
        self.assertEqual(code, 0, text)
        self.assertIn("unit.cpp", text)
        self.assertEqual(self.report("--seconds", "0")[0], 1)
        self.assertEqual(self.report("--mib", "1")[0], 1)

    def test_units_of_cutlass_may_cost_more(self):
        for name, seconds, code in (("sm80_mma_0", 61, 1), ("sm100_cutlass_fp8_0", 61, 0), ("sm100_cutlass_fp8_0", 181, 1)):
            for record in (self.root / "CMakeFiles").glob("*.cost"):
                record.unlink()
            (self.root / "CMakeFiles" / f"linear_{name}.cu.o.cost").write_text(f"{seconds} 1000\n")
            self.assertEqual(self.report()[0], code, name)


def stub(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/bash\n" + text)
    path.chmod(0o755)


USAGE = """
Fatbin elf code:
================
arch = sm_90a
Resource usage:
 Common:
  GLOBAL:0
 Function _ZN3spf4norm9norm_rowsIL15spf_scalar_type3ELi8EEEvNS0_8RowsArgsE:
  REG:64 STACK:{stack} SHARED:1152 LOCAL:0 CONSTANT[0]:624 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _ZN3spf4norm4coldEv:
  REG:32 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:624 TEXTURE:0 SURFACE:0 SAMPLER:0
"""


class Resources(unittest.TestCase):
    def report(self, stack, granted=None, objects=True):
        """scripts/resources of a build of one unit, whose norm_rows has so many bytes of stack."""
        with tempfile.TemporaryDirectory() as folder:
            build = pathlib.Path(folder)
            stub(build / "cuobjdump", f"cat <<'TEXT'\n{USAGE.format(stack=stack)}TEXT\n")
            row = {"family": "norm", "kernel": "sm75_rows"}
            if granted:
                row["stack"] = [{"function": granted, "bytes": 16, "why": "a test"}]
            unit = {"file": "gen/units/norm_0.cu", "kernels": ["norm/sm75_rows"]}
            (build / "gen").mkdir()
            (build / "gen" / "coverage.json").write_text(json.dumps(
                {"rows": [row], "libraries": [{"name": "spf_cuda_90a", "language": "CUDA", "units": [unit]}]}))
            if objects:
                stub(build / "CMakeFiles" / "spf_cuda_90a.dir" / "gen" / "units" / "norm_0.cu.o", "")
            run = subprocess.run([sys.executable, SCRIPTS / "resources", "--cuobjdump", build / "cuobjdump", build],
                                 capture_output=True, text=True, check=False)
            return run.returncode, run.stdout, json.loads((build / "resources.json").read_text())

    def test_no_stack_is_fine(self):
        code, text, rows = self.report(0)
        self.assertEqual(code, 0, text)
        self.assertEqual([(r["target"], r["registers"], r["shared"]) for r in rows], [("90a", 64, 1152), ("90a", 32, 0)])

    def test_a_spill_is_an_error_unless_the_manifest_grants_it(self):
        self.assertEqual(self.report(16)[0], 1)
        self.assertEqual(self.report(16, granted="cold")[0], 1)
        code, text, rows = self.report(16, granted="norm")
        self.assertEqual(code, 0, text)
        self.assertEqual([r["granted"] for r in rows], [16, 0])
        self.assertEqual(self.report(24, granted="norm")[0], 1)

    def test_an_object_that_is_missing_is_an_error(self):
        self.assertEqual(self.report(0, objects=False)[0], 1)


class Setup(unittest.TestCase):
    """With a python3 whose `-m venv` makes a pip that puts the given files below site-packages/nvidia/cu13."""

    def run_setup(self, *groups, nvcc, installs):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder).resolve()
            (root / "scripts").mkdir()
            shutil.copy(SCRIPTS / "setup", root / "scripts")
            package = root / ".toolkit/lib/python3.11/site-packages/nvidia/cu13"
            makes = "".join(f"mkdir -p {(package / name).parent}; touch {package / name}; chmod +x {package / name};" for name in installs)
            stub(root / "bin/pip_of_the_test", makes)
            stub(root / "bin/python3", 'if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$(dirname "$0")/pip_of_the_test" "$3/bin/pip"; fi\n')
            stub(root / "bin/apt-get", 'echo "nothing is to be installed here" >&2; exit 1\n')
            if nvcc:
                stub(root / "bin/nvcc", "")
            env = {"PATH": f"{root}/bin:/usr/bin:/bin", "HOME": str(root)}
            if not nvcc:  # one at /usr/local/cuda would do
                text = (root / "scripts/setup").read_text()
                (root / "scripts/setup").write_text(text.replace("/usr/local/cuda", str(root / "none")))
            run = subprocess.run(["bash", root / "scripts/setup", *groups], capture_output=True, text=True, check=False, env=env)
            links = {str(link.relative_to(root / ".toolkit")) for link in (root / ".toolkit").rglob("*") if link.is_symlink()}
            return run.returncode, run.stderr, links

    def test_only_cuobjdump_was_missing(self):
        code, errors, links = self.run_setup("test", nvcc=True, installs=["bin/cuobjdump"])
        self.assertEqual((code, errors, links), (0, "", {"cuda", "bin/cuobjdump"}))

    def test_a_whole_toolkit_was_missing(self):
        wheel = ["bin/nvcc", "bin/cuobjdump", "lib/libcudart.so.13"]
        code, errors, links = self.run_setup("cuda", nvcc=False, installs=wheel)
        package = "lib/python3.11/site-packages/nvidia/cu13"
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(links, {"cuda", "bin/cuobjdump", f"{package}/lib64", f"{package}/lib/libcudart.so"})

    def test_only_headers_of_cutlass_were_missing(self):
        code, errors, links = self.run_setup("cutlass", nvcc=True, installs=["../../cutlass_library/source/include/cutlass/cutlass.h"])
        self.assertEqual((code, errors), (0, ""))
        self.assertIn("cutlass", links)


class LinkedCode(unittest.TestCase):
    """tests/linked_code over what a stand-in for cuobjdump lists."""

    def check(self, in_object, in_library):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "objects" / "spf.dir").mkdir(parents=True)
            for path, names in ((folder / "objects" / "spf.dir" / "a.cu.o", in_object), (folder / "library", in_library)):
                path.write_text("".join(f"SASS text section {i} : x-{n}.elf.bin\n" for i, n in enumerate(names, 1)))
            lists = folder / "cuobjdump"
            lists.write_text("#!/bin/sh\ncat $2\n")
            lists.chmod(0o755)
            library = {"language": "CUDA", "name": "spf", "code": [], "units": [{"file": "a.cu", "kernels": ["linear/a"]}]}
            (folder / "coverage.json").write_text(json.dumps({"libraries": [library], "rows": []}))
            run = subprocess.run([sys.executable, SCRIPTS.parent / "tests" / "linked_code" / "check_linked_code.py", "--coverage",
                                  folder / "coverage.json", "--objects", folder / "objects", "--library", folder / "library",
                                  "--cuobjdump", lists], capture_output=True, text=True, check=False)
            return run.returncode, run.stdout

    def test_names_that_cuobjdump_shortens(self):
        """A long name is listed by its beginning and the place of its code in the file."""
        own = ["_Z1av.sm_90a", "_ZN7cutl-2.sm_100", "_ZN7cutl-3.sm_100"]
        self.assertEqual(self.check(own, ["_ZN7cutl-1.sm_100", "_Z1av.sm_90a", "_ZN7cutl-8.sm_100"])[0], 0)
        code, text = self.check(own, ["_ZN7cutl-1.sm_100", "_Z1av.sm_90a"])
        self.assertEqual(code, 1)
        self.assertIn("holds 1 kernels _ZN7cutl-... for 100, its objects 2", text)
        self.assertIn("_Z1av for 90a is not in the library", self.check(own, ["_ZN7cutl-1.sm_100", "_ZN7cutl-8.sm_100"])[1])


class GpuRecord(unittest.TestCase):
    """scripts/gpu/run_checks.sh over programs that stand for the tests, the command and compute-sanitizer."""

    PROGRAMS = {
        "spearfish": """if [ "$1" = coverage ]; then
echo '{"rows": [{"family": "linear", "ops": "linear, scaled_linear", "built": true}, {"family": "norm", "ops": "rms_norm", "built": true},
  {"family": "rope", "ops": "rope", "built": false}]}'
elif [ "$1" = check ]; then echo "7 passed, 0 failed, 0 skipped"
else echo "spearfish 0.1.0 (abc1234; GNU; toolkit 13.0; targets 9.0a)"; fi""",
        "good": "printf '" + GTEST.format(passed=2, rest="[  SKIPPED ] 1 test, listed below:\n[  SKIPPED ] A.s\n").replace("\n", "\\n") + "'",
        "bad": "printf '" + GTEST.format(passed=1, rest="[  FAILED  ] 1 test, listed below:\n[  FAILED  ] A.f, where x = 1\n").replace("\n", "\\n") + "'; exit 1",
        "crash": "kill -SEGV $$",
        "without": "echo no device; exit 77",
        "compute-sanitizer": """while [ "$1" != check ]; do [ "$1" = racecheck ] && tool=race; shift; done
"$SPEARFISH" "$@"
[ "$tool" != race ] || [ "$2" != norm ] || { echo "========= RACECHECK SUMMARY: 3 hazards displayed (3 errors, 0 warnings)"; exit 9; }
[ "$tool" = race ] && echo "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)" || echo "========= ERROR SUMMARY: 0 errors"
""",
        "nvidia-smi": "echo 'NVIDIA H200, 580.1'",
    }

    def run_checks(self, *tests):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "bin").mkdir()
            for program, text in self.PROGRAMS.items():
                path = folder / "bin" / program
                path.write_text("#!/usr/bin/env bash\n" + text + "\n")
                path.chmod(0o755)
            for script in ("gpu/run_checks.sh", "gpu/record_tests.py", "test_summary.py"):
                shutil.copy(SCRIPTS / script, folder)
            (folder / "tests.tsv").write_text("".join(f"{t}\t{t}\t--option\n" for t in tests))
            run = subprocess.run([folder / "run_checks.sh", folder, "tests", "sanitize"], capture_output=True, text=True, check=False,
                                 env={"PATH": f"{folder}/bin:/usr/bin:/bin", "SPEARFISH": str(folder / "bin" / "spearfish"), "HOME": name})
            return run.returncode, run.stdout, json.loads((folder / "out" / "tests.json").read_text())

    def test_counts_what_ran(self):
        code, text, record = self.run_checks("good", "bad", "crash", "without")
        self.assertEqual((code, record["passed"], record["failed"], record["skipped"]), (1, 3, 2, 2), text)
        self.assertEqual((record["device"], record["driver"], record["commit"], record["toolkit"]), ("NVIDIA H200", "580.1", "abc1234", "13.0"))
        rows = {row["test"]: row for row in record["rows"]}
        self.assertEqual(rows["bad"]["failed_tests"], ["A.f"])
        self.assertEqual(rows["good"]["skipped_tests"], ["A.s"])
        self.assertEqual((rows["crash"]["failed"], rows["without"]["skipped"]), (1, 1))
        for failure in ("FAILED   bad", "FAILED   crash", "FAILED   sanitize racecheck norm"):
            self.assertIn(failure, text)
        tools = record["compute_sanitizer"]
        self.assertEqual(tools["racecheck"], {"linear": 0, "norm": 3, "scaled_linear": 0})
        self.assertEqual(tools["memcheck"], {"linear": 0, "norm": 0, "scaled_linear": 0})
        self.assertEqual(tools["cases_passed"]["linear"], 7)


if __name__ == "__main__":
    unittest.main()
