#!/usr/bin/env python3
"""The border checks find what they are for, on small libraries made here."""
import pathlib
import subprocess
import tempfile
import unittest

import headers
import isa
import symbols

EXPORT = '#define SPF_API __attribute__((visibility("default")))\n'


class BorderRules(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        (self.root / "include").mkdir()

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, text):
        (self.root / name).write_text(text)
        return self.root / name

    def compile(self, name, text, *options):
        out = self.root / (name + ".o")
        subprocess.run(["c++", "-O2", "-fPIC", "-fvisibility=hidden", *options, "-c", self.write(name, text), "-o", out], check=True)
        return out

    def library(self, text):
        out = self.root / "lib.so"
        subprocess.run(["c++", "-shared", "-fvisibility=hidden", "-fPIC", self.write("lib.cpp", text), "-o", out], check=True)
        return str(out)

    def test_exports(self):
        self.write("include/a.h", EXPORT + "SPF_API int spf_one(int x);\nSPF_API const char* spf_two(\n  void);\n")
        both = EXPORT + 'extern "C" {\nSPF_API int spf_one(int x) { return x; }\nSPF_API const char* spf_two() { return ""; }\n'

        def check(text):
            return symbols.export_findings(self.library(text), self.root / "include", "cc", "nm")

        self.assertEqual(check(both + "}"), [])
        self.assertEqual(check(both + "SPF_API void spf_three() {} }"), ["exported but not declared in a header: spf_three"])
        self.assertEqual(check(EXPORT + 'extern "C" SPF_API int spf_one(int x) { return x; }'),
                         ["declared SPF_API but not exported: spf_two"])

    def test_imports(self):
        def check(text):
            return symbols.import_findings(self.library(text), "nm", "readelf")

        self.assertEqual(check("#include <string>\nint f(int n) { return std::string(n, 'x').find('y'); }"), [])
        self.assertEqual(check('extern "C" void cudaMalloc(); void f() { cudaMalloc(); }'),
                         ["undefined symbol of an unknown library: cudaMalloc "])

    def test_headers(self):
        include = self.root / "include"

        def check():
            return headers.failures("cc", "c++", include)

        self.write("include/a.h", "#pragma once\n#include <stdint.h>\ntypedef int32_t spf_a;\n")
        self.assertEqual(check(), [])
        self.write("include/b.h", "#pragma once\nint32_t spf_b(void);\n")  # needs <stdint.h>
        self.assertEqual([f.split(":")[0] for f in check()], ["b.h as C11", "b.h as C++17"])
        self.write("include/b.h", "#pragma once\nclass spf_b;\n")  # not C
        self.assertEqual([f.split(":")[0] for f in check()], ["b.h as C11"])
        self.write("include/b.h", "static int spf_b = 1;\n")  # no guard
        self.assertEqual(len(check()), 2)

    def test_isa(self):
        loop = "void f{0}(float* a) {{ for (int i = 0; i < 64; ++i) a[i] *= 2; }}\n"
        inline = "inline __attribute__((noinline)) float g(float x) { return x * x + 1; }\n"
        generic = self.compile("generic.cpp", inline + loop.format(1) + "float u1(float x) { return g(x); }", "-O3")
        leak = self.compile("leak.cpp", loop.format(2), "-O3", "-mavx2")
        shared = self.compile("shared.cpp", inline + "float u3(float x) { return g(x); }", "-mavx2")
        own = self.compile("own.cpp", "namespace { float h(float x) { return x + 1; } } float u4(float x) { return h(x); }", "-mavx2")

        def check(objects):
            return isa.findings(objects, "nm", "objdump")

        self.assertEqual(check({generic: (), own: ("-mavx2",)}), [])
        self.assertEqual(len(check({generic: (), leak: ()})), 1)
        self.assertIn("holds", check({generic: (), leak: ()})[0])
        self.assertEqual(check({generic: (), leak: ("-mavx2",)}), [])
        self.assertIn("share", check({generic: (), shared: ("-mavx2",)})[0])
        self.assertEqual(check({shared: ("-mavx2",)}), [])
        self.assertEqual(len(check({})), 1)


if __name__ == "__main__":
    unittest.main()
