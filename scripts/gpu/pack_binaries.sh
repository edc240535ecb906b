#!/usr/bin/env bash
# usage: scripts/gpu/pack_binaries.sh FOLDER [PRESET]
#
# Builds a CUDA preset (cuda-90a) and gathers into FOLDER what scripts/gpu/run_checks.sh needs on a machine with a GPU and
# without any of our packages: the command, the test programs that have a `gpu` label, their shared libraries, stripped.
# PACK_LIMIT_MB: fail above this size, where the folder has to travel.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=${1:?usage: scripts/gpu/pack_binaries.sh FOLDER [PRESET]}
preset=${2:-cuda-90a}
build=build/$preset
limit_mb=${PACK_LIMIT_MB:-0} # 0: none

if [ ! -f "$build/build.ninja" ]; then
  CUDACXX=$(scripts/setup --print-nvcc) cmake --preset "$preset"
fi
# CTest knows the command of a built program only; a test whose program gpu_tests (tests/CMakeLists.txt) left out is named
# below.
gpu_tests() { ctest --test-dir "$build" -N -L gpu --show-only=json-v1; }
ninja -C "$build" -j "${JOBS:-$(nproc)}" spearfish_cli gpu_tests
mapfile -t programs < <(gpu_tests | python3 -c 'import json, os, sys
commands = [t["command"][0] for t in json.load(sys.stdin)["tests"] if "command" in t]
print("\n".join(sorted({os.path.basename(c) for c in commands})))')

rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/lib"
binaries=("$build/cli/spearfish")
for program in "${programs[@]}"; do
  binaries+=("$(find "$build/tests" -type f -name "$program" -perm -u+x)")
done
for binary in "${binaries[@]}"; do
  cp "$binary" "$folder/bin/"
  # Everything but what every Linux machine has: the C library and the compiler's own runtime.
  ldd "$binary" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' |
    { grep -Ev '/(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|ld-linux[^/]*)\.so' || true; } |
    while read -r library; do cp -nL "$library" "$folder/lib/"; done
done
strip "$folder"/bin/* "$folder"/lib/*
[ ! -d tests/data ] || cp -r tests/data "$folder/data"

# One line per GPU test: its name, its program and the arguments.
gpu_tests | python3 -c 'import json, os, sys
missing = []
for test in json.load(sys.stdin)["tests"]:
    command = test.get("command")
    if command:
        print("\t".join([test["name"], os.path.basename(command[0])] + command[1:]))
    else:
        missing.append(test["name"])
if missing:
    sys.exit("pack_binaries: build the programs of these tests first: " + ", ".join(missing))' > "$folder/tests.tsv"
cp scripts/gpu/{run_checks.sh,record_tests.py,random_checkpoint.py} scripts/test_summary.py "$folder/"
cp -r bench/cases "$folder/cases"

size=$(du -sm "$folder" | cut -f1)
echo "$folder: $size MB, $(wc -l < "$folder/tests.tsv") GPU tests"
if [ "$limit_mb" -gt 0 ] && [ "$size" -gt "$limit_mb" ]; then
  echo "pack_binaries: more than $limit_mb MB" >&2
  exit 1
fi
