// Where the queue is: the first three arguments of every program here.
import { Redis } from 'ioredis';

const [url, prefix, name, argument] = process.argv.slice(2);

export const queueName = name;
export const options = {
  connection: new Redis(url, { maxRetriesPerRequest: null }),
  prefix,
};
export const request = argument === undefined ? undefined : JSON.parse(argument);

/** One line of JSON for whoever has started this program. */
export function say(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
