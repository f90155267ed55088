// A producer and an operator: calls methods of a stock Queue and says what each returned.
//
// The request is a list of calls, each a list: the method and its arguments.
import { Queue } from 'bullmq';
import { options, queueName, request, say } from './common.js';

const queue = new Queue(queueName, options);
for (const [method, ...args] of request) {
  say({ returned: (await queue[method](...args)) ?? null });
}
await queue.close();
options.connection.disconnect();
