import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

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
  it('resume=true after one epoch equals the straight run, byte for byte', async () => {
    // One epoch of a two-epoch plan: interrupted by a limit of steps is a signal; here the checkpoint of epoch 1 is what is resumed.
    const first = await studio(
      'train',
      ...TINY,
      'training.num_epochs=1',
      'lr_scheduler.name=constant',
      `output_dir=${at('resumed')}`,
    );
    expect(first.code).toBe(0);
    const second = await studio(
      'train',
      ...TINY,
      'training.num_epochs=2',
      'lr_scheduler.name=constant',
      `output_dir=${at('resumed')}`,
      'resume=true',
    );
    expect(second.stdout).toMatch(/Resuming after epoch 1/);
    expect(second.code).toBe(0);
    const whole = await studio(
      'train',
      ...TINY,
      'training.num_epochs=2',
      'lr_scheduler.name=constant',
      `output_dir=${at('whole')}`,
    );
    expect(whole.code).toBe(0);
    expect(withoutTimes(read('resumed', 'metrics.csv'))).toEqual(withoutTimes(read('whole', 'metrics.csv')));
    // The weights' metadata names the output folder: compare the tests instead, which use every weight.
    expect(read('resumed', 'cases.csv')).toBe(read('whole', 'cases.csv'));
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
    [['verify', '/nowhere'], /there is no such folder/],
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
