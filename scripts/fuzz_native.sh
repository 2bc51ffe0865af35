#!/usr/bin/env bash
# Fuzzes what the addon takes from TypeScript (test/fuzz/native/tables.cc) under AddressSanitizer and
# UndefinedBehaviorSanitizer: scripts/fuzz_native.sh [SECONDS] [RESULT.json]
# With libFuzzer where clang 16 or newer is there; else with gcc and a driver of ours, which has no coverage to guide it.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
result=${2:-}
folder=build-fuzz-native

# The compiler must have libFuzzer, and know the processor features that native/kernels/dispatch.cc asks for.
works() {
  printf 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return __builtin_cpu_supports("f16c"); }\n' |
    "$1" -x c++ -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null
}
compiler=c++
for c in clang++ clang++-{22,21,20,19,18,17,16}; do
  if command -v "$c" >/dev/null && works "$c"; then
    compiler=$c
    break
  fi
done

cmake -S . -B "$folder" -DSTOCKPOT_NODE=OFF -DSTOCKPOT_FUZZ=ON -DCMAKE_CXX_COMPILER="$(command -v "$compiler")" \
  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSTOCKPOT_SANITIZE=address,undefined >/dev/null
cmake --build "$folder" --target fuzz_tables --parallel 2 >/dev/null

mkdir -p "$folder/corpus" "$folder/crashes"
export UBSAN_OPTIONS=print_stacktrace=1
if [ "$compiler" = c++ ]; then
  echo "no clang with libFuzzer (Debian: clang-19 libclang-rt-19-dev): inputs from a seed, without coverage"
  end=$(($(date +%s) + seconds)) seed=1
  while [ "$(date +%s)" -lt "$end" ]; do
    "$folder/fuzz_tables" 2000 "$seed"
    seed=$((seed + 1))
  done
  exit 0
fi

log=$folder/fuzz.log
status=0
"$folder/fuzz_tables" -max_total_time="$seconds" -max_len=1024 -len_control=20 -rss_limit_mb=3000 -timeout=20 \
  -print_final_stats=1 -artifact_prefix="$folder/crashes/" "$folder/corpus" >"$log" 2>&1 || status=$?
grep -E '^stat::|^#[0-9]+.*DONE|ERROR|runtime error|SUMMARY' "$log" || true
if [ "$status" -ne 0 ]; then
  tail -80 "$log"
  exit "$status"
fi
[ -z "$result" ] || node -e '
  const fs = require("fs");
  const [, log, result, seconds, compiler] = process.argv;
  const text = fs.readFileSync(log, "utf8");
  const stat = (name) => Number(new RegExp(`stat::${name}:\\s+(\\d+)`).exec(text)?.[1]);
  const [, coverage, features] = [...text.matchAll(/DONE +cov: (\d+) ft: (\d+)/g)].at(-1);
  const json = {
    what: "libFuzzer over the tables that the addon takes, under AddressSanitizer and UndefinedBehaviorSanitizer",
    command: `scripts/fuzz_native.sh ${seconds} ${result}`,
    compiler: require("child_process").execFileSync(compiler, ["--version"], { encoding: "utf8" }).split("\n")[0],
    processor: require("os").cpus()[0].model,
    seconds: Number(seconds),
    executions: stat("number_of_executed_units"),
    coverage: Number(coverage),
    features: Number(features),
    peakMegabytes: stat("peak_rss_mb"),
    findings: 0,
  };
  fs.writeFileSync(result, `${JSON.stringify(json, null, 2)}\n`);
' "$log" "$result" "$seconds" "$compiler"
