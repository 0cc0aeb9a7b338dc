/** A picture in memory. */
export interface RgbImage {
  width: number;
  height: number;
  /** [height, width, 3], 0 to 255. */
  data: Uint8Array;
}
