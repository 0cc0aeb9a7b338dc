/** Tile sizes that a product can be made with. */

/** Tiles of blockM x blockN results, blockK of the depth at a time, threadM x threadN results an invocation. */
export interface Config {
  readonly blockM: number;
  readonly blockN: number;
  readonly blockK: number;
  readonly threadM: number;
  readonly threadN: number;
  /** Tiles in workgroup memory: with 2, the next is written while this one is read. */
  readonly stages: 1 | 2;
  /** Share of the best rate that a busy GPU reaches with it, for the first choice. */
  readonly rate: number;
}

const config = (
  [blockM, blockN, blockK]: [number, number, number],
  [threadM, threadN]: [number, number],
  stages: 1 | 2,
  rate: number,
): Config => ({ blockM, blockN, blockK, threadM, threadN, stages, rate });

/** Block sizes are powers of two, and blockM * blockK and blockN * blockK multiples of 512. */
export const CONFIGS: readonly Config[] = [
  config([128, 128, 16], [8, 8], 2, 1),
  config([128, 128, 16], [8, 8], 1, 0.95),
  config([128, 128, 8], [8, 8], 2, 0.9),
  config([128, 64, 16], [8, 8], 2, 0.8),
  config([128, 64, 16], [8, 4], 2, 0.75),
  config([64, 128, 16], [8, 8], 2, 0.8),
  config([64, 64, 16], [8, 4], 2, 0.65),
  config([64, 64, 16], [4, 4], 2, 0.6),
  config([64, 64, 8], [4, 4], 1, 0.5),
  config([32, 64, 16], [4, 4], 2, 0.45),
  config([64, 32, 16], [4, 4], 2, 0.45),
  config([32, 32, 32], [4, 4], 1, 0.35),
  config([16, 64, 32], [4, 4], 1, 0.3),
];

export const configName = ({ blockM, blockN, blockK, threadM, threadN, stages }: Config): string =>
  `${blockM}x${blockN}x${blockK}/${threadM}x${threadN}/${stages}`;

/** Invocations of a workgroup. */
export const threadsOf = ({ blockM, blockN, threadM, threadN }: Config): number =>
  (blockM * blockN) / (threadM * threadN);

/** Tiles for matrix units: blockM x blockN results by warpsM x warpsN subgroups, blockK of the depth at a time. */
export interface MatrixTile {
  readonly blockM: number;
  readonly blockN: number;
  readonly blockK: number;
  readonly warpsM: number;
  readonly warpsN: number;
  /** Share of the best rate that a busy GPU reaches with it. */
  readonly rate: number;
}

const matrixTile = (
  [blockM, blockN, blockK]: [number, number, number],
  [warpsM, warpsN]: [number, number],
  rate: number,
): MatrixTile => ({ blockM, blockN, blockK, warpsM, warpsN, rate });

/** A subgroup's part is a multiple of 16 x 16. */
export const MATRIX_TILES: readonly MatrixTile[] = [
  matrixTile([128, 128, 32], [2, 4], 1),
  matrixTile([128, 128, 32], [2, 2], 0.95),
  matrixTile([128, 128, 16], [2, 4], 0.8),
  matrixTile([128, 64, 32], [4, 2], 0.75),
  matrixTile([64, 128, 32], [2, 4], 0.75),
  matrixTile([64, 64, 32], [2, 2], 0.6),
  matrixTile([64, 64, 16], [2, 2], 0.5),
  matrixTile([32, 64, 32], [2, 2], 0.4),
];

export const matrixTileName = ({ blockM, blockN, blockK, warpsM, warpsN }: MatrixTile): string =>
  `matrix${blockM}x${blockN}x${blockK}/${warpsM}x${warpsN}`;
