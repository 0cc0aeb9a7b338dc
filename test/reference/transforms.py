"""Writes test/fixtures/transforms.json: what Pillow, OpenCV 4 and the official randaug.py make of two small pictures.

    python test/reference/transforms.py unilm/beit3 test/fixtures/transforms.json

Needs numpy, Pillow and OpenCV 4 (OpenCV 5 warps with other arithmetic). Each case has the picture's name, the operation
and its arguments; the bytes of all results follow one another in `results`, compressed.
"""
import base64
import json
import sys
import warnings
import zlib

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

sys.path.insert(0, sys.argv[1])
import randaug  # noqa: E402

assert cv2.__version__.startswith('4.'), cv2.__version__
warnings.simplefilter('ignore')  # A byte is negated on purpose.
WIDTH, HEIGHT = 24, 18
FILL = (124, 116, 104)


def pictures():
    """A dull one whose channels have neither 0 nor 255, and one of hard edges and full range."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    dull = np.stack([40 + 5 * x + 2 * y, 200 - 3 * x - 4 * y, 90 + 30 * np.sin(x / 3) * np.cos(y / 4)], -1)
    hard = np.where(((x // 3 + y // 2) % 2)[..., None] == 0, [255, 0, 20], [0, 230, 255])
    hard = np.where(rng.random((HEIGHT, WIDTH, 1)) < 0.4, rng.integers(0, 256, (HEIGHT, WIDTH, 3)), hard)
    return {'dull': (dull + rng.integers(0, 6, dull.shape)).astype(np.uint8), 'hard': hard.astype(np.uint8)}


def solarize_add(image, add):
    return image.point([min(255, i + add) if i < 128 else i for i in range(256)] * 3)


FILTERS = {'bilinear': Image.BILINEAR, 'bicubic': Image.BICUBIC}


def affine(image, matrix, name):
    return image.transform(image.size, Image.AFFINE, matrix, resample=FILTERS[name], fillcolor=FILL)


PILLOW = {
    'autoContrast': ImageOps.autocontrast,
    'equalize': ImageOps.equalize,
    'invert': ImageOps.invert,
    'posterize': ImageOps.posterize,
    'solarize': ImageOps.solarize,
    'solarizeAdd': solarize_add,
    'color': lambda i, factor: ImageEnhance.Color(i).enhance(factor),
    'contrast': lambda i, factor: ImageEnhance.Contrast(i).enhance(factor),
    'brightness': lambda i, factor: ImageEnhance.Brightness(i).enhance(factor),
    'sharpness': lambda i, factor: ImageEnhance.Sharpness(i).enhance(factor),
    'shearX': lambda i, factor, name: affine(i, (1, factor, 0, 0, 1, 0), name),
    'shearY': lambda i, factor, name: affine(i, (1, 0, 0, factor, 1, 0), name),
    'shiftX': lambda i, pixels, name: affine(i, (1, 0, pixels, 0, 1, 0), name),
    'shiftY': lambda i, pixels, name: affine(i, (1, 0, 0, 0, 1, pixels), name),
    'rotate': lambda i, degrees, name: i.rotate(degrees, resample=FILTERS[name], fillcolor=FILL),
    'resize': lambda i, width, height, name: i.resize((width, height), FILTERS[name]),
    'mirror': lambda i: i.transpose(Image.FLIP_LEFT_RIGHT),
    'cropAndResize': lambda i, left, top, width, height, size, name: i.crop(
        (left, top, left + width, top + height)).resize((size, size), FILTERS[name]),
}


def official(name):
    """The function of randaug.py by this name, with the fill colour where it takes one."""
    moves = name in ('ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Rotate')
    fill = (randaug.replace_value,) if moves else ()
    return lambda image, *args: randaug.func_dict[name](image, *args, *fill)


def cases():
    yield from (['dull', 'mirror'], ['hard', 'invert'])
    for picture in ('dull', 'hard'):
        for name in ('autoContrast', 'equalize', 'AutoContrast', 'Equalize'):
            yield [picture, name]
        # The strengths of rand-m9, with and without inc1, come first.
        for name in ('color', 'contrast', 'brightness', 'sharpness'):
            for factor in (1 + 0.9 * 0.9, 1 - 0.9 * 0.9, 0.9 * 1.8 + 0.1, 0.0, 1.0):
                yield [picture, name, factor]
        for name in ('bilinear', 'bicubic'):
            for sign in (-1, 1):
                yield [picture, 'shearX', 0.9 * 0.3 * sign, name]
                yield [picture, 'shearY', 0.9 * 0.3 * sign, name]
                yield [picture, 'shiftX', 0.9 * 0.45 * sign * WIDTH, name]
                yield [picture, 'shiftY', 0.9 * 0.45 * sign * HEIGHT, name]
                yield [picture, 'rotate', 0.9 * 30 * sign, name]
        # The strengths of RandAugment(2, 7) come first.
        for name, amounts in (
            ('Brightness', (0.7 * 1.8 + 0.1, 0.4)),
            ('Sharpness', (0.7 * 1.8 + 0.1, 0.4)),
            ('ShearX', (0.7 * 0.3, 0.7 * -0.3)),
            ('ShearY', (0.7 * 0.3, 0.7 * -0.3)),
            ('TranslateX', (0.7 * 10, 0.7 * -10, 2.3)),
            ('TranslateY', (0.7 * 10, 0.7 * -10, 2.3)),
            ('Rotate', (0.7 * 30, 0.7 * -30)),
        ):
            for amount in amounts:
                yield [picture, name, amount]
    for bits in (0, 1, 3):
        yield ['hard', 'posterize', bits]
    for threshold in (0, 26, 230, 256):
        yield ['dull', 'solarize', threshold]
    yield ['dull', 'solarizeAdd', 99]
    yield ['hard', 'rotate', 0.0, 'bicubic']
    for size in ((16, 16), (31, 40), (24, 7), (5, 18)):
        yield ['hard', 'resize', *size, 'bilinear']
    for name in ('bilinear', 'bicubic'):
        yield ['hard', 'cropAndResize', 3, 2, 17, 13, 14, name]


sources = pictures()
described, results = [], []
for case in cases():
    picture, name, *args = case
    pixels = sources[picture]
    if name in PILLOW:
        result = PILLOW[name](Image.fromarray(pixels), *args)
        width, height = result.size
    else:
        result, (width, height) = official(name)(pixels, *args), (WIDTH, HEIGHT)
    described.append({'picture': picture, 'name': name, 'args': args, 'width': width, 'height': height})
    results.append(np.asarray(result).tobytes())


def packed(content):
    return base64.b64encode(zlib.compress(content, 9)).decode()


with open(sys.argv[2], 'w') as out:
    json.dump({
        'width': WIDTH,
        'height': HEIGHT,
        'pictures': {name: packed(pixels.tobytes()) for name, pixels in sources.items()},
        'cases': described,
        'results': packed(b''.join(results)),
    }, out)
    out.write('\n')
