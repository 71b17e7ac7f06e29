/**
 * @file The project's configs/ tree, bundled as text. Imports nothing.
 */
import type { ConfigFiles } from './compose';

const texts = import.meta.glob<string>('../../configs/**/*.yaml', {
  query: '?raw',
  import: 'default',
  eager: true,
});

/** Path below configs/ to text. */
export const configFiles: ConfigFiles = new Map(
  Object.entries(texts).map(([path, text]) => [path.replace(/^.*?\/configs\//, ''), text]),
);
