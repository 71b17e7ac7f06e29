import { describe, expect, it } from 'vitest';
import { writeZip } from '../formats/zipWriter';
import { readFileList } from './drops';
import { commonRoot, isJunkFolder, openFolder } from './folders';

const utf8 = new TextEncoder();
const base = { id: 'f', name: 'BUSI', testOnly: false } as const;
const file = (path: string, text = path): File => {
  const made = new File([utf8.encode(text)], path.split('/').at(-1) ?? path, { lastModified: 5 });
  Object.defineProperty(made, 'webkitRelativePath', { value: path.includes('/') ? path : '' });
  return made;
};

describe('openFolder', () => {
  it('reads dropped files by their path', async () => {
    const files = [{ path: 'benign/a.png', file: file('benign/a.png', 'pixels') }];
    const folder = await openFolder({ ...base, kind: 'files', files });
    expect(folder.files).toEqual([{ folder: 'f', path: 'benign/a.png', size: 6, modified: 5 }]);
    expect(new TextDecoder().decode(await folder.read('benign/a.png'))).toBe('pixels');
    await expect(folder.read('b.png')).rejects.toMatchObject({
      code: 'file-unreadable',
      subject: 'BUSI/b.png',
    });
  });

  it('reads a zip without the one folder above everything, and skips __MACOSX', async () => {
    const zip = writeZip([
      { name: 'busi/benign/a.png', data: utf8.encode('one'), compress: true },
      { name: 'busi/benign/b.png', data: utf8.encode('two') },
      { name: '__MACOSX/busi/._a.png', data: utf8.encode('junk') },
    ]);
    const folder = await openFolder({ ...base, kind: 'zip', file: new File([zip], 'busi.zip') });
    expect(folder.files.map((ref) => ref.path)).toEqual(['benign/a.png', 'benign/b.png']);
    expect(new TextDecoder().decode(await folder.read('benign/b.png'))).toBe('two');
  });

  it('refuses a file that is no zip, naming it', async () => {
    const access = { ...base, kind: 'zip', file: new File([utf8.encode('hello')], 'x.zip') } as const;
    await expect(openFolder(access)).rejects.toMatchObject({ name: 'UserError', subject: 'x.zip' });
  });

  it('generates phantoms: the same bytes every time', async () => {
    const access = { ...base, kind: 'phantom', count: 2, size: 32, seed: 1 } as const;
    const [a, b] = [await openFolder(access), await openFolder(access)];
    expect(a.files).toHaveLength(4);
    const path = a.files[0]?.path ?? '';
    expect(await a.read(path)).toEqual(await b.read(path));
  });
});

describe('readFileList', () => {
  it('makes one folder per root, zips apart, junk folders left out', () => {
    const list = [
      file('busi/benign/a.png'),
      file('busi/.git/config'),
      file('uclm/b.png'),
      file('data.zip'),
      file('loose.png'),
    ];
    const found = readFileList(list);
    expect(found.map(({ name, kind }) => [name, kind])).toEqual([
      ['data', 'zip'],
      ['busi', 'files'],
      ['uclm', 'files'],
      ['Chosen files', 'files'],
    ]);
    const busi = found[1];
    expect(busi?.kind === 'files' && busi.files.map((one) => one.path)).toEqual(['benign/a.png']);
  });
});

describe('paths', () => {
  it('finds the one folder above everything', () => {
    expect(commonRoot(['a/b.png', 'a/c/d.png'])).toBe('a/');
    expect(commonRoot(['a/b.png', 'c/d.png'])).toBe('');
    expect(commonRoot(['b.png'])).toBe('');
    expect(commonRoot([])).toBe('');
  });

  it('knows junk folders', () => {
    expect(['__MACOSX', '.git', 'benign'].map(isJunkFolder)).toEqual([true, true, false]);
  });
});
