/** What the two ways of running gpu.js have in common: arrays of floats, and programs over them. */
import type { ScriptFunction, ShadingFunction } from './library.js';

/** Floats where the programs run. */
export interface DeviceArray {
  readonly length: number;
  free(): void;
}

export type ParameterType = 'array' | 'integer' | 'number';

/** A kernel in JavaScript: what it computes for the element `this.thread.x` of its result. */
export interface Program {
  readonly parameters: readonly (readonly [name: string, type: ParameterType])[];
  /** Statements that end in a return. Arrays are read by `read(array, index)`, or by fours as `array[index]` if `quads`. */
  readonly body: string;
  /** What it calls besides the builtins; in the shading language only where the engine `hasQuads`. */
  readonly functions?: readonly (ScriptFunction | ShadingFunction)[];
  /** Each call computes four elements in a row and returns them as an array; only where the engine `hasQuads`. */
  readonly quads?: boolean;
}

export interface Engine {
  /** Whether memory is read and written by fours. */
  readonly hasQuads: boolean;
  /** Where it runs. */
  readonly details: Readonly<Record<string, string | number>>;
  /** Elements that an array may have. */
  readonly mostElements: number;
  upload(values: Float32Array): DeviceArray;
  download(array: DeviceArray): Float32Array;
  /** A new array of `length` elements. */
  run(program: Program, values: readonly (DeviceArray | number)[], length: number): DeviceArray;
  /** Waits for everything that was started. */
  wait(): void;
  dispose(): Promise<void>;
}

/** The type of arrays in functions that programs call; both engines know what it is. */
export const ARRAY = 'array';
export const INTEGER = 'Integer';
export const NUMBER = 'Number';
export const QUAD = 'Array(4)';

/** A function for programs, from its name, parameters with types, and body. */
export function script(
  name: string,
  parameters: readonly (readonly [name: string, type: string])[],
  returnType: string,
  body: string,
): ScriptFunction {
  return {
    name,
    source: `function ${name}(${parameters.map(([p]) => p).join(', ')}) { ${body} }`,
    argumentTypes: parameters.map(([, type]) => type),
    returnType,
  };
}

const GLSL_TYPES: Readonly<Record<string, string>> = { [INTEGER]: 'int', [NUMBER]: 'float', [QUAD]: 'vec4' };

/** The head of a function in the shading language, where an array comes with two sizes. */
export function glslHead(
  name: string,
  parameters: readonly (readonly [name: string, type: string])[],
  returnType: string,
): string {
  const typed = parameters.map(([p, type]) =>
    type === ARRAY ? `sampler2D ${p}, ivec2 ${p}Size, ivec3 ${p}Shape` : `${GLSL_TYPES[type]} ${p}`,
  );
  return `${GLSL_TYPES[returnType]} ${name}(${typed.join(', ')})`;
}

/** A function for programs in the shading language. */
export function shading(
  name: string,
  parameters: readonly (readonly [name: string, type: string])[],
  returnType: string,
  body: string,
): ShadingFunction {
  return {
    name,
    source: `${glslHead(name, parameters, returnType)} { ${body} }`,
    argumentTypes: Object.fromEntries(parameters),
    returnType,
  };
}

/** What every kernel is made with. */
export const SETTINGS = {
  output: [1],
  pipeline: true,
  immutable: true,
  dynamicOutput: true,
  dynamicArguments: true,
  precision: 'single',
  tactic: 'precision',
  fixIntegerDivisionAccuracy: false,
  loopMaxIterations: 2 ** 31 - 1,
} as const;
