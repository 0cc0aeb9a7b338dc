/** Every op. */
export { add } from './add.js';
export { affine } from './affine.js';
export { cast } from './cast.js';
export { clone, contiguous } from './contiguous.js';
export { exp } from './exp.js';
export { expand } from './expand.js';
export { full, ones, zeros } from './fill.js';
export { mul } from './mul.js';
export { reshape } from './reshape.js';
export { sum } from './sum.js';
