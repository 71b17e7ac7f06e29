/**
 * @file A small static server for the built studio: no dependencies, Node only. Sends the security headers of headers.json.
 * Used by start.mjs, by the end-to-end tests, and alone: node src/cli/serve.mjs [--dir dist] [--port 5178] [--host 127.0.0.1]
 */
import { createReadStream, readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const HEADERS = JSON.parse(readFileSync(new URL('./headers.json', import.meta.url), 'utf8'));

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.webmanifest': 'application/manifest+json; charset=utf-8',
  '.wasm': 'application/wasm', // needed for streaming compilation
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.ico': 'image/x-icon',
  '.woff2': 'font/woff2',
  '.txt': 'text/plain; charset=utf-8',
  '.yaml': 'text/yaml; charset=utf-8',
};

/** Maps a request path to a file below `root`, or null for anything that leaves it. */
async function findFile(root, url) {
  let decoded;
  try {
    decoded = decodeURIComponent(new URL(url, 'http://localhost').pathname);
  } catch {
    return null; // malformed escape
  }
  if (decoded.includes('\0')) return null;
  const file = path.join(root, path.normalize(decoded));
  if (file !== root && !file.startsWith(root + path.sep)) return null;
  const info = await stat(file).catch(() => null);
  if (info?.isFile()) return { file, size: info.size };
  if (!info?.isDirectory()) return null;
  const index = path.join(file, 'index.html');
  const indexInfo = await stat(index).catch(() => null);
  return indexInfo?.isFile() ? { file: index, size: indexInfo.size } : null;
}

/**
 * Serves a folder; resolves when the port is open. Rejects with the system's error, for instance code EADDRINUSE.
 * @param {{ dir: string, port: number, host?: string }} options
 * @returns {Promise<import('node:http').Server>}
 */
export function serve({ dir, port, host = '127.0.0.1' }) {
  const root = path.resolve(dir);
  const server = createServer(async (request, response) => {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { Allow: 'GET, HEAD' }).end();
      return;
    }
    const found = await findFile(root, request.url ?? '/');
    if (found === null) {
      response.writeHead(404, { 'Content-Type': 'text/plain; charset=utf-8' }).end('Not found\n');
      return;
    }
    // Files in assets/ carry a hash of their content in their name.
    const immutable = path.relative(root, found.file).startsWith(`assets${path.sep}`);
    response.writeHead(200, {
      'Content-Type': TYPES[path.extname(found.file).toLowerCase()] ?? 'application/octet-stream',
      'Content-Length': found.size,
      'Cache-Control': immutable ? 'public, max-age=31536000, immutable' : 'no-cache',
    });
    if (request.method === 'HEAD') response.end();
    else
      createReadStream(found.file)
        .on('error', () => response.destroy())
        .pipe(response);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve(server));
  });
}

/** The value after --name on the command line. */
function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at > 0 ? process.argv[at + 1] : fallback;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const port = Number(option('port', '5178'));
  await serve({ dir: option('dir', 'dist'), port, host: option('host', '127.0.0.1') });
  console.log(`http://127.0.0.1:${port}/`);
}
