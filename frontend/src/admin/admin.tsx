import { useTranslation } from 'react-i18next';
import { Link, Redirect, Route, Switch, useLocation } from 'wouter';
import { NotFoundPage } from '../layout/not-found-page';
import { useUser } from '../session/session';
import { buttonClass } from '../ui/button';
import { Page } from '../ui/page';
import { AuditPage } from './audit/audit-page';
import { CustomersPage } from './customers/customers-page';
import { OrderPage } from './orders/order-page';
import { OrdersPage } from './orders/orders-page';
import { ImportPage } from './products/import-page';
import { OffSalePage } from './products/off-sale-page';
import { EditProductPage, NewProductPage } from './products/product-pages';
import { ProductsPage } from './products/products-page';
import { JobsPage } from './queues/jobs-page';
import { QueuesPage } from './queues/queues-page';
import { SystemPage } from './system/system-page';

const AREAS = ['orders', 'products', 'customers', 'queues', 'system', 'audit'] as const;

/** The back office. The API checks every request; this only spares others pages on which nothing would work. */
export function Admin() {
  if (useUser()?.role !== 'admin') return <Refusal />;
  return (
    <>
      <Areas />
      <Switch>
        <Route path="/admin">
          <Redirect to="/admin/orders" replace />
        </Route>
        <Route path="/admin/orders" component={OrdersPage} />
        <Route path="/admin/orders/:id">{({ id }) => <OrderPage key={id} id={id} />}</Route>
        <Route path="/admin/products" component={ProductsPage} />
        <Route path="/admin/products/new" component={NewProductPage} />
        <Route path="/admin/products/import" component={ImportPage} />
        <Route path="/admin/products/off-sale" component={OffSalePage} />
        <Route path="/admin/products/:id">{({ id }) => <EditProductPage key={id} id={id} />}</Route>
        <Route path="/admin/customers" component={CustomersPage} />
        <Route path="/admin/queues" component={QueuesPage} />
        <Route path="/admin/queues/:queue">
          {({ queue }) => <JobsPage key={queue} queue={queue} />}
        </Route>
        <Route path="/admin/system" component={SystemPage} />
        <Route path="/admin/audit" component={AuditPage} />
        <Route component={NotFoundPage} />
      </Switch>
    </>
  );
}

function Areas() {
  const { t } = useTranslation('admin');
  const [path] = useLocation();
  return (
    <nav aria-label={t('title')} className="border-b border-line bg-card">
      <ul className="mx-auto flex max-w-6xl flex-wrap px-2">
        {AREAS.map((area) => {
          const href = `/admin/${area}`;
          const isHere = path === href || path.startsWith(`${href}/`);
          return (
            <li key={area}>
              <Link
                href={href}
                aria-current={path === href ? 'page' : isHere || undefined}
                className="flex min-h-11 items-center border-b-3 border-transparent px-2 font-medium hover:bg-brand-soft aria-[current]:border-brand aria-[current]:text-brand sm:px-3"
              >
                {t(`areas.${area}`)}
              </Link>
            </li>
          );
        })}
      </ul>
    </nav>
  );
}

function Refusal() {
  const { t } = useTranslation('admin');
  return (
    <Page title={t('refusal.title')} width="narrow">
      <p className="mb-4">{t('refusal.text')}</p>
      <Link href="/" className={buttonClass()}>
        {t('refusal.toShop')}
      </Link>
    </Page>
  );
}
