/** The smallest ONNX files: a few nodes and weights, written as protocol buffers. */

type Message = readonly (readonly [field: number, value: Uint8Array | string | number])[];

/** A message: varints and length-delimited fields. */
function message(fields: Message): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [field, value] of fields) {
    if (typeof value === 'number') parts.push(varint(field << 3), varint(value));
    else {
      const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value;
      parts.push(varint((field << 3) | 2), varint(bytes.length), bytes);
    }
  }
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

export interface OnnxNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Whole numbers only. */
  readonly attributes?: Readonly<Record<string, number>>;
  /** '' are the standard operators. */
  readonly domain?: string;
}

export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  /** Shapes of the float32 inputs. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** float32 constants. */
  readonly weights: Readonly<Record<string, { readonly shape: readonly number[]; readonly values: Float32Array }>>;
  readonly output: string;
}

const FLOAT = 1;
const INT = 2;
/** Version of the file format, and of the operators: 20 is the first with GELU. */
const FORMAT = 9;
const OPERATORS = 20;
const MICROSOFT = 'com.microsoft';

/** The file of a graph. */
export function onnxModel({ nodes, inputs, weights, output }: OnnxGraph): Uint8Array {
  const dims = (shape: readonly number[]) => message(shape.map((n) => [1, message([[1, n]])]));
  const typedValue = (name: string, shape: readonly number[] | null) =>
    message([
      [1, name],
      [2, message([[1, message([[1, FLOAT], ...(shape ? ([[2, dims(shape)]] as const) : [])])]])],
    ]);
  const graph = message([
    ...nodes.map((node) => [1, nodeOf(node)] as const),
    [2, 'kernel'],
    ...Object.entries(weights).map(
      ([name, { shape, values }]) =>
        [
          5,
          message([
            ...shape.map((n) => [1, n] as const),
            [2, FLOAT],
            [8, name],
            [9, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)],
          ]),
        ] as const,
    ),
    ...Object.entries(inputs).map(([name, shape]) => [11, typedValue(name, shape)] as const),
    [12, typedValue(output, null)],
  ]);
  const operators = (domain: string, version: number) =>
    message([
      [1, domain],
      [2, version],
    ]);
  return message([
    [1, FORMAT],
    [7, graph],
    [8, operators('', OPERATORS)],
    [8, operators(MICROSOFT, 1)],
  ]);
}

const nodeOf = ({ op, inputs, outputs, attributes = {}, domain = '' }: OnnxNode): Uint8Array =>
  message([
    ...inputs.map((name) => [1, name] as const),
    ...outputs.map((name) => [2, name] as const),
    [4, op],
    ...Object.entries(attributes).map(
      ([name, value]) =>
        [
          5,
          message([
            [1, name],
            [3, value],
            [20, INT],
          ]),
        ] as const,
    ),
    [7, domain],
  ]);
