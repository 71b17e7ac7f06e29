import { beforeEach, describe, expect, it } from 'vitest';
import { modelTitle, useConfig } from './configStore';

const state = () => useConfig.getState();

describe('useConfig', () => {
  beforeEach(() => state().reset());

  it('starts with the tree in configs/', () => {
    expect(state().error).toBeNull();
    expect(state().config?.training.num_epochs).toBeGreaterThan(0);
    expect(state().models.map((model) => model.name)).toContain('tinyusfm_nano');
    expect(state().text).toContain('num_epochs');
  });

  it('keeps one override per key, none for the default', () => {
    const before = state().config?.training.num_epochs ?? 0;
    expect(state().setValue('training.num_epochs', before + 1)).toBe(true);
    expect(state().setValue('training.num_epochs', before + 2)).toBe(true);
    expect(state().overrides).toEqual([`training.num_epochs=${before + 2}`]);
    expect(state().setValue('training.num_epochs', before)).toBe(true);
    expect(state().overrides).toEqual([]);
  });

  it('refuses without changing anything, naming key and value', () => {
    const { config, overrides } = state();
    expect(state().setValue('training.batch_size', -3)).toBe(false);
    expect(state().error?.message).toMatch(/training\.batch_size/);
    expect(state().applyOverrides('training.no_such_key=1')).toBe(false);
    expect(state().error?.message).toMatch(/no_such_key/);
    expect(state().config).toBe(config);
    expect(state().overrides).toBe(overrides);
    expect(state().setValue('training.batch_size', 3)).toBe(true);
    expect(state().error).toBeNull();
  });

  it('drops keys of the old architecture with the model, and keeps the rest', () => {
    state().setModel('tinyusfm_nano');
    state().applyOverrides('model.depth=6 model.num_classes=4 loss.name=ce training.num_epochs=7');
    expect(state().error).toBeNull();
    state().setModel('segformer_nano');
    expect(state().config?.model.name).toBe('segformer_nano');
    expect(state().overrides.join(' ')).not.toContain('model.depth');
    expect(state().config).toMatchObject({ model: { num_classes: 4 }, training: { num_epochs: 7 } });
  });

  it('text and overrides are two views of one config', () => {
    state().setModel('tinyusfm_nano');
    state().applyOverrides('training.num_epochs=9\nseed=5');
    const { text, config } = state();
    state().reset();
    expect(state().setText(text)).toBe(true);
    expect(state().config).toEqual(config);
    expect(state().setText('training: [')).toBe(false);
    expect(state().config).toEqual(config);
  });

  it('names models for people', () => {
    expect(modelTitle('segformer_b0')).toBe('SegFormer B0');
    expect(modelTitle('tinyusfm_nano')).toBe('TinyUSFM nano');
  });
});
