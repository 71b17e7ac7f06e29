/**
 * @file A workload on our engine: buffers, forward and backward recorded once, FlatOptimizer's update, replayed for every step.
 * Used by `npm run bench -- engine` and, through peer.ts, by ../shared/peerbench.
 */
import * as tf from '@tensorflow/tfjs-core';
import { Arena } from '../../gpu/arena';
import { copyInto } from '../../gpu/kernels/adamw';
import { matmul } from '../../gpu/kernels/matmul';
import { meanSquareLoss } from '../../gpu/ops/losses';
import { Plan, type PlanFigures } from '../../gpu/plan/plan';
import type { DrawnPlan } from '../../gpu/plan/picture';
import { Recording, VirtualBuffer } from '../../gpu/plan/recording';
import { SlotPool } from '../../gpu/plan/slots';
import type { BufferView, StudioBackend } from '../../gpu/studioBackend';
import { FlatOptimizer } from '../../nn/flatOptimizer';
import { forward, transposes } from './blocks';
import { ADAMW, OPTIMIZER, type Get, type Runner, type Value, type Values, type Workload } from './workload';

const entries = (group: Readonly<Record<string, Value>>) =>
  Object.entries(group).map(([name, { shape }]) => ({ name, shape }));

export class RecordedStep implements Runner {
  private readonly data: Arena;
  private readonly weights: Arena;
  private readonly results: Arena;
  private readonly optimizer: FlatOptimizer | null;
  private readonly pool: SlotPool;
  /** C of a matrix product. */
  private readonly result: Arena | null = null;
  private recorded: Plan[] = [];
  private steps = 0;

  /** @param repeats how often a step replays its plans before it reads a number. */
  constructor(
    private readonly backend: StudioBackend,
    private readonly spec: Workload,
    values: Values,
    readonly repeats = 1,
  ) {
    this.pool = new SlotPool(backend);
    const update = spec.kind === 'adamw'; // its inputs are the gradients
    this.data = new Arena(backend, [...(update ? [] : entries(spec.inputs)), ...entries(spec.frozen ?? {})]);
    this.weights = new Arena(backend, entries(spec.params));
    const given = update ? values.frozen : { ...values.inputs, ...values.frozen };
    for (const [name, array] of Object.entries(given)) this.data.write(name, array);
    for (const [name, array] of Object.entries(values.params)) this.weights.write(name, array);
    this.results = new Arena(backend, [
      { name: 'loss', shape: [1] },
      ...(spec.inputGradient === true ? entries(spec.inputs) : []),
    ]);
    if (spec.kind === 'matmul') {
      const n = Number(spec['n']);
      this.result = new Arena(backend, [{ name: 'c', shape: [n, n] }]);
    }
    this.optimizer = this.makeOptimizer();
    if (update) {
      for (const [name, array] of Object.entries(values.inputs)) this.optimizer?.gradients.write(name, array);
    }
  }

  private makeOptimizer(): FlatOptimizer | null {
    const { backend, spec, weights } = this;
    const names = Object.keys(spec.params);
    if (names.length === 0) return null;
    const parameters = names.map((name) => ({
      name,
      variable: tf.variable(weights.tensor(name), true),
      lrScale: 1,
      weightDecay: ADAMW.weightDecay,
    }));
    const clips = spec['clip'] === true;
    return new FlatOptimizer(backend, OPTIMIZER, parameters, weights, clips ? 1 : null, clips);
  }

  /** Records forward and backward, and the update where there is something to train. */
  async prepare(): Promise<void> {
    const { optimizer, spec } = this;
    const placed = new Map<VirtualBuffer, BufferView>();
    if (spec.kind !== 'adamw') {
      this.record(placed, () => {
        if (spec.kind === 'matmul') this.product(placed);
        else this.gradients(placed);
      });
    }
    if (optimizer !== null) this.record(new Map(), () => tf.tidy(() => optimizer.update(false)));
    for (const plan of this.recorded) await plan.compile();
    for (const plan of this.recorded) plan.bind();
  }

  private record(placed: ReadonlyMap<VirtualBuffer, BufferView>, work: () => void): void {
    const recording = new Recording(this.backend);
    recording.run(work);
    this.recorded.push(new Plan(this.backend, this.pool, recording.dispatches, placed, new Set()));
  }

  private product(placed: Map<VirtualBuffer, BufferView>): void {
    const [transposeA, transposeB] = transposes(this.spec);
    const { y } = matmul(this.data.tensor('a'), this.data.tensor('b'), { transposeA, transposeB });
    const { resource } = this.backend.record(y.dataId);
    placed.set(resource as VirtualBuffer, (this.result as Arena).view('c'));
    y.dispose();
  }

  private gradients(placed: Map<VirtualBuffer, BufferView>): void {
    const { backend, spec, optimizer, data, weights, results } = this;
    const xs = spec.inputGradient === true ? Object.keys(spec.inputs) : [];
    const input = new Map(xs.map((name) => [name, tf.variable(data.tensor(name), true)]));
    const trained = new Map((optimizer?.parameters ?? []).map(({ name, variable }) => [name, variable]));
    const get: Get = (name) =>
      input.get(name) ?? trained.get(name) ?? (weights.has(name) ? weights : data).tensor(name);
    tf.tidy(() => {
      const variables = [...trained, ...input];
      const { value, grads } = tf.variableGrads(
        () => meanSquareLoss(forward(spec, get)),
        variables.map(([, variable]) => variable),
      );
      for (const [name, variable] of variables) {
        const gradient = grads[variable.name] as tf.Tensor;
        const home = trained.has(name) ? (optimizer as FlatOptimizer).gradients : results;
        const { resource } = backend.record(gradient.dataId);
        if (resource instanceof VirtualBuffer && !placed.has(resource)) placed.set(resource, home.view(name));
        else copyInto(home.tensor(name), gradient);
      }
      copyInto(results.tensor('loss'), value);
    });
    for (const variable of input.values()) variable.dispose();
  }

  private encode(plans: readonly Plan[], repeats: number): void {
    this.backend.flush();
    const encoder = this.backend.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (let i = 0; i < repeats; i++) for (const plan of plans) plan.encode(pass);
    pass.end();
    this.backend.queue.submit([encoder.finish()]);
  }

  /** The loss before the update, C[0][0] of a product, or the first weight after an update alone. */
  async step(): Promise<number> {
    const { backend, spec, repeats } = this;
    this.optimizer?.prepare(ADAMW.lr, this.steps++);
    this.encode(this.recorded, repeats);
    const whole = this.result?.view('c') ?? (spec.kind === 'adamw' ? this.weights.view(this.first) : null);
    if (whole === null) return (await this.results.tensor('loss').data())[0] as number;
    const corner = backend.viewTensor({ ...whole, size: 4 }, [1]);
    const [value] = await corner.data();
    corner.dispose();
    return value as number;
  }

  private get first(): string {
    return Object.keys(this.spec.params)[0] as string;
  }

  /** Gradients at the current weights by name, "x" for the input; or C. */
  async probe(): Promise<Record<string, Float32Array>> {
    this.encode(this.recorded.slice(0, 1), 1);
    const out: Record<string, Float32Array> = {};
    const read = async (arena: Arena, name: string): Promise<void> => {
      out[name] = (await arena.tensor(name).data()) as Float32Array;
    };
    if (this.result !== null) await read(this.result, 'c');
    for (const name of Object.keys(this.spec.params))
      await read((this.optimizer as FlatOptimizer).gradients, name);
    if (this.spec.inputGradient === true) await read(this.results, 'x');
    return out;
  }

  /** For the picture of the step. */
  get drawn(): readonly DrawnPlan[] {
    const titles = this.spec.kind === 'adamw' ? ['update'] : ['forward and backward', 'update'];
    return this.recorded.map(({ dispatches, slots }, i) => ({ title: titles[i] ?? '', dispatches, slots }));
  }

  get plans(): readonly PlanFigures[] {
    return this.recorded.map(({ figures }) => figures);
  }

  dispose(): void {
    for (const plan of this.recorded) plan.dispose();
    this.optimizer?.dispose();
    for (const arena of [this.data, this.weights, this.results, this.result]) arena?.dispose();
    this.pool.dispose();
  }
}
