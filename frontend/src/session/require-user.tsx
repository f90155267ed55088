import type { ReactNode } from 'react';
import { Redirect } from 'wouter';
import { NotFoundPage } from '../layout/not-found-page';
import { useUser } from './session';

type Props = { admin?: boolean; children: ReactNode };

/** Pages of whoever is signed in. Others sign in first and come back; a session that ends leads there as well. */
export function RequireUser({ admin = false, children }: Props) {
  const user = useUser();
  if (!user) {
    const here = location.pathname + location.search;
    return <Redirect to={`/sign-in?next=${encodeURIComponent(here)}`} replace />;
  }
  if (admin && user.role !== 'admin') return <NotFoundPage />;
  return children;
}
