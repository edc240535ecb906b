#!/usr/bin/env bash
# usage: run_checks.sh FOLDER [STAGE...]     stages: tests check bench linear sanitize (all without)
#
# Runs on a machine with a GPU what scripts/gpu/pack_binaries.sh gathered in FOLDER, and writes to $OUT (FOLDER/out):
#   tests      every test with the label gpu      -> tests.log
#   check      conformance                        -> check.json, check.log
#   bench      times, also with programmatic dependent launch, and of norm and activation with warm operands; peers from
#              $PEERS if set -> bench.json, bench-pdl.json, bench-warm.json
#   linear     the shapes of bench/cases, with and without dependent launch, cuBLASLt timed beside them where the machine has
#              it -> linear_decode.json, linear_decode-pdl.json, linear_prefill.json, ..., and a roofline each (.svg)
#   sanitize   compute-sanitizer's four tools over a covering subset -> sanitize.log
# Goes on after a failure; exits with 1 if anything failed.
set -uo pipefail
folder=$(cd "${1:?usage: run_checks.sh FOLDER [STAGE...]}" && pwd)
shift
stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(tests check bench linear sanitize)
out=${OUT:-$folder/out}
device=${DEVICE:-cuda:0}
mkdir -p "$out"
export LD_LIBRARY_PATH=$folder/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
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

run_tests() {
  : > "$out/tests.log"
  while IFS=$'\t' read -r -a row; do
    {
      echo "=== ${row[0]}"
      "$folder/bin/${row[1]}" "${row[@]:2}"
    } < /dev/null >> "$out/tests.log" 2>&1
    result "${row[0]}" $?
  done < "$folder/tests.tsv"
  grep -E "FAILED|checks found something" "$out/tests.log" | head -40
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

run_sanitize() {
  local sanitizer
  sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)
  if [ -z "$sanitizer" ]; then
    echo "skipped  sanitize: no compute-sanitizer here"
    return
  fi
  : > "$out/sanitize.log"
  for tool in memcheck racecheck synccheck initcheck; do
    echo "=== $tool" >> "$out/sanitize.log"
    "$sanitizer" --tool "$tool" --error-exitcode 9 "$spearfish" check --quick --device "$device" >> "$out/sanitize.log" 2>&1
    result "sanitize $tool" $?
  done
  grep -E "ERROR SUMMARY|RACECHECK SUMMARY|========= (Invalid|Uninit|Error|Race)" "$out/sanitize.log" | sort | uniq -c | head -40
}

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | tee "$out/gpu.txt"
"$spearfish" --version | tee -a "$out/gpu.txt"
for stage in "${stages[@]}"; do
  case $stage in
    tests) run_tests ;;
    check) run_check ;;
    bench) run_bench ;;
    linear) run_linear ;;
    sanitize) run_sanitize ;;
    *)
      echo "run_checks: unknown stage '$stage'; known: tests check bench linear sanitize" >&2
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
