import type { Job, JobState } from './queries';

const STATES = [
  'failed',
  'refused',
  'waiting',
  'active',
  'delayed',
  'completed',
  'paused',
  'prioritized',
] as const satisfies readonly JobState[];

/** The states whose jobs can be listed. Without Redis the API keeps no jobs but those that have failed. */
export function statesOf(workerMode: string | undefined): readonly JobState[] {
  return workerMode === 'in-process' ? ['failed'] : STATES;
}

export function canRetry({ state, kept_by }: Pick<Job, 'state' | 'kept_by'>): boolean {
  return kept_by === 'outbox' || state === 'failed';
}

/** The next job of a schedule stays: without it the schedule would stop. */
export function canRemove({ id, state }: Pick<Job, 'id' | 'state'>): boolean {
  return state !== 'active' && !id.startsWith('repeat:');
}
