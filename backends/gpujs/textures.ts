/** Programs in WebGL2: arrays are float textures, four elements a pixel, and a program draws its result. */
import { InputError } from '../../core/errors.js';
import { GLSL_BUILTINS, GLSL_PRELUDE, GLSL_READ } from './builtins.js';
import { ARRAY, type DeviceArray, type Engine, glslHead, type Program, QUAD, SETTINGS } from './engine.js';
import type { DrawnTexture, Gpu, GpuConstructor, GpuKernel, ScriptFunction, ShadingFunction } from './library.js';

/** The type under which gpu.js reads four floats at once. */
const TEXTURE = 'ArrayTexture(4)';
const TYPES = { array: TEXTURE, integer: 'Integer', number: 'Float' } as const;

/** Bytes from which on it is asked whether the memory was there: the question waits for the graphics process. */
const LARGE = 2 ** 24;

/** A texture as gpu.js takes it for an argument. */
class TextureArray implements DeviceArray {
  readonly type = TEXTURE;
  readonly output: readonly number[];
  readonly dimensions: readonly number[];
  constructor(
    readonly texture: WebGLTexture,
    readonly size: ArrayLike<number>,
    readonly length: number,
    readonly context: WebGL2RenderingContext,
    readonly free: () => void,
  ) {
    const pixels = Math.ceil(length / 4);
    this.output = [pixels];
    this.dimensions = [pixels, 1, 1];
  }
}

const arrayType = (type: string): string => (type === ARRAY ? TEXTURE : type);

/**
 * The functions of a program as gpu.js takes them, and their heads: it writes functions in an order in which one may
 * come before those that it calls.
 */
function written(all: readonly (ScriptFunction | ShadingFunction)[]) {
  const functions: ScriptFunction[] = [];
  const nativeFunctions: ShadingFunction[] = [];
  let heads = '';
  for (const f of all) {
    const { argumentTypes: types } = f;
    const parameters = Object.entries(types);
    heads += `${glslHead(
      f.name,
      parameters.map(([p, type]) => [`p${p}`, type] as const),
      f.returnType,
    )};\n`;
    if (Array.isArray(types)) functions.push({ ...(f as ScriptFunction), argumentTypes: types.map(arrayType) });
    else {
      const argumentTypes = Object.fromEntries(parameters.map(([p, type]) => [p, arrayType(type)]));
      nativeFunctions.push({ ...(f as ShadingFunction), argumentTypes });
    }
  }
  return { functions, nativeFunctions, heads };
}

/** A drawing context with float textures. Throws InputError where the page has none. */
function openContext(): WebGL2RenderingContext {
  const canvas =
    typeof OffscreenCanvas === 'undefined' ? globalThis.document?.createElement('canvas') : new OffscreenCanvas(1, 1);
  const gl = canvas?.getContext('webgl2', {
    alpha: false,
    depth: false,
    antialias: false,
  }) as WebGL2RenderingContext | null;
  if (!gl) throw new InputError('This page has no WebGL2, which the gpujs backend draws with; use the wasm backend.');
  if (!gl.getExtension('EXT_color_buffer_float')) {
    throw new InputError(
      'The WebGL2 of this page cannot draw into float textures (EXT_color_buffer_float), which the gpujs backend needs; use the wasm backend.',
    );
  }
  return gl;
}

export class TextureEngine implements Engine {
  readonly hasQuads = true;
  readonly details: Readonly<Record<string, string | number>>;
  readonly mostElements: number;
  readonly #gl: WebGL2RenderingContext;
  readonly #gpu: Gpu;
  readonly #kernels = new Map<Program, GpuKernel>();
  readonly #reader: WebGLFramebuffer;
  readonly #largest: number;

  constructor(GPU: GpuConstructor) {
    const gl = openContext();
    this.#gl = gl;
    this.#largest = gl.getParameter(gl.MAX_TEXTURE_SIZE) as number;
    const names = gl.getExtension('WEBGL_debug_renderer_info');
    this.details = {
      mode: 'webgl2',
      adapter: String(gl.getParameter(names?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER)),
      largestTexture: this.#largest,
    };
    // Indices are 32-bit integers.
    this.mostElements = Math.min(4 * this.#largest ** 2, 2 ** 31 - 1);
    // Not the canvas itself: gpu.js sets its size at each call, and a real one would then get new memory.
    this.#gpu = new GPU({ mode: 'webgl2', canvas: { width: 1, height: 1 }, context: gl });
    this.#reader = gl.createFramebuffer();
  }

  upload(values: Float32Array): DeviceArray {
    this.#expectContext();
    const gl = this.#gl;
    const pixels = Math.max(1, Math.ceil(values.length / 4));
    const width = Math.min(this.#largest, 2 ** Math.ceil(Math.log2(Math.sqrt(pixels))));
    const height = Math.ceil(pixels / width);
    const texture = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA32F, width, height);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
    const row = 4 * width;
    const full = Math.floor(values.length / row);
    const fill = (from: number, rows: number, floats: Float32Array) =>
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, from, width, rows, gl.RGBA, gl.FLOAT, floats);
    if (full > 0) fill(0, full, values.subarray(0, full * row));
    if (values.length > full * row) {
      const last = new Float32Array(row);
      last.set(values.subarray(full * row));
      fill(full, 1, last);
    }
    this.#check(16 * width * height);
    return new TextureArray(texture, [width, height], values.length, gl, () => gl.deleteTexture(texture));
  }

  download(array: DeviceArray): Float32Array {
    const gl = this.#gl;
    const { texture, size } = array as TextureArray;
    const [width, height] = [size[0], size[1]];
    const out = new Float32Array(4 * width * height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.#reader);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.FLOAT, out);
    this.#release();
    this.#expectContext();
    return out.subarray(0, array.length);
  }

  run(program: Program, values: readonly (DeviceArray | number)[], length: number): DeviceArray {
    this.#expectContext();
    const kernel = this.#kernels.get(program) ?? this.#build(program);
    // Always a new texture: gpu.js lets go of the one before.
    kernel.setOutput([program.quads ? Math.ceil(length / 4) : length]);
    const result = kernel(...values) as DrawnTexture;
    // A framebuffer would keep the texture after it was freed, and the kernel its own handle.
    this.#release();
    kernel.kernel.texture.delete();
    this.#check(4 * length);
    return new TextureArray(result.texture, result.size, length, this.#gl, () => result.delete());
  }

  #build(program: Program): GpuKernel {
    const { parameters, body, functions = [], quads = false } = program;
    const code = written([...GLSL_BUILTINS, GLSL_READ, ...functions]);
    const kernel = this.#gpu.createKernel(`function(${parameters.map(([name]) => name).join(', ')}) { ${body} }`, {
      ...SETTINGS,
      optimizeFloatMemory: !quads,
      ...(quads ? { returnType: QUAD } : {}),
      argumentTypes: parameters.map(([, type]) => TYPES[type]),
      functions: code.functions,
      nativeFunctions: code.nativeFunctions,
      injectedNative: GLSL_PRELUDE + code.heads,
    });
    this.#kernels.set(program, kernel);
    return kernel;
  }

  #expectContext(): void {
    if (this.#gl.isContextLost()) {
      throw new InputError('The page lost its graphics processor, and what was computed on it; reload the page.');
    }
  }

  /** Takes the texture out of the framebuffer in use. */
  #release(): void {
    const gl = this.#gl;
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, null, 0);
  }

  #check(bytes: number): void {
    if (bytes < LARGE) return;
    const gl = this.#gl;
    if (gl.getError() === gl.OUT_OF_MEMORY) {
      throw new InputError(
        `The graphics processor has no memory for ${Math.ceil(bytes / 2 ** 20)} MB; use a smaller model, batch or image.`,
      );
    }
  }

  wait(): void {
    const gl = this.#gl;
    gl.finish();
    // Only a read waits for what was drawn.
    const probe = this.upload(new Float32Array(1));
    try {
      this.download(probe);
    } finally {
      probe.free();
    }
  }

  async dispose(): Promise<void> {
    this.#kernels.clear();
    await this.#gpu.destroy();
    this.#gl.getExtension('WEBGL_lose_context')?.loseContext();
  }
}
