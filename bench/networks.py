#!/usr/bin/env python3
"""The peer of bench/networks.mjs: makes checkpoints of random weights, and times PyTorch on request.

    python networks.py make FOLDER            tiny/0…9, b32/0 (transformers ViT), inputs
    python networks.py make-vitg FOLDER       ViT-G/14 as timm has it, and its logits of two images
    python networks.py make-72 FOLDER         72 ViT-B/32, float16
    python networks.py serve FOLDER THREADS   reads names of measurements from stdin, prints seconds, a line each

Needs torch, transformers, safetensors; make-vitg needs timm. Networks are float32 and eager, in inference mode or under
autograd, inputs are in memory: what a Python script does that holds its data ready.
"""
import json, pathlib, sys, time
import torch
from safetensors.torch import load_file, save_file

TINY = dict(hidden_size=96, num_hidden_layers=5, num_attention_heads=3, intermediate_size=384, image_size=32,
            patch_size=4, num_labels=10, layer_norm_eps=1e-12)
B32 = dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, image_size=224,
           patch_size=32, num_labels=1000, layer_norm_eps=1e-12)


def vit(settings):
    from transformers import ViTConfig, ViTForImageClassification
    return ViTForImageClassification(ViTConfig(**settings)).eval()


def images(n, size, seed=0):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def make(folder):
    torch.manual_seed(0)
    tiny = vit(TINY)
    for i in range(10):
        with torch.no_grad():
            for p in tiny.parameters():
                p.add_(0.01 * torch.randn(p.shape))
        tiny.save_pretrained(folder / "tiny" / str(i))
    vit(B32).save_pretrained(folder / "b32" / "0")
    labels = torch.randint(0, 10, (256,), generator=torch.Generator().manual_seed(1))
    save_file({"pixel_values": images(256, 32), "labels": labels}, folder / "tiny.safetensors")
    save_file({"pixel_values": images(32, 224), "labels": labels[:32].clone()}, folder / "b32.safetensors")


def make_72(folder):
    torch.manual_seed(0)
    # As the file has them: in memory the library's names are others.
    base = {n: v.half() for n, v in load_file(folder / "b32" / "0" / "model.safetensors").items()}
    config = json.loads((folder / "b32" / "0" / "config.json").read_text())
    for i in range(72):
        out = folder / "b32-72" / str(i)
        out.mkdir(parents=True, exist_ok=True)
        save_file({n: v + 0.002 * torch.randn(v.shape).half() for n, v in base.items()}, out / "model.safetensors")
        (out / "config.json").write_text(json.dumps(config))


def make_vitg(folder):
    import timm
    torch.manual_seed(0)
    model = timm.create_model("vit_gigantic_patch14_224", pretrained=False, num_classes=1000).eval()
    out = folder / "vitg"
    out.mkdir(parents=True, exist_ok=True)
    save_file({n: v.contiguous() for n, v in model.state_dict().items()}, out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(dict(architecture="vit_gigantic_patch14_224", num_classes=1000,
        pretrained_cfg=dict(input_size=[3, 224, 224], mean=[0.5] * 3, std=[0.5] * 3))))
    x = images(2, 224)
    save_file({"pixel_values": x, "labels": torch.tensor([0, 1])}, folder / "vitg.safetensors")
    with torch.inference_mode():
        logits = model(x)
    save_file({"logits": logits.contiguous()}, folder / "vitg.expected.safetensors")
    print(json.dumps(dict(parameters=sum(p.numel() for p in model.parameters()))))


def serve(folder, threads):
    import timm, transformers
    from torch.func import functional_call
    from transformers import ViTForImageClassification
    torch.set_num_threads(threads)
    print(json.dumps(dict(torch=torch.__version__, transformers=transformers.__version__)), flush=True)
    tiny = ViTForImageClassification.from_pretrained(folder / "tiny" / "0").eval()
    b32 = ViTForImageClassification.from_pretrained(folder / "b32" / "0").eval()
    data = load_file(folder / "tiny.safetensors")
    x32, labels = data["pixel_values"], data["labels"]
    x224 = load_file(folder / "b32.safetensors")["pixel_values"]
    # In memory under the library's own names, which differ from the file's.
    ingredients = [ViTForImageClassification.from_pretrained(folder / "tiny" / str(i)).state_dict() for i in range(10)]
    names = list(ingredients[0])

    def forward(model, x):
        with torch.inference_mode():
            return model(x).logits

    def backward(model, x, y):
        model.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(x).logits, y).backward()

    raw = torch.zeros(10, requires_grad=True)
    beta = torch.tensor(1.0, requires_grad=True)
    optimizer = torch.optim.AdamW([raw, beta], lr=0.05, weight_decay=0.0)

    def learned_step():
        # As the paper's code: the mix is part of the graph, all models in memory.
        alpha = raw.softmax(0)
        mixed = {n: sum(a * sd[n] for a, sd in zip(alpha, ingredients)) for n in names}
        logits = functional_call(tiny, mixed, (x32,)).logits
        loss = torch.nn.functional.cross_entropy(beta * logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    work = {
        "tiny forward": lambda: forward(tiny, x32[:128]),
        "tiny backward": lambda: backward(tiny, x32[:128], labels[:128]),
        "b32 forward": lambda: forward(b32, x224),
        "learned step": learned_step,
    }
    for line in sys.stdin:
        began = time.perf_counter()
        work[line.strip()]()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    what, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    if what == "make":
        make(folder)
    elif what == "make-72":
        make_72(folder)
    elif what == "make-vitg":
        make_vitg(folder)
    else:
        serve(folder, int(sys.argv[3]))
