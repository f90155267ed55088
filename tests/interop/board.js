// Bull Board on the port of the request, for the queues that it names.
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import { Queue } from 'bullmq';
import express from 'express';
import { options, request, say } from './common.js';

const serverAdapter = new ExpressAdapter();
createBullBoard({
  queues: request.queues.map((name) => new BullMQAdapter(new Queue(name, options))),
  serverAdapter,
});
express()
  .use(serverAdapter.getRouter())
  .listen(request.port, '127.0.0.1', () => say({ ready: true }));
