#!/usr/bin/env python3
"""Prints a folder with CUDA's compiler: bin/nvcc, include, lib.

    python3 scripts/cuda_toolkit.py [--wheels]

That of nvcc on the PATH (or in $CUDA_HOME, /usr/local/cuda) where it is of CUDA 13 or newer; else, or with --wheels,
one from NVIDIA's Python wheels, installed into .scratch/cuda-toolkit (about 300 MB) by pip. For
cmake -DSTOCKPOT_CUDA=ON -DSTOCKPOT_CUDA_TOOLKIT=FOLDER. Exits with 1 and says why where there is none to be had.
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Versions that were seen to compile and link together.
WHEELS = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
]
FOLDER = Path(__file__).resolve().parent.parent / ".scratch" / "cuda-toolkit"


def version(nvcc):
    try:
        text = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return 0
    found = re.search(r"release (\d+)\.", text)
    return int(found.group(1)) if found else 0


def installed():
    places = [os.environ.get("CUDA_HOME", "") + "/bin/nvcc", shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc"]
    for nvcc in filter(None, places):
        root = Path(nvcc).resolve().parent.parent
        if version(nvcc) >= 13 and any(root.glob("**/libcudart_static.a")):
            return root
    return None


def from_wheels():
    root = FOLDER / "nvidia" / "cu13"
    stamp = FOLDER / "versions"
    if stamp.exists() and stamp.read_text() == "\n".join(WHEELS) and version(root / "bin/nvcc"):
        return root
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    python = sys.executable
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode:
        sys.exit("cuda_toolkit: python3 has no pip (Debian: apt-get install python3-pip)")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]
    if subprocess.run([*pip, "--target", FOLDER, *WHEELS], stdout=sys.stderr).returncode:
        sys.exit("cuda_toolkit: pip could not install NVIDIA's wheels: " + " ".join(WHEELS))
    if not version(root / "bin/nvcc"):
        sys.exit(f"cuda_toolkit: {root}/bin/nvcc does not run on this machine")
    stamp.write_text("\n".join(WHEELS))
    return root


root = None if "--wheels" in sys.argv[1:] else installed()
print(root or from_wheels())
