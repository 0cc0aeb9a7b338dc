/**
 * Something given from outside was wrong: a file, a flag, a shape. The message is one sentence that names the thing,
 * what was expected and what to do; the command line prints it without a stack and exits with 2.
 */
export class InputError extends Error {
  override name = 'InputError';
}

/** A tensor operation was called with operands that do not fit: `[op] expected ..., got ...`. */
export class OpError extends InputError {
  override name = 'OpError';
  constructor(op: string, message: string) {
    super(`[${op}] ${message}`);
  }
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
