"""Shapes of the block masks that BEiT's own generator draws, as histograms over many draws.

    python test/reference/masks.py --beit2 unilm/beit2 > test/fixtures/block_masks.json

test/beit3/masks.test.ts counts the same of ours and compares by chi-square.
"""

import argparse
import json
import random
import sys
from collections import Counter

import numpy as np


def components(mask):
    """Sizes of the connected parts of what is hidden; neighbours share a side."""
    seen = np.zeros_like(mask)
    sizes = []
    for start in zip(*mask.nonzero()):
        if seen[start]:
            continue
        seen[start] = 1
        stack, size = [start], 0
        while stack:
            y, x = stack.pop()
            size += 1
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < mask.shape[0] and 0 <= u < mask.shape[1] and mask[v, u] and not seen[v, u]:
                    seen[v, u] = 1
                    stack.append((v, u))
        sizes.append(size)
    return sizes


def shape_of(mask):
    """What is counted of a mask: one whole number each."""
    sizes = components(mask)
    rows, columns = mask.nonzero()
    edges = int(np.abs(np.diff(mask, axis=0)).sum() + np.abs(np.diff(mask, axis=1)).sum())
    return {
        "components": len(sizes),
        "largest": max(sizes) // 5,
        "edges": edges // 4,
        "rows": len(set(rows)),
        "columns": len(set(columns)),
        "centreRow": int(2 * rows.sum() // len(rows)),
        "centreColumn": int(2 * columns.sum() // len(columns)),
        "middle": int(mask[4:10, 4:10].sum()) // 3,
        "corners": int(mask[0, 0] + mask[0, -1] + mask[-1, 0] + mask[-1, -1]),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--beit2", required=True)
    parser.add_argument("--draws", type=int, default=10000)
    given = parser.parse_args()
    sys.path.insert(0, given.beit2)
    from masking_generator import MaskingGenerator

    cases = []
    for grid, count, least in ((14, 75, 16), (14, 78, 16), (14, 118, 16)):
        random.seed(0)
        np.random.seed(0)
        generator = MaskingGenerator(grid, count, min_num_patches=least)
        found = {}
        for _ in range(given.draws):
            for name, value in shape_of(generator()).items():
                found.setdefault(name, Counter())[value] += 1
        shapes = {name: {str(k): counter[k] for k in sorted(counter)} for name, counter in found.items()}
        cases.append({"grid": grid, "count": count, "least": least, "draws": given.draws, "shapes": shapes})
    json.dump(cases, sys.stdout, separators=(",", ":"))
    print()


main()
