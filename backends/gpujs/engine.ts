/** What the two ways of running gpu.js have in common: arrays of floats, and programs over them. */
import type { ScriptFunction } from './library.js';

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
  readonly functions?: readonly ScriptFunction[];
  /** Each call computes four elements in a row and returns them as an array; only where the engine `hasQuads`. */
  readonly quads?: boolean;
}

export interface Engine {
  /** Whether memory is read and written by fours. */
  readonly hasQuads: boolean;
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

/** The functions of a program with the type that arrays have in an engine. */
export function withArrays(functions: readonly ScriptFunction[], arrayType: string): ScriptFunction[] {
  return functions.map((f) => ({ ...f, argumentTypes: f.argumentTypes.map((t) => (t === ARRAY ? arrayType : t)) }));
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
