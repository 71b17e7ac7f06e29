/**
 * @file A data worker: enumerates, pairs, inspects, makes thumbnails, recomputes metrics. No TensorFlow.js.
 * Imports data, metrics, storage.
 */
import { buildDataset } from '../data/dataset';
import { FolderBook } from './folderBook';
import { OpenData } from './openData';
import type { DataRequests } from './protocol';
import { rescore } from './rescore';
import { Transferred, serve } from './server';
import type { Scope } from './server';
import { thumbnailOf } from './thumbnail';

/** Facts are sent this many samples at a time: short messages, a page that stays awake. */
const FACTS_PER_MESSAGE = 8;

const book = new FolderBook();
const open = new Map<string, OpenData>();

function opened(datasetId: string): OpenData {
  const data = open.get(datasetId);
  if (data) return data;
  throw new Error(`The data worker was not handed the data set ${datasetId}`);
}

serve<DataRequests>(self as unknown as Scope, {
  ...book.handlers,

  async scan({ folderIds }, { signal, progress }) {
    let before = 0;
    const folders = [];
    for (const id of folderIds) {
      const folder = await book.enumerate(id, {
        signal,
        onProgress: (files) => progress({ files: before + files }),
      });
      before += folder.files.length;
      progress({ files: before });
      folders.push(folder);
    }
    return buildDataset(folders);
  },

  async attach({ dataset }) {
    open.clear();
    open.set(dataset.id, new OpenData(dataset, book));
    return null;
  },

  async setLabels({ datasetId, labels }) {
    opened(datasetId).setLabels(labels);
    return null;
  },

  async inspect({ datasetId, ids }, { signal, progress }) {
    const data = opened(datasetId);
    for (let at = 0; at < ids.length; at += FACTS_PER_MESSAGE) {
      signal.throwIfAborted();
      const facts = [];
      for (const id of ids.slice(at, at + FACTS_PER_MESSAGE)) facts.push(await data.inspect(id));
      progress({ facts });
    }
    return null;
  },

  async thumbnail({ datasetId, id, edge }) {
    const reader = await opened(datasetId).reader();
    const picture = thumbnailOf(await reader.original(id), edge);
    return new Transferred(picture, [picture.rgba.buffer, picture.mask.buffer as ArrayBuffer]);
  },

  async original({ datasetId, id }) {
    const reader = await opened(datasetId).reader();
    return reader.original(id);
  },

  async atSize({ datasetId, id, size }) {
    const reader = await opened(datasetId).reader();
    const { image, mask } = await reader.prepared(id, size);
    return { id, width: size, height: size, image, mask };
  },

  async rescore({ evaluationId, datasetId, threshold }, { signal, progress }) {
    return rescore(evaluationId, threshold, await opened(datasetId).reader(), {
      signal,
      onProgress: (done, total) => progress({ done, total }),
    });
  },
});
