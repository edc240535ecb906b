#!/usr/bin/env bash
# usage: run_checks.sh FOLDER [STAGE...]     stages: tests check bench linear sanitize (these without), model
#
# Runs on a machine with a GPU what scripts/gpu/pack_binaries.sh gathered in FOLDER, and writes to $OUT (FOLDER/out):
#   tests      every test with the label gpu, side by side -> tests.log, tests.json
#   check      conformance                        -> check.json, check.log
#   bench      times, also with programmatic dependent launch, and of norm and activation with warm operands; peers from
#              $PEERS if set -> bench.json, bench-pdl.json, bench-warm.json
#   linear     the shapes of bench/cases, with and without dependent launch, cuBLASLt timed beside them where the machine has
#              it -> linear_decode.json, linear_decode-pdl.json, linear_prefill.json, ..., and a roofline each (.svg)
#   model      the sample model in every format, on the GPU and on the CPU, and bits per byte held against each other; a
#              random int4 model of the shape of Llama-3.1-8B, decoding 1 and 16 sequences
#              -> compare-{cuda,cpu}.json, model.log, generate-8b-{1,16}.json
#   sanitize   compute-sanitizer's four tools over a covering subset, every tool and family side by side -> sanitize.log,
#              tests.json
# Side by side are $SIDE_BY_SIDE programs (as many as there are cores, but one), each for at most $JOB_SECONDS (1200); who does
# not end in time has failed. FOLDER/jobs has their output while they run. Models are read from the source tree, which is
# the current folder unless SPEARFISH_SOURCE_DIR names it. Goes on after a failure; exits with 1 if anything failed.
set -uo pipefail
folder=$(cd "${1:?usage: run_checks.sh FOLDER [STAGE...]}" && pwd)
shift
stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(tests check bench linear sanitize)
out=${OUT:-$folder/out}
device=${DEVICE:-cuda:0}
mkdir -p "$out"
export LD_LIBRARY_PATH=$folder/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export SPEARFISH_SOURCE_DIR=${SPEARFISH_SOURCE_DIR:-$PWD}
export OMP_WAIT_POLICY=passive
spearfish=$folder/bin/spearfish
failed=()

result() { # name, exit code
  case $2 in
    0) echo "passed   $1" ;;
    77) echo "skipped  $1" ;;
    *)
      echo "FAILED   $1 (exit code $2)"
      failed+=("$1")
      ;;
  esac
}

# Runs lines "name <tab> command" from standard input, $SIDE_BY_SIDE at a time, and joins their output in the file LOG.
side_by_side() { # LOG
  local log=$1 jobs=$folder/jobs name command code cores
  cores=$(nproc)
  rm -rf "$jobs"
  mkdir -p "$jobs"
  : > "$log"
  while IFS=$'\t' read -r name command; do
    printf '%s\0%s\0' "$name" "$command"
  done | OMP_NUM_THREADS=${OMP_NUM_THREADS:-3} xargs -0 -r -n 2 -P "${SIDE_BY_SIDE:-$((cores > 1 ? cores - 1 : 1))}" bash -c '
    file=$0/${1//\//_}
    echo "$1" > "$file.name"
    timeout --kill-after=5 "${JOB_SECONDS:-1200}" bash -c "$2" < /dev/null > "$file.log" 2>&1
    echo $? > "$file.code"' "$jobs"
  for name in "$jobs"/*.name; do
    code=$(cat "${name%.name}.code" 2> /dev/null || echo 1)
    {
      echo "=== $(cat "$name")"
      cat "${name%.name}.log"
      echo "=== exit code $code"
    } >> "$log"
    result "$(cat "$name")" "$code"
  done
}

# What the logs say, in the form of docs/measurements/tests-*.json.
record_tests() {
  local code
  "$folder/record_tests.py" --gpu "$out/gpu.txt" --json "$out/tests.json" "$out"/{tests,sanitize}.log
  code=$?
  [ $code -le 1 ] || result record_tests $code # 1: what failed has been counted
}

run_tests() {
  side_by_side "$out/tests.log" < <(while IFS=$'\t' read -r -a row; do
    printf '%s\t%s\n' "${row[0]}" "$(printf '%q ' "$folder/bin/${row[1]}" "${row[@]:2}")"
  done < "$folder/tests.tsv")
  grep -E "FAILED|checks found something" "$out/tests.log" | head -40
  record_tests
}

run_check() {
  "$spearfish" check --device "$device" --json "$out/check.json" > "$out/check.log" 2>&1
  result check $?
  tail -1 "$out/check.log"
}

run_bench() {
  local name options
  for name in bench bench-pdl bench-warm; do
    options=(--device "$device" --json "$out/$name.json" ${PEERS:+--peers "$PEERS"})
    case $name in
      bench-pdl) options+=(--pdl) ;;
      bench-warm) options=(norm activation --warm "${options[@]}") ;; # other ops read weights, which are never warm
    esac
    "$spearfish" bench "${options[@]}" > "$out/$name.log" 2>&1
    result "$name" $?
  done
  cat "$out/bench.log"
}

run_linear() {
  local cases name options
  for cases in "$folder"/cases/*.toml; do
    for name in "$(basename "$cases" .toml)" "$(basename "$cases" .toml)-pdl"; do
      options=(--device "$device" --cases "$cases" --gemm-peers --json "$out/$name.json" --roofline "$out/$name.svg"
        ${PEERS:+--peers "$PEERS"})
      [[ $name != *-pdl ]] || options+=(--pdl)
      "$spearfish" bench "${options[@]}" > "$out/$name.log" 2>&1
      result "$name" $?
      cat "$out/$name.log"
    done
  done
}

# Formats side by side; fails where bits per byte differ by more than 0.5 %, or a format runs on one device only.
compare_devices() {
  python3 - "$out/compare-cuda.json" "$out/compare-cpu.json" << 'PY'
import json, sys
gpu, cpu = ({row["format"]: row for row in json.load(open(path))["rows"]} for path in sys.argv[1:])
bad = 0
print("%-16s %10s %10s %8s %14s %14s  kernel" % ("format", "bits/byte", "on the CPU", "diff %", "decode tok/s", "prefill tok/s"))
for name, on_cpu in cpu.items():
    row = gpu.get(name, {})
    if "bits_per_byte" not in row:
        print("%-16s %s" % (name, row.get("reason", "missing")))
        bad += 1
        continue
    difference = 100 * (row["bits_per_byte"] / on_cpu["bits_per_byte"] - 1)
    bad += abs(difference) > 0.5
    print("%-16s %10.4f %10.4f %8.3f %14.0f %14.0f  %s" % (name, row["bits_per_byte"], on_cpu["bits_per_byte"], difference,
          row["decode_tokens_per_second"], row["prefill_tokens_per_second"], row["kernel"]))
sys.exit(bad > 0)
PY
}

run_model() {
  local sample=$SPEARFISH_SOURCE_DIR/models/sample where shape=$out/random-8b prompt batch
  if [ ! -d "$sample" ]; then
    echo "skipped  model: no $sample; run in the source tree, or set SPEARFISH_SOURCE_DIR"
    return
  fi
  : > "$out/model.log"
  for where in "$device" cpu; do
    "$spearfish" compare "$sample" --text "$sample/held_out.txt" --limit 8192 --device "$where" --json \
      > "$out/compare-${where%%:*}.json" 2>> "$out/model.log"
    result "compare on $where" $?
  done
  compare_devices 2>&1 | tee -a "$out/model.log"
  result "bits per byte as on the CPU" "${PIPESTATUS[0]}"
  "$spearfish" generate "$sample" --prompt "It was a " --max-tokens 400 --device "$device" >> "$out/model.log" 2>&1
  result "generate on $device" $?

  "$folder/random_checkpoint.py" "$shape" 2>&1 | tee -a "$out/model.log"
  prompt=$(seq -s, 1000 1127)
  for batch in 1 16; do
    "$spearfish" generate "$shape" --token-ids "$prompt" --max-tokens 256 --batch "$batch" --ignore-end --device "$device" --json \
      > "$out/generate-8b-$batch.json" 2>> "$out/model.log"
    result "8B shape, $batch sequences" $?
    grep -E '"(tokens_per_second|share_of_limit|bytes_per_second)"' "$out/generate-8b-$batch.json"
  done
  rm -rf "$shape"
  tail -20 "$out/model.log"
}

run_sanitize() {
  local sanitizer families tool family
  sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)
  if [ -z "$sanitizer" ]; then
    echo "skipped  sanitize: no compute-sanitizer here"
    return
  fi
  # A family at a time, and of linear, by far the largest, an op.
  families=$("$spearfish" coverage --json | python3 -c 'import json, sys
built = [row for row in json.load(sys.stdin)["rows"] if row["built"]]
print(*sorted({name for row in built for name in (row["ops"].split(", ") if row["family"] == "linear" else [row["family"]])}))')
  side_by_side "$out/sanitize.log" < <(for tool in racecheck memcheck initcheck synccheck; do # the slowest first
    for family in $families; do
      printf '%s\t%s\n' "sanitize $tool $family" "$(printf '%q ' "$sanitizer" --tool "$tool" --error-exitcode 9 "$spearfish" \
        check "$family" --quick --device "$device")"
    done
  done)
  record_tests
  grep -E "ERROR SUMMARY|RACECHECK SUMMARY|========= (Invalid|Uninit|Error|Race)" "$out/sanitize.log" | sort | uniq -c | head -40
}

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | tee "$out/gpu.txt"
"$spearfish" --version | tee -a "$out/gpu.txt"
for stage in "${stages[@]}"; do
  case $stage in
    tests) run_tests ;;
    check) run_check ;;
    bench) run_bench ;;
    model) run_model ;;
    linear) run_linear ;;
    sanitize) run_sanitize ;;
    *)
      echo "run_checks: unknown stage '$stage'; known: tests check bench linear model sanitize" >&2
      exit 2
      ;;
  esac
done
if [ ${#failed[@]} -gt 0 ]; then
  printf '%d failed:' ${#failed[@]}
  printf ' %s' "${failed[@]}"
  echo
  exit 1
fi
echo "nothing failed"
