#!/usr/bin/env bash
# The GPU backend for a release: real code for A100 (sm_80), H100/H200 (sm_90a), B200 (sm_100) and RTX 50 (sm_120), and
# PTX of the last for what comes after. Into packages/cuda/, the package stockpot-cuda. Takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
toolkit=$(python3 scripts/cuda_toolkit.py)
cmake -S . -B .scratch/cuda-release -DSTOCKPOT_NODE=OFF -DSTOCKPOT_CUDA=ON -DSTOCKPOT_CUDA_TOOLKIT="$toolkit" \
  -DSTOCKPOT_CUDA_ARCHITECTURES='80;90a;100;120'
cmake --build .scratch/cuda-release --target stockpot-cuda --parallel 2
folder="packages/cuda/linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')"
mkdir -p "$folder"
cp .scratch/cuda-release/libstockpot-cuda.so "$folder/"
strip --strip-debug "$folder/libstockpot-cuda.so"
python3 scripts/check_cuda_library.py "$folder/libstockpot-cuda.so" 80 90a 100 120
ls -l "$folder/libstockpot-cuda.so"
