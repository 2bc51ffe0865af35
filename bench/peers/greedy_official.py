"""The greedy soup as the script of the model-soups paper makes it: each ingredient and each candidate is evaluated in full
by PyTorch, by way of a DataLoader that reads and decodes the images again; state dicts are mixed in float32.

    python greedy_official.py HELD_OUT ge|gt INGREDIENT...

Prints members, accuracies and seconds as JSON; the seconds begin when PyTorch is there.
"""
import json
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from transformers import ViTConfig, ViTForImageClassification

WORKERS, BATCH = 2, 256
held_out, accept, *ingredients = sys.argv[1:]
torch.set_num_threads(2)
began = time.perf_counter()
config = ViTConfig.from_pretrained(ingredients[0])
steps = json.loads((Path(ingredients[0]) / "preprocessor_config.json").read_text())
prepare = transforms.Compose(
    [
        transforms.Resize((steps["size"]["height"], steps["size"]["width"])),
        transforms.ToTensor(),
        transforms.Normalize(steps["image_mean"], steps["image_std"]),
    ]
)


class HeldOut(Dataset):
    def __init__(self):
        self.examples = [
            (path, int(label)) for label, name in config.id2label.items() for path in sorted((Path(held_out) / name).iterdir())
        ]

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, i):
        path, label = self.examples[i]
        with Image.open(path) as image:
            return prepare(image.convert("RGB")), label


def load(path):
    return ViTForImageClassification.from_pretrained(path, dtype=torch.float32).state_dict()


@torch.no_grad()
def accuracy(weights):
    model = ViTForImageClassification(config)
    model.load_state_dict(weights)
    model.eval()
    correct = n = 0
    for images, labels in DataLoader(HeldOut(), batch_size=BATCH, num_workers=WORKERS):
        correct += (model(pixel_values=images).logits.argmax(-1) == labels).sum().item()
        n += len(labels)
    return correct / n


alone = [accuracy(load(path)) for path in ingredients]
order = sorted(range(len(ingredients)), key=lambda i: -alone[i])
members, best = [order[0]], alone[order[0]]
soup = load(ingredients[order[0]])
for i in order[1:]:
    n, new = len(members), load(ingredients[i])
    candidate = {name: w * (n / (n + 1.0)) + new[name] * (1.0 / (n + 1)) for name, w in soup.items()}
    value = accuracy(candidate)
    if value > best or (accept == "ge" and value == best):
        members, best, soup = [*members, i], value, candidate
seconds = time.perf_counter() - began
print(json.dumps({"order": order, "members": members, "accuracy": best, "alone": alone, "seconds": seconds}))
