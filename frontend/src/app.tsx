import { lazy, type ComponentType, type ReactNode } from 'react';
import { Route, Switch } from 'wouter';
import { HomePage } from './catalogue/home-page';
import { isReachable, untilReachable } from './connection/connection';
import { load } from './connection/load';
import { Layout } from './layout/layout';
import { NotFoundPage } from './layout/not-found-page';
import { RequireUser } from './session/require-user';

/** The home page comes with the app; every other page is loaded when somebody goes there, or by `loadShop`. */
const shopPages: (() => Promise<unknown>)[] = [];

function shopPage<Props>(part: () => Promise<{ default: ComponentType<Props> }>) {
  shopPages.push(part);
  return lazy(part);
}

const CataloguePage = shopPage(async () => ({
  default: (await load(() => import('./catalogue/catalogue-page'))).CataloguePage,
}));
const ProductPage = shopPage(async () => ({
  default: (await load(() => import('./catalogue/product-page'))).ProductPage,
}));
const CartPage = shopPage(async () => ({
  default: (await load(() => import('./cart/cart-page'))).CartPage,
}));
const CheckoutPage = shopPage(async () => ({
  default: (await load(() => import('./checkout/checkout-page'))).CheckoutPage,
}));
const PaymentPage = shopPage(async () => ({
  default: (await load(() => import('./checkout/payment-page'))).PaymentPage,
}));
const OrdersPage = shopPage(async () => ({
  default: (await load(() => import('./orders/orders-page'))).OrdersPage,
}));
const OrderPage = shopPage(async () => ({
  default: (await load(() => import('./orders/order-page'))).OrderPage,
}));
const ProfilePage = shopPage(async () => ({
  default: (await load(() => import('./account/profile-page'))).ProfilePage,
}));
const SignInPage = shopPage(async () => ({
  default: (await load(() => import('./account/sign-in-page'))).SignInPage,
}));
const SignUpPage = shopPage(async () => ({
  default: (await load(() => import('./account/sign-up-page'))).SignUpPage,
}));
const ForgotPasswordPage = shopPage(async () => ({
  default: (await load(() => import('./account/forgot-password-page'))).ForgotPasswordPage,
}));
const ResetPasswordPage = shopPage(async () => ({
  default: (await load(() => import('./account/reset-password-page'))).ResetPasswordPage,
}));
const VerifyEmailPage = shopPage(async () => ({
  default: (await load(() => import('./account/verify-email-page'))).VerifyEmailPage,
}));
const Admin = lazy(async () => ({ default: (await load(() => import('./admin/admin'))).Admin }));

/**
 * Loads the shop's pages before anybody goes there: by then the network, or the server, may be away. Each has a moment
 * of its own, so that a cheap phone goes on answering its fingers.
 */
export async function loadShop(idleMoment: () => Promise<void>) {
  for (const part of shopPages) {
    await idleMoment();
    if (!isReachable()) await untilReachable();
    // A page that does not come now is asked for again by whoever goes there.
    await part().catch(() => undefined);
  }
}

export function App() {
  return (
    <Layout>
      <Switch>
        <Route path="/" component={HomePage} />
        <Route path="/products" component={CataloguePage} />
        <Route path="/products/:id">{({ id }) => <ProductPage key={id} id={id} />}</Route>
        <Route path="/cart" component={CartPage} />
        <Route path="/checkout">{signedIn(<CheckoutPage />)}</Route>
        <Route path="/orders">{signedIn(<OrdersPage />)}</Route>
        <Route path="/orders/:id">{({ id }) => signedIn(<OrderPage key={id} id={id} />)}</Route>
        <Route path="/orders/:id/payment">
          {({ id }) => signedIn(<PaymentPage key={id} id={id} />)}
        </Route>
        <Route path="/profile">{signedIn(<ProfilePage />)}</Route>
        <Route path="/sign-in" component={SignInPage} />
        <Route path="/sign-up" component={SignUpPage} />
        <Route path="/forgot-password" component={ForgotPasswordPage} />
        <Route path="/reset-password" component={ResetPasswordPage} />
        <Route path="/verify-email" component={VerifyEmailPage} />
        <Route path="/admin/*?">{signedIn(<Admin />)}</Route>
        <Route component={NotFoundPage} />
      </Switch>
    </Layout>
  );
}

function signedIn(page: ReactNode) {
  return <RequireUser>{page}</RequireUser>;
}
