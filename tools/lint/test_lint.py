#!/usr/bin/env python3
"""Every check of lint.py finds what it is for, and passes what is right."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

LINT = pathlib.Path(__file__).with_name("lint.py")
CLEAN = {
    "include/spearfish/types.h": "#ifndef SPEARFISH_TYPES_H\n#define SPEARFISH_TYPES_H\n#endif\n",
    "src/core/scalar.hpp": '#pragma once\n#include "spearfish/types.h"\n',
    "src/plan/table.hpp": '#pragma once\n#include "core/scalar.hpp"\n',
    "src/plan/planner.hpp": '#pragma once\n#include "plan/table.hpp"\n',
    "src/ops/call.cpp": '#include "plan/planner.hpp"\n#include "kernels/norm/args.h"\n',
    "kernels/common/rows.hpp": '#pragma once\n#include "core/scalar.hpp"\n',
    "kernels/norm/args.h": "#pragma once\n",
    "kernels/norm/reference.cpp": '#include "kernels/norm/args.h"\n#include "kernels/common/rows.hpp"\n',
    "kernels/norm/kernels.toml": '[[kernel]]\nname = "reference"\nop = "norm"\nfile = "reference.cpp"\n',
    "kernels/act/args.h": "#pragma once\n",
    "cli/main.cpp": '#include "spearfish/types.h"\n#include <iostream>\n',
}


class LintTest(unittest.TestCase):
    def lint(self, changes, *checks):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {**CLEAN, **changes}.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            run = subprocess.run([sys.executable, LINT, "--root", folder, *checks], capture_output=True, text=True, check=False)
            return run.returncode, run.stdout

    def finds(self, check, name, text, word):
        code, out = self.lint({name: text}, check)
        self.assertEqual(code, 1, out)
        lines = out.splitlines()
        self.assertTrue(all(line.startswith(name + ":") for line in lines), out)
        self.assertTrue(any(word in line for line in lines), out)

    def test_clean_tree_passes(self):
        code, out = self.lint({})
        self.assertEqual(code, 0, out)

    def test_arrows_against_the_direction(self):
        self.finds("includes", "src/core/a.cpp", '#include "plan/table.hpp"\n', "src/core may not include src/plan/table.hpp")
        self.finds("includes", "src/plan/a.cpp", '#include "kernels/norm/args.h"\n', "src/plan may not include")
        self.finds("includes", "kernels/norm/a.cpp", '#include "plan/planner.hpp"\n', "kernels may not include src/plan/planner.hpp")
        self.finds("includes", "kernels/norm/b.cpp", '#include "kernels/act/args.h"\n', "kernels may not include kernels/act/args.h")
        self.finds("includes", "src/ops/b.cpp", '#include "kernels/common/rows.hpp"\n', "src/ops may not include")
        self.finds("includes", "cli/b.cpp", '#include "../src/core/scalar.hpp"\n', "cli may not include src/core/scalar.hpp")
        self.finds("includes", "include/spearfish/b.h", '#include "core/scalar.hpp"\n', "include may not include")
        self.finds("includes", "attic/b.cpp", "\n", "belongs to no room")

    def test_third_party_headers_stay_in_their_rooms(self):
        self.finds("includes", "src/plan/a.cpp", "#include <cuda_runtime.h>\n", "may be included by")
        self.finds("includes", "src/core/a.cpp", "#include <fmt/format.h>\n", "may be included by")
        self.finds("includes", "src/core/a.cpp", "#include <iostream>\n", "may be included by")

    def test_length(self):
        self.finds("length", "src/core/long.cpp", "\n" * 601, "601 lines")
        self.assertEqual(self.lint({"kernels/norm/sm80_rows.cuh": "#pragma once\n" + "\n" * 800}, "length")[0], 0)
        self.finds("length", "kernels/norm/sm80_rows.cuh", "\n" * 901, "901 lines")

    def test_kernel_names(self):
        def manifest(name, file="reference.cpp"):
            return f'[[kernel]]\nname = "{name}"\nop = "norm"\nfile = "{file}"\n'
        for good in ("sm80_mma", "sm120_rows", "cpu_avx512", "amx_bf16", "portable", "reference"):
            self.assertEqual(self.lint({"kernels/norm/kernels.toml": manifest(good)}, "names")[0], 0, good)
        for bad in ("fast", "SM80_mma", "sm80", "marlin_sm80", "cpu_"):
            self.finds("names", "kernels/norm/kernels.toml", manifest(bad), f"'{bad}'")
        self.finds("names", "kernels/norm/kernels.toml", manifest("reference", "gone.cpp"), "gone.cpp")
        self.finds("names", "kernels/norm/kernels.toml", manifest("reference") * 2, "twice")

    def test_library_does_not_print_or_exit(self):
        cases = {'std::cerr << "x";': "prints", 'printf("x");': "prints", "std::abort();": "ends the process",
                 "exit(1);": "ends the process", "assert(x);": "aborts", 'std::ofstream f("x");': "opens files"}
        for bad, word in cases.items():
            self.finds("library", "src/core/a.cpp", bad + "\n", word)
        good = '// printf("x")\nsnprintf(b, 2, "exit(1)");\nstatic_assert(true);\nstd::fprintf_like(x);\nobject.exit();\n'
        code, out = self.lint({"src/core/a.cpp": good}, "library")
        self.assertEqual(code, 0, out)
        self.assertEqual(self.lint({"cli/a.cpp": 'printf("x");\n'}, "library")[0], 0)

    def test_what_the_emulated_device_needs(self):
        self.finds("device", "kernels/norm/sm80_x.cuh", 'asm volatile("nop;");\n', "kernels/common")
        self.finds("device", "kernels/norm/sm80_x.cuh", "extern __shared__ int x[];\n", "SPF_DYNAMIC_SHARED")
        self.finds("device", "kernels/norm/sm80_x.cuh", "__shared__ alignas(16) int x[4];\n", "__align__")
        for name, text in (("kernels/common/cuda/x.cuh", 'asm("nop;");\n'),
                           ("kernels/norm/sm80_x.cuh", '// asm("x")\n__shared__ __align__(16) int x[4];\n')):
            self.assertEqual(self.lint({name: text}, "device")[0], 0, name)

    def test_words(self):
        self.finds("words", "docs/a.md", "see /home/someone/x\n", "a path of one machine")
        self.finds("words", "docs/a.md", "from pypi.org\n", "package registry")
        self.finds("words", "src/core/a.cpp", "// TODO later\n", "unfinished")
        self.finds("words", "src/core/a.cpp", "<<<<<<< HEAD\n", "conflict")

    def test_whitespace(self):
        self.finds("whitespace", "src/core/a.cpp", "int a; \n", "blank")
        self.finds("whitespace", "src/core/a.cpp", "int a;", "newline")
        self.finds("whitespace", "src/core/a.hpp", "int a;\n", "guard")

    def test_documents(self):
        self.finds("documents", "docs/a.md", "word " * 27 + "\n", "135 columns")
        self.finds("documents", "docs/a.md", "[there](gone.md)\n", "no file gone.md")
        good = f"| {'cell ' * 40} |\n```sh\n{'x' * 200}\n```\n[up](../cli/main.cpp), [room](../kernels/norm), [web](https://a.b/c), [here](#part)\n"
        code, out = self.lint({"docs/a.md": good}, "documents")
        self.assertEqual(code, 0, out)

    def test_measurements(self):
        name, index = "docs/measurements/norm.json", {"docs/measurements/README.md": "| `norm.json` | norms |\n"}
        good = '{"device": "a", "commit": "b", "command": "c", "date": "d", "rows": [1]}\n'
        self.assertEqual(self.lint({name: good, **index}, "measurements")[0], 0)
        self.finds("measurements", name, good, "no row")
        for bad, word in ((good.replace("command", "comment"), "its command"), ("{,}\n", "is not JSON")):
            code, out = self.lint({name: bad, **index}, "measurements")
            self.assertEqual(code, 1)
            self.assertIn(word, out)


if __name__ == "__main__":
    unittest.main()
