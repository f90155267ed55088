import { queryOptions } from '@tanstack/react-query';
import { api, read } from '../../api/client';
import type { components } from '../../api/schema';

export type Readiness = components['schemas']['ReadinessReport'];

/** What the API tells administrators of itself; its description calls it an object and no more. */
export type SystemInfo = {
  application: {
    name: string;
    version: string;
    uptime: number;
    environment?: string;
    startTime?: string;
  };
  features?: Record<string, { enabled?: boolean } | undefined>;
  services?: {
    database?: {
      pool?: { idle: number; inUse: number; waiting: number };
      replicas?: Replica[];
    };
    queue?: { type: string; status: string };
  };
  configuration?: {
    poolMax?: number;
    cacheType?: string;
    workerMode?: string;
    authProvider?: string;
  };
};

export type Replica = {
  name: string;
  inRotation: boolean;
  reason: string;
  lagBytes: number | null;
  lagSeconds: number;
};

const FOLLOWED = 5000;

export const systemInfoQuery = () =>
  queryOptions({
    queryKey: ['private', 'admin', 'system'],
    queryFn: async ({ signal }) =>
      (await read(api.GET('/api/system/info', { signal }))) as unknown as SystemInfo,
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
