/**
 * @file Checkpoints as folders on disk: complete or invisible. Written to a temporary folder, synced, read back, renamed. Imports training, Node.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  fsyncSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { UserError } from '../lib/errors';
import { decodeCheckpoint, encodeCheckpoint, type CheckpointManifest } from '../training/checkpoint';
import type { Checkpoint, CheckpointInfo, CheckpointSink } from '../training/types';

interface Stored {
  readonly info: CheckpointInfo;
  readonly manifest: CheckpointManifest;
  readonly parts: readonly { readonly file: string; readonly bytes: number; readonly sha256: string }[];
}

const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function writeSynced(file: string, bytes: Uint8Array | string): void {
  const fd = openSync(file, 'w');
  try {
    writeFileSync(fd, bytes);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Makes names in a folder durable; Windows cannot and need not. */
function syncFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

export class FileCheckpoints implements CheckpointSink {
  private readonly root: string;

  constructor(
    outputDir: string,
    private readonly keepLast: number,
  ) {
    this.root = path.join(outputDir, 'checkpoints', 'resume');
    mkdirSync(this.root, { recursive: true });
    for (const name of readdirSync(this.root))
      if (name.startsWith('.tmp-')) rmSync(path.join(this.root, name), { recursive: true });
  }

  async save(checkpoint: Checkpoint): Promise<CheckpointInfo> {
    const { state, kind } = checkpoint;
    const { manifest, parts } = await encodeCheckpoint(checkpoint);
    const id = `${String(state.step).padStart(8, '0')}-${String(state.epoch).padStart(5, '0')}-${state.batchInEpoch}-${kind}`;
    const described = parts.map((p, i) => ({ file: `part-${i}.bin`, bytes: p.length, sha256: hash(p) }));
    const info: CheckpointInfo = {
      id,
      runId: state.runId,
      kind,
      epoch: state.epoch,
      step: state.step,
      batchInEpoch: state.batchInEpoch,
      valDice: state.history.at(-1)?.metrics['val/dice'] ?? null,
      bytes: parts.reduce((n, p) => n + p.length, 0),
      savedAt: Date.now(),
    };
    const temporary = path.join(this.root, `.tmp-${id}`);
    rmSync(temporary, { recursive: true, force: true });
    mkdirSync(temporary);
    parts.forEach((p, i) => writeSynced(path.join(temporary, `part-${i}.bin`), p));
    const stored: Stored = { info, manifest, parts: described };
    writeSynced(path.join(temporary, 'manifest.json'), JSON.stringify(stored));
    const written = [
      ...described,
      { file: 'manifest.json', sha256: hash(new TextEncoder().encode(JSON.stringify(stored))) },
    ];
    for (const d of written) {
      if (hash(readFileSync(path.join(temporary, d.file))) !== d.sha256) {
        throw new UserError(
          'checkpoint-corrupt',
          `${temporary} reads back differently from what was written`,
          { subject: temporary },
        );
      }
    }
    const target = path.join(this.root, id);
    rmSync(target, { recursive: true, force: true });
    syncFolder(temporary);
    renameSync(temporary, target);
    syncFolder(this.root);
    this.prune();
    return info;
  }

  /** Whether the folder of a run holds any checkpoint, whole or not. */
  static exist(outputDir: string): boolean {
    const root = path.join(outputDir, 'checkpoints', 'resume');
    return existsSync(root) && readdirSync(root).some((n) => !n.startsWith('.tmp-'));
  }

  /** Newest first; one whose manifest cannot be read is none. */
  list(): CheckpointInfo[] {
    return readdirSync(this.root)
      .filter((n) => !n.startsWith('.tmp-'))
      .flatMap((n) => {
        try {
          return [this.stored(n).info];
        } catch {
          return [];
        }
      })
      .sort((a, b) => b.step - a.step || b.epoch - a.epoch || b.savedAt - a.savedAt);
  }

  async load(id: string): Promise<Checkpoint> {
    const stored = this.stored(id);
    const parts = stored.parts.map((p) => {
      const bytes = new Uint8Array(readFileSync(path.join(this.root, id, p.file)));
      if (bytes.length !== p.bytes || hash(bytes) !== p.sha256) {
        throw new UserError('checkpoint-corrupt', `${path.join(this.root, id, p.file)} is damaged`, {
          subject: p.file,
        });
      }
      return bytes;
    });
    return decodeCheckpoint({ manifest: stored.manifest, parts });
  }

  /** The newest that is whole; damaged ones are passed over and named. */
  async newest(
    say: (line: string) => void,
  ): Promise<{ checkpoint: Checkpoint; info: CheckpointInfo } | null> {
    for (const info of this.list()) {
      try {
        return { checkpoint: await this.load(info.id), info };
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        say(`${error.message}; trying the one before`);
      }
    }
    return null;
  }

  /** The best one, else the newest. */
  async best(): Promise<{ checkpoint: Checkpoint; info: CheckpointInfo } | null> {
    const all = this.list();
    const info = all.find((c) => c.kind === 'best') ?? all[0];
    return info === undefined ? null : { checkpoint: await this.load(info.id), info };
  }

  private stored(id: string): Stored {
    return JSON.parse(readFileSync(path.join(this.root, id, 'manifest.json'), 'utf8')) as Stored;
  }

  /** Keeps the newest ones and the newest best. */
  private prune(): void {
    const all = this.list();
    const best = all.find((c) => c.kind === 'best');
    const keep = new Set(
      [...all.slice(0, this.keepLast), ...(best === undefined ? [] : [best])].map((c) => c.id),
    );
    for (const c of all) if (!keep.has(c.id)) rmSync(path.join(this.root, c.id), { recursive: true });
  }
}
