import { useMutation } from '@tanstack/react-query';
import { useEffect, useEffectEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useLocation } from 'wouter';
import { asProblem, type Problem } from '../api/problem';
import { queryClient } from '../api/query-client';
import type { User } from '../api/types';
import { useCheckedCart } from '../cart/checked-cart';
import { useUser } from '../session/session';
import { buttonClass } from '../ui/button';
import { Notice } from '../ui/notice';
import { Page } from '../ui/page';
import { Trouble } from '../ui/trouble';
import { beginAttempt, interruptedAttempt } from './attempt';
import { AddressForm } from './address-form';
import { addressOf, type CheckoutForm } from './draft';
import { placeOrder } from './place-order';
import { Summary } from './summary';

export function CheckoutPage() {
  const user = useUser();
  return user && <Checkout user={user} />;
}

function Checkout({ user }: { user: User }) {
  const { t } = useTranslation();
  const checked = useCheckedCart();
  const place = usePlaceOrder(user);

  if (checked.lines.length === 0 && !place.isPending && !place.error) {
    return (
      <Page title={t('checkout.title')} width="narrow">
        <p className="mb-4">{t('cart.empty')}</p>
        <Link href="/products" className={buttonClass()}>
          {t('orders.start')}
        </Link>
      </Page>
    );
  }

  function submit(form: CheckoutForm) {
    const items = checked.lines.map(({ product_id, quantity }) => ({ product_id, quantity }));
    const request = {
      items,
      shipping_address: addressOf(form),
      payment_method: form.method,
      max_total: checked.total,
    };
    place.mutate(beginAttempt(user.id, request));
  }

  return (
    <Page title={t('checkout.title')}>
      {place.isResuming && <Notice live>{t('checkout.resumed')}</Notice>}
      <div className="mt-4 grid items-start gap-6 lg:grid-cols-[1fr_20rem]">
        <AddressForm
          user={user}
          isPending={place.isPending}
          isBlocked={!checked.isOrderable}
          error={place.error}
          onSubmit={submit}
        >
          {place.error && (
            <Refusal
              problem={asProblem(place.error)}
              failures={place.failures}
              onRetry={() => place.mutate(place.variables)}
            />
          )}
        </AddressForm>
        <Summary lines={checked.lines} total={checked.total} isOrderable={checked.isOrderable} />
      </div>
    </Page>
  );
}

/** Also finishes what a reload or an ended session has interrupted, without being asked: the customer had decided. */
function usePlaceOrder(user: User) {
  const [, navigate] = useLocation();
  const [failures, setFailures] = useState(0);
  const [interrupted] = useState(() => interruptedAttempt(user.id));
  const mutation = useMutation({
    mutationFn: placeOrder,
    onSuccess: (order) => {
      void queryClient.invalidateQueries({ queryKey: ['private', 'orders'] });
      void queryClient.invalidateQueries({ queryKey: ['product'] });
      navigate(`/orders/${order.id}/payment`, { replace: true });
    },
    onError: () => {
      setFailures((count) => count + 1);
      // The cart shows at once what is left.
      void queryClient.invalidateQueries({ queryKey: ['product'] });
    },
  });
  const resume = useEffectEvent(() => {
    if (interrupted) mutation.mutate(interrupted);
  });
  useEffect(() => resume(), []);
  const isResuming = mutation.isPending && mutation.variables === interrupted;
  return { ...mutation, failures, isResuming };
}

type RefusalProps = { problem: Problem; failures: number; onRetry: () => void };

function Refusal({ problem, failures, onRetry }: RefusalProps) {
  const { t } = useTranslation();
  if (problem.shortages.length > 0) {
    return (
      <Notice tone="danger" live>
        <p className="font-medium">{t('checkout.outOfStock')}</p>
        <ul className="my-2 list-disc pl-5">
          {problem.shortages.map(({ product_id, name, requested, available }) => (
            <li key={product_id}>{t('checkout.shortage', { name, requested, available })}</li>
          ))}
        </ul>
        <Link href="/cart" className={buttonClass('secondary')}>
          {t('checkout.editCart')}
        </Link>
      </Notice>
    );
  }
  if (problem.code === 'price_changed') {
    // Only the customer can decide, beside the new total.
    return (
      <Notice tone="danger" live>
        {t('problem.price_changed')}
      </Notice>
    );
  }
  return <Trouble problem={problem} failures={failures} onRetry={onRetry} />;
}
