/** Cross entropy of integer targets straight from the logits, and its gradient: no softmax is ever stored. */
import type { Kernel, View } from '../../../core/backend.js';
import { f32, f32x4, i32 } from '../assembler/index.js';
import { expNegative, log } from '../math.js';
import { type Runtime, split } from '../runtime.js';
import { chunkRange, eachVector, element } from '../vectors.js';
import { rowMaximum, rowSum } from './softmax.js';
import { allFloat } from './views.js';

interface Attrs {
  readonly smoothing: number;
  readonly ignoreIndex: number;
}

const FIELDS = {
  logits: 'i32',
  target: 'i32',
  loss: 'i32',
  lse: 'i32',
  gradient: 'i32',
  rows: 'i32',
  classes: 'i32',
  per: 'i32',
  smoothing: 'f32',
  ignore: 'i32',
} as const;

const CHUNK = 32768;

export function crossEntropy(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [logits, target] = inputs as [View, View];
      const { smoothing, ignoreIndex } = attrs as Attrs;
      if (!allFloat([logits], outputs) || target.dtype !== 'int32') return null;
      const [rows, classes] = logits.shape;
      return ([loss, lse]) => {
        const { per, chunks } = split(rows, 4 * classes, CHUNK);
        forwardKernel(rt, smoothing !== 0)(
          {
            logits: rt.address(logits),
            target: rt.address(target),
            loss: rt.address(loss),
            lse: rt.address(lse),
            gradient: 0,
            rows,
            classes,
            per,
            smoothing,
            ignore: ignoreIndex,
          },
          chunks,
        );
      };
    },
  };
}

const forwardKernel = (rt: Runtime, smooth: boolean) =>
  rt.kernel(`crossEntropy:${smooth}`, FIELDS, () => (f, a, chunk) => {
    const [from, to] = chunkRange(f, chunk, a.per, a.rows);
    f.for(from, to, 1, (row) => {
      const x = f.let(element(a.logits, i32.mul(row, a.classes)));
      const top = rowMaximum(f, a.classes, x);
      const total = rowSum(f, a.classes, [x], ([v]) => expNegative(f, f32x4.sub(v, top)));
      const lse = f.let(f32.add(f32.lane(top, 0), f32.lane(log(f, total), 0)));
      f.storeF32(element(a.lse, row), lse);
      const target = f.let(i32.load(element(a.target, row)));
      const loss = f.let(f32.const(Number.NaN));
      f.if(i32.ltU(target, a.classes), () => {
        f.set(loss, f32.sub(lse, f32.load(element(x, target))));
        if (smooth) {
          const sum = f32.lane(
            rowSum(f, a.classes, [x], ([v]) => v),
            0,
          );
          const spread = f32.sub(lse, f32.div(sum, f32.convert(a.classes)));
          f.set(loss, f32.add(f32.mul(f32.sub(1, a.smoothing), loss), f32.mul(a.smoothing, spread)));
        }
      });
      f.if(i32.eq(target, a.ignore), () => f.set(loss, f32.const(0)));
      f.storeF32(element(a.loss, row), loss);
    });
  });

export function crossEntropyBackward(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [dloss, logits, lse, target] = inputs as [View, View, View, View];
      const { smoothing, ignoreIndex } = attrs as Attrs;
      if (!allFloat([dloss, logits, lse], outputs) || target.dtype !== 'int32') return null;
      const [rows, classes] = logits.shape;
      return ([gradient]) => {
        const { per, chunks } = split(rows, 3 * classes, CHUNK);
        backwardKernel(rt)(
          {
            logits: rt.address(logits),
            target: rt.address(target),
            loss: rt.address(dloss),
            lse: rt.address(lse),
            gradient: rt.address(gradient),
            rows,
            classes,
            per,
            smoothing,
            ignore: ignoreIndex,
          },
          chunks,
        );
      };
    },
  };
}

const backwardKernel = (rt: Runtime) =>
  rt.kernel('crossEntropyBackward', FIELDS, () => (f, a, chunk) => {
    const [from, to] = chunkRange(f, chunk, a.per, a.rows);
    const spread = f.let(f32x4.splat(f32.div(a.smoothing, f32.convert(a.classes))));
    f.for(from, to, 1, (row) => {
      const at = f.let(i32.mul(row, a.classes));
      const [x, dx] = [f.let(element(a.logits, at)), f.let(element(a.gradient, at))];
      const target = f.let(i32.load(element(a.target, row)));
      const dloss = f.let(f32.load(element(a.loss, row)));
      const ignored = f.let(i32.eq(target, a.ignore));
      const scale = f.let(f32x4.splat(dloss));
      const lse = f.let(f32x4.splat(f32.load(element(a.lse, row))));
      const hit = f.let(element(dx, target));
      eachVector(f, a.classes, [x, dx], 2, ({ load, store }) => {
        const p = expNegative(f, f32x4.sub(load(x), lse));
        store(dx, f32x4.mul(f32x4.sub(p, spread), scale));
      });
      f.if(i32.ltU(target, a.classes), () => {
        f.storeF32(hit, f32.sub(f32.load(hit), f32.mul(dloss, f32.sub(1, a.smoothing))));
      });
      f.if(ignored, () => {
        const p = f.let(element(a.gradient, at));
        eachVector(f, a.classes, [p], 1, ({ store }) => store(p, f32x4.splat(0)));
      });
    });
  });
