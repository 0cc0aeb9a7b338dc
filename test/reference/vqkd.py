"""Runs the official BEiT v2 code: fixtures of VQ-KD and its teachers, and a strict check of what `beit3 vqkd train` exports.

    python test/reference/vqkd.py --beit2 unilm/beit2 --write test/fixtures/vqkd
    python test/reference/vqkd.py --beit2 unilm/beit2 --check run/model.safetensors run/model.pth

--write makes tiny models of the official classes with every parameter randomised: a CLIP as a TorchScript archive of
float16 weights (as OpenAI publishes it), a DINO, a training checkpoint of VQ-KD with its teacher inside, what they compute
(expected.safetensors), and the names and shapes of the official tokenizers (official.json).
--check loads exports into the official class, strictly, and prints the codes of a picture of random numbers; with
--expect codes.npy it compares them.
"""
import argparse
import importlib
import importlib.util
import json
import pathlib
import sys
import types
from functools import partial

import numpy as np
import torch
from dump import drop_path, stand_in
from safetensors import safe_open
from safetensors.torch import load_file, save_file

SIDE, PATCH, WIDTH, HEADS, LAYERS = 32, 8, 32, 2, 2


def rearrange(x, pattern, **sizes):
    """The patterns of einops that VQ-KD uses."""
    if pattern == 'b (h w) c -> b c h w':
        return x.reshape(x.shape[0], sizes['h'], sizes['w'], -1).permute(0, 3, 1, 2)
    if pattern == 'b c h w -> b h w c':
        return x.permute(0, 2, 3, 1)
    if pattern == 'b h w c -> b c h w':
        return x.permute(0, 3, 1, 2)
    raise ValueError(pattern)


def repeat(x, pattern, d):
    assert pattern == 'n -> n d'
    return x[:, None].expand(-1, d)


def file_module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def import_official(beit2):
    """The modules modeling_vqkd, clip.model and dino; teachers are put in by hand."""
    stand_in('timm.models.layers', trunc_normal_=torch.nn.init.trunc_normal_, drop_path=drop_path,
             to_2tuple=lambda x: (x, x))
    stand_in('timm.models.registry', register_model=lambda f: f)
    stand_in('timm.data.constants', IMAGENET_DEFAULT_MEAN=(0.485, 0.456, 0.406), IMAGENET_DEFAULT_STD=(0.229, 0.224, 0.225))
    stand_in('einops', rearrange=rearrange, repeat=repeat)
    sys.modules['utils'] = types.ModuleType('utils')
    sys.path.insert(0, str(beit2))
    clip = file_module('clip_model', beit2 / 'vqkd_teacher/clip/model.py')
    dino = file_module('dino_model', beit2 / 'vqkd_teacher/dino.py')
    teachers = types.ModuleType('vqkd_teacher')
    teachers.clip = types.SimpleNamespace(load=None)
    teachers.get_dino_vit_base = None
    sys.modules['vqkd_teacher'] = teachers
    return importlib.import_module('modeling_vqkd'), clip, dino


def randomised(model, generator):
    """No gain is one and no bias zero, so that each of them counts."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            gain = p.dim() == 1 and 'weight' in name
            p.copy_(torch.randn(p.shape, generator=generator) * (0.1 if gain else 0.15) + (1 if gain else 0))
    return model


def tiny_clip(module, generator):
    clip = module.CLIP(24, SIDE, 1, 64, PATCH, 5, 11, 8, 1, 1)
    clip.visual = module.VisionTransformer(SIDE, PATCH, WIDTH, LAYERS, HEADS, 24)
    return randomised(clip, generator).eval()


def tiny_dino(module, generator):
    dino = module.VisionTransformer([SIDE], PATCH, embed_dim=WIDTH, depth=LAYERS, num_heads=HEADS, qkv_bias=True,
                                    norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), pretrained=False)
    return randomised(dino, generator).eval()


def tiny_vqkd(module, teacher, kind, generator):
    sys.modules['vqkd_teacher'].clip.load = lambda *_, **__: (teacher, None)
    module.get_dino_vit_base = lambda: teacher
    encoder, decoder = (module.get_model_default_params() for _ in range(2))
    for config, more in ((encoder, dict(img_size=SIDE, patch_size=PATCH, depth=LAYERS)),
                         (decoder, dict(img_size=SIDE // PATCH, patch_size=1, depth=1, in_chans=6))):
        config.update(more, num_classes=0, embed_dim=64, num_heads=1, mlp_ratio=1.0)
    model = module.VQKD(encoder, decoder, n_embed=20, embed_dim=6, teacher_model_type=kind)
    randomised(model.encoder, generator)
    randomised(model.decoder, generator)
    # VQKD takes the width of the published teacher for granted.
    width = 24 if kind == 'clip' else WIDTH
    model.decode_task_layer[2] = torch.nn.Linear(64, width)
    randomised(model.encode_task_layer, generator)
    randomised(model.decode_task_layer, generator)
    return model


def write(folder, official, clip_module, dino_module):
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(5)
    clip, dino = tiny_clip(clip_module, generator), tiny_dino(dino_module, generator)
    clip_module.convert_weights(clip)
    with torch.no_grad():
        traced = torch.jit.trace(clip, (torch.randn(1, 3, SIDE, SIDE).half(), torch.randint(0, 11, (1, 5))),
                                 check_trace=False)
    torch.jit.save(traced, str(folder / 'clip.pt'))
    clip.float()
    torch.save(dino.state_dict(), folder / 'dino.pth')
    found = {}
    for kind, teacher in (('clip', clip), ('dino', dino)):
        model = tiny_vqkd(official, teacher, kind, generator)
        for name, side in (('same', SIDE), ('smaller', SIDE - PATCH), ('larger', SIDE + 2 * PATCH)):
            # A few values lie outside: they are clamped.
            image = (torch.rand(2, 3, side, side, generator=generator) * 2.2 - 1.1)
            found[f'{kind}/{name}/image'] = image
            found[f'{kind}/{name}/features'] = model.get_regress_target(image)
        if kind == 'clip':
            images = torch.rand(6, 3, SIDE, SIDE, generator=generator)
            optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
            for _ in range(2):
                loss, _ = model(images)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            model.eval()
            torch.save({'model': model.state_dict(), 'optimizer': optimiser.state_dict(), 'epoch': 1,
                        'args': argparse.Namespace(model='tiny', lr=1e-3)}, folder / 'training.pth')
            with torch.no_grad():
                found['vqkd/image'] = images * 2 - 1
                found['vqkd/codes'] = model.get_codebook_indices(images).int()
    save_file({name: t.contiguous() for name, t in found.items()}, folder / 'expected.safetensors')
    names = {}
    for name in ('1x768x12_clip', '3x768x12_clip', '1x768x12_dino'):
        make = getattr(official, f'vqkd_encoder_base_decoder_{name}')
        names[make.__name__] = shapes(official_model(official, make, None))
    (folder / 'official.json').write_text(json.dumps(names, separators=(',', ':')) + '\n')


def official_model(official, make, state):
    """An official tokenizer, without its teacher."""
    load = torch.load
    torch.load = lambda *_, **__: {'model': state}
    real = official.VQKD.load_state_dict
    if state is None:
        official.VQKD.load_state_dict = lambda *_: None
        torch.load = lambda *_, **__: {'model': {}}
    try:
        return make(pretrained=True, pretrained_weight='file', as_tokenzer=True)
    finally:
        torch.load, official.VQKD.load_state_dict = load, real


def shapes(model):
    return {name: list(t.shape) for name, t in model.state_dict().items()}


def check(official, files, expected):
    for file in files:
        if file.endswith('.pth'):
            saved = torch.load(file, map_location='cpu', weights_only=True)
            config, state = json.loads(saved['config']), saved['model']
        else:
            with safe_open(file, 'pt') as opened:
                config, state = json.loads(opened.metadata()['config']), load_file(file)
        encoder, decoder = (official.get_model_default_params() for _ in range(2))
        same = {name: config[name] for name in ('embed_dim', 'num_heads', 'mlp_ratio')}
        size, patch = config['img_size'], config['patch_size']
        encoder.update(same, img_size=size, patch_size=patch, depth=config['encoder_depth'], num_classes=0)
        decoder.update(same, img_size=size // patch, patch_size=1, depth=config['decoder_depth'], num_classes=0)
        model = official.VQKD(encoder, decoder, config['n_code'], config['code_dim'], teacher_model_type='None',
                              decoder_out_dim=config['decoder_out_dim']).eval()
        print(file, model.load_state_dict(state, strict=True))
        image = torch.from_numpy(np.random.default_rng(1).random((1, 3, size, size), dtype=np.float32))
        with torch.no_grad():
            codes = model.get_codebook_indices(image)[0]
        print(codes.tolist())
        if expected is not None:
            print('equal codes:', bool((codes.numpy() == np.load(expected).reshape(-1)).all()))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--beit2', required=True, type=pathlib.Path, help='folder unilm/beit2')
    p.add_argument('--write', type=pathlib.Path, help='folder for the fixtures')
    p.add_argument('--check', nargs='+', default=[], help='exports')
    p.add_argument('--expect', help='codes of the picture, .npy')
    args = p.parse_args()
    official, clip, dino = import_official(args.beit2)
    if args.write:
        write(args.write, official, clip, dino)
    check(official, args.check, args.expect)


if __name__ == '__main__':
    main()
