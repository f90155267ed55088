import { asProblem } from '../../api/problem';

/** Answers about a job that somebody else, or the job itself, has moved on meanwhile. */
const OVERTAKEN = [404, 409];

/**
 * Does the same to each job, one after another so as not to be turned away for haste, and says of how many it has
 * been done. Stops at the first failure that is not about a single job.
 */
export async function oneByOne<J>(
  jobs: readonly J[],
  act: (job: J) => Promise<void>,
): Promise<number> {
  let done = 0;
  for (const job of jobs) {
    try {
      await act(job);
      done += 1;
    } catch (error) {
      if (!OVERTAKEN.includes(asProblem(error).status)) throw error;
    }
  }
  return done;
}
