import { execFile, spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { phantomFolder } from '../data/phantom';

const out = mkdtempSync(path.join(tmpdir(), 'studio-cli-'));
afterAll(() => rmSync(out, { recursive: true, force: true }));

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The real command line, as a user starts it. */
function studio(...args: string[]): Promise<Result> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ['src/cli/studio.mjs', ...args],
      { maxBuffer: 1e8 },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr });
      },
    );
  });
}

/** As `studio`, interrupted (SIGINT) as soon as its output matches. */
function interrupted(args: string[], when: RegExp): Promise<Result> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['src/cli/studio.mjs', ...args]);
    let stdout = '';
    let stderr = '';
    let sent = false;
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
      if (sent || !when.test(stdout)) return;
      sent = true;
      child.kill('SIGINT');
    });
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.on('close', (code) => resolve({ code: code ?? 1, stdout, stderr }));
  });
}

const TINY = [
  'model=tinyusfm_nano',
  'data=phantom',
  'data.phantom.count=14',
  'data.phantom.size=48',
  'model.image_size=32',
  'training.batch_size=4',
  'hardware.threads=1',
];
const at = (name: string): string => path.join(out, name);
const read = (...parts: string[]): string => readFileSync(path.join(out, ...parts), 'utf8');
const withoutTimes = (csv: string): string[][] => {
  const rows = csv
    .trim()
    .split(/\r?\n/)
    .map((r) => r.split(','));
  const drop = rows[0]?.findIndex((h) => h.startsWith('time/')) ?? -1;
  return rows.map((r) => r.filter((_, i) => i !== drop));
};

/** The values of one column, sorted: the order of cases is each table's own. */
function column(csv: string, name: string): number[] {
  const [header = [], ...rows] = csv
    .trim()
    .split(/\r?\n/)
    .map((r) => r.split(','));
  const at = header.indexOf(name);
  return rows.map((r) => Number(r[at])).sort((a, b) => a - b);
}

describe('npm run studio', () => {
  let straight: Result;
  beforeAll(async () => {
    straight = await studio('train', ...TINY, 'training.num_epochs=2', `output_dir=${at('straight')}`);
  });
  it('train: a line per epoch, the run folder, exit code 0', () => {
    expect(straight.stderr).toBe('');
    expect(straight.code).toBe(0);
    expect(straight.stdout).toMatch(/epoch 1\/2 {2}train loss [\d.]+ {2}val loss/);
    expect(straight.stdout).toMatch(/epoch 2\/2/);
    for (const file of [
      'config.yaml',
      'metrics.csv',
      'cases.csv',
      'summary.json',
      'training.log',
      'splits.json',
      'environment.json',
      'README.md',
      'checkpoints/best.safetensors',
    ]) {
      expect(existsSync(at(`straight/${file}`)), file).toBe(true);
    }
    expect(read('straight', 'metrics.csv').split('\n')[0]).toMatch(/^step,epoch,train\/loss/);
  });
  it('Ctrl-C keeps a checkpoint; resume=true gives the straight run, byte for byte', async () => {
    const command = ['train', ...TINY, 'training.num_epochs=2', `output_dir=${at('resumed')}`];
    const stopped = await interrupted(command, /epoch 1\/2/);
    expect(stopped.code).toBe(130);
    expect(stopped.stdout).toMatch(/resume=true/);
    expect(read('resumed', 'metrics.csv').trim().split('\n')).toHaveLength(2);
    const second = await studio(...command, 'resume=true');
    expect(second.stderr).toBe('');
    expect(second.stdout).toMatch(/Resuming after epoch 1/);
    expect(second.code).toBe(0);
    expect(withoutTimes(read('resumed', 'metrics.csv'))).toEqual(
      withoutTimes(read('straight', 'metrics.csv')),
    );
    expect(read('resumed', 'training.log')).toMatch(/epoch 1\/2[^]*epoch 2\/2/);
    expect(read('resumed', 'cases.csv')).toBe(read('straight', 'cases.csv'));
    const weights = ['resumed', 'straight'].map((run) =>
      readFileSync(at(`${run}/checkpoints/best.safetensors`)),
    );
    expect(weights[0]?.equals(weights[1] as Buffer)).toBe(true);
  });
  it('passes over a damaged checkpoint; moves an earlier run aside', async () => {
    cpSync(at('straight'), at('damaged'), { recursive: true });
    const root = at('damaged/checkpoints/resume');
    const newest = readdirSync(root).sort().at(-1) as string;
    writeFileSync(path.join(root, newest, 'manifest.json'), '{"cut off');
    const command = ['train', ...TINY, 'training.num_epochs=2', `output_dir=${at('damaged')}`];
    const resumed = await studio(...command, 'resume=true');
    expect(resumed.stdout).toMatch(/Resuming after epoch 1/);
    expect(resumed.code).toBe(0);
    const again = await studio(...command);
    expect(again.stdout).toMatch(/held a run already: it was moved to/);
    expect(again.code).toBe(0);
    expect(readdirSync(at('damaged/earlier'))).toHaveLength(1);
    expect(read('damaged', 'cases.csv')).toBe(read('straight', 'cases.csv'));
  });
  it('test: the exported file gives the same numbers; metrics agree with them', async () => {
    const result = await studio(
      'test',
      `checkpoint=${at('straight/checkpoints/best.safetensors')}`,
      ...TINY.slice(1, 4),
      'split=test',
      `output_dir=${at('tested')}`,
      'hardware.threads=1',
    );
    expect(result.stderr).toBe('');
    expect(result.code).toBe(0);
    expect(read('tested', 'cases.csv')).toBe(read('straight', 'cases.csv'));
    const compared = await studio(
      'metrics',
      `pred_dir=${at('tested/predictions')}`,
      `gt_dir=${at('tested/predictions')}`,
      `output=${at('m.csv')}`,
      'convention=monai',
    );
    expect(compared.code).toBe(0);
    expect(compared.stdout).toMatch(/Dice +1\.0000 ± 0\.0000/);
  });
  it('a folder on disk: blocked, excluded, trained; metrics on the predictions agree with its own test', async () => {
    const root = at('files');
    const phantom = phantomFolder({ count: 14, size: 40, seed: 3, name: 'files' });
    for (const file of phantom.files) {
      mkdirSync(path.dirname(path.join(root, file.path)), { recursive: true });
      writeFileSync(path.join(root, file.path), await phantom.read(file.path));
    }
    symlinkSync(root, path.join(root, 'loop')); // must neither hang nor double the samples
    const [cut = ''] = phantom.files.map((f) => f.path).filter((p) => p.startsWith('images/'));
    writeFileSync(path.join(root, cut), (await phantom.read(cut)).slice(0, 200));
    const command = ['train', TINY[0] as string, ...TINY.slice(4), 'data=folder', `data.root=${root}`];
    const more = ['training.num_epochs=1', 'evaluation.resolution=original', 'data.split.seed=5'];
    const blocked = await studio(...command, ...more, `output_dir=${at('blocked')}`);
    expect(blocked.code).toBe(2);
    expect(blocked.stdout).toContain(cut);
    expect(blocked.stderr.trim().split('\n')).toHaveLength(1);
    const trained = await studio(
      ...command,
      ...more,
      'data.on_problem=exclude',
      `output_dir=${at('folder')}`,
    );
    expect(trained.stderr).toBe('');
    expect(trained.stdout).toMatch(/left out: .*images/);
    expect(trained.stdout).toMatch(/files: 14 samples/);
    // The split's seed comes from the weights file.
    const tested = await studio(
      'test',
      `checkpoint=${at('folder/checkpoints/best.safetensors')}`,
      'data=folder',
      `data.root=${root}`,
      'split=test',
      'hardware.threads=1',
      `output_dir=${at('foldertest')}`,
    );
    expect(tested.stderr).toBe('');
    expect(read('foldertest', 'cases.csv')).toBe(read('folder', 'cases.csv'));
    const compared = await studio(
      'metrics',
      `pred_dir=${at('folder/predictions')}`,
      `gt_dir=${root}/masks`,
      `output=${at('folder.csv')}`,
    );
    expect(compared.code).toBe(0);
    expect(column(read('folder.csv'), 'dice')).toEqual(column(read('folder', 'cases.csv'), 'dice'));
    expect(column(read('folder.csv'), 'hd95').length).toBeGreaterThan(0);
    expect(column(read('folder.csv'), 'hd95')).toEqual(column(read('folder', 'cases.csv'), 'hd95'));
  });
  it('verify: a carried case holds; an unknown model fails', async () => {
    const good = await studio('verify', 'public/cases/tinyusfm-binary', '--json', at('verify.json'));
    expect(good.stdout).toMatch(/logits\.eval|logits/);
    expect(good.code).toBe(0);
    expect(JSON.parse(read('verify.json'))).toHaveProperty('results');
    mkdirSync(at('cases/unknown'), { recursive: true });
    writeFileSync(at('cases/unknown/case.json'), '{"model":"unet"}');
    cpSync('e2e/cases/schedules', at('cases/schedules'), { recursive: true });
    const bad = await studio('verify', at('cases'));
    expect(bad.stdout).toMatch(/model "unet" is not built yet/);
    expect(bad.code).toBe(1);
  });
  it.each([
    [['train', 'modle=3'], /there is no key "modle"/],
    [['train', 'training.batch_size=0'], /training\.batch_size=0: expected an integer/],
    [['train', 'data=folder', 'data.root=/nowhere'], /data\.root=\/nowhere: there is no such folder/],
    [['train'], /data\.root is missing/],
    [['test', 'checkpoint=/nowhere.pth', 'data=phantom'], /there is no such file/],
    [['test', 'checkpoint=src', 'data=phantom'], /is a folder, not a file/],
    [['train', ...TINY, 'output_dir=package.json/out'], /is a file, not a folder/],
    [['train', 'data=phantom', 'resume=true', 'output_dir=/nowhere'], /has no checkpoint/],
    [['verify', '/nowhere'], /there is no such folder/],
    [
      ['verify', 'public/cases', 'hardware.backend=cuda'],
      /hardware\.backend="cuda": expected one of auto, webgpu, wasm/,
    ],
    [['metrics', 'pred_dir=src', 'gt_dir=/nowhere', 'output=x.csv'], /gt_dir=\/nowhere/],
  ])('%j: one clear line, exit code 2', async (args, message) => {
    const result = await studio(...args);
    expect(result.code).toBe(2);
    expect(result.stderr.trim().split('\n')).toHaveLength(1);
    expect(result.stderr).toMatch(message);
  });
  it('list names models and data configs; an unknown command prints the usage', async () => {
    const listed = await studio('list');
    expect(listed.code).toBe(0);
    expect(listed.stdout).toMatch(/tinyusfm +224 px +6,179,073/);
    expect((await studio('trian')).code).toBe(2);
  });
});
