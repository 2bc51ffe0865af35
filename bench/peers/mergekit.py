"""mergekit's linear merge of plain PyTorch checkpoints (the mergekit-pytorch command), its output synced."""
import os
import subprocess
import sys
import tempfile

out, paths = sys.argv[1], sys.argv[2:]
with tempfile.NamedTemporaryFile("w", suffix=".yml", delete=False) as config:
    config.write("merge_method: linear\ndtype: float32\nmodels:\n")
    for path in paths:
        config.write(f"  - model: {path}\n    parameters:\n      weight: 1.0\n")
command = os.path.join(os.path.dirname(sys.executable), "mergekit-pytorch")
subprocess.run([command, config.name, out], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
os.unlink(config.name)
for name in os.listdir(out):
    fd = os.open(os.path.join(out, name), os.O_RDONLY)
    os.fsync(fd)
