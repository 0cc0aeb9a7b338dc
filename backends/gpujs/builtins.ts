/**
 * The functions that programs may call, twice: in the shading language, where functions of the driver are too coarse
 * and NaN may be optimised away unless it is told by its bits, and in JavaScript.
 */
import { ARRAY, glslHead, INTEGER, NUMBER, QUAD, script, shading } from './engine.js';
import type { ScriptFunction } from './library.js';

/** Axes over which programs find their elements. */
export const MOST_AXES = 6;

interface Builtin {
  readonly name: string;
  readonly parameters: readonly string[];
  readonly integers?: boolean;
  /** Bodies. */
  readonly glsl: string;
  readonly js: string;
}

/** The position of element i of a shape [n1, ..., nr] in an array: o + sum of index times stride. n1 is not needed. */
function position(rank: number): Builtin {
  const axes = Array.from({ length: rank }, (_, k) => k + 1);
  const sizes = axes.slice(1).map((k) => `n${k}`);
  const steps = axes.map((k) => `s${k}`);
  const lines = (integer: string, divide: (a: string, b: string) => string) => {
    let text = `${integer} at = o; ${integer} rest = i; ${integer} above = 0; `;
    for (let k = rank; k > 1; k--) {
      text += `above = ${divide('rest', `n${k}`)}; at += (rest - above * n${k}) * s${k}; rest = above; `;
    }
    return `${text}return at + rest * s1;`;
  };
  return {
    name: `at${rank}`,
    parameters: ['i', 'o', ...sizes, ...steps],
    integers: true,
    glsl: lines('int', (a, b) => `${a} / ${b}`),
    js: lines('let', (a, b) => `Math.floor(${a} / ${b})`),
  };
}

/** Axes of a grid. */
export const MOST_GRID_AXES = 3;

/**
 * The position, from o on, of the element of a strided array that was written into a larger shape [n1, ..., nr] at
 * element i, -1 where there is none: along each axis `c` elements from place `b` on, every `d`-th, with stride `s`.
 */
function grid(rank: number): Builtin {
  const axes = Array.from({ length: rank }, (_, k) => k + 1);
  const lines = (integer: string, divide: (a: string, b: string) => string) => {
    let text = `${integer} at = o; ${integer} rest = i; ${integer} above = 0; ${integer} p = 0; ${integer} q = 0; `;
    for (let k = rank; k > 0; k--) {
      text += `above = ${divide('rest', `n${k}`)}; p = rest - above * n${k} - b${k}; q = ${divide('p', `d${k}`)}; `;
      text += `if (p < 0 || q >= c${k} || p - q * d${k} > 0) { return -1; } at += q * s${k}; rest = above; `;
    }
    return `${text}return at;`;
  };
  return {
    name: `grid${rank}`,
    parameters: ['i', 'o', ...axes.flatMap((k) => [`n${k}`, `b${k}`, `d${k}`, `c${k}`, `s${k}`])],
    integers: true,
    glsl: lines('int', (a, b) => `${a} / ${b}`),
    js: lines('let', (a, b) => `Math.floor(${a} / ${b})`),
  };
}

const ERF_TAIL = '((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t';

const BUILTINS: readonly Builtin[] = [
  ...Array.from({ length: MOST_AXES }, (_, k) => position(k + 1)),
  ...Array.from({ length: MOST_GRID_AXES }, (_, k) => grid(k + 1)),
  { name: 'quotient', parameters: ['a', 'b'], integers: true, glsl: 'return a / b;', js: 'return Math.floor(a / b);' },
  {
    name: 'exponential',
    parameters: ['x'],
    // e^x = 2^n e^r with |r| <= ln(2) / 2; ln 2 in two parts, and 2^n in two factors because 2^128 is no float.
    glsl: `
      if (isNotNumber(x)) return x;
      if (x > 88.7228394) return INFINITE;
      if (x < -87.3365402) return 0.0;
      float n = floor(x * 1.44269504 + 0.5);
      float r = (x - n * 0.693145752) - n * 1.42860677e-6;
      float p = 1.0 + r * (1.0 + r * (0.5 + r * (0.166666667 + r * (0.0416666667 + r * (8.33333333e-3
        + r * (1.38888889e-3 + r * 1.98412698e-4))))));
      int k = int(n);
      int h = k / 2;
      return p * uintBitsToFloat(uint(h + 127) << 23) * uintBitsToFloat(uint(k - h + 127) << 23);`,
    js: 'return Math.exp(x);',
  },
  {
    name: 'logarithm',
    parameters: ['x'],
    // x = 2^e m with m around 1; log m = 2 artanh((m - 1) / (m + 1)).
    glsl: `
      if (isNotNumber(x) || x == INFINITE) return x;
      if (x < 0.0) return NOT_A_NUMBER;
      if (x == 0.0) return -INFINITE;
      float shift = 0.0;
      if (x < 1.17549435e-38) { x *= 16777216.0; shift = 24.0; }
      uint bits = floatBitsToUint(x);
      float e = float(int(bits >> 23) - 127) - shift;
      float m = uintBitsToFloat((bits & 0x7fffffu) | 0x3f800000u);
      if (m > 1.41421356) { m *= 0.5; e += 1.0; }
      float s = (m - 1.0) / (m + 1.0);
      float q = s * s;
      return e * 0.693147181 + 2.0 * s * (1.0 + q * (0.333333333 + q * (0.2 + q * (0.142857143 + q * 0.111111111))));`,
    js: 'return Math.log(x);',
  },
  {
    name: 'hyperbolicTangent',
    parameters: ['x'],
    glsl: `
      float a = abs(x);
      if (isNotNumber(x)) return x;
      if (a > 9.5) return x > 0.0 ? 1.0 : -1.0;
      float q = x * x;
      if (a < 0.3) return x * (1.0 + q * (-0.333333333 + q * (0.133333333 + q * (-0.0539682540 + q * 0.0218694885))));
      float y = 1.0 - 2.0 / (exponential_(2.0 * a) + 1.0);
      return x > 0.0 ? y : -y;`,
    js: 'return Math.tanh(x);',
  },
  {
    name: 'errorFunction',
    parameters: ['x'],
    // Maclaurin series near 0, else Abramowitz & Stegun 7.1.26 (1.5e-7).
    glsl: `
      float a = abs(x);
      if (isNotNumber(x)) return x;
      if (a > 4.0) return x > 0.0 ? 1.0 : -1.0;
      float q = x * x;
      if (a < 0.5) return x * (1.12837917 + q * (-0.376126389 + q * (0.112837917 + q * (-0.0268661706
        + q * (5.22397762e-3 - q * 8.54832702e-4)))));
      float t = 1.0 / (1.0 + 0.3275911 * a);
      float y = 1.0 - ${ERF_TAIL} * exponential_(-q);
      return x > 0.0 ? y : -y;`,
    js: `
      const a = Math.abs(x);
      if (x !== x) { return x; }
      const q = x * x;
      if (a < 0.5) { return x * (1.1283791670955126 + q * (-0.37612638903183754 + q * (0.11283791670955126
        + q * (-0.026866170645131252 + q * (0.005223977625442188 - q * 0.0008548327023450853))))); }
      const t = 1 / (1 + 0.3275911 * a);
      const y = 1 - ${ERF_TAIL} * Math.exp(-q);
      if (x > 0) { return y; }
      return -y;`,
  },
  {
    name: 'larger',
    parameters: ['x', 'y'],
    glsl: 'return isNotNumber(x) ? x : isNotNumber(y) ? y : x > y ? x : y;',
    js: 'if (x !== x) { return x; } if (y !== y) { return y; } if (x > y) { return x; } return y;',
  },
  {
    name: 'smaller',
    parameters: ['x', 'y'],
    glsl: 'return isNotNumber(x) ? x : isNotNumber(y) ? y : x < y ? x : y;',
    js: 'if (x !== x) { return x; } if (y !== y) { return y; } if (x < y) { return x; } return y;',
  },
  {
    name: 'isEqual',
    parameters: ['x', 'y'],
    glsl: 'return x == y && !isNotNumber(x) && !isNotNumber(y) ? 1.0 : 0.0;',
    js: 'if (x === y) { return 1; } return 0;',
  },
  {
    name: 'isLess',
    parameters: ['x', 'y'],
    glsl: 'return x < y && !isNotNumber(x) && !isNotNumber(y) ? 1.0 : 0.0;',
    js: 'if (x < y) { return 1; } return 0;',
  },
  {
    name: 'isAtMost',
    parameters: ['x', 'y'],
    glsl: 'return x <= y && !isNotNumber(x) && !isNotNumber(y) ? 1.0 : 0.0;',
    js: 'if (x <= y) { return 1; } return 0;',
  },
  {
    name: 'choose',
    parameters: ['test', 'yes', 'no'],
    glsl: 'return test == 0.0 && !isNotNumber(test) ? no : yes;',
    js: 'if (test === 0) { return no; } return yes;',
  },
  {
    name: 'squareRoot',
    parameters: ['x'],
    glsl: 'return x < 0.0 ? NOT_A_NUMBER : sqrt(x);',
    js: 'return Math.sqrt(x);',
  },
  { name: 'infinite', parameters: [], glsl: 'return INFINITE;', js: 'return 1 / 0;' },
  { name: 'notANumber', parameters: [], glsl: 'return NOT_A_NUMBER;', js: 'return 0 / 0;' },
];

const parametersOf = (b: Builtin) => b.parameters.map((p) => [p, b.integers ? INTEGER : NUMBER] as const);
const resultOf = (b: Builtin) => (b.integers ? INTEGER : NUMBER);

/** What the programs call, in the shading language. */
export const GLSL_BUILTINS = [
  ...BUILTINS.map((b) =>
    shading(b.name, parametersOf(b), resultOf(b), `return ${b.name}_(${b.parameters.join(', ')});`),
  ),
  shading('quarter', [['i', INTEGER]], INTEGER, 'return i >> 2;'),
  shading(
    'element',
    [
      ['v', QUAD],
      ['i', INTEGER],
    ],
    NUMBER,
    'return v[i & 3];',
  ),
];

/**
 * The bodies, under names with a trailing line: gpu.js writes only functions that it sees called, so that they could not
 * call each other.
 */
export const GLSL_PRELUDE = [
  '#define INFINITE uintBitsToFloat(0x7f800000u)',
  '#define NOT_A_NUMBER uintBitsToFloat(0x7fc00000u)',
  'bool isNotNumber(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }',
  // Where element i lies in a texture, and a place moved on by a step that is no wider than the texture.
  'ivec2 spot(int i, ivec2 size) { return ivec2(i % size.x, i / size.x); }',
  'ivec2 after(ivec2 p, ivec2 step, int width) { p += step; return p.x < width ? p : ivec2(p.x - width, p.y + 1); }',
  ...BUILTINS.map((b) => `${glslHead(`${b.name}_`, parametersOf(b), resultOf(b))} { ${b.glsl} }`),
  '',
].join('\n');

export const GLSL_READ = script(
  'read',
  [
    ['a', ARRAY],
    ['i', INTEGER],
  ],
  NUMBER,
  'return element(a[quarter(i)], i);',
);

/** The same in JavaScript. */
export const SCRIPT_BUILTINS: readonly ScriptFunction[] = [
  script(
    'read',
    [
      ['a', ARRAY],
      ['i', INTEGER],
    ],
    NUMBER,
    'return a[i];',
  ),
  ...BUILTINS.map((b) => {
    const type = b.integers ? INTEGER : NUMBER;
    return script(
      b.name,
      b.parameters.map((p) => [p, type] as const),
      type,
      b.js,
    );
  }),
];
