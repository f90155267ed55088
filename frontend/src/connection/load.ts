import { untilReachable } from './connection';

/** Loads a part of the app. One that fails because the shop is away is asked for again when the shop is back. */
export async function load<T>(part: () => Promise<T>): Promise<T> {
  try {
    return await part();
  } catch {
    await untilReachable();
    return part();
  }
}
