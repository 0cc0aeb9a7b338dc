import type { CommandEntry, CommandGroup } from '../../command.js';

export const command: CommandGroup = {
  about:
    'Visual tokenizers (VQ-KD, of BEiT v2): pictures as words, one of 8192 for each patch, by which beit3 pretrain knows what is hidden. The official ones load as they are; others are trained here from a teacher, a model that already understands pictures: CLIP or DINO from their published files, or any BEiT-3.',
  commands: new Map<string, CommandEntry>([
    [
      'train',
      { summary: 'train a tokenizer on pictures, from a teacher or its features', load: () => import('./train.js') },
    ],
    ['features', { summary: 'write the features that a teacher has of pictures', load: () => import('./features.js') }],
    ['encode', { summary: 'turn pictures into codes', load: () => import('./encode.js') }],
    ['inspect', { summary: 'tell sizes and use of the codebook of a tokenizer', load: () => import('./inspect.js') }],
  ]),
  examples: [
    'beit3 vqkd train --images imagenet/train --teacher ViT-B-16.pt --output run',
    'beit3 vqkd encode photo.jpg --tokenizer vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth',
    'beit3 vqkd inspect run/model.safetensors --images photos',
  ],
};
