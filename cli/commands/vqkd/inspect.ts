import { vqkdConfigOf } from '../../../beit3/vqkd/checkpoint.js';
import { describeVqKd, type VqKdConfig } from '../../../beit3/vqkd/config.js';
import { encodeImage } from '../../../beit3/vqkd/encode.js';
import { useOf } from '../../../beit3/vqkd/meter.js';
import { VqKd } from '../../../beit3/vqkd/vqkd.js';
import { type Checkpoint, openCheckpoint, readFloat32 } from '../../../checkpoints/index.js';
import { InputError } from '../../../core/errors.js';
import { Builder, metaBackend } from '../../../nn/builder.js';
import { compareStates } from '../../../nn/module.js';
import type { Command, Context } from '../../command.js';
import { checkpointFile, imageFiles } from '../../files.js';
import { grouped, table } from '../../format.js';
import { withTokenizer } from './flags.js';

/** A code is dead to which fewer vectors fall on average: none has for some 450 batches. */
const DEAD = 1e-4;

/** What the averages tell that the quantizer keeps of how many vectors of a batch fall to each code. */
interface Codebook {
  readonly codes: number;
  readonly width: number;
  readonly dead: number;
  readonly perplexity: number;
}

/** What pictures tell. */
interface Usage {
  readonly pictures: number;
  readonly patches: number;
  readonly use: number;
  readonly perplexity: number;
}

interface Inspection {
  readonly file: string;
  readonly format: string;
  readonly config: Record<string, unknown>;
  readonly parameters: Record<string, number>;
  /** Null where no batch was counted. */
  readonly codebook: Codebook | null;
  readonly usage?: Usage;
}

export const command: Command = {
  usage: ['vqkd inspect FILE [--images PATH]'],
  about:
    'Tells what a visual tokenizer consists of, how much of its codebook is alive by what its training counted (a code is dead that less than 0.0001 vectors a batch fall to, on average), and with --images how much of it these pictures use. Perplexity is how many codes there would be if all occurred equally often.',
  flags: {
    images: { value: 'PATH', help: 'Image files, or folders of them, to encode and count the codes of.', many: true },
  },
  examples: [
    'beit3 vqkd inspect vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth',
    'beit3 vqkd inspect run/model.safetensors --images photos',
  ],
  async run(args, context) {
    const [name] = args.expect(1, 1, 'one tokenizer');
    const path = await checkpointFile(name);
    const images = await imageFiles(args.texts('images'));
    const found = await inspect(path);
    const usage = images.length === 0 ? undefined : await usageOf(path, images, context);
    show(context, { ...found, usage });
    return undefined;
  },
};

async function inspect(path: string): Promise<Inspection> {
  const checkpoint = await openCheckpoint(path);
  try {
    const config = vqkdConfigOf(checkpoint, path);
    const model = new VqKd(new Builder({ backend: metaBackend(), initialize: false }), config);
    const own = model.stateDict();
    const used = new Map([...checkpoint.tensors].filter(([name]) => own.has(name)));
    const problem = compareStates(own, used);
    if (problem) throw new InputError(`${path} does not fit a VQ-KD tokenizer: ${problem}.`);
    const parameters: Record<string, number> = {};
    for (const [name, { size }] of model.namedParameters()) {
      const part = name.split('.')[0];
      parameters[part] = (parameters[part] ?? 0) + size;
    }
    const described = describeVqKd(config);
    const codebook = await codebookOf(checkpoint, config);
    return { file: path, format: checkpoint.format, config: described, parameters, codebook };
  } finally {
    await checkpoint.close();
  }
}

async function codebookOf({ tensors }: Checkpoint, { n_code, code_dim }: VqKdConfig): Promise<Codebook | null> {
  const entry = tensors.get('quantize.cluster_size');
  const sizes = entry ? await readFloat32(entry) : new Float32Array(0);
  if (!sizes.some((size) => size > 0)) return null;
  const dead = sizes.reduce((n, size) => (size < DEAD ? n + 1 : n), 0);
  return { codes: n_code, width: code_dim, dead, perplexity: useOf(sizes).perplexity };
}

function usageOf(path: string, images: readonly string[], context: Context): Promise<Usage> {
  return withTokenizer(path, context, async (model) => {
    const counts = new Float64Array(model.codes);
    const progress = context.progress('pictures', String);
    for (const [i, image] of images.entries()) {
      for (const code of await encodeImage(model, image)) counts[code]++;
      progress.update(i + 1, images.length);
    }
    progress.end();
    return { pictures: images.length, patches: images.length * model.grid ** 2, ...useOf(counts) };
  });
}

function show(context: Context, found: Inspection): void {
  if (context.wantsJson) {
    context.json(found);
    return;
  }
  const { file, format, config, parameters, codebook, usage } = found;
  const total = Object.values(parameters).reduce((a, b) => a + b, 0);
  const rows: [string, string][] = [
    ['file', file],
    ['format', format],
    ['parameters', grouped(total)],
    ...Object.entries(parameters).map(([part, count]): [string, string] => [`  ${part}`, grouped(count)]),
    ['codes', `${grouped(config.n_code as number)} of width ${config.code_dim}`],
  ];
  if (codebook) {
    const alive = (100 * (1 - codebook.dead / codebook.codes)).toFixed(1);
    rows.push(
      ['  alive', `${alive}% (${grouped(codebook.dead)} dead)`],
      ['  perplexity', codebook.perplexity.toFixed(1)],
    );
  } else rows.push(['  alive', 'unknown: no batch was counted']);
  if (usage) {
    rows.push(
      ['pictures', `${grouped(usage.pictures)} of ${grouped(usage.patches / usage.pictures)} patches`],
      ['  codes used', `${(100 * usage.use).toFixed(1)}%`],
      ['  perplexity', usage.perplexity.toFixed(1)],
    );
  }
  context.out(table(rows));
  context.out(table(Object.entries(config).map(([key, value]) => [`  ${key}`, String(value)])));
}
