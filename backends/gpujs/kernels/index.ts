/** The kernels that are attached to ops by name. */
import type { Kernel } from '../../../core/backend.js';
import type { Machine } from '../machine.js';
import { attention } from './attention.js';
import { cat } from './cat.js';
import { fill, iota } from './create.js';
import { gatherRows } from './gatherRows.js';
import { layerNorm, multiwayLayerNorm } from './layerNorm.js';
import { linear, multiwayLinear } from './linear.js';
import { matmul } from './matmul.js';
import { max } from './max.js';
import { adamwStep, globalNorm } from './optimizer.js';
import { pad } from './pad.js';
import { logSoftmax, softmax } from './softmax.js';
import { sum } from './sum.js';

export function createKernels(machine: Machine): Map<string, Kernel> {
  return new Map([
    ['adamwStep', adamwStep(machine)],
    ['attention', attention(machine)],
    ['cat', cat(machine)],
    ['fill', fill(machine)],
    ['gatherRows', gatherRows(machine)],
    ['globalNorm', globalNorm(machine)],
    ['iota', iota(machine)],
    ['layerNorm', layerNorm(machine)],
    ['linear', linear(machine)],
    ['logSoftmax', logSoftmax(machine)],
    ['matmul', matmul(machine)],
    ['max', max(machine)],
    ['multiwayLayerNorm', multiwayLayerNorm(machine)],
    ['multiwayLinear', multiwayLinear(machine)],
    ['pad', pad(machine)],
    ['softmax', softmax(machine)],
    ['sum', sum(machine)],
  ]);
}
