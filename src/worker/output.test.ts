import { describe, expect, it } from 'vitest';
import { openZip } from '../formats/zip';
import { deliver } from './output';

describe('deliver', () => {
  it('packs a zip that reads back', async () => {
    const text = new TextEncoder().encode('step,loss\n1,0.5\n');
    const weights = new Uint8Array(100_000).map((_, i) => i % 256);
    async function* files() {
      yield { path: 'metrics.csv', data: text, compress: true };
      yield { path: 'checkpoints/best.safetensors', data: weights };
    }
    const { name, blob } = await deliver('run', null, files());
    expect(name).toBe('run.zip');
    const archive = openZip(new Uint8Array(await (blob as Blob).arrayBuffer()), name);
    const back = Object.fromEntries(archive.entries.map((entry) => [entry.name, archive.read(entry)]));
    expect(back).toEqual({ 'metrics.csv': text, 'checkpoints/best.safetensors': weights });
  });
});
