/** What the tests of the gpu.js backend run in a page, and the same in Node: plain data in and out. */
import { backward } from '../../autograd/backward.js';
import { type BackendOptions, disposeBackend, loadBackend, useBackend } from '../../backends/index.js';
import { type ParityCase, runParity } from '../../beit3/index.js';
import { trainingLoss } from '../../beit3/tasks/index.js';
import type { DType } from '../../core/dtype.js';
import { messageOf } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { add, gatherRows, linear, mul, sum } from '../../core/ops/index.js';
import { manualSeed } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { AdamW } from '../../nn/optim.js';
import { tinyBatch, tinyModel } from '../beit3/tinyBatches.js';

/** Runs a dump of the PyTorch reference on gpujs. */
export async function parity(path: string): Promise<ParityCase> {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  const file = new File([await response.blob()], path);
  const { cases } = await runParity([file], { backend: await loadBackend('gpujs') });
  return cases[0];
}

export interface Training {
  readonly losses: readonly number[];
  /** Norms of the first step's gradients, by parameter. */
  readonly gradients: Readonly<Record<string, number>>;
}

/** Some steps of fine-tuning a tiny model with AdamW and clipping. */
export async function train(device: string, options: BackendOptions, steps: number): Promise<Training> {
  const backend = await useBackend(device, options);
  const before = backend.stats.liveBytes;
  manualSeed(7);
  const model = tinyModel('vqav2');
  model.train();
  const batch = tinyBatch('vqav2', 4);
  const optimiser = new AdamW(model.namedParameters(), { lr: 1e-3, weightDecay: 0.05 });
  const losses: number[] = [];
  const gradients: Record<string, number> = {};
  for (let step = 0; step < steps; step++) {
    const loss = scope(() => {
      const made = trainingLoss('vqav2', model, batch, { labelSmoothing: 0, step });
      backward(made.loss);
      return made.loss.detach();
    });
    losses.push(await loss.item());
    loss.dispose();
    if (step === 0) {
      for (const [name, p] of model.namedParameters()) {
        const gradient = p.grad;
        if (!gradient) continue;
        const squares = noGrad(() => scope(() => sum(mul(gradient, gradient))));
        gradients[name] = Math.sqrt(await squares.item());
        squares.dispose();
      }
    }
    scope(() => {
      optimiser.step({ maxNorm: 1 });
      optimiser.zeroGrad();
    });
  }
  optimiser.dispose();
  model.dispose();
  if (backend.stats.liveBytes !== before) throw new Error(`${backend.stats.liveBytes - before} bytes are left`);
  return { losses, gradients };
}

export interface Traffic {
  /** Textures that are there at the end beyond those at the start. */
  readonly left: number;
  /** Bytes that went to textures in the first and in the second call of a layer. */
  readonly uploaded: readonly [number, number];
  readonly result: readonly number[];
}

/** Calls a layer twice, and watches textures. */
export async function traffic(dtype: DType): Promise<Traffic> {
  await useBackend('gpujs');
  const gl = WebGL2RenderingContext.prototype;
  const { createTexture, deleteTexture, texSubImage2D } = gl;
  let [live, bytes] = [0, 0];
  gl.createTexture = function () {
    live++;
    return createTexture.call(this);
  };
  gl.deleteTexture = function (texture) {
    live--;
    deleteTexture.call(this, texture);
  };
  gl.texSubImage2D = function (...args: unknown[]) {
    bytes += (args[8] as Float32Array).byteLength;
    Reflect.apply(texSubImage2D, this, args);
  };
  try {
    const result: number[] = [];
    const weight = tensor(
      Float32Array.from({ length: 64 * 64 }, (_, i) => (i % 65 === 0 ? 2 : 0)),
      {
        shape: [64, 64],
        dtype,
      },
    );
    const uploaded: number[] = [];
    for (const start of [1, 2]) {
      bytes = 0;
      const y = scope(() => {
        const x = tensor(
          Float32Array.from({ length: 64 }, (_, i) => start + i),
          { shape: [1, 64] },
        );
        return add(linear(linear(x, weight), weight), x);
      });
      uploaded.push(bytes);
      result.push((await y.data())[63]);
      y.dispose();
    }
    weight.dispose();
    return { left: live, uploaded: uploaded as [number, number], result };
  } finally {
    Object.assign(gl, { createTexture, deleteTexture, texSubImage2D });
  }
}

/** Entries of a table on the device behind the largest float that counts, by rows and by a product. */
export async function farEntries(): Promise<{ rows: number[]; product: number }> {
  await useBackend('gpujs');
  const [height, width] = [2 ** 22 + 3, 4];
  const table = tensor(
    Float32Array.from({ length: height * width }, (_, i) => i % 8191),
    { shape: [height, width] },
  );
  const t = scope(() => {
    // A computation brings the table to the device.
    sum(table, 1);
    const rows = gatherRows(table, tensor([2 ** 22 + 1, 2 ** 22 + 2], { dtype: 'int32' }));
    const picks = tensor([1, 0, 0, 0], { shape: [1, 4] });
    return { rows, product: linear(picks, table) };
  });
  const out = { rows: Array.from(await t.rows.data()), product: (await t.product.data())[2 ** 22 + 2] };
  for (const x of [table, t.rows, t.product]) x.dispose();
  return out;
}

/** Sums of counted numbers where textures have at most 16 by 16 pixels, of four numbers each. */
export async function smallTextures(sizes: readonly number[]): Promise<number[]> {
  const gl = WebGL2RenderingContext.prototype;
  const { getParameter } = gl;
  gl.getParameter = function (name) {
    return name === this.MAX_TEXTURE_SIZE ? 16 : getParameter.call(this, name);
  };
  await disposeBackend('gpujs');
  await useBackend('gpujs');
  gl.getParameter = getParameter;
  const out: number[] = [];
  for (const size of sizes) {
    const y = scope(() => {
      const x = tensor(Float32Array.from({ length: size }, (_, i) => i));
      return add(x, mul(x, x));
    });
    out.push(Array.from(await y.data()).reduce((a, b) => a + b, 0));
    y.dispose();
  }
  await disposeBackend('gpujs');
  return out;
}

/** What is said when the page cannot draw into float textures, and when it has no WebGL2 at all. */
export async function refusals(): Promise<string[]> {
  const said: string[] = [];
  const attempt = async () => {
    await disposeBackend('gpujs');
    await loadBackend('gpujs').catch((error: unknown) => said.push(messageOf(error)));
  };
  const gl = WebGL2RenderingContext.prototype;
  const { getExtension } = gl;
  gl.getExtension = (() => null) as typeof getExtension;
  await attempt();
  gl.getExtension = getExtension;
  const { getContext } = OffscreenCanvas.prototype;
  OffscreenCanvas.prototype.getContext = (() => null) as typeof getContext;
  await attempt();
  OffscreenCanvas.prototype.getContext = getContext;
  return said;
}

/** What is said when the graphics processor is lost: by reading a result, by the next computation, by waiting. */
export async function loss(): Promise<string[]> {
  const contexts: WebGL2RenderingContext[] = [];
  const { getContext } = OffscreenCanvas.prototype;
  OffscreenCanvas.prototype.getContext = function (this: OffscreenCanvas, ...args: unknown[]) {
    const context = Reflect.apply(getContext, this, args);
    contexts.push(context);
    return context;
  } as typeof getContext;
  await disposeBackend('gpujs');
  const backend = await useBackend('gpujs');
  OffscreenCanvas.prototype.getContext = getContext;
  const y = scope(() => mul(tensor([1, 2]), tensor([3, 4])));
  for (const context of contexts) context.getExtension('WEBGL_lose_context')?.loseContext();
  const said: string[] = [];
  const attempt = async (what: () => unknown) => {
    await Promise.resolve()
      .then(what)
      .then(
        () => said.push('nothing'),
        (error: unknown) => said.push(messageOf(error)),
      );
  };
  await attempt(() => y.data());
  await attempt(() => scope(() => mul(y, y)));
  await attempt(() => backend.sync());
  y.dispose();
  await disposeBackend('gpujs');
  return said;
}
