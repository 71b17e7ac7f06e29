/**
 * @file How a WGSL kernel of ours is run on tensors: declarations, uniforms and dispatch from one description. May import tfjs.
 *
 * A kernel sees its tensors as `array<T>` under the names given here, and its uniforms as `u.<name>`. It is encoded into the pass
 * that TensorFlow.js' own operations use, so both may be mixed freely, on the tape or in a recording (plan/).
 */
import * as tf from '@tensorflow/tfjs-core';
import { StudioBackend } from './studioBackend';

/** WGSL element type of a binding, for instance 'f32', 'vec4<f32>', 'i32', 'u32'. */
export type ElementType = string;

export type UniformType = 'f32' | 'u32' | 'i32';

export interface Launch {
  /** Kernel name; with `variant` it identifies the WGSL. Letters, digits, _ and - only. */
  readonly name: string;
  /** Everything besides the name that changes the WGSL (tile, transposes, element types, constants); never shapes in general. */
  readonly variant?: string;
  /** An extension of WGSL that the module needs; only where `halfArithmetic()`. Say so in `variant` where it is optional. */
  readonly enable?: 'f16';
  /** Read-only bindings. The same tensor may appear twice. */
  readonly inputs: Readonly<Record<string, { readonly tensor: tf.TensorInfo; readonly type: ElementType }>>;
  /** New tensors, written by the kernel (every element: they are not cleared). float32 unless said otherwise. */
  readonly outputs?: Readonly<
    Record<
      string,
      { readonly shape: readonly number[]; readonly type: ElementType; readonly dtype?: 'float32' | 'int32' }
    >
  >;
  /** Existing tensors written, or read and written, in place; none of them may be among the inputs. */
  readonly updates?: Readonly<Record<string, { readonly tensor: tf.TensorInfo; readonly type: ElementType }>>;
  /** In the order of the uniform block; all four bytes. */
  readonly uniforms?: Readonly<Record<string, readonly [UniformType, number]>>;
  /** Workgroups in x, y, z; each at most 65,535 (`flatGroups`). */
  readonly groups: readonly [number, number, number];
  /** Constants, functions, workgroup variables and `@compute @workgroup_size(...) fn main(...)`. */
  readonly wgsl: () => string;
}

let enabled = true;

/** The running backend with our additions; null on WASM and CPU. */
export function studioBackend(): StudioBackend | null {
  if (tf.getBackend() !== 'webgpu') return null;
  const backend = tf.backend();
  return backend instanceof StudioBackend ? backend : null;
}

/** Whether operations run as our kernels (WebGPU) or as their twins of plain tfjs operations. */
export function kernelsOn(): boolean {
  return enabled && studioBackend() !== null;
}

/** Switches kernels off (twins run instead) or on again; for tests and benchmarks. Returns the earlier state. */
export function setKernels(on: boolean): boolean {
  const before = enabled;
  enabled = on;
  return before;
}

/** Whether the adapter computes on the CPU (SwiftShader, lavapipe): workgroup memory and barriers are slow there. */
export function isSoftwareAdapter(): boolean {
  return studioBackend()?.software ?? false;
}

/** Whether shaders may compute with 16-bit floats: the adapter has shader-f16 (the device is made with it then). */
export function halfArithmetic(): boolean {
  return studioBackend()?.device.features.has('shader-f16') ?? false;
}

const sources = new Map<string, string>();

/** The WGSL module of a launch: declarations from its description, then its body. Cached by name, variant and element types. */
function source(
  launch: Launch,
  storage: readonly (readonly [string, ElementType, 'read' | 'read_write'])[],
): string {
  const types = storage.map(([name, type]) => `${name}:${type}`).join(' ');
  const key = `${launch.name}|${launch.variant ?? ''}|${types}`;
  const known = sources.get(key);
  if (known !== undefined) return known;
  const lines = storage.map(
    ([name, type, access], i) => `@group(0) @binding(${i}) var<storage, ${access}> ${name}: array<${type}>;`,
  );
  const fields = Object.entries(launch.uniforms ?? {});
  if (fields.length > 0) {
    lines.push(`struct Uniforms { ${fields.map(([name, [type]]) => `${name}: ${type}`).join(', ')} }`);
    lines.push(`@group(0) @binding(${storage.length}) var<uniform> u: Uniforms;`);
  }
  const enable = launch.enable === undefined ? '' : `enable ${launch.enable};\n`; // must precede all declarations
  const code = `${enable}// ${launch.name} ${launch.variant ?? ''}\n${lines.join('\n')}\n${launch.wgsl()}`;
  sources.set(key, code);
  return code;
}

function packUniforms(uniforms: Launch['uniforms']): ArrayBuffer | null {
  const fields = Object.values(uniforms ?? {});
  if (fields.length === 0) return null;
  const view = new DataView(new ArrayBuffer(Math.ceil((fields.length * 4) / 16) * 16));
  fields.forEach(([type, value], i) => {
    if (type === 'f32') view.setFloat32(i * 4, value, true);
    else if (type === 'u32') view.setUint32(i * 4, value, true);
    else view.setInt32(i * 4, value, true);
  });
  return view.buffer;
}

/**
 * Runs a kernel; its outputs come back in the order of `outputs`, tracked by tf.tidy like any tensor.
 * Throws Error when the backend is not ours (check `kernelsOn` first) or a dispatch exceeds the device's limits.
 */
export function launch(description: Launch): tf.Tensor[] {
  const backend = studioBackend();
  if (backend === null) throw new Error(`${description.name}: WebGPU is not the current backend`);
  const { inputs, outputs = {}, updates = {}, groups } = description;
  if (groups.some((n) => !(n >= 1 && n <= 65_535))) {
    throw new Error(
      `${description.name}: a dispatch of ${groups.join(' x ')} workgroups; each may be 1 to 65,535`,
    );
  }
  const made = Object.values(outputs).map(({ shape, dtype = 'float32' }) =>
    backend.makeTensorInfo([...shape], dtype),
  );
  const code = source(description, [
    ...Object.entries(inputs).map(([name, { type }]) => [name, type, 'read'] as const),
    ...Object.entries(outputs).map(([name, { type }]) => [name, type, 'read_write'] as const),
    ...Object.entries(updates).map(([name, { type }]) => [name, type, 'read_write'] as const),
  ]);
  const bindings = [
    ...Object.values(inputs).map(({ tensor }) => tensor.dataId),
    ...made.map((info) => info.dataId),
    ...Object.values(updates).map(({ tensor }) => tensor.dataId),
  ];
  backend.runProgram({
    label: description.name,
    code,
    bindings,
    uniforms: packUniforms(description.uniforms),
    groups,
  });
  // tfjs may hold a copy of a tensor on the host, which a write in place makes stale.
  for (const { tensor } of Object.values(updates)) backend.record(tensor.dataId).values = null;
  return made.map((info) => tf.engine().makeTensorFromTensorInfo(info, backend));
}

/** Workgroups for `count` of them in one line, folded into x and y where there are more than 65,535. See FLAT_GROUP. */
export function flatGroups(count: number): [number, number, number] {
  const n = Math.max(1, count);
  if (n <= 65_535) return [n, 1, 1];
  const y = Math.ceil(n / 65_535);
  return [Math.ceil(n / y), y, 1];
}

/** WGSL: the index of the workgroup in a dispatch of `flatGroups`; may exceed count - 1, so guard. Arguments: the two builtins. */
export const FLAT_GROUP = `
fn flatGroup(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.y * groups.x + group.x; }
`;
