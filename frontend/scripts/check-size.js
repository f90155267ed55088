// Adds up what a first visit downloads, compressed as a server would, and fails above the limits.
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const LIMITS = { JavaScript: 110_000, CSS: 15_000 };

const dist = new URL('../dist/', import.meta.url);
const manifest = JSON.parse(readFileSync(new URL('.vite/manifest.json', dist), 'utf8'));

/** The entry and all that it imports before it runs; what is imported on demand does not count. */
function initialChunks(key, seen = new Set()) {
  if (seen.has(key)) return seen;
  seen.add(key);
  for (const imported of manifest[key].imports ?? []) initialChunks(imported, seen);
  return seen;
}

const chunks = [...initialChunks('index.html')].map((key) => manifest[key]);
const files = {
  JavaScript: chunks.map((chunk) => chunk.file),
  CSS: [...new Set(chunks.flatMap((chunk) => chunk.css ?? []))],
};

let tooLarge = false;
for (const [kind, names] of Object.entries(files)) {
  const sizes = names.map(
    (name) => gzipSync(readFileSync(new URL(name, dist)), { level: 9 }).length,
  );
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const limit = LIMITS[kind];
  tooLarge ||= total > limit;
  console.log(
    `initial ${kind}: ${(total / 1000).toFixed(1)} kB gzipped of ${limit / 1000} kB allowed` +
      (total > limit ? ' - too large' : ''),
  );
}
process.exit(tooLarge ? 1 : 0);
