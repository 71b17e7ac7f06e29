/**
 * @file A data set as a data worker holds it: samples by id, its folders' readers, and how its masks are read now. Imports data.
 */
import { inspectSample } from '../data/check';
import { createReader, folderReader } from '../data/reader';
import type { Dataset, Folder, LabelSpec, Sample, SampleFacts, SampleReader } from '../data/types';
import { UserError } from '../lib/errors';
import type { FolderBook } from './folderBook';

/** Several data workers hold one each: small, since previews are decoded once and shown from the page's own pictures. */
const CACHE_BYTES = 32e6;

export class OpenData {
  private readonly samples: ReadonlyMap<string, Sample>;
  private folders: Promise<Folder[]> | null = null;
  private sampleReader: Promise<SampleReader> | null = null;
  private labels: LabelSpec | null = null;

  constructor(
    private readonly dataset: Dataset,
    private readonly book: FolderBook,
  ) {
    this.samples = new Map(dataset.samples.map((sample) => [sample.id, sample]));
  }

  setLabels(labels: LabelSpec): void {
    this.labels = labels;
    this.sampleReader = null;
  }

  async inspect(id: string): Promise<SampleFacts> {
    const sample = this.samples.get(id);
    if (!sample) throw new UserError('unknown-sample', `There is no sample "${id}"`, { subject: id });
    return inspectSample(sample, folderReader(await this.open()));
  }

  /** Reads masks as the labels set last say. */
  reader(): Promise<SampleReader> {
    this.sampleReader ??= this.makeReader();
    return this.sampleReader;
  }

  private async makeReader(): Promise<SampleReader> {
    const folders = await this.open();
    if (!this.labels) throw new UserError('internal', 'The data worker was not told how masks are read');
    const { dataset, labels } = this;
    return createReader(folders, dataset.samples, labels, CACHE_BYTES);
  }

  private open(): Promise<Folder[]> {
    this.folders ??= Promise.all(this.dataset.folders.map(({ id }) => this.book.reader(id)));
    return this.folders;
  }
}
