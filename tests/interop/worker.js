// A consumer: a stock Worker that does what the request says.
//
// failures   how many attempts of a job fail (0)
// final      whether the first failure is the last
// progress   what a job reports before it ends, one after the other
// returns    what a job returns
import { UnrecoverableError, Worker } from 'bullmq';
import { options, queueName, request, say } from './common.js';

const { failures = 0, final = false, progress = [], returns = null } = request;

async function noPaperLeft(job) {
  const kind = final ? UnrecoverableError : Error;
  throw new kind(`no paper left for ${job.id}`);
}

async function attend(job) {
  say({ started: job, at: Date.now() });
  for (const step of progress) {
    await job.updateProgress(step);
  }
  await job.log(`attempt ${job.attemptsStarted}`);
  if (job.attemptsMade < failures) {
    await noPaperLeft(job);
  }
  return returns;
}

const worker = new Worker(queueName, attend, options);
worker.on('error', (error) => console.error(error));
worker.on('failed', (job) => say({ failed: job.id }));
await worker.waitUntilReady();
say({ ready: true });
process.once('SIGTERM', async () => {
  await worker.close();
  options.connection.disconnect();
});
