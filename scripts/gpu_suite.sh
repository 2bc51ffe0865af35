#!/usr/bin/env bash
# The GPU suite, without Node: compiles where the device is, runs every operation against the plain reference, and times
# it beside PyTorch. Needs CMake, a C++ compiler, CUDA 13's nvcc, and for the timings python3 with torch.
#
#   scripts/gpu_suite.sh [--emulated] OUT [STAGE ...]
#
# OUT is a folder for the results (JSON and logs). Stages, all by default, each below ten minutes, 45 together:
#
#   limits     what the device and PyTorch reach: the script that LIMITS names, skipped without       8 min
#   build      the backend library for this device, and the suite's programs                          2 min
#   test       every operation against the reference                                                  2 min
#   sanitize   a part of it under compute-sanitizer: memcheck, racecheck                              3 min
#   bench      means, dot products, Gram matrices beside PyTorch                                      6 min
#   stream     from files to the device, beside safetensors' load_file                                4 min
#   networks   ViT-B/32 to G/14 and BERT, forward and backward, beside PyTorch eager and compiled    10 min
#   recipes    greedy and learned soups of 72 ViT-B/32, beside PyTorch programs; needs timm and the
#              Node that STOCKPOT_NODE names, with this folder built (npm run setup)                 10 min
#
# A stage that fails does not keep the next from running; the exit code is then 1. Without a device it says so and exits
# with 0. --emulated takes the processor for the device
# (test/emulator): that shows that the suite and the library work, and times nothing of worth.
set -uo pipefail
cd "$(dirname "$0")/.."
emulated=
if [ "${1:-}" = --emulated ]; then emulated=1; shift; fi
if [ $# -eq 0 ]; then sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 2; fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(limits build test sanitize bench stream networks recipes)
build=${STOCKPOT_GPU_BUILD:-$PWD/.scratch/gpu-build}
[ -z "$emulated" ] || build=${STOCKPOT_GPU_BUILD:-$PWD/build-native}
library=$build/libstockpot-cuda.so
[ -z "$emulated" ] || library=$build/libstockpot-emulated.so
data=${STOCKPOT_GPU_DATA:-$(mktemp -d)}
[ -n "${STOCKPOT_GPU_DATA:-}" ] || trap 'rm -rf "$data"' EXIT
python=${PYTHON:-python3}

if [ -z "$emulated" ]; then
  if ! gpu=$(nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv,noheader 2>&1); then
    echo "skipped: there is no NVIDIA device here (nvidia-smi: ${gpu##*: })"
    exit 0
  fi
  capability=$(echo "$gpu" | head -1 | cut -d, -f2 | tr -d ' .')
  case $capability in 90) arch=90a ;; *) arch=$capability ;; esac
  # cuBLASLt, where PyTorch brings it and the system's loader does not know of it.
  if [ -z "${STOCKPOT_CUBLASLT:-}" ]; then
    found=$("$python" -c 'import glob, sys
print(next((f for p in sys.path for f in glob.glob(p + "/nvidia/c*/lib/libcublasLt.so.13")), ""))' 2>/dev/null)
    if [ -n "$found" ]; then export STOCKPOT_CUBLASLT=$found; fi
  fi
else
  gpu="the processor"
fi

stage_limits() {
  [ -n "${LIMITS:-}" ] || { echo "skipped: LIMITS names no script"; return 0; }
  local options=()
  [ -z "$emulated" ] || options=(--smoke)
  timeout 590 "$python" "$LIMITS" "$out/limits.json" --seconds 470 "${options[@]}"
}

stage_build() {
  local options=(-DSTOCKPOT_CUDA=ON "-DSTOCKPOT_CUDA_ARCHITECTURES=${arch:-}")
  [ -z "$emulated" ] || options=()
  cmake -S . -B "$build" -DSTOCKPOT_NODE=OFF "${options[@]}" || return
  cmake --build "$build" --parallel "$(nproc)" || return
  [ -z "$emulated" ] || return 0
  "$python" scripts/check_cuda_library.py "$library" "$arch" || return
  # What is declared of cuBLASLt, against its own header where the toolkit has it.
  local include
  include=$(dirname "$(dirname "$(command -v nvcc)")")/include
  [ ! -e "$include/cublasLt.h" ] || c++ -std=c++17 -fsyntax-only -I "$include" test/gpu/cublaslt_values.cc
}

stage_test() {
  local options=()
  [ -z "$emulated" ] || options=(--small)
  local kernels=$build/cuda-tests test status=0
  [ -z "$emulated" ] || kernels=$build/emulated-tests
  timeout 300 "$build/gpu_tests" "$library" --json "$out/tests.json" "${options[@]}" || status=$?
  for test in "$kernels"/*_test; do
    timeout 200 "$test" || status=$?
  done
  timeout 300 "$build/network_tests" "$library" --json "$out/networks.json" "${options[@]}" || status=$?
  # Checkpoints' networks, written by scripts/dump_network.mjs where Node is.
  for test in ${NETWORK_CASES:-}; do
    timeout 200 "$build/network_tests" "$library" --case "$test" || status=$?
  done
  return "$status"
}

stage_sanitize() {
  command -v compute-sanitizer >/dev/null || { echo "skipped: compute-sanitizer is not here"; return 0; }
  local tool status=0
  for tool in memcheck racecheck; do
    timeout 200 compute-sanitizer --tool "$tool" --error-exitcode 9 "$build/gpu_tests" "$library" --small || status=$?
    timeout 200 compute-sanitizer --tool "$tool" --error-exitcode 9 "$build/network_tests" "$library" --small || status=$?
  done
  return "$status"
}

stage_bench() {
  "$python" -c 'import torch' 2>/dev/null || { echo "skipped: $python has no torch"; return 0; }
  local options=(--seconds 420)
  [ -z "$emulated" ] || options=(--smoke)
  timeout 590 "$python" test/gpu/bench.py "$library" "$out/bench.json" "${options[@]}"
}

stage_stream() {
  "$python" -c 'import safetensors.torch' 2>/dev/null || {
    local size=1000000000
    [ -z "$emulated" ] || size=2000000
    timeout 300 "$build/stream_bench" "$library" "$data" 8 "$size" | tee "$out/stream.json"
    return
  }
  local options=(--k 8 --gigabytes 1)
  [ -z "$emulated" ] || options=(--k 2 --gigabytes 0.004 --repeats 1 --device cpu)
  timeout 400 "$python" test/gpu/load_bench.py "$build/stream_bench" "$library" "$data" "$out/stream.json" "${options[@]}"
}

stage_networks() {
  "$python" -c 'import torch' 2>/dev/null || { echo "skipped: $python has no torch"; return 0; }
  local options=(--seconds 540)
  [ -z "$emulated" ] || options=(--smoke)
  timeout 590 "$python" test/gpu/network_bench.py "$library" "$out/networks.json" "${options[@]}"
}

stage_recipes() {
  [ -n "${STOCKPOT_NODE:-}" ] || { echo "skipped: STOCKPOT_NODE names no Node"; return 0; }
  "$python" -c 'import torch, timm, safetensors' 2>/dev/null || {
    echo "skipped: $python has no torch, timm or safetensors"
    return 0
  }
  local options=(--node "$STOCKPOT_NODE" --data "$data/recipes")
  [ -z "$emulated" ] || options+=(--smoke)
  STOCKPOT_CUDA_LIBRARY=$library timeout 590 "$python" test/gpu/recipes_bench.py "$out/recipes.json" "${options[@]}"
}

failed=0 summary=()
for stage in "${stages[@]}"; do
  if ! declare -F "stage_$stage" >/dev/null; then
    echo "gpu_suite: there is no stage $stage" >&2
    exit 2
  fi
  [ -z "$emulated" ] || [ "$stage" != sanitize ] || continue
  echo "== $stage"
  began=$SECONDS
  "stage_$stage" 2>&1 | tee "$out/$stage.log"
  status=${PIPESTATUS[0]}
  echo "== $stage: $([ "$status" -eq 0 ] && echo done || echo "FAILED ($status)") in $((SECONDS - began)) s"
  summary+=("\"$stage\": {\"status\": $status, \"seconds\": $((SECONDS - began))}")
  [ "$status" -eq 0 ] || failed=1
done
# Few files come back from some machines: one log of all.
for stage in "${stages[@]}"; do
  [ -e "$out/$stage.log" ] && { echo "== $stage"; cat "$out/$stage.log"; rm "$out/$stage.log"; }
done >>"$out/suite.log"
{
  echo "{\"command\": \"scripts/gpu_suite.sh ${stages[*]}\","
  echo " \"device\": \"$(echo "$gpu" | head -1)\","
  echo " \"commit\": \"$(git rev-parse HEAD 2>/dev/null)\","
  echo " \"nvcc\": \"$(nvcc --version 2>/dev/null | tail -1)\","
  echo " \"processors\": $(nproc), \"load\": \"$(cut -d' ' -f1-3 /proc/loadavg)\","
  (IFS=,; echo " \"stages\": {${summary[*]}}}")
} >"$out/suite-$(IFS=-; echo "${stages[*]}").json"
exit "$failed"
