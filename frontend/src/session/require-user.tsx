import type { ReactNode } from 'react';
import { Redirect } from 'wouter';
import { useUser } from './session';

/** Pages of whoever is signed in. Others sign in first and come back; a session that ends leads there as well. */
export function RequireUser({ children }: { children: ReactNode }) {
  const user = useUser();
  if (!user) {
    const here = location.pathname + location.search;
    return <Redirect to={`/sign-in?next=${encodeURIComponent(here)}`} replace />;
  }
  return children;
}
