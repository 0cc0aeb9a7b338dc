/** TensorFlow.js on its wasm or webgpu backend. Weights lie as it likes them: [from, to]. */

import { type Case, type Sizes, shapeOf } from '../kernels/cases.js';
import { hostValues } from '../kernels/problem.js';
import { time } from '../kernels/timing.js';
import type { Peer, PeerOptions } from './index.js';
import { offerGpu, optional } from './packages.js';

interface TfTensor {
  dispose(): void;
}

/** The part of @tensorflow/tfjs-core that is used. */
interface Tf {
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  backend(): { readonly queue?: GPUQueue; endComputePassEncoder?(): void; submitQueue?(): void };
  tensor(values: ArrayLike<number>, shape: readonly number[], dtype?: string): TfTensor;
  transpose(x: TfTensor, order?: readonly number[]): TfTensor;
  matMul(a: TfTensor, b: TfTensor): TfTensor;
  add(a: TfTensor, b: TfTensor): TfTensor;
  sub(a: TfTensor, b: TfTensor): TfTensor;
  mul(a: TfTensor, b: TfTensor | number): TfTensor;
  erf(x: TfTensor): TfTensor;
  rsqrt(x: TfTensor): TfTensor;
  softmax(x: TfTensor): TfTensor;
  logSumExp(x: TfTensor, axis: number): TfTensor;
  gatherND(x: TfTensor, indices: TfTensor): TfTensor;
  moments(x: TfTensor, axis: number, keep: boolean): { readonly mean: TfTensor; readonly variance: TfTensor };
  tidy(fn: () => void): void;
  readonly fused: { matMul(options: { a: TfTensor; b: TfTensor; bias: TfTensor }): TfTensor };
}

export async function openTfjs(kind: 'wasm' | 'webgpu', { peers, adapter }: PeerOptions): Promise<Peer | string> {
  const name = `@tensorflow/tfjs-backend-${kind}`;
  const tf = await optional<Tf>('@tensorflow/tfjs-core', peers);
  if (kind === 'webgpu' && tf) await offerGpu(adapter);
  if (!tf || !(await optional(name, peers))) return `not installed: npm i @tensorflow/tfjs-core ${name}`;
  const start = async () => {
    if (!(await tf.setBackend(kind))) throw new Error(`its ${kind} backend does not start`);
    await tf.ready();
  };
  await start();
  return {
    name: `tfjs ${kind}`,
    beside: kind,
    async time(of, sizes, dtype, options) {
      if (dtype !== 'float32') return null;
      await start();
      const backend = tf.backend();
      const sync = async () => {
        backend.endComputePassEncoder?.();
        backend.submitQueue?.();
        await backend.queue?.onSubmittedWorkDone();
      };
      const work = workOf(tf, of, sizes);
      if (work === null) return null;
      try {
        return (await time(() => tf.tidy(work.call), sync, options)).best;
      } finally {
        for (const t of work.operands) t.dispose();
      }
    },
    close: () => {},
  };
}

function workOf(tf: Tf, of: Case, sizes: Sizes): { call: () => void; operands: TfTensor[] } | null {
  if (of.peer === null || of.peer === 'adamw') return null;
  const specs = of.inputs(sizes);
  const operands = hostValues(of, sizes).flatMap((host, i) => {
    const spec = specs[i];
    if (host === null || spec === null || spec.content === 'padding') return [];
    return tf.tensor(host, shapeOf(spec.axes, sizes), spec.content === 'classes' ? 'int32' : 'float32');
  });
  const moved = (i: number, order?: readonly number[]) => {
    const before = operands[i];
    operands[i] = tf.transpose(before, order);
    before.dispose();
  };
  const [x, , b, c] = operands;
  switch (of.peer) {
    case 'matmul':
      return { operands, call: () => void tf.matMul(operands[0], operands[1]) };
    case 'linear':
    case 'linearGelu':
    case 'linearResidual': {
      moved(1);
      const product = () => tf.fused.matMul({ a: x, b: operands[1], bias: b });
      const gelu = (z: TfTensor) => {
        const half = tf.mul(z, 0.5);
        tf.add(half, tf.mul(half, tf.erf(tf.mul(z, Math.SQRT1_2))));
      };
      const calls = { linear: product, linearGelu: () => gelu(product()), linearResidual: () => tf.add(product(), c) };
      const call = calls[of.peer];
      return { operands, call: () => void call() };
    }
    case 'layerNorm':
      return {
        operands,
        call: () => {
          const { mean, variance } = tf.moments(x, 1, true);
          tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(variance)), operands[1]), b);
        },
      };
    case 'attention': {
      moved(0, [0, 2, 1, 3]);
      moved(1, [0, 2, 3, 1]);
      moved(2, [0, 2, 1, 3]);
      const [q, k, v] = operands;
      return { operands, call: () => void tf.matMul(tf.softmax(tf.mul(tf.matMul(q, k), 0.125)), v) };
    }
    case 'crossEntropy': {
      const target = hostValues(of, sizes)[1] as Int32Array;
      const pairs = tf.tensor(
        Int32Array.from([...target].flatMap((word, i) => [i, word])),
        [target.length, 2],
        'int32',
      );
      operands.push(pairs);
      return { operands, call: () => void tf.sub(tf.logSumExp(x, 1), tf.gatherND(x, pairs)) };
    }
  }
}
