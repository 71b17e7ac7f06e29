/**
 * @file The real buffers behind the slots of all plans of a session: plans run one after the other, so they share them.
 */
import type { StudioBackend } from '../studioBackend';
export class SlotPool {
  private buffers: GPUBuffer[] = [];
  /** Grows when buffers are replaced: plans then bind anew. */
  generation = 0;

  constructor(private readonly backend: StudioBackend) {}

  /** Bytes held. */
  get bytes(): number {
    return this.buffers.reduce((sum, { size }) => sum + size, 0);
  }

  /** Bytes that would be held with room for these sizes as well (largest first). */
  bytesWith(sizes: readonly number[]): number {
    const n = Math.max(sizes.length, this.buffers.length);
    let bytes = 0;
    for (let i = 0; i < n; i++) bytes += Math.max(sizes[i] ?? 0, this.buffers[i]?.size ?? 0);
    return bytes;
  }

  /** Buffers of at least the given sizes (bytes, largest first), for storage and copies. */
  ensure(sizes: readonly number[]): readonly GPUBuffer[] {
    sizes.forEach((size, i) => {
      const held = this.buffers[i];
      if (held !== undefined && held.size >= size) return;
      if (held !== undefined) this.backend.free(held);
      this.buffers[i] = this.backend.allocate(size);
      this.generation++;
    });
    return this.buffers;
  }

  dispose(): void {
    for (const buffer of this.buffers) this.backend.free(buffer);
    this.buffers = [];
    this.generation++;
  }
}
