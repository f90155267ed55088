import { execFileSync } from 'node:child_process';

type Command = 'api-stop' | 'api-start' | 'api-pause' | 'api-resume';

/** What brings back an API that this was done to. */
const REMEDY: Partial<Record<Command, Command>> = {
  'api-stop': 'api-start',
  'api-pause': 'api-resume',
};

/** A program that does something to the API of the running stack, and returns when it is done. */
const control = process.env.STACK_CONTROL ?? '';

let last: Command | null = null;

export const canControl = control !== '';

/** `api-stop` ends it and `api-start` starts it again; `api-pause` holds it where it is, and `api-resume` lets it go on. */
export function controlApi(command: Command) {
  execFileSync(control, [command], { stdio: ['ignore', 'ignore', 'inherit'] });
  last = command;
}

/** Brings it back, if a test that has failed has left it away. */
export function restoreApi() {
  const remedy = last && REMEDY[last];
  if (remedy) controlApi(remedy);
}
