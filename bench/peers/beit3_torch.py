"""Times BEiT-3's vision encoder with a classification head in PyTorch eager: the peer of bench/model.ts (its training is
in beit3_train_torch.py).

Prints one JSON line {"seconds": best, "median": ..., "torch": version, "device": name}, or {"error": why}. Our own short statement of the model, with the
same operations as the official one.
"""
import argparse
import json
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Layer(nn.Module):
    def __init__(self, d, heads, ffn):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(d, ffn), nn.Linear(ffn, d)
        self.ln1, self.ln2, self.inner, self.ffn_ln = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(ffn)

    def forward(self, x):
        b, l, d = x.shape
        y = self.ln1(x)
        q, k, v = (f(y).view(b, l, self.heads, -1).transpose(1, 2).reshape(b * self.heads, l, -1) for f in (self.q, self.k, self.v))
        w = F.softmax(torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2)), dim=-1)
        o = torch.bmm(w, v).view(b, self.heads, l, -1).transpose(1, 2).reshape(b, l, d)
        x = x + self.o(self.inner(o))
        return x + self.fc2(self.ffn_ln(F.gelu(self.fc1(self.ln2(x)))))


class Model(nn.Module):
    def __init__(self, d=768, heads=12, layers=12, size=224, patch=16, classes=1000):
        super().__init__()
        self.proj = nn.Conv2d(3, d, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.pos = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, d))
        self.layers = nn.ModuleList(Layer(d, heads, 4 * d) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, classes)

    def forward(self, image):
        x = self.proj(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x[:, 1:].mean(1)))


def arguments(batch, **more):
    """The flags that all peers have, and `more` of a peer's own; the values are the defaults."""
    p = argparse.ArgumentParser()
    p.add_argument('--threads', type=int, default=2)
    p.add_argument('--batch', type=int, default=batch)
    p.add_argument('--size', type=int, default=224)
    for name, value in more.items():
        p.add_argument(f'--{name}', type=int, default=value)
    p.add_argument('--layers', type=int, default=12)
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    p.add_argument('--dtype', choices=['float32', 'float16'], default='float32')
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    # float32 products in float32, as ours are; not in the shorter TF32.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return args


def why_not(args):
    """Why this PyTorch cannot do what was asked; None when it can."""
    return 'this PyTorch sees no CUDA device' if args.device == 'cuda' and not torch.cuda.is_available() else None


def device_name(args):
    return torch.cuda.get_device_name() if args.device == 'cuda' else f'{args.threads} threads'


def main():
    args = arguments(batch=1)
    if why_not(args):
        print(json.dumps({'error': why_not(args)}))
        return
    dtype = getattr(torch, args.dtype)
    model = Model(size=args.size, layers=args.layers).eval().to(args.device, dtype)
    image = torch.randn(args.batch, 3, args.size, args.size).to(args.device, dtype)
    times = []
    with torch.no_grad():
        for i in range(args.repeats + 3):
            start = time.perf_counter()
            # Reading the result waits for a GPU.
            model(image).cpu()
            if i >= 3:
                times.append(time.perf_counter() - start)
    times.sort()
    print(json.dumps({
        'seconds': times[0], 'median': times[len(times) // 2], 'torch': torch.__version__, 'device': device_name(args),
    }))


if __name__ == '__main__':
    main()
