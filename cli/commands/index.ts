import type { CommandEntry } from '../command.js';

/** Every command, in the order of the help. */
export const COMMANDS: ReadonlyMap<string, CommandEntry> = new Map<string, CommandEntry>([
  ['classify', { summary: 'say what images show', load: () => import('./classify.js') }],
  ['vqa', { summary: 'answer a question about an image', load: () => import('./vqa.js') }],
  ['nlvr2', { summary: 'judge a sentence about two images', load: () => import('./nlvr2.js') }],
  ['caption', { summary: 'describe images in words', load: () => import('./caption.js') }],
  ['retrieve', { summary: 'find images for a text, or texts for an image', load: () => import('./retrieve.js') }],
  ['embed', { summary: 'turn images and texts into vectors', load: () => import('./embed.js') }],
  ['attention', { summary: 'draw where a model looks', load: () => import('./attention.js') }],
  ['tokenize', { summary: 'cut a text into pieces and token ids', load: () => import('./tokenize.js') }],
  ['index', { summary: 'list the images and texts of a data set for training', load: () => import('./indexData.js') }],
  ['pretrain', { summary: 'train a model on masked pictures, texts and pairs', load: () => import('./pretrain.js') }],
  ['itc', { summary: 'tune a pretrained model to find pictures by words', load: () => import('./itc.js') }],
  ['vqkd', { summary: 'train visual tokenizers and turn images into codes', load: () => import('./vqkd/index.js') }],
  ['mim', { summary: 'train a BEiT or BEiT v2 on masked pictures', load: () => import('./mim.js') }],
  ['finetune', { summary: 'train a model on a task', load: () => import('./finetune.js') }],
  [
    'evaluate',
    { summary: 'measure a model on a data set by the official protocol', load: () => import('./evaluate.js') },
  ],
  ['inspect', { summary: 'tell what a model or checkpoint consists of', load: () => import('./inspect.js') }],
  ['convert', { summary: 'rewrite a checkpoint as .pth or .safetensors', load: () => import('./convert.js') }],
  ['pull', { summary: 'download official weights', load: () => import('./pull.js') }],
  ['parity', { summary: 'compare with numbers of the PyTorch reference', load: () => import('./parity.js') }],
  ['web', { summary: 'serve the page that does all this in a browser', load: () => import('./web.js') }],
  ['devices', { summary: 'list what this machine can compute on', load: () => import('./devices.js') }],
]);
