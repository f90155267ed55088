// Compresses what is text beside itself, as small as can be, for servers that take such files (nginx's gzip_static, the API).
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, gzipSync } from 'node:zlib';

/** Less fits into one packet anyway. */
const SMALLEST = 1024;

const dist = new URL('../dist/', import.meta.url);
for (const folder of ['', 'assets/']) {
  const names = readdirSync(new URL(folder, dist)).filter((name) =>
    /\.(css|html|js|svg)$/.test(name),
  );
  for (const name of names) {
    const content = readFileSync(new URL(folder + name, dist));
    if (content.length < SMALLEST) continue;
    writeFileSync(new URL(`${folder}${name}.gz`, dist), gzipSync(content, { level: 9 }));
    writeFileSync(new URL(`${folder}${name}.br`, dist), brotliCompressSync(content));
  }
}
