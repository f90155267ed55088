import { queryOptions } from '@tanstack/react-query';
import { api, read } from '../../api/client';
import type { components } from '../../api/schema';

export type Readiness = components['schemas']['ReadinessReport'];

export type SystemInfo = components['schemas']['Setup'];
export type Services = components['schemas']['Services'];
export type Replica = components['schemas']['ReplicaService'];
export type Breaker = components['schemas']['CircuitBreaker'];

const FOLLOWED = 5000;

export const systemInfoQuery = () =>
  queryOptions({
    queryKey: ['private', 'admin', 'system'],
    queryFn: ({ signal }) => read(api.GET('/api/system/info', { signal })),
    refetchInterval: FOLLOWED,
  });

export const readinessQuery = () =>
  queryOptions({
    queryKey: ['private', 'admin', 'readiness'],
    queryFn: async ({ signal }): Promise<Readiness> => {
      const answer = await api.GET('/api/health/ready', { signal });
      // "Not ready" is an answer as well, with the same report.
      if (answer.error && 'checks' in answer.error) return answer.error;
      return read(Promise.resolve(answer));
    },
    refetchInterval: FOLLOWED,
  });
