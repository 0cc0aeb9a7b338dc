/** Modes that hold while a function runs. */
let recording = true;

/** Whether operations are recorded for backward. */
export function isGradEnabled(): boolean {
  return recording;
}

function withRecording<T>(on: boolean, fn: () => T): T {
  const before = recording;
  recording = on;
  try {
    const result = fn();
    if (result instanceof Promise) throw new TypeError('noGrad(fn) expected a synchronous function, got a Promise');
    return result;
  } finally {
    recording = before;
  }
}

/** Runs `fn` without recording; nothing inside can be differentiated. */
export const noGrad = <T>(fn: () => T): T => withRecording(false, fn);

/** Runs `fn` with recording on, also inside noGrad. */
export const enableGrad = <T>(fn: () => T): T => withRecording(true, fn);
