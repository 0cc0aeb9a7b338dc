import { autoBackend, backendNames, loadBackend } from '../../backends/index.js';
import type { Backend } from '../../core/backend.js';
import { messageOf } from '../../core/errors.js';
import { canShareMemory } from '../../core/runtime.js';
import type { Command } from '../command.js';
import { megabytes } from '../format.js';

export const command: Command = {
  usage: ['devices'],
  about: 'Lists what this machine can compute on, and what --device auto takes.',
  flags: {},
  examples: ['beit3 devices --json'],
  async run(args, context) {
    args.expect(0, 0, 'nothing');
    const { availableParallelism, freemem, totalmem } = await import('node:os');
    const preferred = await autoBackend();
    const devices: Device[] = [];
    for (const name of backendNames()) {
      try {
        const { caps, details } = await loadBackend(name, { threads: context.threads, adapter: context.adapter });
        devices.push({
          name,
          auto: name === preferred,
          dtypes: [...caps.dtypes],
          storageOnly: [...caps.storageOnly],
          ...(details ? { details } : {}),
        });
      } catch (error) {
        devices.push({ name, auto: name === preferred, dtypes: [], storageOnly: [], error: messageOf(error) });
      }
    }
    const machine = {
      node: process.versions.node,
      threads: availableParallelism(),
      sharedMemory: canShareMemory(),
      simd: WebAssembly.validate(SIMD),
      relaxedSimd: WebAssembly.validate(RELAXED_SIMD),
      memoryBytes: totalmem(),
      freeBytes: freemem(),
    };
    if (context.wantsJson) {
      context.json({ machine, devices });
      return;
    }
    const yes = (flag: boolean) => (flag ? 'yes' : 'no');
    context.out(
      `Node ${machine.node}, ${machine.threads} threads, ${megabytes(machine.memoryBytes)} of memory (${megabytes(machine.freeBytes)} free)`,
    );
    context.out(
      `WebAssembly: SIMD ${yes(machine.simd)}, relaxed SIMD ${yes(machine.relaxedSimd)}, shared memory ${yes(machine.sharedMemory)}`,
    );
    for (const device of devices) context.out(deviceText(device));
  },
};

interface Device {
  readonly name: string;
  /** Whether --device auto takes it. */
  readonly auto: boolean;
  readonly dtypes: readonly string[];
  /** Of these, the ones that are computed in float32. */
  readonly storageOnly: readonly string[];
  /** The GPU and what it can do. */
  readonly details?: Backend['details'];
  /** Why it cannot be used here. */
  readonly error?: string;
}

function deviceText({ name, auto, dtypes, storageOnly, details, error }: Device): string {
  const title = `${name}${auto ? ' (auto)' : ''}`;
  if (error !== undefined) return `${title}: not here: ${error}`;
  const types = dtypes
    .map((dtype) => (storageOnly.includes(dtype) ? `${dtype} (computed in float32)` : dtype))
    .join(', ');
  const more = Object.entries(details ?? {}).map(([key, value]) => `\n  ${key}: ${value}`);
  return `${title}: ${types}${more.join('')}`;
}

/** The smallest modules that use a v128 constant, and a relaxed instruction: an engine without them refuses. */
const HEAD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10];
const ZERO_VECTOR = [253, 12, ...new Array<number>(16).fill(0)];
const SIMD = Uint8Array.from([...HEAD, 22, 1, 20, 0, ...ZERO_VECTOR, 11]);
/** i8x16.relaxed_swizzle, 0xfd 0x100. */
const RELAXED_SIMD = Uint8Array.from([...HEAD, 43, 1, 41, 0, ...ZERO_VECTOR, ...ZERO_VECTOR, 253, 128, 2, 11]);
