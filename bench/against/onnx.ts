/** onnxruntime-web on its wasm backend: graphs of one kernel, weights as constants, so that it may pack them. */
import { type Case, type Sizes, shapeOf } from '../kernels/cases.js';
import { hostValues } from '../kernels/problem.js';
import { time } from '../kernels/timing.js';
import type { Peer, PeerOptions } from './index.js';
import { type OnnxGraph, type OnnxNode, onnxModel } from './onnxModel.js';
import { optional } from './packages.js';

interface Session {
  run(feeds: Record<string, object>): Promise<unknown>;
  release(): Promise<void>;
}

/** The part of onnxruntime-web that is used. */
interface Ort {
  readonly env: { readonly wasm: { numThreads?: number } };
  readonly Tensor: new (type: 'float32', values: Float32Array, shape: readonly number[]) => object;
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
}

export async function openOnnx({ peers, threads }: PeerOptions): Promise<Peer | string> {
  const ort = await optional<Ort>('onnxruntime-web', peers);
  if (!ort) return 'not installed: npm i onnxruntime-web';
  const { availableParallelism } = await import('node:os');
  ort.env.wasm.numThreads = threads ?? availableParallelism();
  return {
    name: 'onnxruntime-web',
    beside: 'wasm',
    async time(of, sizes, dtype, options) {
      const graph = dtype === 'float32' ? graphOf(of, sizes) : null;
      if (graph === null) return null;
      const values = hostValues(of, sizes);
      const session = await ort.InferenceSession.create(onnxModel(graph), { executionProviders: ['wasm'] });
      const feeds = Object.fromEntries(
        Object.entries(graph.inputs).map(([name, shape]) => [
          name,
          new ort.Tensor('float32', values[NAMES.indexOf(name)] as Float32Array, shape),
        ]),
      );
      try {
        // Its runs are asynchronous one by one.
        let running: Promise<unknown> = Promise.resolve();
        const call = () => {
          running = running.then(() => session.run(feeds));
        };
        return (await time(call, async () => void (await running), options)).best;
      } finally {
        await session.release();
      }
    },
    close: () => {},
  };
}

/** What the operands of a case are called in its graph. */
const NAMES = ['a', 'b', 'c', 'd'];

function graphOf(of: Case, sizes: Sizes): OnnxGraph | null {
  const values = hostValues(of, sizes);
  const shapes = of.inputs(sizes).map((spec) => (spec ? shapeOf(spec.axes, sizes) : []));
  const node = (op: string, inputs: string[], output: string, attributes = {}, domain = ''): OnnxNode => ({
    op,
    inputs,
    outputs: [output],
    attributes,
    domain,
  });
  const graph = (nodes: OnnxNode[], inputs: number[], weights: number[]): OnnxGraph => ({
    nodes,
    inputs: Object.fromEntries(inputs.map((i) => [NAMES[i], shapes[i]])),
    weights: Object.fromEntries(
      weights.map((i) => [NAMES[i], { shape: shapes[i], values: values[i] as Float32Array }]),
    ),
    output: 'y',
  });
  const product = (output: string) => node('Gemm', ['a', 'b', 'c'], output, { transB: 1 });
  switch (of.peer) {
    case 'matmul':
      return graph([node('MatMul', ['a', 'b'], 'y')], [0, 1], []);
    case 'linear':
      return graph([product('y')], [0], [1, 2]);
    case 'linearGelu':
      return graph([product('z'), node('Gelu', ['z'], 'y')], [0], [1, 2]);
    case 'linearResidual':
      return graph([product('z'), node('Add', ['z', 'd'], 'y')], [0, 3], [1, 2]);
    case 'layerNorm':
      return graph([node('LayerNormalization', ['a', 'b', 'c'], 'y')], [0], [1, 2]);
    case 'attention': {
      const { H, d } = sizes;
      const attention = node('MultiHeadAttention', ['a', 'b', 'c'], 'y', { num_heads: H }, 'com.microsoft');
      const flat = shapes.map(([B, L]) => [B, L, H * d]);
      return { ...graph([attention], [], []), inputs: { a: flat[0], b: flat[1], c: flat[2] } };
    }
    default:
      return null;
  }
}
