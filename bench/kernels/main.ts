/** `npm run bench:kernels`: see --help. */
import { writeFile } from 'node:fs/promises';
import { backendNames } from '../../backends/index.js';
import { InputError } from '../../core/errors.js';
import { openPeers } from '../against/index.js';
import { flagsOf, main } from '../flags.js';
import { CASES } from './cases.js';
import { deviceLines, rowLine } from './report.js';
import { benchKernels } from './run.js';

const FLAGS = {
  device: ['NAME', `only this backend: ${backendNames().join(', ')}; default: all that the machine has`],
  adapter: ['NAME', 'GPU of the webgpu backend, by a part of its name; swiftshader is the software one'],
  threads: ['N', 'threads of the wasm backend'],
  only: ['NAMES', `kernels, or beginnings of their names, with commas between: ${CASES.map((c) => c.name).join(', ')}`],
  dtype: ['NAME', 'only float32 or only float16'],
  scale: ['X', 'fraction of the whole problems (1: batch 32); default: calls of about 20 ms'],
  quick: [null, 'smaller problems and less time for each: to see that it works'],
  untuned: [null, 'without measuring tile sizes before (webgpu measures each class of products once and remembers)'],
  json: ['FILE', 'write the figures to this file, too'],
  against: [null, 'beside other frameworks, those that are installed'],
  peers: ['DIR', 'where their packages are installed; default: node_modules'],
  'peer-device': ['NAME', 'where PyTorch computes: cpu or cuda; default: cuda beside webgpu, if it has it'],
} as const;

await main(async () => {
  const flags = flagsOf(
    'npm run bench:kernels -- [FLAGS]: times kernels in shapes of BEiT-3 on every backend, each checked before',
    FLAGS,
  );
  if (flags === null) return;
  const device = flags.text('device');
  const adapter = flags.text('adapter');
  const json = flags.text('json');
  const dtype = flags.choice('dtype', ['float32', 'float16']);
  if (device !== undefined && !backendNames().includes(device))
    throw new InputError(`There is no device ${device}; expected one of ${backendNames().join(', ')}.`);
  const threads = flags.whole('threads', 1, 256);
  const torchDevice = flags.choice('peer-device', ['cpu', 'cuda']);
  const options = { peers: flags.text('peers'), adapter, threads, torchDevice };
  const peers = flags.has('against') ? await openPeers(device ? [device] : backendNames(), options, console.log) : [];
  const report = await benchKernels({
    peers,
    devices: device === undefined ? undefined : [device],
    adapter,
    threads,
    only: flags.text('only')?.split(','),
    dtypes: dtype && [dtype],
    scale: flags.number('scale', 1e-6, 1),
    quick: flags.has('quick'),
    untuned: flags.has('untuned'),
    onDevice: (d) => {
      for (const line of deviceLines(d)) console.log(line);
    },
    onRow: (row) => console.log(rowLine(row)),
  });
  for (const peer of peers) peer.close();
  console.log(
    '\nms: the fastest of the samples, because other work on a machine only adds. peak and copy: per cent of the\n' +
      'measured ceilings. x ref.: how many times the operations a second of the reference backend, which is timed on a part\n' +
      'of each problem. error: norm of the difference to its result over its norm.',
  );
  if (json !== undefined) await writeFile(json, `${JSON.stringify(report, null, 1)}\n`);
  if (report.rows.some((row) => row.failed !== undefined && row.peer === undefined)) process.exitCode = 1;
});
