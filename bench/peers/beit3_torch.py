"""Times BEiT-3's vision encoder with a classification head in PyTorch eager, float32, on the CPU: the peer of bench/model.ts
(its training is in beit3_train_torch.py).

Prints one JSON line {"seconds": best, "median": ..., "torch": version}. Our own short statement of the model, with the
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


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--threads', type=int, default=2)
    p.add_argument('--batch', type=int, default=1)
    p.add_argument('--size', type=int, default=224)
    p.add_argument('--repeats', type=int, default=5)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = Model(size=args.size).eval()
    image = torch.randn(args.batch, 3, args.size, args.size)
    times = []
    with torch.no_grad():
        for i in range(args.repeats + 2):
            start = time.perf_counter()
            model(image)
            if i >= 2:
                times.append(time.perf_counter() - start)
    times.sort()
    print(json.dumps({'seconds': times[0], 'median': times[len(times) // 2], 'torch': torch.__version__}))


if __name__ == '__main__':
    main()
