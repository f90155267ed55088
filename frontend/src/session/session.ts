import { useSyncExternalStore } from 'react';
import { api, read } from '../api/client';
import { asProblem } from '../api/problem';
import { slot } from '../lib/storage';
import { keepInTab, readFromTab } from '../lib/tab-storage';
import { exclusively } from './lock';
import { createSession, type Stored, type User } from './renewal';

function isStored(value: unknown): value is Stored {
  return typeof value === 'object' && value !== null && 'refreshToken' in value && 'user' in value;
}

const TOKEN = 'bharatmart.token';

export const session = createSession({
  stored: slot('bharatmart.session', isStored),
  tabToken: {
    read: () => readFromTab(TOKEN),
    write: (token) => keepInTab(TOKEN, token),
  },
  channel: new BroadcastChannel('bharatmart.session'),
  exclusively: (run) => exclusively('bharatmart.session', run),
  now: () => Date.now(),
  async exchange(refreshToken) {
    try {
      return await read(api.POST('/api/auth/refresh', { body: { refreshToken } }));
    } catch (error) {
      if ([400, 401].includes(asProblem(error).status)) return null;
      throw error;
    }
  },
});

export function useUser(): User | null {
  return useSyncExternalStore(session.subscribe, session.user);
}

/** Forgets the session here whatever the API says: who signs out must not stay because of a bad line. */
export async function signOut(): Promise<void> {
  try {
    await api.POST('/api/auth/logout');
  } catch {
    // The refresh token ends by itself.
  }
  session.end();
}
