import { execFileSync } from 'node:child_process';

/** A program that does something to the API of the running stack, and returns when it is done. */
const control = process.env.STACK_CONTROL ?? '';

export const canControl = control !== '';

/** `api-stop` ends it and `api-start` starts it again; `api-pause` stops it in its tracks, and `api-resume` lets it go on. */
export function controlApi(command: 'api-stop' | 'api-start' | 'api-pause' | 'api-resume') {
  execFileSync(control, [command], { stdio: ['ignore', 'ignore', 'inherit'] });
}
