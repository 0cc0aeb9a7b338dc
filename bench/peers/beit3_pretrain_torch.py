"""Pretraining steps of BEiT-3 in PyTorch eager: the peer of bench/train.ts --task pretrain.

Pictures, texts and pairs go through one model with two experts a layer, each kind forward and backward after the other;
40% of the patches, 15% of the words and 50% of those of pairs are hidden, and only hidden places go through the heads.
Answers each line on its standard input as beit3_train_torch.py does. Our own short statement of the model.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from beit3_torch import Layer, arguments
from steps import answer_steps

CODES, PAIR_LENGTH, SHORTER = 8192, 64, 16
args = arguments(batch=2, length=128, words=64010)
WORDS = args.words


class Multiway(nn.Module):
    """A layer whose weights are A's for the first `split` places and B's behind them."""

    def __init__(self, d, heads, ffn):
        super().__init__()
        self.A, self.B = Layer(d, heads, ffn), Layer(d, heads, ffn)

    def each(self, x, split, f):
        if split == x.shape[1]:
            return f(self.A, x)
        if split == 0:
            return f(self.B, x)
        return torch.cat([f(self.A, x[:, :split]), f(self.B, x[:, split:])], 1)

    def forward(self, x, split, bias):
        b, l, d = x.shape
        heads = self.A.heads
        y = self.each(x, split, lambda m, t: m.ln1(t))
        q, k, v = (
            self.each(y, split, f).view(b, l, heads, -1).transpose(1, 2).reshape(b * heads, l, -1)
            for f in (lambda m, t: m.q(t), lambda m, t: m.k(t), lambda m, t: m.v(t))
        )
        w = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
        if bias is not None:
            w = (w.view(b, heads, l, l) + bias).view(b * heads, l, l)
        o = torch.bmm(F.softmax(w, dim=-1), v).view(b, heads, l, -1).transpose(1, 2).reshape(b, l, d)
        x = x + self.each(o, split, lambda m, t: m.o(m.inner(t)))
        return x + self.each(x, split, lambda m, t: m.fc2(m.ffn_ln(F.gelu(m.fc1(m.ln2(t))))))


class Pretraining(nn.Module):
    def __init__(self, d=768, heads=12, layers=12, size=224, patch=16):
        super().__init__()
        self.proj = nn.Conv2d(3, d, patch, patch)
        self.cls, self.hidden = nn.Parameter(torch.zeros(1, 1, d)), nn.Parameter(torch.zeros(1, 1, d))
        self.words = nn.Embedding(WORDS, d)
        self.places = nn.ModuleList([nn.Embedding((size // patch) ** 2 + 3, d), nn.Embedding(1024, d)])
        self.layers = nn.ModuleList(Multiway(d, heads, 4 * d) for _ in range(layers))
        self.norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)])
        self.mlm, self.mim = nn.Linear(d, WORDS), nn.Linear(d, CODES)

    def forward(self, image, masked, text, padding):
        parts, split = [], 0
        if image is not None:
            x = self.proj(image).flatten(2).transpose(1, 2)
            x = torch.where(masked.unsqueeze(-1), self.hidden.to(x.dtype), x)
            x = torch.cat([self.cls.expand(len(x), -1, -1).to(x.dtype), x], 1)
            split = x.shape[1]
            parts.append(x + self.places[0](torch.arange(2, split + 2, device=x.device)))
        if text is not None:
            parts.append(self.words(text) + self.places[1](torch.arange(2, text.shape[1] + 2, device=text.device)))
        x = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        bias = None
        if padding is not None:
            whole = torch.cat([padding.new_zeros(len(padding), split), padding], 1)
            bias = torch.zeros_like(whole, dtype=x.dtype).masked_fill(whole, float('-inf'))[:, None, None, :]
        for layer in self.layers:
            x = layer(x, split, bias)
        vision = self.norms[0](x[:, :split]) if split > 0 else None
        language = self.norms[1](x[:, split:]) if split < x.shape[1] else None
        return vision, language


grid = args.size // 16


def images(count):
    masked = torch.zeros(count, grid * grid, dtype=torch.bool)
    for row in masked:
        row[torch.randperm(grid * grid)[: round(0.4 * grid * grid)]] = True
    return torch.randn(count, 3, args.size, args.size), masked, torch.randint(CODES, (int(masked.sum()),))


def texts(count, length, share, shorter):
    words = torch.randint(4, WORDS - 1, (count, length))
    padding = torch.zeros(count, length, dtype=torch.bool)
    chosen = torch.zeros(count, length, dtype=torch.bool)
    for b in range(count):
        end = length - (b % 2) * shorter
        padding[b, end:] = True
        chosen[b, 1 + torch.randperm(end - 2)[: max(1, round(share * (end - 2)))]] = True
    targets = words[chosen]
    words[chosen] = WORDS - 1
    return words, padding if padding.any() else None, chosen, targets


def kinds():
    place = lambda parts: [None if p is None else p.to(args.device) for p in parts]
    alone, said = place(images(args.batch)), place(texts(args.batch, args.length, 0.15, 0))
    return [(alone, None), (None, said), (place(images(args.batch)), place(texts(args.batch, PAIR_LENGTH, 0.5, SHORTER)))]


def compared(logits, targets):
    with torch.no_grad():
        (logits.argmax(1) == targets).float().mean()
    return F.cross_entropy(logits, targets)


def losses(model):
    """One function for each kind of data, which runs it forward."""
    def run(image, text):
        pixels, masked, codes = image or (None, None, None)
        words, padding, chosen, targets = text or (None, None, None, None)
        vision, language = model(pixels, masked, words, padding)
        loss = 0
        if image:
            loss = loss + compared(model.mim(vision[:, 1:][masked]), codes)
        if text:
            loss = loss + compared(model.mlm(language[chosen]), targets)
        return loss
    return [lambda kind=kind: run(*kind) for kind in kinds()]


if __name__ == '__main__':
    make = lambda: Pretraining(size=args.size, layers=args.layers)
    adamw = {'lr': 1e-4, 'betas': (0.9, 0.98), 'eps': 1e-6, 'weight_decay': 0.05}
    answer_steps(args, make, losses, adamw, max_norm=3.0)
