import { lazy } from 'react';
import { Route, Switch } from 'wouter';
import { HomePage } from './catalogue/home-page';
import { Layout } from './layout/layout';
import { NotFoundPage } from './layout/not-found-page';

/** Shoppers come in through the home page, a list or a product; everything else is loaded when it is gone to. */
const CataloguePage = lazy(async () => ({
  default: (await import('./catalogue/catalogue-page')).CataloguePage,
}));
const ProductPage = lazy(async () => ({
  default: (await import('./catalogue/product-page')).ProductPage,
}));
const Admin = lazy(async () => ({ default: (await import('./admin/admin')).Admin }));

export function App() {
  return (
    <Layout>
      <Switch>
        <Route path="/" component={HomePage} />
        <Route path="/products" component={CataloguePage} />
        <Route path="/products/:id">{({ id }) => <ProductPage key={id} id={id} />}</Route>
        <Route path="/admin/*?" component={Admin} />
        <Route component={NotFoundPage} />
      </Switch>
    </Layout>
  );
}
