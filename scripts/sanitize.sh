#!/usr/bin/env bash
# Sanitizers beyond those of .ci/run: scripts/sanitize.sh [--suite] [RESULT.json] [VITEST FILTER...]
#   1. the C++ tests, and inputs of the tables' fuzz target, under ThreadSanitizer
#   2. the C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer
#   3. the vitest suite (all of it, or what the filters name) with an addon that was built with both. Leaks are not
#      looked for: V8 frees little when it ends. Memory that is not given back shows in test/behaviours/memory.test.ts
#   4. valgrind: loading the addon, a job, and unloading it with its worker thread; errors with a frame in the addon count
# --suite: only 3. Needs g++, cmake and valgrind.
set -euo pipefail
cd "$(dirname "$0")/.."
arguments="$*"
suite_only=
if [ "${1:-}" = --suite ]; then suite_only=1; shift; fi
result=${1:-}
[ $# -eq 0 ] || shift
work=$PWD/.scratch/sanitize
rm -rf "$work"
mkdir -p "$work"
lines=()

# step NAME COMMAND...: runs it, and notes how it ended; its output is in .scratch/sanitize/.
step() {
  local name=$1 status=0 log
  shift
  log=$work/$(echo "$name" | tr -c 'a-zA-Z0-9\n' '-').log
  echo "== $name"
  ("$@") >"$log" 2>&1 || status=$?
  lines+=("$status"$'\t'"$name"$'\t'"$(grep -hE '(Tests|Test Files) .*passed|tests passed|inputs$|jobs and pools|^valgrind:' "$log" | tail -4 | tr '\n' ';' || true)")
  echo "   $([ "$status" -eq 0 ] && echo passed || echo "FAILED ($status), see $log")"
}

engine() { # FOLDER SANITIZERS
  cmake -S . -B "$1" -DSTOCKPOT_NODE=OFF -DSTOCKPOT_FUZZ=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSTOCKPOT_SANITIZE="$2"
  cmake --build "$1" --parallel 2
}

cpp_tests() { # FOLDER SANITIZERS
  engine "$@"
  ctest --test-dir "$1" --output-on-failure --no-tests=error
}

# Not the emulated device, whose threads are fibers that ThreadSanitizer does not know. Without a fixed layout of memory, as the sanitizer of gcc 12 does not know that of newer kernels.
threads() {
  engine build-tsan thread
  setarch -R ctest --test-dir build-tsan --output-on-failure --no-tests=error -E 'emulated|gpu_tests' -R 'stream|budget|upload_ring|network_ops'
  setarch -R build-tsan/fuzz_tables 2000 1
}

addon() {
  node_modules/.bin/cmake-js compile --out "$work/build" --CDCMAKE_BUILD_TYPE=RelWithDebInfo --CDSTOCKPOT_SANITIZE=address,undefined
}

# Every process of the tests gets the sanitizers' libraries first, and the addon that needs them.
suite() {
  local asan ubsan
  asan=$(c++ -print-file-name=libasan.so)
  ubsan=$(c++ -print-file-name=libubsan.so)
  LD_PRELOAD="$asan $ubsan" STOCKPOT_PREBUILD="$work" \
    ASAN_OPTIONS=detect_leaks=0,log_path="$work/asan",allocator_may_return_null=1 \
    UBSAN_OPTIONS=log_path="$work/ubsan",print_stacktrace=1 \
    node_modules/.bin/vitest run --testTimeout=600000 --hookTimeout=600000 --maxWorkers=1 "$@"
}

reports() { # none may be there
  ! compgen -G "$work/asan.*" && ! compgen -G "$work/ubsan.*"
}

loading() {
  valgrind --error-exitcode=0 --xml=yes --xml-file="$work/valgrind.xml" --num-callers=40 \
    node --jitless scripts/load_addon.mjs
  python3 - "$work/valgrind.xml" <<'PYTHON'
import sys, xml.etree.ElementTree as xml
errors = xml.parse(sys.argv[1]).getroot().findall('error')
ours = [e for e in errors if any('stockpot.node' in (o.text or '') for o in e.iter('obj'))]
for e in ours: print(xml.tostring(e, encoding='unicode'))
print(f'valgrind: {len(errors)} errors, {len(ours)} of them with a frame in the addon')
sys.exit(1 if ours else 0)
PYTHON
}

if [ -z "$suite_only" ]; then
  step 'C++ tests of stream, budgets and pools, and tables from a seed, under ThreadSanitizer' threads
  step 'C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer' cpp_tests build-sanitized address,undefined
fi
step 'the addon with both' addon
step "vitest with that addon: ${*:-all}" suite "$@"
step 'no report of either sanitizer from any process of the suite' reports
[ -n "$suite_only" ] || step 'valgrind on loading and unloading' loading

printf '%s\n' "${lines[@]}"
[ -z "$result" ] || printf '%s\n' "${lines[@]}" | node -e '
  const [result, compiler, given] = process.argv.slice(1);
  const steps = require("fs").readFileSync(0, "utf8").replace(/\n$/, "").split("\n").map((line) => {
    const [status, name, said] = line.split("\t");
    const plain = said.replace(/\x1b\[[0-9;]*m/g, "").split(";").map((s) => s.trim().replace(/\s+/g, " "));
    return { name, passed: status === "0", said: plain.filter((s) => s) };
  });
  const cpu = require("os").cpus()[0].model;
  const command = `scripts/sanitize.sh ${given}`;
  const json = { what: "sanitizers and valgrind", command, compiler, node: process.version, processor: cpu, steps };
  require("fs").writeFileSync(result, `${JSON.stringify(json, null, 2)}\n`);
' "$result" "$(c++ --version | head -1)" "$arguments"
! printf '%s\n' "${lines[@]}" | grep -qv '^0'
