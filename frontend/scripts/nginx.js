// Starts the nginx of deploy/nginx, as a user that is nobody in particular, with the build in front of an API.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const frontend = fileURLToPath(new URL('../', import.meta.url));
const site = fileURLToPath(new URL('../../deploy/nginx/', import.meta.url));

/** `nobody` on Debian. Root is what an operator's nginx need not be. */
const UNPRIVILEGED = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {};

/** Resolves to the shop's address, and to what stops it. */
export async function startNginx(apiUrl) {
  const folder = mkdtempSync(join(tmpdir(), 'bharatmart-nginx-'));
  const port = await freePort();
  configure(folder, port, new URL(apiUrl).host);
  const nginx = ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr'];
  const test = spawnSync('nginx', [...nginx, '-t'], { ...UNPRIVILEGED, encoding: 'utf8' });
  if (test.error) throw test.error;
  if (test.status !== 0) throw new Error(`nginx -t: ${test.stderr}`);
  const child = spawn('nginx', [...nginx, '-g', 'daemon off;'], {
    ...UNPRIVILEGED,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  await listening(port, child);
  return {
    url: `http://127.0.0.1:${port}`,
    accessLog: () => readFileSync(join(folder, 'access.log'), 'utf8'),
    async stop() {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
      rmSync(folder, { recursive: true });
    },
  };
}

/** The files as they are shipped; only ports, and where to write, are this run's own. */
function configure(folder, port, api) {
  const root = join(folder, 'frontend');
  cpSync(join(frontend, 'dist'), root, { recursive: true });
  mkdirSync(join(folder, 'conf.d'));
  write(join(folder, 'nginx.conf'), join(site, 'nginx.conf'), {
    '/tmp/': `${folder}/`,
    '/dev/stdout': join(folder, 'access.log'),
  });
  write(join(folder, 'conf.d', 'bharatmart.conf'), join(site, 'bharatmart.conf'), {
    'listen 80 ': `listen 127.0.0.1:${port} `,
    'listen [::]:80 default_server;': '',
    '127.0.0.1:3000': api,
    '/opt/bharatmart/frontend': root,
  });
  if (UNPRIVILEGED.uid) chownSync(folder, UNPRIVILEGED.uid, UNPRIVILEGED.gid);
}

function write(target, source, replacements) {
  let text = readFileSync(source, 'utf8');
  for (const [from, to] of Object.entries(replacements)) {
    if (!text.includes(from)) throw new Error(`${source} has no ${from}`);
    text = text.replaceAll(from, to);
  }
  writeFileSync(target, text);
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function listening(port, child) {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await delay(50)) {
    if (child.exitCode !== null) throw new Error(`nginx ended with ${child.exitCode}`);
    const socket = createConnection(port, '127.0.0.1');
    const open = await new Promise((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (open) return;
  }
  throw new Error('nginx does not listen');
}
