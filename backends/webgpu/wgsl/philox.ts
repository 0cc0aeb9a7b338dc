/** Random bits in WGSL, the very words of core/random.ts. */

/** WGSL of Philox4x32-10 (Salmon et al. 2011): `philox(key, counter)` gives the four words of a block. */
export const PHILOX = `
fn multiply(a: u32, b: u32) -> vec2u {
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let low = al * bl;
  let first = ah * bl + (low >> 16u);
  let second = al * bh + (first & 0xffffu);
  return vec2u(a * b, ah * bh + (first >> 16u) + (second >> 16u));
}
fn philox(key: vec2u, counter: vec2u) -> vec4u {
  var c = vec4u(counter, 0u, 0u);
  var k = key;
  for (var round = 0; round < 10; round++) {
    let a = multiply(0xd2511f53u, c.x);
    let b = multiply(0xcd9e8d57u, c.z);
    c = vec4u(b.y ^ c.y ^ k.x, b.x, a.y ^ c.w ^ k.y, a.x);
    k += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
// The counter of a block so many after another.
fn after(counter: vec2u, blocks: u32) -> vec2u {
  let low = counter.x + blocks;
  return vec2u(low, counter.y + select(0u, 1u, low < blocks));
}`;
