"""Writes test/fixtures/beit.json: the official BEiT v2 code on our tiny runs and exports (see tinyBeit.ts).

    npm run build
    python test/reference/beit.py --beit2 unilm/beit2

It holds the losses of 20 steps of fine-tuning (with the optimiser groups of layer decay) and of masked image modelling with
[CLS], and of the official models into which our exports were loaded strictly the names, the shapes and the outputs. Of the
classifier it holds what the linear probe sees, too: of each layer the [CLS] and the mean patch side by side.
"""
import argparse
import contextlib
import importlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
from functools import partial

import torch
from dump import drop_path, stand_in
from safetensors.torch import load_file
from train import frames

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPTIMIZERS = {'adafactor': 'Adafactor', 'adahessian': 'Adahessian', 'adamp': 'AdamP', 'lookahead': 'Lookahead', 'nadam': 'Nadam',
              'novograd': 'NovoGrad', 'nvnovograd': 'NvNovoGrad', 'radam': 'RAdam', 'rmsprop_tf': 'RMSpropTF', 'sgdp': 'SGDP'}
SIZES = ['img_size', 'patch_size', 'embed_dim', 'depth', 'num_heads', 'init_values', 'use_abs_pos_emb', 'use_rel_pos_bias',
         'use_shared_rel_pos_bias']


def official(beit2):
    stand_in('timm.models.registry', register_model=lambda f: f)
    stand_in('timm.models.layers', trunc_normal_=torch.nn.init.trunc_normal_, drop_path=drop_path, to_2tuple=lambda v: (v, v))
    for module, name in OPTIMIZERS.items():
        stand_in(f'timm.optim.{module}', **{name: None})
    sys.path.insert(0, str(beit2))
    return [importlib.import_module(name) for name in ('modeling_finetune', 'modeling_pretrain', 'optim_factory')]


def model_of(header, tuning, pretraining):
    given = {**{key: header['config'][key] for key in SIZES}, 'qkv_bias': True,
             'norm_layer': partial(torch.nn.LayerNorm, eps=header['config']['layer_norm_eps'])}
    with contextlib.redirect_stdout(io.StringIO()):
        if header['pretraining'] is None:
            return tuning.VisionTransformer(**given, num_classes=header['classes'], use_mean_pooling=True)
        own = header['pretraining']
        part = own['aggregation']
        return pretraining.VisionTransformerForMaskedImageModelingCLS(
            **given, vocab_size=own['codes'], early_layers=part['earlyLayers'], head_layers=part['headLayers'],
            shared_lm_head=part['sharedHead'])


def load(model, state):
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or any('relative_position_index' not in name for name in missing):
        sys.exit(f'The weights do not fit: missing {missing}, not expected {unexpected}')


def loss_of(model, batch, smoothing):
    if 'labels' in batch:
        return torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(model(batch['images']), batch['labels'].long())
    masked = batch['masked'].bool()
    codes = batch['codes'].long()[masked]
    criterion = torch.nn.CrossEntropyLoss()
    return sum(criterion(logits, codes) for logits in model(batch['images'], bool_masked_pos=masked))


def optimiser_of(factory, model, settings):
    assigner, decay, layers = None, settings.get('layerDecay', 1), model.get_num_layers()
    if decay < 1:
        assigner = factory.LayerDecayValueAssigner([decay ** (layers + 1 - i) for i in range(layers + 2)])
    args = argparse.Namespace(opt='adamw', lr=0.0, weight_decay=settings['weightDecay'], opt_eps=settings['eps'],
                              opt_betas=settings['betas'])
    # It prints all groups.
    with contextlib.redirect_stdout(io.StringIO()):
        return factory.create_optimizer(args, model, skip_list=model.no_weight_decay(),
                                        get_num_layer=assigner and assigner.get_layer_id,
                                        get_layer_scale=assigner and assigner.get_scale)


def groups(modules):
    """Learning rate and weight decay of every parameter of a model with positions of all kinds."""
    sizes = {'img_size': 16, 'patch_size': 8, 'embed_dim': 8, 'depth': 2, 'num_heads': 2, 'init_values': 0.1,
             'use_abs_pos_emb': True, 'use_rel_pos_bias': True, 'use_shared_rel_pos_bias': True}
    with contextlib.redirect_stdout(io.StringIO()):
        model = modules[1].VisionTransformerForMaskedImageModelingCLS(
            **sizes, qkv_bias=True, norm_layer=torch.nn.LayerNorm, vocab_size=5, early_layers=1, head_layers=1)
    names = {id(p): name for name, p in model.named_parameters()}
    optimiser = optimiser_of(modules[2], model, {'weightDecay': 0.05, 'layerDecay': 0.75, 'eps': 1e-8, 'betas': [0.9, 0.98]})
    return {'sizes': sizes, 'of': {names[id(p)]: [group['lr_scale'], group['weight_decay']]
                                   for group in optimiser.param_groups for p in group['params']}}


def probed(model, images):
    """The first numbers of what run_linear_eval.py classifies of each layer."""
    model.eval()
    with torch.no_grad():
        layers = model.get_intermediate_layers(images)
    return [rounded(torch.cat((x[:, 0], x[:, 1:].mean(dim=1)), dim=-1).flatten().tolist()[:100]) for x in layers]


def train(stream, modules):
    """The loss of each step of a stream, its header, its last batch, and what a probe sees of a classifier at the first."""
    tuning, pretraining, factory = modules
    header, state = next(stream)
    model = model_of(header, tuning, pretraining)
    load(model, {name: value.clone() for name, value in state.items()})
    settings = header['optimizer']
    optimiser = optimiser_of(factory, model, settings)
    losses, seen = [], None
    for fields, batch in stream:
        if seen is None and 'labels' in batch:
            seen = probed(model, batch['images'])
        model.train()
        loss = loss_of(model, batch, header['labelSmoothing'])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings['maxNorm'])
        for group in optimiser.param_groups:
            group['lr'] = fields['lr'] * group.get('lr_scale', 1)
        optimiser.step()
        losses.append(loss.item())
    return losses, header, batch, seen


def rounded(values):
    return [float(f'{v:.8g}') for v in values]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--beit2', required=True, type=pathlib.Path, help='folder unilm/beit2')
    p.add_argument('--dist', default=ROOT / 'dist', type=pathlib.Path, help='folder of the built project')
    p.add_argument('--out', default=ROOT / 'test/fixtures/beit.json', type=pathlib.Path)
    args = p.parse_args()
    torch.set_num_threads(1)
    modules = official(args.beit2.resolve())
    script = args.dist / 'test/reference/beit.js'
    found = {'groups': groups(modules)}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(['node', script, 'exports', folder], check=True, stdout=subprocess.DEVNULL)
        for kind, name in (('classifier', 'classifier'), ('pretrained', 'model')):
            with subprocess.Popen(['node', script, kind], stdout=subprocess.PIPE) as node:
                losses, header, batch, seen = train(frames(node.stdout), modules)
            model = model_of(header, *modules[:2]).eval()
            for state in (load_file(f'{folder}/{name}.safetensors'),
                          torch.load(f'{folder}/{name}.pth', map_location='cpu', weights_only=True)['model']):
                model.load_state_dict(state, strict=True)
            with torch.no_grad():
                outputs = model(batch['images'], **({} if kind == 'classifier' else {'bool_masked_pos': batch['masked'].bool()}))
            outputs = torch.cat([t.flatten() for t in (outputs if isinstance(outputs, list) else [outputs])])
            found[kind] = {'losses': rounded(losses), 'outputs': rounded(outputs.tolist()[:200]),
                           'names': {name: list(value.shape) for name, value in model.state_dict().items()}}
            if seen is not None:
                found['probe'] = seen
            print(f'{kind}: {losses[0]:.4f} to {losses[-1]:.4f}; all {len(state)} tensors of both exports load strictly')
    args.out.write_text(json.dumps(found) + '\n')


if __name__ == '__main__':
    main()
