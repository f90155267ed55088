// What deploy/nginx promises, asked of a running nginx. Behind it stands a server that says what reached it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { after, before, test } from 'node:test';
import { startNginx } from './nginx.js';

const dist = new URL('../dist/', import.meta.url);
const files = readdirSync(new URL('assets/', dist));
const assets = files.filter((name) => !/\.(gz|br)$/.test(name));
const compressed = assets.filter((name) => files.includes(`${name}.gz`));
const index = readFileSync(new URL('index.html', dist), 'utf8');
const MEBIBYTE = 1024 * 1024;

let api;
let nginx;
let letStreamEnd;

before(async () => {
  api = createServer(answer).listen(0, '127.0.0.1');
  await once(api, 'listening');
  nginx = await startNginx(`http://127.0.0.1:${api.address().port}`);
});

after(async () => {
  await nginx.stop();
  api.close();
  api.closeAllConnections();
});

async function answer(incoming, outgoing) {
  if (incoming.url.endsWith('/events')) {
    outgoing.writeHead(200, { 'content-type': 'text/event-stream' });
    outgoing.write('data: first\n\n');
    letStreamEnd = () => outgoing.end('data: last\n\n');
    return;
  }
  let received = 0;
  for await (const chunk of incoming) received += chunk.length;
  outgoing.setHeader('content-type', 'application/json');
  outgoing.end(JSON.stringify({ url: incoming.url, headers: incoming.headers, received }));
}

/** Not `fetch`, which decompresses, and forbids some headers. */
async function ask(path, { method = 'GET', headers = {}, body } = {}) {
  const outgoing = request(nginx.url + path, { method, headers, agent: false });
  outgoing.end(body);
  const [response] = await once(outgoing, 'response');
  const chunks = await response.toArray();
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) };
}

for (const path of [
  '/',
  '/index.html',
  '/products/42?from=mail',
  '/admin/orders',
  '/assets.html',
]) {
  test(`${path} is the app, which is never used without asking`, async () => {
    const page = await ask(path);
    assert.equal(page.status, 200);
    assert.equal(page.body.toString(), index);
    assert.match(page.headers['content-type'], /^text\/html/);
    assert.equal(page.headers['cache-control'], 'no-cache');
    assert.ok(page.headers.etag);
    const again = await ask(path, { headers: { 'if-none-match': page.headers.etag } });
    assert.equal(again.status, 304);
  });
}

test('config.json is never used without asking', async () => {
  const config = await ask('/config.json');
  assert.equal(config.status, 200);
  assert.equal(config.headers['content-type'], 'application/json');
  assert.equal(config.headers['cache-control'], 'no-cache');
});

test('every asset is kept for ever', async () => {
  assert.ok(assets.length > 10);
  for (const name of assets) {
    const asset = await ask(`/assets/${name}`);
    assert.equal(asset.status, 200, name);
    assert.equal(asset.headers['cache-control'], 'public, max-age=31536000, immutable', name);
    assert.equal(asset.headers['content-encoding'], undefined, name);
  }
});

test('assets are sent as the build has compressed them', async () => {
  assert.ok(compressed.length > 10);
  for (const name of compressed) {
    const asset = await ask(`/assets/${name}`, { headers: { 'accept-encoding': 'gzip' } });
    assert.equal(asset.headers['content-encoding'], 'gzip', name);
    assert.equal(asset.headers.vary, 'Accept-Encoding', name);
    const { size } = statSync(new URL(`assets/${name}.gz`, dist));
    assert.equal(asset.body.length, size, name);
  }
});

test('the page is compressed', async () => {
  const page = await ask('/', { headers: { 'accept-encoding': 'gzip' } });
  assert.equal(page.headers['content-encoding'], 'gzip');
  assert.equal(page.headers['cache-control'], 'no-cache');
});

for (const path of ['/assets/index-00000000.js', '/assets/', '/.vite/manifest.json', '/.env']) {
  test(`${path} is not found, and that is not kept`, async () => {
    const missing = await ask(path);
    assert.equal(missing.status, 404);
    assert.equal(missing.headers['cache-control'], undefined);
    assert.match(missing.headers['content-security-policy'], /default-src 'none'/);
  });
}

for (const path of ['/', '/cart', '/config.json', `/assets/${assets[0]}`]) {
  test(`${path} comes with what browsers are to forbid`, async () => {
    const { headers } = await ask(path);
    const policy = headers['content-security-policy'].split('; ').map((rule) => rule.trim());
    assert.deepEqual(policy, [
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "img-src 'self' https:",
      "font-src 'self'",
      "manifest-src 'self'",
      "connect-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ]);
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['referrer-policy'], 'same-origin');
    assert.match(headers['permissions-policy'], /geolocation=\(\)/);
    assert.equal(headers['cross-origin-opener-policy'], 'same-origin');
    assert.equal(headers.server, 'nginx');
  });
}

test('the page has no inline script or style', () => {
  assert.doesNotMatch(index, /<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=/);
});

test('pages are not written to', async () => {
  assert.equal((await ask('/cart', { method: 'POST', body: 'x' })).status, 405);
});

test('the API is told who asks, behind what the client claims', async () => {
  const headers = {
    host: 'shop.example',
    'x-forwarded-for': '203.0.113.7',
    'x-request-id': 'r1',
    'accept-encoding': 'gzip',
  };
  const answered = await ask('/api/products?search=a%2Fb', { headers });
  const seen = JSON.parse(answered.body.toString());
  assert.equal(seen.url, '/api/products?search=a%2Fb');
  assert.equal(seen.headers['x-forwarded-for'], '203.0.113.7, 127.0.0.1');
  assert.equal(seen.headers.host, 'shop.example');
  assert.equal(seen.headers['x-request-id'], 'r1');
  assert.equal(seen.headers.connection, undefined);
  assert.equal(seen.headers['accept-encoding'], 'gzip');
  // The API compresses what may be compressed.
  assert.equal(answered.headers['content-encoding'], undefined);
  // Its own policy is stricter than the page's, and it says itself what may be kept.
  assert.equal(answered.headers['content-security-policy'], undefined);
  assert.equal(answered.headers['cache-control'], undefined);
});

for (const [path, size, status] of [
  ['/api/orders', MEBIBYTE + 1, 200],
  ['/api/orders', 3 * MEBIBYTE, 413],
  ['/api/products/import', 16 * MEBIBYTE + 1, 200],
  ['/api/products/import', 18 * MEBIBYTE, 413],
]) {
  test(`${size} bytes to ${path} are answered ${status}`, async () => {
    const headers = { expect: '100-continue', 'content-length': size };
    const outgoing = request(nginx.url + path, { method: 'POST', headers, agent: false });
    outgoing.once('continue', () => outgoing.end(Buffer.alloc(size)));
    outgoing.flushHeaders();
    const [response] = await once(outgoing, 'response');
    assert.equal(response.statusCode, status);
    const body = Buffer.concat(await response.toArray());
    if (status === 200) assert.equal(JSON.parse(body.toString()).received, size);
    outgoing.destroy();
  });
}

test('events arrive while their stream goes on', { timeout: 10_000 }, async () => {
  const outgoing = request(`${nginx.url}/api/orders/7/events`, {
    agent: false,
    headers: { 'accept-encoding': 'gzip' },
  }).end();
  const [stream] = await once(outgoing, 'response');
  const [first] = await once(stream, 'data');
  assert.equal(first.toString(), 'data: first\n\n');
  letStreamEnd();
  const rest = await stream.toArray();
  assert.equal(Buffer.concat(rest).toString(), 'data: last\n\n');
});

test('no log has the tokens of links in mails', async () => {
  for (const path of ['/reset-password', '/verify-email']) {
    const page = await ask(`${path}?token=secret`);
    assert.equal(page.body.toString(), index);
    assert.equal(page.headers['cache-control'], 'no-cache');
    assert.match(page.headers['content-security-policy'], /default-src 'none'/);
  }
  await ask('/products?search=tea');
  assert.match(nginx.accessLog(), /"GET \/products\?search=tea HTTP\/1\.1" 200/);
  assert.doesNotMatch(nginx.accessLog(), /secret/);
});
