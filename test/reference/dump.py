"""Dumps what the official PyTorch BEiT-3 computes, in the format that `beit3 parity` reads.

    python dump.py --beit3 unilm/beit3 --torchscale torchscale \
        --model beit3_base_patch16_224_imageclassification \
        --checkpoint beit3_base_patch16_224_in1k.pth --image photo.jpg --out photo.safetensors
    npx beit3 parity photo.safetensors

Needs torch, numpy, pillow, safetensors, the repositories microsoft/unilm and microsoft/torchscale, and for texts
sentencepiece (--tokenizer beit3.spm). Packages that the official code imports but this does not need (timm, fairscale,
tensorboardX, torchmetrics, einops, torch._six) are replaced by a few lines each where they are not installed.
Without --checkpoint the weights are random (--seed); without --image so is the image.
"""
import argparse
import importlib
import json
import math
import sys
import types

import numpy as np
import torch
from safetensors.torch import save_file


def stand_in(name, **members):
    """A module with the given members, unless the real one is installed."""
    try:
        importlib.import_module(name)
    except ImportError:
        parts = name.split('.')
        for i in range(1, len(parts) + 1):
            path = '.'.join(parts[:i])
            if path not in sys.modules:
                sys.modules[path] = types.ModuleType(path)
                if i > 1:
                    setattr(sys.modules['.'.join(parts[:i - 1])], parts[i - 1], sys.modules[path])
        for key, value in members.items():
            setattr(sys.modules[name], key, value)


def rearrange(x, pattern, h=None):
    """The four patterns of einops that torchscale's attention uses."""
    if pattern == 'b l (h d) -> (b h) l d':
        b, l, d = x.shape
        return x.reshape(b, l, h, d // h).transpose(1, 2).reshape(b * h, l, d // h)
    if pattern == '(b h) l d -> b l (h d)':
        bh, l, d = x.shape
        return x.reshape(bh // h, h, l, d).transpose(1, 2).reshape(bh // h, l, h * d)
    if pattern == '(b h) t s -> b h t s':
        return x.reshape(x.shape[0] // h, h, *x.shape[1:])
    if pattern == 'b h t s -> (b h) t s':
        return x.reshape(-1, *x.shape[2:])
    raise ValueError(pattern)


def drop_path(x, p=0.0, training=False):
    if not p or not training:
        return x
    keep = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(1 - p)
    return x * keep / (1 - p)


def import_official(beit3, torchscale):
    class Metric(torch.nn.Module):
        def __init__(self, **_):
            super().__init__()

    class Anything:
        def __init__(self, *_, **__):
            pass

    stand_in('timm.utils', get_state_dict=None, ModelEma=Anything, accuracy=None)
    stand_in('timm.models.registry', register_model=lambda f: f)
    stand_in('timm.models.layers', trunc_normal_=torch.nn.init.trunc_normal_, drop_path=drop_path)
    stand_in('fairscale.nn', checkpoint_wrapper=lambda m, **_: m, wrap=lambda m, **_: m)
    stand_in('torchmetrics', Metric=Metric)
    stand_in('tensorboardX', SummaryWriter=Anything)
    stand_in('einops', rearrange=rearrange)
    stand_in('torch._six', inf=math.inf)
    # torchscale imports its mixture of experts, which BEiT-3 does not use.
    for name, members in {
        'torchscale.component.xmoe.moe_layer': {'MOELayer': Anything},
        'torchscale.component.xmoe.routing': {'Top1Gate': Anything, 'Top2Gate': Anything},
        'torchscale.component.xmoe.global_groups': {'get_moe_group': None},
    }.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
    sys.path[:0] = [beit3, torchscale]
    return importlib.import_module('modeling_finetune')


def read_image(path, size, imagenet, generator):
    if path is None:
        return torch.randn(1, 3, size, size, generator=generator)
    from PIL import Image
    image = Image.open(path).convert('RGB')
    if imagenet:
        w, h = image.size
        scale = size / min(w, h)
        image = image.resize((int(w * scale), int(h * scale)), Image.BICUBIC)
        left, top = round((image.width - size) / 2), round((image.height - size) / 2)
        image = image.crop((left, top, left + size, top + size))
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    else:
        image = image.resize((size, size), Image.BICUBIC)
        mean, std = [0.5] * 3, [0.5] * 3
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    return ((x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)).unsqueeze(0)


def read_text(args, vocabulary, generator):
    if args.text is None:
        ids = torch.randint(4, vocabulary - 1, (1, 10), generator=generator)
        ids[0, 0] = 0
        ids[0, -1] = 2
        return ids
    import sentencepiece
    model = sentencepiece.SentencePieceProcessor(model_file=args.tokenizer)
    return torch.tensor([[0] + [i + 1 if i else 3 for i in model.encode(args.text)] + [2]])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--beit3', required=True, help='folder unilm/beit3')
    p.add_argument('--torchscale', required=True, help='folder of the torchscale repository')
    p.add_argument('--model', required=True, help='official model name')
    p.add_argument('--checkpoint')
    p.add_argument('--image')
    p.add_argument('--image2', help='second image (nlvr2)')
    p.add_argument('--text')
    p.add_argument('--tokenizer', help='beit3.spm')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--grads', action='store_true', help='also differentiate a loss (sum of logits times fixed weights for tasks without labels)')
    p.add_argument('--out', required=True)
    args = p.parse_args()

    if args.text is not None and args.tokenizer is None:
        p.error('--text needs --tokenizer beit3.spm')
    try:
        official = import_official(args.beit3, args.torchscale)
    except ImportError as error:
        p.error(f'cannot import the official code from {args.beit3} and {args.torchscale}: {error}')
    if not hasattr(official, args.model):
        p.error(f'the official code has no model {args.model}')
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    model = getattr(official, args.model)().eval()
    task = args.model.rsplit('_', 1)[1]
    if args.checkpoint:
        state = torch.load(args.checkpoint, map_location='cpu', weights_only=False)
        model.load_state_dict(state.get('model', state.get('module', state)), strict=True)
    c = model.args
    names = ['encoder_embed_dim', 'encoder_attention_heads', 'encoder_ffn_embed_dim', 'encoder_layers', 'normalize_output',
             'img_size', 'patch_size', 'in_chans', 'vocab_size', 'max_source_positions', 'layernorm_eps', 'subln', 'multiway']
    config = {n: getattr(c, n) for n in names}

    image = read_image(args.image, c.img_size, task == 'imageclassification', generator)
    inputs, hidden = {'image': image}, []
    for layer in model.beit3.encoder.layers:
        layer.register_forward_hook(lambda _, __, out: hidden.append(out[0].detach()))
    text = padding = None
    if task != 'imageclassification':
        text = read_text(args, c.vocab_size, generator)
        padding = torch.zeros_like(text)
        inputs.update(text_tokens=text, padding_mask=padding)

    with torch.set_grad_enabled(args.grads):
        if task == 'imageclassification':
            logits = model(image=image)
            config['num_classes'] = logits.shape[1]
            label = inputs['label'] = torch.tensor([1])
            outputs = {'logits': logits, 'loss': torch.nn.functional.cross_entropy(logits, label)}
        elif task == 'vqav2':
            logits = model(image=image, question=text, padding_mask=padding)
            config['num_classes'] = logits.shape[1]
            labels = inputs['labels'] = torch.rand(logits.shape, generator=generator).round()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels) * logits.shape[1]
            outputs = {'logits': logits, 'loss': loss}
        elif task == 'nlvr2':
            inputs['image2'] = read_image(args.image2, c.img_size, False, generator)
            logits = model(image_a=image, image_b=inputs['image2'], text_description=text, padding_mask=padding)
            config['num_classes'] = logits.shape[1]
            label = inputs['label'] = torch.tensor([1])
            outputs = {'logits': logits, 'loss': torch.nn.functional.cross_entropy(logits, label)}
        elif task == 'captioning':
            masked = torch.zeros_like(text)
            masked[0, 1::2] = 1
            inputs.update(language_tokens=text, language_masked_pos=masked)
            tokens = text.masked_fill(masked.bool(), 64001 if c.vocab_size == 64010 else c.vocab_size - 1)
            inputs['text_tokens'] = tokens
            logits, _ = model(image=image, text_ids=tokens, padding_mask=padding, language_masked_pos=masked)
            loss = official.utils.BertCaptioningLoss(0.1, 0.2, 10)(logits, text[masked.bool()], 0)
            outputs = {'logits': logits, 'loss': loss}
        else:
            loss, image_features, text_features = model(image=image, text_description=text, padding_mask=padding)
            outputs = {'image_features': image_features, 'text_features': text_features, 'loss': loss}
            # The two towers pass the layers one after the other.
            hidden.clear()
        if args.grads:
            outputs['loss'].backward()

    tensors = {f'state/{k}': v for k, v in model.state_dict().items()}
    tensors.update({f'input/{k}': v for k, v in inputs.items()})
    tensors.update({f'output/{k}': v.detach() for k, v in outputs.items()})
    tensors.update({f'hidden/{i}': v for i, v in enumerate(hidden)})
    if args.grads:
        tensors.update({f'grad/{k}': v.grad for k, v in model.named_parameters() if v.grad is not None})
    metadata = {'task': task, 'config': json.dumps(config), 'torch': torch.__version__, 'label_smoothing': '0.1' if task == 'captioning' else '0',
                'drop_worst_after': '10', 'drop_worst_ratio': '0.2', 'global_step': '0'}
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, args.out, metadata)
    print(f'{args.out}: {task}, {len(tensors)} tensors')


if __name__ == '__main__':
    main()
