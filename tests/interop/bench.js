// What `cargo xtask bench queue` compares our worker with: a stock Worker that does nothing with its
// jobs. It says `ready`, starts when it reads a line, and says, when it has done as many jobs as a
// mark says, the mark and the seconds since its first job; it ends with its input.
import { once } from 'node:events';
import { Worker } from 'bullmq';
import { options, queueName, request } from './common.js';

const { concurrency, marks } = request;

process.stdout.write('ready\n');
await once(process.stdin, 'data');
let count = 0;
let start;
async function doNothing() {
  start ??= process.hrtime.bigint();
  count += 1;
  if (marks.includes(count)) {
    const seconds = Number(process.hrtime.bigint() - start) / 1e9;
    process.stdout.write(`${count} ${seconds}\n`);
  }
}
const worker = new Worker(queueName, doNothing, { ...options, concurrency });
worker.on('error', (error) => console.error(error));
process.stdin.on('end', () => process.exit());
