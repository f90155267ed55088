import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { api, read } from '../../api/client';
import type { components, paths } from '../../api/schema';

export type Job = components['schemas']['Job'];
export type QueueCounts = components['schemas']['QueueCounts'];

export type JobFilter = NonNullable<
  paths['/api/queues/{queue}/jobs']['get']['parameters']['query']
>;
export type JobState = NonNullable<JobFilter['state']>;

export const QUEUES = ['orders', 'payments', 'emails'] as const;
export type Queue = (typeof QUEUES)[number];

const FOLLOWED = 5000;

export const queueStatsQuery = () =>
  queryOptions({
    queryKey: ['private', 'admin', 'queues'],
    queryFn: ({ signal }) => read(api.GET('/api/queues/stats', { signal })),
    refetchInterval: FOLLOWED,
  });

export const jobsQuery = (queue: Queue, filter: JobFilter) =>
  queryOptions({
    queryKey: ['private', 'admin', 'jobs', queue, filter],
    queryFn: ({ signal }) =>
      read(
        api.GET('/api/queues/{queue}/jobs', { params: { path: { queue }, query: filter }, signal }),
      ),
    placeholderData: keepPreviousData,
    refetchInterval: FOLLOWED,
  });

export async function retryJob({ id }: Job, queue: Queue) {
  await read(api.POST('/api/queues/{queue}/jobs/{id}/retry', { params: { path: { queue, id } } }));
}

export async function removeJob({ id }: Job, queue: Queue) {
  await read(api.DELETE('/api/queues/{queue}/jobs/{id}', { params: { path: { queue, id } } }));
}
