/** Sums over any axes of a contiguous array. */
import type { Kernel, View } from '../../../core/backend.js';
import { sumMiddle } from '../reduce.js';
import type { Runtime } from '../runtime.js';
import { allFloat, count } from './views.js';

export function sum(rt: Runtime): Kernel {
  return {
    plan(inputs, attrs, [output]) {
      const [x] = inputs as [View];
      const { axes } = attrs as { readonly axes: readonly number[] };
      if (!allFloat(inputs, [output])) return null;
      // Runs of axes that all stay or all go, axes of size 1 left out.
      const groups: { size: number; goes: boolean }[] = [];
      x.shape.forEach((d, axis) => {
        const goes = axes.includes(axis);
        const last = groups[groups.length - 1];
        if (d === 1) return;
        if (last?.goes === goes) last.size *= d;
        else groups.push({ size: d, goes });
      });
      return ([y]) => reduceGroups(rt, rt.address(x), groups, rt.address(y));
    },
  };
}

/** Removes the last run of axes that goes, then the rest of them. */
function reduceGroups(rt: Runtime, x: number, groups: readonly { size: number; goes: boolean }[], y: number): void {
  const at = groups.findLastIndex((g) => g.goes);
  const sizes = groups.map((g) => g.size);
  if (at < 0) {
    sumMiddle(rt, x, 1, 1, count(sizes), y);
    return;
  }
  const rest = groups.filter((_, i) => i !== at);
  const run = (target: number): void =>
    sumMiddle(rt, x, count(sizes.slice(0, at)), sizes[at], count(sizes.slice(at + 1)), target);
  if (!rest.some((g) => g.goes)) run(y);
  else
    rt.temporary(4 * count(rest.map((g) => g.size)), (partial) => {
      run(partial);
      reduceGroups(rt, partial, rest, y);
    });
}
