import { InputError } from '../core/errors.js';
import { editDistance } from '../core/nearest.js';

const RELEASES = 'https://github.com/addf400/files/releases/download';

const BEIT3 = `
  beit3.spm beit3_base_indomain_patch16_224.pth beit3_base_indomain_patch16_224_in1k.pth
  beit3_base_indomain_patch16_224_nlvr2.pth beit3_base_indomain_patch16_480_coco_captioning.pth
  beit3_base_indomain_patch16_480_nocaps.pth beit3_base_indomain_patch16_480_vqa.pth
  beit3_base_itc_patch16_224.pth beit3_base_patch16_224.pth beit3_base_patch16_224_in1k.pth
  beit3_base_patch16_224_nlvr2.pth beit3_base_patch16_384_coco_retrieval.pth
  beit3_base_patch16_384_f30k_retrieval.pth beit3_base_patch16_480_coco_captioning.pth
  beit3_base_patch16_480_nocaps.pth beit3_base_patch16_480_vqa.pth beit3_large_indomain_patch16_224.pth
  beit3_large_indomain_patch16_224_in1k.pth beit3_large_indomain_patch16_224_nlvr2.pth
  beit3_large_indomain_patch16_480_vqa.pth beit3_large_indomain_patch16_768_vgqaaug_vqa.pth
  beit3_large_itc_patch16_224.pth beit3_large_patch16_224.pth beit3_large_patch16_224_in1k.pth
  beit3_large_patch16_224_nlvr2.pth beit3_large_patch16_384_coco_retrieval.pth
  beit3_large_patch16_384_f30k_retrieval.pth beit3_large_patch16_480_coco_captioning.pth
  beit3_large_patch16_480_nocaps.pth beit3_large_patch16_480_vqa.pth`;

const BEIT2 = `
  beitv2_base_patch16_224_pt1k.pth beitv2_base_patch16_224_pt1k_300e.pth
  beitv2_base_patch16_224_pt1k_300e_ft1k.pth beitv2_base_patch16_224_pt1k_ft1k.pth
  beitv2_base_patch16_224_pt1k_ft21k.pth beitv2_base_patch16_224_pt1k_ft21kto1k.pth
  beitv2_base_patch16_224_pt1k_ft21ktoade20k.pth beitv2_base_patch16_224_pt1k_ftade20k.pth
  beitv2_large_patch16_224_pt1k.pth beitv2_large_patch16_224_pt1k_300e.pth
  beitv2_large_patch16_224_pt1k_300e_ft1k.pth beitv2_large_patch16_224_pt1k_ft1k.pth
  beitv2_large_patch16_224_pt1k_ft21k.pth beitv2_large_patch16_224_pt1k_ft21kto1k.pth
  beitv2_large_patch16_224_pt1k_ft21ktoade20k.pth beitv2_large_patch16_224_pt1k_ftade20k.pth
  vqkd_encoder_base_decoder_1x768x12_clip-d93179da.pth vqkd_encoder_base_decoder_1x768x12_dino-663c55d7.pth
  vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth`;

const BEIT = `
  beit_base_patch16_224_pt1k_800ep.pth beit_base_patch16_224_pt22k.pth beit_base_patch16_224_pt22k_ft1k.pth
  beit_base_patch16_224_pt22k_ft22k.pth beit_base_patch16_224_pt22k_ft22kto1k.pth
  beit_base_patch16_384_pt22k_ft22kto1k.pth beit_base_patch16_640_pt22k_ft22ktoade20k.pth
  beit_large_patch16_224_pt22k.pth beit_large_patch16_224_pt22k_ft1k.pth beit_large_patch16_224_pt22k_ft22k.pth
  beit_large_patch16_224_pt22k_ft22kto1k.pth beit_large_patch16_384_pt22k_ft22kto1k.pth
  beit_large_patch16_512_pt22k_ft22kto1k.pth beit_large_patch16_640_pt22k_ft22ktoade20k.pth`;

/** An official file of weights (or the tokenizer). */
export interface WeightsFile {
  readonly name: string;
  readonly url: string;
  /** First 8 hex digits of its SHA-256, where the publisher put them into the name; else null. */
  readonly sha256Prefix: string | null;
}

/** Every file that the official repositories of BEiT-3, BEiT v2 and BEiT offer. */
export const WEIGHTS: readonly WeightsFile[] = [
  ...files('beit3', BEIT3),
  ...files('BEiT-v2', BEIT2),
  ...files('v1.0', BEIT),
];

function files(release: string, names: string): WeightsFile[] {
  return names
    .trim()
    .split(/\s+/)
    .map((name) => {
      const sha256Prefix = /-([0-9a-f]{8})\.\w+$/.exec(name)?.[1] ?? null;
      return { name, url: `${RELEASES}/${release}/${name}`, sha256Prefix };
    });
}

/** The file of this name (the ending `.pth` may be left out). Throws InputError that suggests the nearest names. */
export function findWeights(name: string): WeightsFile {
  const found = WEIGHTS.find((file) => file.name === name || file.name === `${name}.pth`);
  if (found) return found;
  const wanted = name.slice(0, 100).toLowerCase();
  const nearest = WEIGHTS.map((file) => ({ file, distance: editDistance(wanted, file.name.replace(/\.pth$/, '')) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ file }) => file.name);
  throw new InputError(
    `No official weights are named ${JSON.stringify(wanted)}; the nearest are ${nearest.join(', ')}.`,
  );
}
