/** adamwStep, globalNorm and assign. */
import assert from 'node:assert/strict';
import { keep, scope } from '../../core/memory.js';
import {
  adamwStep,
  add,
  assign,
  cast,
  expand,
  full,
  globalNorm,
  mul,
  ones,
  slice,
  transpose,
  zeros,
} from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { testEach } from '../support/backends.js';
import { readJson } from '../support/fixtures.js';
import { close, random, read } from './fusedSupport.js';

interface AdamWFixture {
  readonly start: number[][];
  readonly shapes: number[][];
  readonly steps: readonly {
    readonly gradients: number[][];
    readonly norm: number;
    readonly parameters: number[][];
    readonly m: number[][];
    readonly v: number[][];
  }[];
}

testEach('adamwStep with clipping is as in PyTorch', async () => {
  const { start, shapes, steps } = await readJson<AdamWFixture>('adamw.json');
  const tensors = (values: number[][]) => values.map((v, i) => tensor(v, { shape: shapes[i] }));
  const state = {
    parameters: tensors(start),
    m: shapes.map((shape) => zeros(shape)),
    v: shapes.map((shape) => zeros(shape)),
  };
  for (const [i, wanted] of steps.entries()) {
    const { norm } = await read(() => {
      const gradients = tensors(wanted.gradients);
      const total = globalNorm(gradients);
      adamwStep(state.parameters, gradients, state.m, state.v, total, {
        lr: [0.02, 0.01],
        weightDecay: [0.05, 0],
        beta1: 0.9,
        beta2: 0.98,
        eps: 1e-6,
        step: i + 1,
        maxNorm: 1,
      });
      return { norm: total };
    });
    close(norm, [wanted.norm], 1e-6, 'norm');
    for (const key of ['parameters', 'm', 'v'] as const) {
      for (const [k, t] of state[key].entries())
        close(await t.data(), wanted[key][k], 1e-6, `${key}[${k}] after step ${i + 1}`);
    }
  }
  for (const list of Object.values(state)) for (const t of list) t.dispose();
});

const OPTIONS = { lr: [0.1], weightDecay: [0], beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 1, maxNorm: 0 };

testEach('adamwStep without clipping moves by the rate, keeps gradients and takes strided or 16-bit ones', async () => {
  const got = await read(() => {
    const [p, m, v] = [ones([2, 3]), zeros([2, 3]), zeros([2, 3])];
    const g = cast(
      transpose(
        tensor([
          [1, -2],
          [3, -4],
          [5, -6],
        ]),
      ),
      'float16',
    );
    adamwStep(
      [p],
      [
        transpose(
          tensor([
            [1, -2],
            [3, -4],
            [5, -6],
          ]),
        ),
      ],
      [m],
      [v],
      null,
      OPTIONS,
    );
    const [p2, m2, v2] = [ones([2, 3]), zeros([2, 3]), zeros([2, 3])];
    adamwStep([p2], [g], [m2], [v2], null, OPTIONS);
    return { p, m, p2, m2 };
  });
  close(got.p, [0.9, 0.9, 0.9, 1.1, 1.1, 1.1], 1e-6, 'p');
  close(got.m, [0.1, 0.3, 0.5, -0.2, -0.4, -0.6], 1e-6, 'm');
  close(got.p2, got.p, 1e-6, 'p of 16-bit gradients');
  close(got.m2, got.m, 1e-6, 'm of 16-bit gradients');
});

testEach('adamwStep refuses what it cannot write to', async () => {
  scope(() => {
    const p = random([2, 3]);
    const z = () => zeros([2, 3]);
    const step = (
      parameter: Tensor,
      gradient: Tensor,
      options: Partial<typeof OPTIONS> = {},
      norm: Tensor | null = null,
    ) => adamwStep([parameter], [gradient], [z()], [z()], norm, { ...OPTIONS, ...options });
    assert.throws(() => step(cast(p, 'float16'), z()), /expected float32 parameters and moments, got float16/);
    assert.throws(() => step(transpose(zeros([3, 2])), z()), /contiguous/);
    assert.throws(() => step(p, zeros([3, 2])), /expected gradients and moments of shape \[2, 3\]/);
    assert.throws(() => step(p, z(), { step: 0 }), /step of 1 or more/);
    assert.throws(() => step(p, z(), { maxNorm: 1 }), /a norm where it is used/);
    assert.throws(() => step(p, z(), { lr: [] }), /expected 1 parameters/);
  });
});

testEach('adamwStep divides by a scale, and changes nothing where gradients are not finite', async () => {
  const shapes = [[5], [2, 3]];
  const options = { lr: [0.1, 0.2], weightDecay: [0.1, 0], beta1: 0.9, beta2: 0.98, eps: 1e-6, step: 1 };
  const values = [
    [1, -2, 0.5, 3, 4],
    [0.25, -1, 2, 0, 1, -4],
  ];
  const run = (scale: number, maxNorm: number, given = values) =>
    read(() => {
      const [p, m, v] = [1, 0.5, 0.25].map((x) => shapes.map((shape) => full(shape, x)));
      const g = given.map((list, i) =>
        tensor(
          list.map((x) => x * scale),
          { shape: shapes[i] },
        ),
      );
      const norm = globalNorm(g);
      const scaled = scale === 1 ? {} : { scale, skipNonFinite: true };
      adamwStep(p, g, m, v, scale === 1 && maxNorm === 0 ? null : norm, { ...options, maxNorm, ...scaled });
      return { p0: p[0], p1: p[1], m0: m[0], m1: m[1], v0: v[0], v1: v[1] };
    });
  for (const maxNorm of [0, 1]) {
    const [wanted, got] = [await run(1, maxNorm), await run(1024, maxNorm)];
    for (const [name, list] of Object.entries(wanted)) close(got[name], list, 1e-6, name);
    assert.notEqual(got.p0[0], 1);
  }
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const left = await run(64, 1, [values[0], [0, 1, bad, 2, 3, 4]]);
    for (const [name, list] of Object.entries(left))
      assert.deepEqual(new Set(list), new Set([{ p: 1, m: 0.5, v: 0.25 }[name[0]]]), `${name} with ${bad}`);
  }
});

testEach('globalNorm is one norm over all tensors', async () => {
  const got = await read(() => ({
    some: globalNorm([
      tensor([
        [3, 0],
        [0, 0],
      ]),
      tensor([4]),
      tensor(12),
      zeros([0, 3]),
    ]),
    view: globalNorm([expand(ones([1, 4]), [4, 4])]),
    half: globalNorm([cast(tensor([300, 400]), 'float16')]),
    none: globalNorm([]),
    broken: globalNorm([tensor([1]), tensor([Number.NaN])]),
  }));
  close(got.some, [13], 1e-6, 'some');
  close(got.view, [4], 1e-6, 'view');
  // The sum of squares leaves the range of float16, the norm does not.
  close(got.half, [500], 1e-6, 'half');
  assert.deepEqual(got.none, [0]);
  assert.ok(Number.isNaN(got.broken[0]));
});

testEach('assign writes in place, through views and other dtypes', async () => {
  const target = keep(zeros([3, 4]));
  const got = await read(() => {
    const before = target.detach();
    assign(
      slice(target, 1, 1, 3),
      tensor([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
    );
    assign(slice(target, 0, 2, 3), tensor(new Int32Array([7])));
    assign(slice(target, 1, 0, 1), transpose(tensor([[8, 9, 10]])));
    return { before };
  });
  assert.deepEqual(got.before, [8, 1, 2, 0, 9, 3, 4, 0, 10, 7, 7, 7]);
  target.requireGrad();
  scope(() => {
    assign(target, zeros([3, 4]));
    assert.throws(() => assign(mul(target, 2), ones([3, 4])), /expected a leaf or a detached tensor/);
    assert.throws(() => assign(target, ones([4, 4])), /expected a shape that broadcasts to \[4, 4\]|broadcasts/);
    assert.throws(() => assign(expand(zeros([1, 4]), [3, 4]), ones([3, 4])), /memory for each element/);
  });
  assert.deepEqual(Array.from(await target.data()), new Array(12).fill(0));
  target.dispose();
});

testEach('assign in place of itself is harmless', async () => {
  const { t } = await read(() => {
    const own = tensor([1, 2, 3]);
    assign(own, own);
    assign(own, add(own, own));
    return { t: own };
  });
  assert.deepEqual(t, [2, 4, 6]);
});
