/**
 * Functions that WGSL lacks or leaves too inexact, as WGSL text for float32 arguments: one or two units in the last
 * place. Polynomials are minimax fits of our own on the reduced ranges named beside them. NaN gives NaN.
 */

/** A float32 literal. Infinity and NaN are no constants in WGSL: they come from functions below. */
export function literal(value: number): string {
  const v = Math.fround(value);
  if (Number.isNaN(v)) return 'nan_()';
  if (v === Number.POSITIVE_INFINITY) return 'inf_()';
  if (v === Number.NEGATIVE_INFINITY) return '(-inf_())';
  const text = Object.is(v, -0) ? '-0.0' : String(v);
  return v < 0 || Object.is(v, -0) ? `(${text}f)` : `${text}f`;
}

/** Horner, coefficients from the lowest power. */
const polynomial = (x: string, coefficients: readonly number[]): string =>
  coefficients.reduceRight((sum, c) => (sum === '' ? literal(c) : `fma(${sum}, ${x}, ${literal(c)})`), '');

/** (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2 */
const EXP = [0.4999999342608668, 0.16666520309615698, 0.041668391839936834, 0.008368755947477595, 0.0013814517461378];
/** (log(1 + t) - t + t^2 / 2) / t^3 on 1 + t from sqrt(1/2) to sqrt(2) */
const LOG = [
  0.33333331657653387, -0.25000822715172555, 0.2000123337287771, -0.16623298321746124, 0.14201553298306402,
  -0.1316058322351726, 0.12763325636824038, -0.07635651386899527,
];
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
/** (tanh(t) / t - 1) / t^2 over t^2 on t <= 0.63 */
const TANH = [
  -0.3333327805895154, 0.13331310010573685, -0.05373000774437426, 0.020606178367657924, -0.0056669788289191066,
];
/** (1 - Phi(t)) e^(t^2 / 2) by powers of 1 / (1 + 0.328125 t), on t from 0 to 6; Phi is the normal distribution. */
const TAIL = [
  -0.0002520462730899453, 0.13491114974021912, 0.10349263995885849, 0.22163139283657074, -0.154094398021698,
  0.3904934823513031, -0.24622181057929993, 0.0500396229326725,
];
/** Taylor series on |r| <= pi / 4. */
const SIN = [-1 / 6, 1 / 120, -1 / 5040, 1 / 362880];
const COS = [1, -1 / 2, 1 / 24, -1 / 720, 1 / 40320, -1 / 3628800];

/** Each function with what it is written in. */
const FUNCTIONS: Readonly<Record<string, string>> = {
  // Through memory, or the compiler would refuse the constant.
  inf_: `var<private> inf_bits: u32 = 0x7f800000u;
fn inf_() -> f32 { return bitcast<f32>(inf_bits); }`,
  nan_: `var<private> nan_bits: u32 = 0x7fc00000u;
fn nan_() -> f32 { return bitcast<f32>(nan_bits); }`,
  // By the bits: a compiler may take x != x for false.
  isnan_: 'fn isnan_(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }',
  max_: `fn max_(x: f32, y: f32) -> f32 {
  if (isnan_(x)) { return x; }
  if (isnan_(y)) { return y; }
  return max(x, y);
}`,
  min_: `fn min_(x: f32, y: f32) -> f32 {
  if (isnan_(x)) { return x; }
  if (isnan_(y)) { return y; }
  return min(x, y);
}`,
  exp_: `fn exp_(x: f32) -> f32 {
  if (isnan_(x)) { return x; }
  if (x > 88.8f) { return inf_(); }
  if (x < -103.98f) { return 0.0f; }
  let n = round(x * ${literal(Math.LOG2E)});
  let r = fma(n, 2.1219444005469057e-4f, fma(n, -0.693359375f, x));
  let power = fma(${polynomial('r', EXP)}, r * r, r) + 1.0f;
  // Two factors, because 2^n alone may lie outside the normal numbers.
  let k = i32(n);
  let half = k >> 1u;
  return power * bitcast<f32>((half + 127) << 23u) * bitcast<f32>((k - half + 127) << 23u);
}`,
  log_: `fn log_(given: f32) -> f32 {
  if (isnan_(given)) { return given; }
  if (given == 0.0f) { return -inf_(); }
  if (given < 0.0f) { return nan_(); }
  if (given == inf_()) { return given; }
  let small = given < 1.1754944e-38f;
  let x = select(given, given * 8388608.0f, small);
  let bits = bitcast<i32>(x) - 0x3f3504f3;
  let n = f32((bits >> 23u) - select(0, 23, small));
  let t = bitcast<f32>((bits & 0x7fffff) + 0x3f3504f3) - 1.0f;
  let s = t * t;
  return fma(n, 0.693359375f, fma(n, -2.1219444005469057e-4f, fma(${polynomial('t', LOG)} * s, t, -0.5f * s)) + t);
}`,
  erf_: `fn erf_(x: f32) -> f32 {
  if (isnan_(x)) { return x; }
  let t = min(abs(x), 4.0f);
  let s = x * x;
  if (t < 0.92f) { return fma(${polynomial('s', ERF_SMALL)}, x, x); }
  let large = 1.0f - exp_(${polynomial('t', ERF_LARGE)});
  return select(large, -large, x < 0.0f);
}`,
  tanh_: `fn tanh_(x: f32) -> f32 {
  if (isnan_(x)) { return x; }
  let t = min(abs(x), 10.0f);
  let s = x * x;
  if (t < 0.63f) { return fma(${polynomial('s', TANH)} * s, x, x); }
  let e = exp_(-2.0f * t);
  let large = 1.0f - (e + e) / (e + 1.0f);
  return select(large, -large, x < 0.0f);
}`,
  sin_: `fn sin_(x: f32) -> f32 { return quarter_(x, 0); }`,
  cos_: `fn cos_(x: f32) -> f32 { return quarter_(x, 1); }`,
  // x = n pi / 2 + r
  quarter_: `fn quarter_(x: f32, add: i32) -> f32 {
  let n = round(x * 0.63661977f);
  let r = fma(n, -5.390302529957765e-15f, fma(n, 4.371139000186241e-8f, fma(n, -1.5707963705062866f, x)));
  let s = r * r;
  let quadrant = (i32(n) + add) & 3;
  let value = select(fma(${polynomial('s', SIN)} * s, r, r), ${polynomial('s', COS)}, (quadrant & 1) == 1);
  return select(value, -value, quadrant > 1);
}`,
  // As JavaScript's **: the sign of zero and infinity follows odd exponents.
  pow_: `fn pow_(x: f32, y: f32) -> f32 {
  if (y == 0.0f) { return 1.0f; }
  if (isnan_(x) || isnan_(y)) { return nan_(); }
  let size = abs(x);
  let whole = floor(y) == y;
  if (x < 0.0f && size < inf_() && !whole) { return nan_(); }
  var result = 0.0f;
  if (size == 0.0f || size == inf_()) { result = select(0.0f, inf_(), (size == 0.0f) == (y < 0.0f)); }
  else { result = exp_(y * log_(size)); }
  let odd = whole && floor(0.5f * y) * 2.0f != y;
  return select(result, -result, odd && (bitcast<u32>(x) >> 31u) == 1u);
}`,
  // 1 - Phi(|x|) and e^(-x^2 / 2): both parts of GELU and of its slope.
  tail_: `fn tail_(x: f32) -> vec2f {
  let e = exp_(-0.5f * x * x);
  let u = 1.0f / fma(abs(x), 0.328125f, 1.0f);
  return vec2f(${polynomial('u', TAIL)} * e, e);
}`,
  gelu_: `fn gelu_(x: f32) -> f32 {
  let tail = tail_(x).x;
  return x * select(1.0f - tail, tail, x < 0.0f);
}`,
  // GELU and its slope.
  geluAndSlope_: `fn geluAndSlope_(x: f32) -> vec2f {
  let t = tail_(x);
  let phi = select(1.0f - t.x, t.x, x < 0.0f);
  return vec2f(x * phi, fma(x, t.y * 0.3989422804f, phi));
}`,
  // IEEE half bits, rounded to nearest even, and back; exact also for what hardware may flush to zero.
  toHalf_: `fn toHalf_(value: f32) -> u32 {
  let x = bitcast<u32>(value);
  let sign = (x >> 16u) & 0x8000u;
  let size = x & 0x7fffffffu;
  if (size >= 0x7f800000u) { return sign | select(0x7c00u, 0x7e00u, size > 0x7f800000u); }
  if (size >= 0x477ff000u) { return sign | 0x7c00u; }
  if (size < 0x38800000u) {
    // The sum with 0.5 leaves the rounded mantissa in the low bits.
    return sign | (bitcast<u32>(bitcast<f32>(size) + 0.5f) - 0x3f000000u);
  }
  return sign | ((size - 0x38000000u + 0xfffu + ((size >> 13u) & 1u)) >> 13u);
}`,
  fromHalf_: `fn fromHalf_(bits: u32) -> f32 {
  let sign = (bits & 0x8000u) << 16u;
  let exponent = (bits >> 10u) & 31u;
  let mantissa = bits & 0x3ffu;
  if (exponent == 0u) {
    let small = f32(mantissa) * 5.9604644775390625e-8f;
    return select(small, -small, sign != 0u);
  }
  if (exponent == 31u) { return bitcast<f32>(sign | 0x7f800000u | (mantissa << 13u)); }
  return bitcast<f32>(sign | ((exponent + 112u) << 23u) | (mantissa << 13u));
}`,
  toBfloat_: `fn toBfloat_(value: f32) -> u32 {
  let x = bitcast<u32>(value);
  if ((x & 0x7fffffffu) > 0x7f800000u) { return (x >> 16u) | 0x40u; }
  return (x + 0x7fffu + ((x >> 16u) & 1u)) >> 16u;
}`,
  fromBfloat_: 'fn fromBfloat_(bits: u32) -> f32 { return bitcast<f32>(bits << 16u); }',
};

/** The code with every function above that it calls, directly or through another, written before it. */
export function withMath(code: string): string {
  const found = new Set<string>();
  const visit = (text: string): void => {
    for (const [name] of text.matchAll(/\b[a-zA-Z]+_(?=\()/g)) {
      if (!(name in FUNCTIONS) || found.has(name)) continue;
      found.add(name);
      visit(FUNCTIONS[name]);
    }
  };
  visit(code);
  return `${[...found].map((name) => FUNCTIONS[name]).join('\n')}\n${code}`;
}
