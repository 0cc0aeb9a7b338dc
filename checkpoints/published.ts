/** What the publisher says of the official checkpoints: the tables and the expected results of its repositories. */

import { InputError } from '../core/errors.js';
import { nearest } from '../core/nearest.js';

/** What a checkpoint reached. */
export interface Published {
  /** By the names of the reference: imagenet, vqav2, nlvr2, coco_captioning, nocaps, coco_retrieval or flickr30k. */
  readonly task: string;
  /** Split -> metric -> per cent. */
  readonly splits: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

const imagenet = (acc1: number, acc5?: number): Published => ({
  task: 'imagenet',
  splits: both({ acc1, ...(acc5 === undefined ? {} : { acc5 }) }),
});
/** ImageNet is tested on its validation images. */
const both = (metrics: Record<string, number>) => ({ val: metrics, test: metrics });
const vqa = (splits: Record<string, number>): Published => ({
  task: 'vqav2',
  splits: Object.fromEntries(Object.entries(splits).map(([split, overall]) => [split, { overall }])),
});
const nlvr2 = (val: number, test: number): Published => ({
  task: 'nlvr2',
  splits: { val: { acc: val }, test: { acc: test } },
});
const caption = (CIDEr: number): Published => ({ task: 'coco_captioning', splits: { test: { CIDEr } } });
const nocaps = (CIDEr: number): Published => ({ task: 'nocaps', splits: { val: { CIDEr } } });
const retrieval = (task: string, ir_r1: number, tr_r1: number): Published => ({
  task,
  splits: { test: { ir_r1, tr_r1 } },
});

/** Name of the file of weights, without its ending -> its results. */
export const PUBLISHED: ReadonlyMap<string, Published> = new Map([
  ['beit3_base_patch16_224_in1k', imagenet(85.4, 97.63)],
  ['beit3_base_indomain_patch16_224_in1k', imagenet(85.4, 97.6)],
  ['beit3_large_patch16_224_in1k', imagenet(87.58, 98.326)],
  ['beit3_large_indomain_patch16_224_in1k', imagenet(87.5, 98.3)],
  ['beit3_base_patch16_480_vqa', vqa({ 'test-dev': 77.65 })],
  ['beit3_base_indomain_patch16_480_vqa', vqa({ 'test-dev': 78.46 })],
  ['beit3_large_patch16_480_vqa', vqa({ 'test-dev': 81.85 })],
  ['beit3_large_indomain_patch16_480_vqa', vqa({ 'test-dev': 82.53 })],
  ['beit3_large_indomain_patch16_768_vgqaaug_vqa', vqa({ 'test-dev': 82.97, test: 83.03 })],
  ['beit3_base_patch16_224_nlvr2', nlvr2(83.6, 84.386)],
  ['beit3_base_indomain_patch16_224_nlvr2', nlvr2(84.6, 85.3)],
  ['beit3_large_patch16_224_nlvr2', nlvr2(88.5, 89.437)],
  ['beit3_large_indomain_patch16_224_nlvr2', nlvr2(89.2, 90.0)],
  ['beit3_base_patch16_480_coco_captioning', caption(133.6)],
  ['beit3_base_indomain_patch16_480_coco_captioning', caption(135.0)],
  ['beit3_large_patch16_480_coco_captioning', caption(143.2)],
  ['beit3_base_patch16_480_nocaps', nocaps(104.4)],
  ['beit3_base_indomain_patch16_480_nocaps', nocaps(105.6)],
  ['beit3_large_patch16_480_nocaps', nocaps(120.2)],
  ['beit3_base_patch16_384_coco_retrieval', retrieval('coco_retrieval', 61.4, 79.1)],
  ['beit3_large_patch16_384_coco_retrieval', retrieval('coco_retrieval', 63.4, 82.1)],
  ['beit3_base_patch16_384_f30k_retrieval', retrieval('flickr30k', 86.2, 96.3)],
  ['beit3_large_patch16_384_f30k_retrieval', retrieval('flickr30k', 88.1, 97.2)],
  ['beitv2_base_patch16_224_pt1k_300e_ft1k', imagenet(85.0)],
  ['beitv2_base_patch16_224_pt1k_ft1k', imagenet(85.5, 97.5)],
  ['beitv2_base_patch16_224_pt1k_ft21kto1k', imagenet(86.458, 97.978)],
  ['beitv2_large_patch16_224_pt1k_300e_ft1k', imagenet(86.6)],
  ['beitv2_large_patch16_224_pt1k_ft1k', imagenet(87.3, 98.2)],
  ['beitv2_large_patch16_224_pt1k_ft21kto1k', imagenet(88.37, 98.578)],
  ['beit_base_patch16_224_pt22k_ft1k', imagenet(83.7, 96.6)],
  ['beit_base_patch16_224_pt22k_ft22kto1k', imagenet(85.2, 97.6)],
  ['beit_base_patch16_384_pt22k_ft22kto1k', imagenet(86.82, 98.124)],
  ['beit_large_patch16_224_pt22k_ft1k', imagenet(86.0, 97.6)],
  ['beit_large_patch16_224_pt22k_ft22kto1k', imagenet(87.396, 98.282)],
  ['beit_large_patch16_384_pt22k_ft22kto1k', imagenet(88.408, 98.602)],
  ['beit_large_patch16_512_pt22k_ft22kto1k', imagenet(88.6, 98.658)],
]);

/**
 * What was published of the checkpoint of this name, or of a file of this name: `beit3_base_patch16_224_nlvr2`, with or
 * without folder and ending. Throws InputError for one of which nothing is known.
 */
export function publishedResults(name: string): Published {
  const own = (name.split(/[/\\]/).at(-1) ?? name).replace(/\.(pth|pt|safetensors)$/, '');
  const found = PUBLISHED.get(own);
  if (found) return found;
  throw new InputError(
    `Nothing was published of ${JSON.stringify(own.slice(0, 80))}; name the official checkpoint to compare with, such as ${nearest(own, PUBLISHED.keys())}.`,
  );
}
