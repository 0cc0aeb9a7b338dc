/** jax-js on its wasm or webgpu device; each problem is one compiled function, as its users write it. */
import { type Case, shapeOf } from '../kernels/cases.js';
import { hostValues } from '../kernels/problem.js';
import { time } from '../kernels/timing.js';
import type { Peer, PeerOptions } from './index.js';
import { offerGpu, optional } from './packages.js';

/** An array of theirs: a call takes it over, `ref` keeps it. */
interface JaxArray {
  readonly ref: JaxArray;
  reshape(shape: readonly number[]): JaxArray;
  add(other: JaxArray): JaxArray;
  mul(other: JaxArray): JaxArray;
  blockUntilReady(): Promise<JaxArray>;
  dispose(): void;
}

type Fn = (...operands: JaxArray[]) => JaxArray;

/** The part of @jax-js/jax that is used. */
interface Jax {
  init(device: string): Promise<string[]>;
  defaultDevice(device: string): void;
  jit(fn: Fn): Fn;
  readonly numpy: {
    array(values: Float32Array | Int32Array): JaxArray;
    matmul(a: JaxArray, b: JaxArray): JaxArray;
    transpose(x: JaxArray): JaxArray;
  };
  readonly nn: {
    gelu(x: JaxArray, options: { approximate: boolean }): JaxArray;
    standardize(x: JaxArray, axis: number): JaxArray;
    dotProductAttention(q: JaxArray, k: JaxArray, v: JaxArray): JaxArray;
  };
}

export async function openJax(kind: 'wasm' | 'webgpu', { peers, adapter }: PeerOptions): Promise<Peer | string> {
  const jax = await optional<Jax>('@jax-js/jax', peers);
  if (!jax) return 'not installed: npm i @jax-js/jax';
  if (kind === 'webgpu') await offerGpu(adapter);
  if (!(await jax.init(kind)).includes(kind)) return `its ${kind} device does not start here`;
  return {
    name: `jax-js ${kind}`,
    beside: kind,
    async time(of, sizes, dtype, options) {
      const fn = dtype === 'float32' ? functionOf(jax, of) : null;
      if (fn === null) return null;
      jax.defaultDevice(kind);
      const compiled = jax.jit(fn);
      const operands = hostValues(of, sizes).flatMap((host, i) => {
        const spec = of.inputs(sizes)[i];
        if (host === null || spec === null || host instanceof Uint8Array) return [];
        return jax.numpy.array(host).reshape(shapeOf(spec.axes, sizes));
      });
      let last: JaxArray | null = null;
      try {
        const timing = await time(
          () => {
            last?.dispose();
            last = compiled(...operands.map((x) => x.ref));
          },
          async () => void (await last?.blockUntilReady()),
          // Results that are not waited for stay in its memory.
          kind === 'wasm' ? { ...options, sample: 0 } : options,
        );
        return timing.best;
      } finally {
        for (const x of [...operands, ...(last ? [last as JaxArray] : [])]) x.dispose();
      }
    },
    close: () => {},
  };
}

function functionOf({ numpy, nn }: Jax, { peer }: Case): Fn | null {
  const linear: Fn = (x, w, b) => numpy.matmul(x, numpy.transpose(w)).add(b);
  switch (peer) {
    case 'matmul':
      return numpy.matmul;
    case 'linear':
      return linear;
    case 'linearGelu':
      return (x, w, b) => nn.gelu(linear(x, w, b), { approximate: false });
    case 'linearResidual':
      return (x, w, b, residual) => linear(x, w, b).add(residual);
    case 'layerNorm':
      return (x, gain, bias) => nn.standardize(x, -1).mul(gain).add(bias);
    case 'attention':
      return nn.dotProductAttention;
    // Cross entropy would need its oneHot, which makes a square matrix of the words.
    default:
      return null;
  }
}
