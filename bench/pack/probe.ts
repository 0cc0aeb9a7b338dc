/** `node probe.js [ADAPTER]`: one line about the GPU that the webgpu backend would take; exits with 1 when there is none. */
import { factsOf, findAdapter } from '../../backends/webgpu/device.js';
import { messageOf } from '../../core/errors.js';

const name = process.argv[2];
try {
  const { gpu, adapter } = await findAdapter(name);
  const { vendor, description, half, matrices } = factsOf(gpu, adapter);
  // A GPU in software is taken only when it was asked for by name.
  const isSoftware = /swiftshader|llvmpipe|lavapipe/i.test(`${vendor} ${description} ${adapter.info.device}`);
  const extras = [half ? 'float16' : 'no float16', matrices.length > 0 ? 'matrix units' : 'no matrix units'];
  console.log([vendor, adapter.info.device, description, extras.join(' and ')].filter((s) => s !== '').join(', '));
  process.exit(isSoftware && name === undefined ? 1 : 0);
} catch (error) {
  console.error(messageOf(error));
  process.exit(1);
}
