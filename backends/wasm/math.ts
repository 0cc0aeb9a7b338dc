/**
 * Vector functions, four float32 at a time, accurate to one or two units in the last place. Polynomials are minimax
 * fits of our own on the reduced ranges named beside them. NaN gives NaN.
 */
import { type FunctionBuilder, f32x4, i32x4, type Local, type V128, type Value, v128 } from './assembler/index.js';

type Vector = Value<'v128'>;

/** Coefficients from the lowest power; Horner. */
function polynomial(x: Local<'v128'>, coefficients: readonly number[]): Vector {
  return coefficients.reduceRight<Vector | null>(
    (sum, c) => (sum ? f32x4.add(f32x4.mul(sum, x), f32x4.splat(c)) : f32x4.splat(c)),
    null,
  ) as Vector;
}

/** Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, which then lies in the low bits. */
const ROUND = 12582912;
const ROUND_BITS = 0x4b400000;
const LN2_HIGH = 0.693359375;
const LN2_LOW = -2.1219444005469057e-4;
/** (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2 */
const EXP = [0.4999999342608668, 0.16666520309615698, 0.041668391839936834, 0.008368755947477595, 0.0013814517461378];

/** e^r for x = n ln 2 + r, and n in an integer vector; x must not overflow them. */
function reduceExp(f: FunctionBuilder, x: Local<'v128'>): { power: Local<'v128'>; n: Local<'v128'> } {
  const shifted = f.let(f32x4.add(f32x4.mul(x, f32x4.splat(Math.LOG2E)), f32x4.splat(ROUND)));
  const n = f.let(i32x4.sub(shifted, i32x4.splat(ROUND_BITS)));
  const whole = f.let(f32x4.sub(shifted, f32x4.splat(ROUND)));
  const high = f32x4.sub(x, f32x4.mul(whole, f32x4.splat(LN2_HIGH)));
  const r = f.let(f32x4.sub(high, f32x4.mul(whole, f32x4.splat(LN2_LOW))));
  const square = f32x4.mul(r, r);
  const power = f32x4.add(f32x4.add(f32x4.mul(polynomial(r, EXP), square), r), f32x4.splat(1));
  return { power: f.let(power), n };
}

/** 2^n for integers n from -126 to 127. */
const powerOfTwo = (n: Vector): Vector => i32x4.shl(i32x4.add(n, i32x4.splat(127)), 23);

/** e^x, with overflow to Infinity, gradual underflow and e^-Infinity = 0. */
export function exp(f: FunctionBuilder, argument: V128): Vector {
  const x = f.let(f32x4.pmax(f32x4.pmin(argument, f32x4.splat(89)), f32x4.splat(-105)));
  const { power, n } = reduceExp(f, x);
  // Two factors, because 2^n alone may lie outside the normal numbers.
  const half = f.let(i32x4.shrS(n, 1));
  return f32x4.mul(f32x4.mul(power, powerOfTwo(half)), powerOfTwo(i32x4.sub(n, half)));
}

/** e^x for x <= 0 (a little above is fine): results below e^-87 are 0. */
export function expNegative(f: FunctionBuilder, argument: V128): Vector {
  const given = f.let(argument);
  const x = f.let(f32x4.pmax(given, f32x4.splat(-87)));
  const { power, n } = reduceExp(f, x);
  const result = f32x4.mul(power, powerOfTwo(n));
  return v128.andNot(result, f32x4.lt(given, f32x4.splat(-87)));
}

/** (log(1 + t) - t + t^2 / 2) / t^3 on 1 + t from sqrt(1/2) to sqrt(2) */
const LOG = [
  0.33333331657653387, -0.25000822715172555, 0.2000123337287771, -0.16623298321746124, 0.14201553298306402,
  -0.1316058322351726, 0.12763325636824038, -0.07635651386899527,
];

/** Natural logarithm; -Infinity at 0, NaN below. */
export function log(f: FunctionBuilder, argument: V128): Vector {
  const given = f.let(argument);
  const subnormal = f.let(f32x4.lt(given, f32x4.splat(2 ** -126)));
  const x = f.let(v128.select(subnormal, f32x4.mul(given, f32x4.splat(2 ** 23)), given));
  // x = 2^n m with m from sqrt(1/2) to sqrt(2)
  const offset = 0x3f3504f3;
  const bits = f.let(i32x4.sub(x, i32x4.splat(offset)));
  const exponent = i32x4.sub(i32x4.shrS(bits, 23), v128.and(subnormal, i32x4.splat(23)));
  const n = f.let(f32x4.convertS(exponent));
  const m = i32x4.add(v128.and(bits, i32x4.splat(0x7fffff)), i32x4.splat(offset));
  const t = f.let(f32x4.sub(m, f32x4.splat(1)));
  const square = f.let(f32x4.mul(t, t));
  const small = f32x4.add(
    f32x4.sub(f32x4.mul(f32x4.mul(polynomial(t, LOG), square), t), f32x4.mul(f32x4.splat(0.5), square)),
    f32x4.mul(n, f32x4.splat(LN2_LOW)),
  );
  const result = f.let(f32x4.add(f32x4.add(small, t), f32x4.mul(n, f32x4.splat(LN2_HIGH))));
  // Infinity and NaN give themselves, 0 -Infinity, negative numbers NaN.
  const special = f.let(v128.select(f32x4.eq(given, f32x4.splat(0)), f32x4.splat(-Infinity), f32x4.splat(Number.NaN)));
  const finite = f32x4.lt(given, f32x4.splat(Infinity));
  const positive = f32x4.gt(given, f32x4.splat(0));
  return v128.select(positive, v128.select(finite, result, given), special);
}

/** erf(t) / t - 1 over t^2 on t <= 0.92 */
const ERF_SMALL = [
  0.1283791477130831, -0.37612481150181853, 0.11281682859812694, -0.026761728175780135, 0.004985950098384298,
  -0.0005953781282093307,
];
/** log(1 - erf(t)) on t from 0.92 to 4 */
const ERF_LARGE = [
  -0.0001919227553119758, -1.1276896417641349, -0.63716111579026, -0.10394804156519301, 0.02223387971368732,
  -0.0030447346244087945, 0.00019607024849172856,
];

/** Error function. */
export function erf(f: FunctionBuilder, argument: V128): Vector {
  const x = f.let(argument);
  const t = f.let(f32x4.pmin(f32x4.abs(x), f32x4.splat(4)));
  const square = f.let(f32x4.mul(x, x));
  const small = f.let(f32x4.add(f32x4.mul(polynomial(square, ERF_SMALL), x), x));
  const { power, n } = reduceExp(f, f.let(polynomial(t, ERF_LARGE)));
  const large = f32x4.sub(f32x4.splat(1), f32x4.mul(power, powerOfTwo(n)));
  const sign = v128.and(x, i32x4.splat(0x80000000 | 0));
  return v128.select(f32x4.lt(t, f32x4.splat(0.92)), small, v128.or(large, sign));
}

/** (tanh(t) / t - 1) / t^2 over t^2 on t <= 0.63 */
const TANH = [
  -0.3333327805895154, 0.13331310010573685, -0.05373000774437426, 0.020606178367657924, -0.0056669788289191066,
];

/** Hyperbolic tangent. */
export function tanh(f: FunctionBuilder, argument: V128): Vector {
  const x = f.let(argument);
  const t = f.let(f32x4.pmin(f32x4.abs(x), f32x4.splat(10)));
  const square = f.let(f32x4.mul(x, x));
  const small = f.let(f32x4.add(f32x4.mul(f32x4.mul(polynomial(square, TANH), square), x), x));
  // tanh t = 1 - 2 e^-2t / (1 + e^-2t)
  const e = f.let(expNegative(f, f32x4.mul(t, f32x4.splat(-2))));
  const large = f32x4.sub(f32x4.splat(1), f32x4.div(f32x4.add(e, e), f32x4.add(e, f32x4.splat(1))));
  const sign = v128.and(x, i32x4.splat(0x80000000 | 0));
  return v128.select(f32x4.lt(t, f32x4.splat(0.63)), small, v128.or(large, sign));
}

/** (1 - Phi(t)) e^(t^2 / 2) by powers of 1 / (1 + TAIL_SCALE t), on t from 0 to 6; Phi is the normal distribution. */
const TAIL = [
  -0.0002520462730899453, 0.13491114974021912, 0.10349263995885849, 0.22163139283657074, -0.154094398021698,
  0.3904934823513031, -0.24622181057929993, 0.0500396229326725,
];
const TAIL_SCALE = 0.328125;

/** x Phi(x), the exact GELU, and its slope Phi(x) + x Phi'(x): one exponential serves both. */
export function geluAndSlope(f: FunctionBuilder, argument: V128): { value: Vector; slope: Vector } {
  const x = f.let(argument);
  const e = f.let(expNegative(f, f32x4.mul(f32x4.mul(x, x), f32x4.splat(-0.5))));
  const u = f32x4.div(f32x4.splat(1), f32x4.add(f32x4.mul(f32x4.abs(x), f32x4.splat(TAIL_SCALE)), f32x4.splat(1)));
  const tail = f.let(f32x4.mul(polynomial(f.let(u), TAIL), e));
  const phi = f.let(v128.select(f32x4.lt(x, f32x4.splat(0)), tail, f32x4.sub(f32x4.splat(1), tail)));
  const density = f32x4.mul(e, f32x4.splat(1 / Math.sqrt(2 * Math.PI)));
  return { value: f32x4.mul(x, phi), slope: f32x4.add(phi, f32x4.mul(x, density)) };
}

/** Sum of the four lanes. */
export function sumLanes(f: FunctionBuilder, x: V128): Vector {
  const v = f.let(x);
  const pairs = f.let(f32x4.add(v, i32x4.shuffle(v, v, [2, 3, 0, 1])));
  return f32x4.add(pairs, i32x4.shuffle(pairs, pairs, [1, 0, 3, 2]));
}

/** Largest of the four lanes in all lanes; NaN wins. */
export function maxLanes(f: FunctionBuilder, x: V128): Vector {
  const v = f.let(x);
  const pairs = f.let(f32x4.max(v, i32x4.shuffle(v, v, [2, 3, 0, 1])));
  return f32x4.max(pairs, i32x4.shuffle(pairs, pairs, [1, 0, 3, 2]));
}
