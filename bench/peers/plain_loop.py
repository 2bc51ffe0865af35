"""The loop of the official model-soups script and of most merge scripts: load, scale, add; then save and sync."""
import os
import sys

import torch
from safetensors.torch import load_file, save_file

out, paths = sys.argv[1], sys.argv[2:]
soup = None
for path in paths:
    weights = load_file(path)
    if soup is None:
        soup = {name: w * (1.0 / len(paths)) for name, w in weights.items()}
    else:
        soup = {name: w * (1.0 / len(paths)) + soup[name] for name, w in weights.items()}
save_file(soup, out, metadata={"format": "pt"})
fd = os.open(out, os.O_RDONLY)
os.fsync(fd)
