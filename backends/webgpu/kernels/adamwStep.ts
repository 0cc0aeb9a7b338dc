/**
 * AdamW over all parameters in a few launches. Parameters and moments lie side by side in slabs, which are bound whole;
 * a table says where each tensor is. What changes from step to step is in the table and the scalars.
 */
import type { Kernel, View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import type { GpuBlock } from '../memory.js';
import { input, output } from '../program.js';
import type { Runtime } from '../runtime.js';
import { withScratch } from '../scratch.js';
import { THREADS } from '../wgsl/access.js';
import { withMath } from '../wgsl/math.js';
import { type Flat, type Part, type Piece, piecesOf, withPiece } from './flat.js';

interface Attrs {
  readonly count: number;
  readonly lr: readonly number[];
  readonly weightDecay: readonly number[];
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly step: number;
  readonly maxNorm: number;
}

/** A gradient, with what it changes. */
interface Tensor extends Flat {
  /** Parameter, first and second moment. */
  readonly state: readonly View[];
  /** The learning rate over the first correction. */
  readonly rate: number;
  readonly decay: number;
}

/** Elements of a workgroup. */
const CHUNK = 4096;
/** Words of the table before its rows: the norm. */
const HEAD = 4;
/** Words of a row: first workgroup, elements, places of gradient and state, buffers of the state, two numbers. */
const ROW = 12;
/** Buffers that are not the state's: the table and the gradients. */
const OTHERS = 2;

/** The buffers that the state of tensors lies in, by their number. */
function buffersOf(tensors: Iterable<Tensor>, found = new Map<number, GpuBlock>()): Map<number, GpuBlock> {
  for (const { state } of tensors) {
    for (const view of state) {
      const block = view.block as GpuBlock;
      if (!found.has(block.id)) found.set(block.id, whole(block));
    }
  }
  return found;
}

/** All of the buffer that a block lies in. */
function whole(block: GpuBlock): GpuBlock {
  return block.slab ? { ...block, bytes: block.slab.size, start: 0, room: block.slab.size } : block;
}

/** The first element of a view, counted from the start of its buffer as `whole` gives it. */
const placeOf = ({ block, offset }: View): number =>
  ((block as GpuBlock).slab ? (block as GpuBlock).start / 4 : 0) + offset;

/** Whether a launch may work by four elements: then it also writes up to three behind the end. */
const inFours = ({ view, state, size }: Tensor): boolean =>
  state.every(({ block, offset }) => offset % 4 === 0 && (size % 4 === 0 || 4 * (offset + size) === block.bytes)) &&
  view.dtype === 'float32';

/** The kernel for so many buffers of state. */
const kernel = (rt: Runtime, slots: number, fours: boolean, clips: boolean) =>
  rt.kernel(`adamwStep:${slots}:${fours}:${clips}`, () => {
    const type = fours ? 'vec4f' : 'f32';
    const names = Array.from({ length: slots }, (_, i) => `s${i}`);
    const choose = (each: (name: string) => string) =>
      names.map((name, i) => `${i === slots - 1 ? 'default' : `case ${i}u`}: { ${each(name)} }`).join('\n    ');
    const lanes = fours ? 4 : 1;
    return {
      buffers: {
        table: input('u32'),
        g: input(type),
        ...Object.fromEntries(names.map((name) => [name, output(type)])),
      },
      scalars: {
        firstRow: 'u32',
        rows: 'u32',
        groups: 'u32',
        maxNorm: 'f32',
        beta1: 'f32',
        beta2: 'f32',
        rest1: 'f32',
        rest2: 'f32',
        eps: 'f32',
        root: 'f32',
      },
      code: withMath(`fn load(slot: u32, i: u32) -> ${type} {
  switch slot {
    ${choose((name) => `return ${name}[i];`)}
  }
}
fn store(slot: u32, i: u32, v: ${type}) {
  switch slot {
    ${choose((name) => `${name}[i] = v;`)}
  }
}
fn word(row: u32, k: u32) -> u32 { return table[${HEAD}u + ${ROW}u * (p.firstRow + row) + k]; }
// What gradients are multiplied with.
fn clip() -> f32 {
  ${
    clips
      ? `let norm = bitcast<f32>(table[0]);
  if (isnan_(norm)) { return norm; }
  return select(min(1.0f, p.maxNorm / (norm + 1e-6f)), 0.0f, norm == inf_());`
      : 'return 1.0f;'
  }
}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(num_workgroups) group_count: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = group_id.x + group_id.y * group_count.x;
  if (group >= p.groups) { return; }
  // The last row that begins here or before.
  var row = 0u;
  var after = p.rows;
  while (after - row > 1u) {
    let middle = (row + after) / 2u;
    if (word(middle, 0u) <= group) { row = middle; } else { after = middle; }
  }
  let size = word(row, 1u);
  let slots = word(row, 6u);
  let mSlot = (slots >> 8u) & 0xffu;
  let vSlot = slots >> 16u;
  let rate = bitcast<f32>(word(row, 7u));
  let decay = bitcast<f32>(word(row, 8u));
  let scale = clip();
  let first = (group - word(row, 0u)) * ${CHUNK / lanes}u;
  let end = min(first + ${CHUNK / lanes}u, ${fours ? '(size + 3u) / 4u' : 'size'});
  let gAt = word(row, 2u) + p.gAt${fours ? ' / 4u' : ''};
  let pAt = word(row, 3u);
  let mAt = word(row, 4u);
  let vAt = word(row, 5u);
  for (var i = first + lane; i < end; i += ${THREADS}u) {
    let gradient = g[gAt + i] * scale;
    let m = p.beta1 * load(mSlot, mAt + i) + p.rest1 * gradient;
    let v = p.beta2 * load(vSlot, vAt + i) + p.rest2 * gradient * gradient;
    let old = load(slots & 0xffu, pAt + i);
    store(mSlot, mAt + i, m);
    store(vSlot, vAt + i, v);
    store(slots & 0xffu, pAt + i, old * decay - rate * m / (sqrt(v) / p.root + p.eps));
  }
}`),
    };
  });

/** A launch: its part of the table, and what is bound. */
interface Batch {
  readonly piece: Piece<Tensor>;
  readonly fours: boolean;
  readonly slots: readonly GpuBlock[];
  readonly firstRow: number;
  readonly groups: number;
}

/** Deals the tensors out to launches and writes the table of all. */
function plan(rt: Runtime, tensors: readonly Tensor[]): { batches: Batch[]; table: Uint32Array } {
  const most = rt.device.limits.maxStorageBuffersPerShaderStage - OTHERS;
  // A launch can be given a few buffers.
  const known = new Map<Piece<Tensor>, Map<number, GpuBlock>>();
  const buffers = (piece: Piece<Tensor>): Map<number, GpuBlock> => {
    const found = known.get(piece) ?? buffersOf(piece.parts.map(({ tensor }) => tensor));
    known.set(piece, found);
    return found;
  };
  const joins = (tensor: Tensor, piece: Piece<Tensor>): boolean => {
    const own = buffers(piece);
    const fresh = [...buffersOf([tensor]).keys()].filter((id) => !own.has(id));
    if (own.size + fresh.length > most) return false;
    buffersOf([tensor], own);
    return true;
  };
  const batches: Batch[] = [];
  const rows: { part: Part<Tensor>; slots: readonly GpuBlock[]; group: number; lanes: number }[] = [];
  for (const fours of [true, false]) {
    const lanes = fours ? 4 : 1;
    for (const piece of piecesOf(
      rt,
      tensors.filter((t) => inFours(t) === fours),
      lanes,
      joins,
    )) {
      const slots = [...buffers(piece).values()];
      const firstRow = rows.length;
      let group = 0;
      for (const part of piece.parts) {
        rows.push({ part, slots, group, lanes });
        group += Math.ceil(part.size / CHUNK);
      }
      batches.push({ piece, fours, slots, firstRow, groups: group });
    }
  }
  const table = new Uint32Array(HEAD + ROW * rows.length);
  const floats = new Float32Array(table.buffer);
  rows.forEach(({ part, slots, group, lanes }, i) => {
    const { tensor, first, size, at } = part;
    const row = HEAD + ROW * i;
    const places = tensor.state.map((view) => (placeOf(view) + first) / lanes);
    const numbers = tensor.state.map(({ block }) => slots.findIndex(({ id }) => id === (block as GpuBlock).id));
    table.set([group, size, at / lanes, ...places, numbers[0] | (numbers[1] << 8) | (numbers[2] << 16)], row);
    floats.set([tensor.rate, tensor.decay], row + 7);
  });
  return { batches, table };
}

export const adamwStep = (rt: Runtime): Kernel => ({
  plan(inputs, attrs) {
    const { count, lr, weightDecay, beta1, beta2, eps, step, maxNorm } = attrs as Attrs;
    const norm = inputs[4 * count] ?? null;
    const correction1 = 1 - beta1 ** step;
    const root = Math.sqrt(1 - beta2 ** step);
    const tensors = Array.from({ length: count }, (_, i): Tensor => {
      const [p, view, m, v] = [0, 1, 2, 3].map((k) => inputs[i + k * count] as View);
      return {
        view,
        size: sizeOf(p.shape),
        state: [p, m, v],
        rate: lr[i] / correction1,
        decay: 1 - lr[i] * weightDecay[i],
      };
    });
    return () => {
      const { batches, table } = plan(rt, tensors);
      if (batches.length === 0) return;
      withScratch(rt, [{ dtype: 'int32', shape: [table.length] }], (view) => {
        const block = view.block as GpuBlock;
        rt.write(block, 0, new Uint8Array(table.buffer));
        if (norm) rt.copyBytes(norm.block as GpuBlock, 4 * norm.offset, block, 0, 4);
        for (const { piece, fours, slots, firstRow, groups } of batches) {
          withPiece(rt, piece, (g) => {
            const line = { dtype: 'float32' as const, shape: [0], strides: [1], offset: 0 };
            const state = Object.fromEntries(slots.map((slot, i) => [`s${i}`, { ...line, block: slot }]));
            kernel(
              rt,
              slots.length,
              fours,
              norm !== null,
            )(
              { table: view, g, ...state },
              {
                firstRow,
                rows: piece.parts.length,
                groups,
                maxNorm,
                beta1,
                beta2,
                rest1: 1 - beta1,
                rest2: 1 - beta2,
                eps,
                root,
              },
              groups,
            );
          });
        }
      });
    };
  },
});
