/**
 * AdamW over all parameters in a few launches. Parameters and moments lie side by side in slabs, which are bound whole;
 * a table says where each tensor is. What changes from step to step is in the table and the scalars.
 */
import type { Kernel, View } from '../../../core/backend.js';
import { bytesOf } from '../../../core/dtype.js';
import { sizeOf } from '../../../core/layout.js';
import type { AdamWStepAttrs } from '../../../core/ops/adamwStep.js';
import { copy } from '../copy.js';
import type { GpuBlock } from '../memory.js';
import { input, output } from '../program.js';
import type { Runtime } from '../runtime.js';
import { withScratch } from '../scratch.js';
import { THREADS } from '../wgsl/access.js';
import { withMath } from '../wgsl/math.js';
import { type Flat, type Part, type Piece, piecesOf, withPiece } from './flat.js';

/** A gradient, with what it changes. */
interface Tensor extends Flat {
  /** Parameter, first and second moment, and the float16 copy of the parameter if there is one. */
  readonly state: readonly View[];
  /** The learning rate over the first correction. */
  readonly rate: number;
  readonly decay: number;
}

/** Elements of a workgroup. */
const CHUNK = 4096;
/** Words of the table before its rows: the norm. */
const HEAD = 4;
/** Words of a row: first workgroup, elements, places of gradient and state, numbers of the state's buffers, rate, decay. */
const ROW = 12;
/** The number of a buffer that is not there. */
const NONE = 0xff;
/** Buffers that are not the state's: the table and the gradients. */
const OTHERS = 2;
/** Buffers of state at most: every one is a case more wherever state is read or written, and compilers take their time. */
const MOST_SLOTS = 8;

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
const placeOf = ({ block, offset, dtype }: View): number =>
  ((block as GpuBlock).slab ? (block as GpuBlock).start / bytesOf(dtype) : 0) + offset;

/** Whether a launch may work by vectors of 16 bytes: then it also writes up to the end of the last one. */
const inVectors = ({ view, state, size }: Tensor): boolean =>
  view.dtype === 'float32' &&
  state.every(({ block, offset, dtype }) => {
    const lanes = 16 / bytesOf(dtype);
    return offset % lanes === 0 && (size % lanes === 0 || bytesOf(dtype) * (offset + size) === block.bytes);
  });

/** How a kernel differs from others. */
interface Variant {
  /** Buffers of state. */
  readonly slots: number;
  readonly vectors: boolean;
  readonly clips: boolean;
  readonly skips: boolean;
  /** Whether some parameters have float16 copies. */
  readonly copies: boolean;
}

const kernel = (rt: Runtime, { slots, vectors, clips, skips, copies }: Variant) =>
  rt.kernel(`adamwStep:${slots}:${vectors}:${clips}:${skips}:${copies}`, () => {
    // Bits: copies lie in the same buffers.
    const [bits, type] = vectors ? ['vec4u', 'vec4f'] : ['u32', 'f32'];
    const names = Array.from({ length: slots }, (_, i) => `s${i}`);
    const choose = (each: (name: string) => string) =>
      names.map((name, i) => `${i === slots - 1 ? 'default' : `case ${i}u`}: { ${each(name)} }`).join('\n    ');
    const lanes = vectors ? 4 : 1;
    return {
      buffers: {
        table: input('u32'),
        g: input(type),
        ...Object.fromEntries(names.map((name) => [name, output(bits)])),
      },
      scalars: {
        firstRow: 'u32',
        rows: 'u32',
        groups: 'u32',
        maxNorm: 'f32',
        unscale: 'f32',
        beta1: 'f32',
        beta2: 'f32',
        rest1: 'f32',
        rest2: 'f32',
        eps: 'f32',
        root: 'f32',
      },
      code: withMath(`fn load(slot: u32, i: u32) -> ${type} {
  switch slot {
    ${choose((name) => `return bitcast<${type}>(${name}[i]);`)}
  }
}
fn store(slot: u32, i: u32, v: ${bits}) {
  switch slot {
    ${choose((name) => `${name}[i] = v;`)}
  }
}
fn word(row: u32, k: u32) -> u32 { return table[${HEAD}u + ${ROW}u * (p.firstRow + row) + k]; }
// What gradients are multiplied with.
fn factor() -> f32 {
  ${
    clips
      ? `let norm = bitcast<f32>(table[0]) * p.unscale;
  if (isnan_(norm)) { return norm; }
  return p.unscale * select(min(1.0f, p.maxNorm / (norm + 1e-6f)), 0.0f, norm == inf_());`
      : 'return p.unscale;'
  }
}
struct Row { p: u32, m: u32, v: u32, g: u32, slots: vec3u, rate: f32, decay: f32, factor: f32 }
// Updates vector i; the new parameter.
fn update(r: Row, i: u32) -> ${type} {
  let gradient = g[r.g + i] * r.factor;
  let m = p.beta1 * load(r.slots.y, r.m + i) + p.rest1 * gradient;
  let v = p.beta2 * load(r.slots.z, r.v + i) + p.rest2 * gradient * gradient;
  let now = load(r.slots.x, r.p + i) * r.decay - r.rate * m / (sqrt(v) / p.root + p.eps);
  store(r.slots.y, r.m + i, bitcast<${bits}>(m));
  store(r.slots.z, r.v + i, bitcast<${bits}>(v));
  store(r.slots.x, r.p + i, bitcast<${bits}>(now));
  return now;
}
${
  copies
    ? `fn halves(v: vec4f) -> vec2u {
  return vec2u(toHalf_(v.x) | (toHalf_(v.y) << 16u), toHalf_(v.z) | (toHalf_(v.w) << 16u));
}`
    : ''
}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(num_workgroups) group_count: vec3u, @builtin(local_invocation_index) lane: u32) {
  let group = group_id.x + group_id.y * group_count.x;
  if (group >= p.groups) { return; }
  ${skips ? 'if ((table[0] & 0x7f800000u) == 0x7f800000u) { return; }' : ''}
  // The last row that begins here or before.
  var row = 0u;
  var after = p.rows;
  while (after - row > 1u) {
    let middle = (row + after) / 2u;
    if (word(middle, 0u) <= group) { row = middle; } else { after = middle; }
  }
  let slots = word(row, 7u);
  let size = word(row, 1u);
  let r = Row(
    word(row, 3u), word(row, 4u), word(row, 5u), word(row, 2u) + p.gAt${vectors ? ' / 4u' : ''},
    vec3u(slots, slots >> 8u, slots >> 16u) & vec3u(0xffu),
    bitcast<f32>(word(row, 8u)), bitcast<f32>(word(row, 9u)), factor(),
  );
  let first = (group - word(row, 0u)) * ${CHUNK / lanes}u;
  let end = min(first + ${CHUNK / lanes}u, ${vectors ? '(size + 3u) / 4u' : 'size'});
  ${
    copies
      ? `// Two vectors of a parameter are one of its copy.
  let copy = word(row, 6u);
  let copySlot = slots >> 24u;
  for (var i = first + 2u * lane; i < end; i += ${2 * THREADS}u) {
    var half = vec4u();
    for (var k = 0u; k < min(2u, end - i); k++) {
      let now = halves(update(r, i + k));
      half = select(vec4u(half.xy, now), vec4u(now, 0u, 0u), k == 0u);
    }
    if (copySlot != ${NONE}u) { store(copySlot, copy + i / 2u, half); }
  }`
      : `for (var i = first + lane; i < end; i += ${THREADS}u) { update(r, i); }`
  }
}`),
    };
  });

/** A launch: its part of the table, and what is bound. */
interface Batch {
  readonly piece: Piece<Tensor>;
  readonly vectors: boolean;
  readonly slots: readonly GpuBlock[];
  readonly firstRow: number;
  readonly groups: number;
}

/** Deals the tensors out to launches and writes the table of all. */
function plan(rt: Runtime, tensors: readonly Tensor[]): { batches: Batch[]; table: Uint32Array } {
  const most = Math.min(MOST_SLOTS, rt.device.limits.maxStorageBuffersPerShaderStage - OTHERS);
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
  for (const vectors of [true, false]) {
    const lanes = vectors ? 4 : 1;
    const chosen = tensors.filter((t) => inVectors(t) === vectors);
    // A copy has eight elements in 16 bytes; by single elements it is left to a cast.
    for (const piece of piecesOf(rt, vectors ? chosen : chosen.map(withoutCopy), 2 * lanes, joins)) {
      const slots = [...buffers(piece).values()];
      const firstRow = rows.length;
      let group = 0;
      for (const part of piece.parts) {
        rows.push({ part, slots, group, lanes });
        group += Math.ceil(part.size / CHUNK);
      }
      batches.push({ piece, vectors, slots, firstRow, groups: group });
    }
  }
  const table = new Uint32Array(HEAD + ROW * rows.length);
  const floats = new Float32Array(table.buffer);
  rows.forEach(({ part, slots, group, lanes }, i) => {
    const { tensor, first, size, at } = part;
    const row = HEAD + ROW * i;
    const [places, numbers] = [
      [0, 0, 0, 0],
      [0, 0, 0, NONE],
    ];
    tensor.state.forEach((view, k) => {
      // Bytes of a vector, or of an element.
      places[k] = ((placeOf(view) + first) * bytesOf(view.dtype)) / (4 * lanes);
      numbers[k] = slots.findIndex(({ id }) => id === (view.block as GpuBlock).id);
    });
    const packed = (numbers[0] | (numbers[1] << 8) | (numbers[2] << 16) | (numbers[3] << 24)) >>> 0;
    table.set([group, size, at / lanes, ...places, packed], row);
    floats.set([tensor.rate, tensor.decay], row + 8);
  });
  return { batches, table };
}

const withoutCopy = (tensor: Tensor): Tensor => ({ ...tensor, state: tensor.state.slice(0, 3) });

export const adamwStep = (rt: Runtime): Kernel => ({
  plan(inputs, attrs) {
    const { count, lr, weightDecay, beta1, beta2, eps, step, maxNorm } = attrs as AdamWStepAttrs;
    const { scale = 1, skipNonFinite: skips = false, copies = false } = attrs as AdamWStepAttrs;
    const norm = inputs[4 * count] ?? null;
    const correction1 = 1 - beta1 ** step;
    const root = Math.sqrt(1 - beta2 ** step);
    const scalars = { maxNorm, unscale: 1 / scale, beta1, beta2, rest1: 1 - beta1, rest2: 1 - beta2, eps, root };
    const tensors = Array.from({ length: count }, (_, i): Tensor => {
      const [p, view, m, v] = [0, 1, 2, 3].map((k) => inputs[i + k * count] as View);
      const copied = copies ? inputs[4 * count + 1 + i] : null;
      return {
        view,
        size: sizeOf(p.shape),
        state: copied ? [p, m, v, copied] : [p, m, v],
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
        for (const { piece, vectors, slots, firstRow, groups } of batches) {
          withPiece(rt, piece, (g) => {
            const line = { dtype: 'float32' as const, shape: [0], strides: [1], offset: 0 };
            const state = Object.fromEntries(slots.map((slot, i) => [`s${i}`, { ...line, block: slot }]));
            const copied = piece.parts.some(({ tensor }) => tensor.state.length > 3);
            const variant = { slots: slots.length, vectors, clips: maxNorm > 0, skips, copies: copied };
            const rows = piece.parts.length;
            kernel(rt, variant)({ table: view, g, ...state }, { firstRow, rows, groups, ...scalars }, groups);
          });
        }
      });
      for (const tensor of tensors) {
        const [p, , , copied] = tensor.state;
        if (copied && !inVectors(tensor)) copy(rt, p, copied);
      }
    };
  },
});
