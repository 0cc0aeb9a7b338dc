/** The loss or the gradients of a step are no numbers any more. */
export class NotFinite extends Error {
  constructor(
    readonly what: string,
    /** Steps done before. */
    readonly step: number,
    readonly files: readonly string[],
  ) {
    super(`${what} at step ${step + 1}`);
  }
}
