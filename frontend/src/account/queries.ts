import { queryOptions } from '@tanstack/react-query';
import { api, read } from '../api/client';
import { session } from '../session/session';

export const meQuery = () =>
  queryOptions({
    queryKey: ['private', 'me'],
    queryFn: async ({ signal }) => {
      const { user } = await read(api.GET('/api/auth/me', { signal }));
      session.update(user);
      return user;
    },
  });
