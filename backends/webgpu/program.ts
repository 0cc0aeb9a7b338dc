/// <reference types="@webgpu/types" />
/** Kernels in WGSL: what a definition says, the text that the GPU gets, and the scalars that travel with a dispatch. */
import type { AdapterFacts } from './device.js';

/** Element type of a bound array as WGSL spells it: f32, f16, i32, u32, vec4<f32>, atomic<u32>, ... */
export interface Binding {
  readonly access: 'read' | 'write';
  readonly type: string;
}

/** A buffer that a kernel reads. */
export const input = (type: string): Binding => ({ access: 'read', type });
/** A buffer that a kernel writes (and may read). */
export const output = (type: string): Binding => ({ access: 'write', type });

/** Types of a kernel's scalars. */
export type Scalars = Readonly<Record<string, 'u32' | 'i32' | 'f32'>>;

/**
 * A kernel. In the code each buffer is an array of its name, `p.<scalar>` a scalar, and `p.<buffer>At` the index of the
 * view's first element (of the view's own dtype). The entry point is `main`.
 */
export interface Definition {
  readonly buffers: Readonly<Record<string, Binding>>;
  readonly scalars?: Scalars;
  /** WGSL extensions: f16, subgroups, chromium_experimental_subgroup_matrix. */
  readonly enable?: readonly string[];
  readonly code: string;
}

/** 64 bytes. */
const MOST_IMMEDIATE_WORDS = 16;

/** A definition, ready for dispatches. */
export interface Program {
  readonly key: string;
  readonly names: readonly string[];
  /** Scalars in order, and the buffers whose offset the code reads. */
  readonly fields: readonly { readonly name: string; readonly type: 'u32' | 'i32' | 'f32' }[];
  readonly offsets: ReadonlySet<string>;
  readonly written: readonly boolean[];
  readonly immediate: boolean;
  /** Pipeline by the buffers that are read but bound as written, because the same buffer is also written. */
  readonly variants: Map<number, Variant>;
  readonly definition: Definition;
}

export interface Variant {
  readonly layout: GPUBindGroupLayout;
  /** Null while it is being compiled ahead. */
  pipeline: GPUComputePipeline | null;
  /** Set while it is being compiled ahead. */
  pending: Promise<void> | null;
  /** Distinguishes bind groups of different layouts. */
  readonly layoutKey: string;
}

export function makeProgram(key: string, definition: Definition, facts: AdapterFacts): Program {
  const names = Object.keys(definition.buffers);
  const offsets = new Set(names.filter((name) => new RegExp(`\\bp\\.${name}At\\b`).test(definition.code)));
  const fields = [
    ...[...offsets].map((name) => ({ name: `${name}At`, type: 'u32' as const })),
    ...Object.entries(definition.scalars ?? {}).map(([name, type]) => ({ name, type })),
  ];
  return {
    key,
    names,
    fields,
    offsets,
    written: names.map((name) => definition.buffers[name].access === 'write'),
    immediate: facts.immediates && fields.length <= MOST_IMMEDIATE_WORDS,
    variants: new Map(),
    definition,
  };
}

/** The WGSL text of a variant. */
export function textOf({ definition, names, fields, written, immediate }: Program, promoted: number): string {
  const lines = (definition.enable ?? []).map((name) => `enable ${name};`);
  if (immediate && fields.length > 0) lines.push('requires immediate_address_space;');
  if (fields.length > 0) {
    lines.push(`struct Scalars { ${fields.map((f) => `${f.name}: ${f.type}`).join(', ')} }`);
    lines.push(
      immediate ? 'var<immediate> p: Scalars;' : `@group(0) @binding(${names.length}) var<uniform> p: Scalars;`,
    );
  }
  names.forEach((name, i) => {
    const access = written[i] || (promoted >> i) & 1 ? 'read_write' : 'read';
    lines.push(`@group(0) @binding(${i}) var<storage, ${access}> ${name}: array<${definition.buffers[name].type}>;`);
  });
  return `${lines.join('\n')}\n${definition.code}`;
}
