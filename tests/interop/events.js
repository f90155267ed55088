// A listener: says every event of a queue since its beginning.
import { QueueEvents } from 'bullmq';
import { options, queueName, say } from './common.js';

const events = new QueueEvents(queueName, { ...options, lastEventId: '0-0' });
for (const event of [
  'active',
  'added',
  'completed',
  'deduplicated',
  'delayed',
  'duplicated',
  'failed',
  'paused',
  'progress',
  'resumed',
  'retries-exhausted',
  'stalled',
  'waiting',
]) {
  // An event's id begins with the time at which it was written, in milliseconds.
  events.on(event, (args, id) => say({ event, at: Number.parseInt(id, 10), ...args }));
}
events.on('error', (error) => console.error(error));
