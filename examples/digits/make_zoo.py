#!/usr/bin/env python3
"""Makes the digits zoo: a small, real family of fine-tuned checkpoints to average.

One tiny Vision Transformer is pretrained briefly on a part of the 8x8 handwritten
digits that scikit-learn ships, then fine-tuned eight times from that same checkpoint,
each time with settings drawn at random. The script writes the checkpoints, the images
they are judged on, and zoo.json: what every checkpoint, the uniform soup and the greedy
soup score (Wortsman et al. 2022, "Model soups", recipe 1).

    pip install torch torchvision transformers safetensors scikit-learn pillow
    python make_zoo.py --out .

Everything is drawn from SEED. Another processor or another version of PyTorch may train
slightly different weights, so a new run need not equal the committed files bit by bit;
`python make_zoo.py --out . --check` scores the committed files again without training.

Every number in zoo.json is measured on the files as written: images read back from PNG
(uint8 / 255, then (x - 0.5) / 0.5), weights read back from float16 and used as float32.
"""

import argparse
import copy
import io
import json
import math
import platform
import re
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import PIL
import safetensors
import sklearn
import torch
import torch.nn.functional as F
import transformers
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

SEED = 4  # one of the eight that were tried; README.md says why and what the others gave

# How the 1797 images are divided. What is left after the other three is for fine-tuning.
N_PRETRAIN, N_HELDOUT, N_TEST = 400, 300, 450
NOISE_SIGMA = 56.0  # test-noise: Gaussian noise on the 0..255 scale, rounded and clipped

PRETRAIN = {"epochs": 14, "lr": 1.5e-3, "weight_decay": 0.01, "batch": 50}
N_INGREDIENTS = 8
BATCH = 50
WARMUP = 20  # steps

MODEL = {
    "image_size": 8,
    "patch_size": 2,
    "num_channels": 3,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "initializer_range": 0.12,
}


def draw_settings(rng):
    """One draw of the random hyperparameter search."""
    return {
        "lr": float(f"{math.exp(rng.uniform(math.log(5e-4), math.log(1e-2))):.3g}"),
        "weight_decay": float(f"{math.exp(rng.uniform(math.log(1e-4), math.log(1e-1))):.3g}"),
        "epochs": int(rng.integers(6, 21)),
        "label_smoothing": float(rng.choice([0.0, 0.05, 0.1])),
        "noise": float(f"{rng.uniform(0.0, 0.4):.2f}"),  # sigma, on the normalised scale
        "shift": float(f"{rng.uniform(0.0, 0.6):.2f}"),  # chance of moving by one pixel
        "seed": int(rng.integers(0, 2**31)),
    }


# ---- images ---------------------------------------------------------------------------


def prepare(images):
    """uint8 [n, 8, 8] -> float32 [n, 3, 8, 8], as preprocessor_config.json says."""
    x = torch.from_numpy(np.ascontiguousarray(images)).to(torch.float32) / 255
    x = (x - 0.5) / 0.5
    return x.unsqueeze(1).repeat(1, 3, 1, 1)


def png_bytes(image):
    buffer = io.BytesIO()
    Image.fromarray(np.stack([image] * 3, axis=-1)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def read_png(source):
    rgb = np.asarray(Image.open(source).convert("RGB"))
    assert rgb.shape == (8, 8, 3) and (rgb == rgb[..., :1]).all()
    return rgb[..., 0]


def write_folder(path, images, labels, ids):
    if path.exists():
        shutil.rmtree(path)
    for image, label, name in zip(images, labels, ids):
        target = path / str(label) / f"{name:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(png_bytes(image))


def write_tar(path, images, labels, ids):
    """A WebDataset shard: NAME.png and NAME.cls side by side, nothing in it that dates it."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for image, label, name in sorted(zip(images, labels, ids), key=lambda row: row[2]):
            for suffix, data in (("png", png_bytes(image)), ("cls", str(label).encode())):
                info = tarfile.TarInfo(f"{name:04d}.{suffix}")
                info.size = len(data)
                info.mode = 0o644
                tar.addfile(info, io.BytesIO(data))


def read_folder(path):
    files = sorted(path.glob("*/*.png"))
    return np.stack([read_png(f) for f in files]), np.array([int(f.parent.name) for f in files])


def read_tar(path):
    images, labels = {}, {}
    with tarfile.open(path) as tar:
        for member in tar:
            name, suffix = member.name.rsplit(".", 1)
            data = tar.extractfile(member).read()
            if suffix == "png":
                images[name] = read_png(io.BytesIO(data))
            else:
                labels[name] = int(data)
    names = sorted(images)
    return np.stack([images[n] for n in names]), np.array([labels[n] for n in names])


def split_digits(seed):
    digits = load_digits()
    images = np.floor(digits.images * 255 / 16 + 0.5).astype(np.uint8)  # 0..16 -> 0..255
    labels = digits.target.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    cuts = np.cumsum([N_PRETRAIN, N_HELDOUT, N_TEST])
    names = ["pretrain", "heldout", "test", "finetune"]
    return {
        name: (images[ids], labels[ids], ids)
        for name, ids in zip(names, (np.sort(part) for part in np.split(order, cuts)))
    }


def write_images(out, parts, seed):
    images, labels, ids = parts["test"]
    noise = np.random.default_rng([seed, 1]).normal(0.0, NOISE_SIGMA, images.shape)
    noisy = np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)
    write_folder(out / "heldout", *parts["heldout"])
    write_tar(out / "test.tar", images, labels, ids)
    write_tar(out / "test-noise.tar", noisy, labels, ids)


def read_images(out):
    sets = {
        "heldout": read_folder(out / "heldout"),
        "test": read_tar(out / "test.tar"),
        "test_noise": read_tar(out / "test-noise.tar"),
    }
    return {name: (prepare(x), torch.from_numpy(y)) for name, (x, y) in sets.items()}


# ---- training -------------------------------------------------------------------------


def augment(x, settings, generator):
    if settings.get("shift"):
        moved = F.pad(x, (1, 1, 1, 1), value=-1.0)  # -1 is black once normalised
        dy, dx = torch.randint(0, 3, (2, len(x)), generator=generator)
        chosen = torch.rand(len(x), generator=generator) < settings["shift"]
        x = torch.stack(
            [
                moved[i, :, dy[i] : dy[i] + 8, dx[i] : dx[i] + 8] if chosen[i] else x[i]
                for i in range(len(x))
            ]
        )
    if settings.get("noise"):
        grey = torch.randn((len(x), 1, 8, 8), generator=generator) * settings["noise"]
        x = x + grey
    return x


def train(model, x, y, settings, seed, batch):
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(  # a short warm-up, then constant
        optimizer, lambda step: min(1.0, (step + 1) / WARMUP)
    )
    model.train()
    for _ in range(settings["epochs"]):
        order = torch.randperm(len(x), generator=generator)
        for rows in order.split(batch):
            inputs = augment(x[rows], settings, generator)
            loss = F.cross_entropy(
                model(pixel_values=inputs).logits,
                y[rows],
                label_smoothing=settings.get("label_smoothing", 0.0),
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model


def tidy(value):
    """JSON with lists of plain values on one line where they fit, and a last newline."""

    def join(found):
        line = " ".join(found.group(0).split()).replace("[ ", "[").replace(" ]", "]")
        return line if len(line) < 72 else found.group(0)

    return re.sub(r"\[[^\[\]{}]*\]", join, json.dumps(value, indent=2)) + "\n"


def save(model, path):
    if path.exists():
        shutil.rmtree(path)
    half = copy.deepcopy(model).to(torch.float16).eval()
    half.save_pretrained(path)
    ViTImageProcessor(
        do_resize=False,
        size={"height": 8, "width": 8},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    ).save_pretrained(path)
    for file in path.iterdir():
        file.chmod(0o644)
        if file.suffix == ".json":
            file.write_text(tidy(json.loads(file.read_text())))


# ---- scoring --------------------------------------------------------------------------


def weights(path):
    return {name: t.numpy() for name, t in load_file(path / "model.safetensors").items()}


def soup(members):
    """The mean in float64, rounded once to the dtype that is stored."""
    return {
        name: (sum(m[name].astype(np.float64) for m in members) / len(members)).astype(
            members[0][name].dtype
        )
        for name in members[0]
    }


def score(path, tensors, sets):
    """Correct answers and mean cross-entropy of `tensors` under the config at `path`."""
    config = ViTConfig.from_pretrained(path)
    model, problems = ViTForImageClassification.from_pretrained(
        None,
        config=config,
        state_dict={n: torch.from_numpy(t.astype(np.float32)) for n, t in tensors.items()},
        dtype=torch.float32,
        output_loading_info=True,
    )
    assert not any(problems[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    model.eval()
    result = {}
    for name, (x, y) in sets.items():
        with torch.no_grad():
            logits = model(pixel_values=x).logits.double()
        top = logits.topk(2, dim=1).values
        result[name] = {
            "correct": int((logits.argmax(1) == y).sum()),
            "loss": round(float(F.cross_entropy(logits, y)), 6),
            "smallest_margin": float(f"{float((top[:, 0] - top[:, 1]).min()):.3g}"),
        }
    return result


def greedy(path, names, tensors, scores, sets):
    order = sorted(range(len(names)), key=lambda i: (-scores[i]["heldout"]["correct"], i))
    members, best, trace = [], -1, []
    for i in order:
        candidate = score(path, soup([tensors[j] for j in members + [i]]), sets)
        correct = candidate["heldout"]["correct"]
        kept = correct >= best
        trace.append({"try": names[i], "heldout_correct": correct, "best": best, "kept": kept})
        if kept:
            members, best = members + [i], correct
    trace[0]["best"] = None
    return [names[i] for i in order], [names[i] for i in members], trace


def measure(out):
    sets = read_images(out)
    paths = sorted((out / "ingredients").iterdir())
    names = [p.name for p in paths]
    tensors = [weights(p) for p in paths]
    base = score(out / "base", weights(out / "base"), sets)
    scores = [score(p, t, sets) for p, t in zip(paths, tensors)]
    order, members, trace = greedy(paths[0], names, tensors, scores, sets)
    chosen = [tensors[names.index(m)] for m in members]
    return {
        "examples": {name: len(y) for name, (_, y) in sets.items()},
        "base": base,
        "ingredients": dict(zip(names, scores)),
        "uniform_soup": {"members": names, "scores": score(paths[0], soup(tensors), sets)},
        "greedy_soup": {
            "order": order,
            "trace": trace,
            "members": members,
            "scores": score(paths[0], soup(chosen), sets),
        },
    }


def show(found):
    rows = [("base", found["base"])]
    rows += list(found["ingredients"].items())
    rows += [(f"{k} soup", found[f"{k}_soup"]["scores"]) for k in ("uniform", "greedy")]
    for name, scores in rows:
        cells = [
            f"{s['correct']:4d} ({s['correct'] / found['examples'][k]:6.1%}) {s['loss']:.4f}"
            for k, s in scores.items()
        ]
        print(f"{name:13s}", *cells, sep=" | ")
    print("greedy members:", *found["greedy_soup"]["members"])


# ---- the whole ------------------------------------------------------------------------


def make(out, seed):
    parts = split_digits(seed)
    write_images(out, parts, seed)

    torch.manual_seed(seed)
    config = ViTConfig(
        **MODEL,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label={i: str(i) for i in range(10)},
        label2id={str(i): i for i in range(10)},
    )
    model = ViTForImageClassification(config)
    x, y = prepare(parts["pretrain"][0]), torch.from_numpy(parts["pretrain"][1])
    save(train(model, x, y, PRETRAIN, seed, PRETRAIN["batch"]), out / "base")

    x, y = prepare(parts["finetune"][0]), torch.from_numpy(parts["finetune"][1])
    rng = np.random.default_rng([seed, 2])
    settings = {}
    for i in range(N_INGREDIENTS):
        name = f"ft{i:02d}"
        settings[name] = draw_settings(rng)
        model = ViTForImageClassification.from_pretrained(out / "base", dtype=torch.float32)
        train(model, x, y, settings[name], settings[name]["seed"], BATCH)
        save(model, out / "ingredients" / name)

    found = measure(out)
    with_settings = {
        name: {"settings": settings[name], "scores": scores}
        for name, scores in found["ingredients"].items()
    }
    zoo = {
        "about": "8x8 digits, one tiny ViT fine-tuned eight times; see README.md",
        "seed": seed,
        "dtype": "float16",
        "examples": {name: len(part[1]) for name, part in parts.items()} | found["examples"],
        "noise_sigma": NOISE_SIGMA,
        "base": {"settings": PRETRAIN | {"seed": seed}, "scores": found["base"]},
        "fine_tuning": {"batch": BATCH, "warmup_steps": WARMUP},
        "ingredients": with_settings,
        "uniform_soup": found["uniform_soup"],
        "greedy_soup": found["greedy_soup"],
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "safetensors": safetensors.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "pillow": PIL.__version__,
        },
    }
    (out / "zoo.json").write_text(tidy(zoo))
    show(found)


def check(out):
    """Scores the files as they are and compares the counts with zoo.json."""
    found, zoo = measure(out), json.loads((out / "zoo.json").read_text())
    show(found)
    pairs = [("base", found["base"], zoo["base"]["scores"])]
    pairs += [(n, s, zoo["ingredients"][n]["scores"]) for n, s in found["ingredients"].items()]
    pairs += [(k, found[k]["scores"], zoo[k]["scores"]) for k in ("uniform_soup", "greedy_soup")]
    wrong = [
        f"{name} on {part}: {now[part]} where zoo.json has {then[part]}"
        for name, now, then in pairs
        for part in then
        if now[part]["correct"] != then[part]["correct"]
        or abs(now[part]["loss"] - then[part]["loss"]) > 1e-4
    ]
    if found["greedy_soup"]["members"] != zoo["greedy_soup"]["members"]:
        wrong.append("the greedy soup has other members")
    print("\n".join(wrong) or "all as zoo.json says")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--check", action="store_true", help="score what is there; train nothing")
    args = parser.parse_args()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if args.check:
        return check(args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    make(args.out, args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
