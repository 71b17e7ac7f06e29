/**
 * @file Checkpoint <-> bytes. Imports formats, lib.
 * The tensors are one safetensors file cut into parts; everything else is the manifest, plain JSON. Whoever stores it hashes the
 * parts as it stores them; the manifest carries a hash over all tensors, so that parts of two checkpoints never mix unseen.
 */
import type { StudioConfig } from '../config/types';
import type { LabelSpec, Split } from '../data/types';
import { readSafetensors, writeSafetensors } from '../formats/safetensors';
import { concatBytes, sha256 } from '../lib/bytes';
import { UserError } from '../lib/errors';
import type { Checkpoint, TrainState } from './types';

/** Within the 4-16 MB that IndexedDB takes without trouble (reference/reliability.md section 1a). */
export const CHECKPOINT_PART_BYTES = 8 * 1024 * 1024;

export interface CheckpointManifest {
  readonly schema: 1;
  readonly kind: Checkpoint['kind'];
  readonly state: TrainState;
  readonly config: StudioConfig;
  readonly labels: LabelSpec;
  readonly split: Split;
  readonly tensorBytes: number;
  readonly tensorSha256: string;
}

export interface EncodedCheckpoint {
  readonly manifest: CheckpointManifest;
  readonly parts: readonly Uint8Array[];
}

export async function encodeCheckpoint(checkpoint: Checkpoint): Promise<EncodedCheckpoint> {
  const bytes = writeSafetensors(checkpoint.tensors);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += CHECKPOINT_PART_BYTES) {
    parts.push(bytes.subarray(at, at + CHECKPOINT_PART_BYTES));
  }
  return {
    manifest: {
      schema: 1,
      kind: checkpoint.kind,
      state: checkpoint.state,
      config: checkpoint.config,
      labels: checkpoint.labels,
      split: checkpoint.split,
      tensorBytes: bytes.length,
      tensorSha256: await sha256(bytes),
    },
    parts,
  };
}

/** Throws UserError 'checkpoint-corrupt' when the parts are not those of the manifest, 'checkpoint-version' for another schema. */
export async function decodeCheckpoint(encoded: EncodedCheckpoint): Promise<Checkpoint> {
  const { manifest } = encoded;
  const subject = `checkpoint of epoch ${manifest.state?.epoch ?? '?'}`;
  if (manifest.schema !== 1) {
    throw new UserError(
      'checkpoint-version',
      `This checkpoint has schema ${String(manifest.schema)}; this version reads 1`,
      {
        subject,
        hint: 'Open it with the version of the studio that wrote it.',
      },
    );
  }
  const bytes = concatBytes(encoded.parts);
  if (bytes.length !== manifest.tensorBytes || (await sha256(bytes)) !== manifest.tensorSha256) {
    throw new UserError('checkpoint-corrupt', `The ${subject} is damaged: its hash does not match`, {
      subject,
      hint: 'An earlier checkpoint of the run can be used.',
    });
  }
  const { tensors } = readSafetensors(bytes, subject);
  const { kind, state, config, labels, split } = manifest;
  return { kind, state, config, labels, split, tensors };
}

/** The model's tensors of a checkpoint, under their own names. */
export function checkpointWeights(checkpoint: Pick<Checkpoint, 'tensors'>): Checkpoint['tensors'] {
  return withoutPrefix(checkpoint.tensors, 'weights.');
}

/** The optimiser's tensors of a checkpoint: "exp_avg.<name>", ... */
export function checkpointMoments(checkpoint: Pick<Checkpoint, 'tensors'>): Checkpoint['tensors'] {
  return withoutPrefix(checkpoint.tensors, 'optimizer.');
}

function withoutPrefix(tensors: Checkpoint['tensors'], prefix: string): Checkpoint['tensors'] {
  const out: Checkpoint['tensors'] = new Map();
  for (const [name, tensor] of tensors) {
    if (name.startsWith(prefix)) out.set(name.slice(prefix.length), tensor);
  }
  return out;
}
