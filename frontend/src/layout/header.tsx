import type { SubmitEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useLocation, useSearchParams } from 'wouter';
import { countOf, useCart } from '../cart/cart';
import { listingOf, paramsOf } from '../catalogue/filter';
import { useUser } from '../session/session';
import { LanguageChoice } from './language-choice';

const LINK = 'flex min-h-11 items-center rounded-lg px-2 font-medium hover:bg-brand-dark sm:px-3';

export function Header() {
  const { t } = useTranslation();
  const user = useUser();
  const count = countOf(useCart());
  return (
    <header className="z-20 bg-brand text-white sm:sticky sm:top-0 [&_:focus-visible]:outline-marigold">
      <div className="mx-auto flex max-w-6xl flex-wrap items-center gap-x-2 px-3 py-2 sm:gap-x-4">
        <Link href="/" className="flex min-h-11 items-center gap-2 text-lg font-bold">
          <img
            src="/favicon.svg"
            alt=""
            width={28}
            height={28}
            className="rounded-md ring-1 ring-white/40"
          />
          {/* A phone has room for the name or for the ways on. */}
          <span className="max-sm:sr-only">{t('shop')}</span>
        </Link>
        <Search />
        <nav
          aria-label={t('nav.label')}
          className="ml-auto flex flex-wrap items-center text-sm sm:text-base"
        >
          {user?.role === 'admin' && (
            <Link href="/admin" className={LINK}>
              {t('nav.admin')}
            </Link>
          )}
          {user ? (
            <>
              <Link href="/orders" className={LINK}>
                {t('nav.orders')}
              </Link>
              <Link href="/profile" className={LINK}>
                {t('nav.profile')}
              </Link>
            </>
          ) : (
            <Link href="/sign-in" className={LINK}>
              {t('nav.signIn')}
            </Link>
          )}
          <Link href="/cart" className={LINK} aria-label={t('nav.cartWith', { count })}>
            {t('nav.cart')}
            {count > 0 && (
              <span className="ml-1.5 min-w-6 rounded-full bg-marigold px-1.5 text-center text-sm font-bold text-ink">
                {count}
              </span>
            )}
          </Link>
          <LanguageChoice />
        </nav>
      </div>
    </header>
  );
}

/** Searches within what the list is narrowed to already, and from other pages in everything. */
function Search() {
  const { t } = useTranslation();
  const [path, navigate] = useLocation();
  const [params] = useSearchParams();
  const listing = listingOf(path === '/products' ? params : new URLSearchParams());

  function submit(event: SubmitEvent<HTMLFormElement>) {
    event.preventDefault();
    const search = (new FormData(event.currentTarget).get('search') as string).trim();
    navigate(`/products?${paramsOf({ ...listing, search, page: 1 }).toString()}`);
  }

  return (
    <form
      role="search"
      onSubmit={submit}
      className="order-last flex w-full sm:order-none sm:w-auto sm:grow"
    >
      <input
        key={listing.search}
        name="search"
        type="search"
        maxLength={255}
        defaultValue={listing.search}
        aria-label={t('nav.search')}
        placeholder={t('nav.search')}
        className="min-h-11 w-full min-w-0 rounded-l-lg bg-white px-3 text-base text-ink placeholder:text-muted"
      />
      <button
        type="submit"
        className="min-h-11 rounded-r-lg bg-marigold px-4 font-semibold text-ink"
      >
        {t('nav.searchGo')}
      </button>
    </form>
  );
}
